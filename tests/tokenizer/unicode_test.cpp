// Every code point: character classes and NFC are those of the tokenizers library, whichever
// Unicode versions PCRE2 and utf8proc have. If this fails after an update of one of them, add the
// code points it prints to src/tokenizer/unicode_differences.cpp.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "base/sha256.h"
#include "base/utf8.h"
#include "tokenizer/split.h"
#include "tokenizer/split_patterns.h"
#include "tokenizer/unicode_forms.h"
#include "tokenizer/word_class.h"

namespace assay {
namespace {

using nlohmann::json;

constexpr char32_t kEnd = 0x110000;
constexpr char32_t kNfcBlock = 4096;

bool is_surrogate(char32_t code_point) { return code_point >= 0xD800 && code_point < 0xE000; }

std::string utf8(char32_t code_point) {
  std::string text;
  append_utf8(text, code_point);
  return text;
}

json golden() {
  std::ifstream file(ASSAY_TEST_DATA "/tokenizer/data/unicode.json");
  return json::parse(file);
}

bool is_one_piece(const Splitter& splitter, const std::string& text) {
  return splitter.split(text).size() == 1;
}

const std::pair<std::string, char> kClasses[] = {{"upper", 'U'}, {"lower", 'l'},   {"letters", 'L'},
                                                 {"marks", 'M'}, {"numbers", 'N'}, {"spaces", 'S'}};

// The class in kClasses that the pieces show; O for none. qwen distinguishes letters, numbers and
// spaces, tekken what can be in a word before capitals and after small letters.
char class_by_pieces(const Splitter& qwen, const Splitter& tekken, char32_t code_point) {
  const std::string c = utf8(code_point);
  const bool is_lower = is_one_piece(tekken, "a" + c);
  const bool is_upper = is_one_piece(tekken, c + "Ab");
  if (is_one_piece(qwen, "a" + c)) return is_lower && is_upper ? 'L' : is_lower ? 'l' : 'U';
  if (!is_one_piece(qwen, c + c)) return 'N';
  const bool is_line_end =
      code_point == '\r' || code_point == '\n';  // they stay with what precedes them
  if (!is_line_end && is_one_piece(qwen, "!" + c)) return is_lower ? 'M' : 'O';
  return 'S';
}

TEST(Unicode, ClassesAreThoseOfTheTokenizersLibrary) {
  std::string expected(kEnd, 'O');
  const json file = golden();
  for (const auto& [name, letter] : kClasses) {
    ASSERT_FALSE(file[name].empty());
    for (const json& range : file[name]) {
      std::fill(expected.begin() + range[0].get<int>(), expected.begin() + range[1].get<int>() + 1,
                letter);
    }
  }
  const Splitter qwen(kQwen2Pattern);
  const Splitter tekken(kTekkenPattern);
  for (char32_t c = 0; c < kEnd; ++c) {
    if (is_surrogate(c)) continue;
    EXPECT_EQ(class_by_pieces(qwen, tekken, c), expected[c])
        << "U+" << std::hex << std::uint32_t{c};
  }
}

TEST(Unicode, WordsAreThoseOfTheTokenizersLibrary) {
  std::string expected(kEnd, ' ');
  const json file = golden()["words"];
  ASSERT_FALSE(file.empty());
  for (const json& range : file) {
    std::fill(expected.begin() + range[0].get<int>(), expected.begin() + range[1].get<int>() + 1,
              'w');
  }
  for (char32_t c = 0; c < kEnd; ++c) {
    if (is_surrogate(c)) continue;
    EXPECT_EQ(is_word(c), expected[c] == 'w') << "U+" << std::hex << std::uint32_t{c};
  }
}

TEST(Unicode, WhiteSpaceIsThatOfTheTokenizersLibrary) {
  const json spaces = golden()["spaces"];
  std::size_t count = 0;
  for (const json& range : spaces) {
    for (char32_t c = range[0].get<char32_t>(); c <= range[1].get<char32_t>(); ++c, ++count) {
      EXPECT_TRUE(is_white_space(c)) << "U+" << std::hex << std::uint32_t{c};
    }
  }
  for (char32_t c = 0; c < kEnd; ++c) count -= is_white_space(c);
  EXPECT_EQ(count, 0u);
}

TEST(Unicode, NfcIsThatOfTheTokenizersLibrary) {
  const json digests = golden()["nfc"];
  ASSERT_EQ(digests.size(), kEnd / kNfcBlock);
  for (char32_t start = 0; start < kEnd; start += kNfcBlock) {
    std::string all;
    for (char32_t point = start; point < start + kNfcBlock; ++point) {
      if (is_surrogate(point)) continue;
      const std::string c = utf8(point);
      for (const std::string& text :
           {c, c + "\u0301", "a" + c + "\u093C\u0327", "e\u0301" + c + "\u0323\u3099"}) {
        all += in_form(UnicodeForm::kNfc, text) + '\0';
      }
    }
    EXPECT_EQ(sha256_hex(std::as_bytes(std::span(all))).substr(0, 8), digests[start / kNfcBlock])
        << "U+" << std::hex << std::uint32_t{start} << " to U+" << start + kNfcBlock - 1;
  }
}

TEST(Unicode, CompositionsOfLaterVersionsStayAsTheyAre) {
  for (const std::string text : {"\U00011935\U00011930", "\U00011938", "\U000105D2\u0307",
                                 "\U0001611E\U0001611E", "\U00016D67\U00016D67", "\uAE30\u11A7"}) {
    EXPECT_EQ(in_form(UnicodeForm::kNfc, text), text);
    EXPECT_EQ(in_form(UnicodeForm::kNfc, "e\u0301" + text + "\u0301"), "\u00E9" + text + "\u0301");
  }
}

}  // namespace
}  // namespace assay
