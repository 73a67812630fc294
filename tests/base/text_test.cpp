#include "base/text.h"

#include <gtest/gtest.h>

#include <limits>

#include "assay/array.h"
#include "base/expect_error.h"

namespace assay {
namespace {

TEST(Text, BytesHaveThreeDigitsAndAUnit) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(999), "999 B");
  EXPECT_EQ(bytes_text(1000), "1.0 kB");
  EXPECT_EQ(bytes_text(999949), "999.9 kB");
  EXPECT_EQ(bytes_text(999950), "1.0 MB");
  EXPECT_EQ(bytes_text(1192099840), "1.2 GB");
  EXPECT_EQ(bytes_text(std::numeric_limits<std::uint64_t>::max()), "18446744.1 TB");
}

TEST(Text, WhatAMessageShowsIsOneShortLine) {
  EXPECT_EQ(shown("layer_00_output"), "layer_00_output");
  EXPECT_EQ(shown("größe"), "größe");
  EXPECT_EQ(shown(std::string_view("a\nb\x1B[31m\0\x7F", 10)), "a\\nb\\x1b[31m\\x00\\x7f");
  EXPECT_EQ(shown(std::string(100, 'a')), std::string(100, 'a'));
  EXPECT_EQ(shown("abcdefgh", 6), "abc...");
  EXPECT_EQ(shown(std::string(101, 'a')), std::string(97, 'a') + "...");
  // A character is not cut in two.
  EXPECT_EQ(shown(std::string(96, 'a') + "ööö"), std::string(96, 'a') + "...");
}

// Every kind of character that affects a terminal, or a reader of lines or XML, is escaped; others
// stay.
TEST(Text, WhatAffectsATerminalIsEscaped) {
  EXPECT_EQ(visible("größe 巴黎 \u200d 👩‍🚀 a\\b"),
            "größe 巴黎 \u200d 👩‍🚀 a\\b");
  EXPECT_EQ(visible("a\nb\rc\td\be"), "a\\nb\\rc\\td\\x08e");
  EXPECT_EQ(visible("\u009b31m\u2028\u202e\u2066\ufeff\u200f\u061c\U000e0041"),
            "\\u009b31m\\u2028\\u202e\\u2066\\ufeff\\u200f\\u061c\\U000e0041");
  EXPECT_EQ(visible("\xc3(\xff\xed\xa0\x80"), "\\xc3(\\xff\\xed\\xa0\\x80");
  EXPECT_EQ(visible(visible("\x1b")), "\\x1b");
  EXPECT_EQ(for_terminal("a\n\x1b[31mb\x1b[0m\x1b]0;t\a", true),
            "a\n\x1b[31mb\x1b[0m\\x1b]0;t\\x07");
  EXPECT_EQ(for_terminal("\x1b[31mb", false), "\\x1b[31mb");
  EXPECT_EQ(for_terminal("\x1b[2Jb", true), "\\x1b[2Jb");
  EXPECT_EQ(escaped_json("{\n \"a\": \"\u009b\u202e\U000e0041ö\"}"),
            "{\n \"a\": \"\\u009b\\u202e\\udb40\\udc41ö\"}");
}

TEST(Shape, ElementCountRefusesNegativeAxesAndOverflow) {
  EXPECT_EQ(element_count({}, "x"), 1);
  EXPECT_EQ(element_count(Shape{3, 0, 2}, "x"), 0);
  EXPECT_EQ(element_count(Shape{1, 5, 64}, "x"), 320);
  EXPECT_EQ(element_count(Shape{std::int64_t{1} << 31, std::int64_t{1} << 31}, "x"),
            std::int64_t{1} << 62);
  expect_error(ErrorKind::kInput, {"x: shape [2, -1]; expected no negative axis"}, [] {
    element_count(Shape{2, -1}, "x");
  });
  expect_error(ErrorKind::kInput, {"x: shape [4294967296, 2147483648] has too many elements"}, [] {
    element_count(Shape{std::int64_t{1} << 32, std::int64_t{1} << 31}, "x");
  });
}

}  // namespace
}  // namespace assay
