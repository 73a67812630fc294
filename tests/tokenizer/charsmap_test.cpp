// Precompiled normalization rules: what they do, and bytes that are not valid rules.
#include "tokenizer/charsmap.h"

#include <gtest/gtest.h>

#include <random>

#include "assay/error.h"
#include "base/utf8.h"
#include "tokenizer/base64.h"
#include "tokenizer/graphemes.h"
#include "tokenizer/tokenizer.h"

namespace assay {
namespace {

constexpr std::uint32_t kValue = 1u << 31;

std::string u32(std::uint32_t value) {
  std::string bytes;
  for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(value >> shift & 0xFFu);
  return bytes;
}

std::string map_of(const std::vector<std::uint32_t>& units, std::string_view texts) {
  std::string bytes = u32(static_cast<std::uint32_t>(4 * units.size()));
  for (const std::uint32_t unit : units) bytes += u32(unit);
  return bytes + std::string(texts);
}

// "a" becomes "xy", "b" nothing, "ca" "\u00E9".
std::vector<std::uint32_t> units() {
  constexpr std::uint32_t kHasValue = 1u << 8;
  std::vector<std::uint32_t> all(1024);
  const auto node = [&](std::uint32_t at, std::uint32_t label, std::uint32_t base, bool value) {
    all[at] = (at ^ base) << 10 | (value ? kHasValue : 0) | label;
  };
  node(0, 0, 256, false);
  node(256 ^ 'a', 'a', 512, true);
  all[512] = kValue | 0;
  node(256 ^ 'b', 'b', 513, true);
  all[513] = kValue | 2;
  node(256 ^ 'c', 'c', 768, false);
  node(768 ^ 'a', 'a', 514, true);
  all[514] = kValue | 3;
  return all;
}
constexpr std::string_view kTexts("xy\0\u00E9\0", 6);

Charsmap charsmap() { return Charsmap(map_of(units(), kTexts), "M"); }

TEST(Charsmap, RewritesByTheShortestKey) {
  const Charsmap map = charsmap();
  EXPECT_EQ(map.rewrite("abcad", 1).text, "xycxyd");  // c and a are two clusters
  EXPECT_EQ(map.rewrite("", 0).text, "");
  EXPECT_EQ(map.rewrite(std::string_view("\0a", 2), 1).text, std::string_view("\0xy", 3));
  // A cluster is rewritten by its beginning, unless it is long.
  EXPECT_EQ(map.rewrite("a\u0301", 1).text, "xy");
  EXPECT_EQ(map.rewrite("a\u0301\u0301\u0301", 1).text, "xy\u0301\u0301\u0301");
}

TEST(Charsmap, CountsWhatReplacesTheFirstCharacter) {
  const Charsmap map = charsmap();
  EXPECT_EQ(map.rewrite("ad", 1).from_start, 2u);
  EXPECT_EQ(map.rewrite("bd", 1).from_start, 1u);  // as tokenizers counts: d took b's place
  EXPECT_EQ(map.rewrite("da", 1).from_start, 1u);
  EXPECT_EQ(map.rewrite("ada", 0).from_start, 0u);
}

void expect_refused(const std::string& bytes, const std::string& found) {
  try {
    Charsmap(bytes, "M");
    ADD_FAILURE() << "accepted; wanted " << found;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput) << error.what();
    EXPECT_EQ(error.where(), "M");
    EXPECT_NE(error.found().find(found), std::string::npos) << error.what();
    EXPECT_FALSE(error.expected().empty());
  }
}

TEST(Charsmap, RefusesInvalidMaps) {
  expect_refused("", "0 bytes");
  expect_refused("abc", "3 bytes");
  expect_refused(u32(0) + "text", "0 units");
  expect_refused(u32(3), "0 units");
  expect_refused(u32(0xFFFFFFFF), "1073741823 units in 4 bytes");
  expect_refused(map_of(units(), kTexts).substr(0, 4000), "1024 units in 4000 bytes");
  expect_refused(map_of(units(), "xy\xFF"), "invalid UTF-8 at offset 2");
  const auto changed = [](std::size_t at, std::uint32_t unit) {
    std::vector<std::uint32_t> all = units();
    all[at] = unit;
    return map_of(all, kTexts);
  };
  expect_refused(changed(0, 2000u << 10), "a node at 2000 of 1024 units");
  expect_refused(changed(0, 1u << 31 | 1u << 9), "a node at 536870912 of 1024");  // by 8 bits more
  expect_refused(changed(256 ^ 'a', 4096u << 10 | 1u << 8 | 'a'), "a node at");
  expect_refused(changed(512, kValue | 7), "a value of 7");
  expect_refused(changed(512, kValue | 4), "a value of 4");  // within a character
  expect_refused(map_of({0, 0, 0}, ""), "a node at 0 of 3 units");
}

// Cyclic nodes and other damage: read to an end or refused, without access outside the map.
TEST(Charsmap, DamagedMapsAreRefusedOrWork) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const std::string valid = map_of(units(), kTexts);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = valid;
    for (int change = 0; change < 8; ++change) {
      const std::size_t node = std::vector<std::size_t>{
          0, 256 ^ 'a', 512, 256 ^ 'b', 513, 256 ^ 'c', 768 ^ 'a', 514}[random() % 8];
      bytes[4 + 4 * node + random() % 4] ^= static_cast<char>(1u << random() % 8);
    }
    try {
      const Charsmap map(bytes, "M");
      std::string text;
      for (int i = 0; i < 60; ++i) text += "abcad\u00E9\u0301"[random() % 9];
      map.rewrite(utf8_lossy(text), 1);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInput);
      ++refused;
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(Charsmap, IsReadFromBase64) {
  const auto parse = [](const std::string& normalizer) {
    return Tokenizer::parse("T.json", R"({"model": {"type": "Unigram", "unk_id": 0, "vocab": )"
                                      R"([["<unk>", 0], ["a", -1]]}, "normalizer": )" +
                                          normalizer + "}");
  };
  for (const std::string text :
       {"", "AAA", "AAA*", "A===", "AAB=", "AAAA\\n", "====", "AA==AAAA"}) {
    try {
      parse(R"({"type": "Precompiled", "precompiled_charsmap": ")" + text + "\"}");
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.where(), "T.json: field 'normalizer.precompiled_charsmap'") << error.what();
    }
  }
}

TEST(Base64, IsDecoded) {
  EXPECT_EQ(from_base64(""), "");
  EXPECT_EQ(from_base64("Zg=="), "f");
  EXPECT_EQ(from_base64("Zm8="), "fo");
  EXPECT_EQ(from_base64("Zm9v"), "foo");
  EXPECT_EQ(from_base64("+/+/"), "\xFB\xFF\xBF");
  EXPECT_EQ(from_base64("Zm9vYmE="), "fooba");
  for (const char* bad : {"Z", "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "Zm 9", "Zg==Zm9v", "Zm=v"}) {
    EXPECT_EQ(from_base64(bad), std::nullopt) << bad;
  }
}

TEST(Graphemes, EndWhereAReaderSeesAnEnd) {
  const auto clusters = [](std::string_view text) {
    std::vector<std::string_view> all;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = grapheme_end(text, at);
      all.push_back(text.substr(at, end - at));
      at = end;
    }
    return all;
  };
  using Texts = std::vector<std::string_view>;
  EXPECT_EQ(clusters("ae\u0301\r\n\u0301"), (Texts{"a", "e\u0301", "\r\n", "\u0301"}));
  EXPECT_EQ(clusters("\u1100\u1161\u11A8\u1100"), (Texts{"\u1100\u1161\u11A8", "\u1100"}));
  EXPECT_EQ(clusters("\U0001F1E9\U0001F1EA\U0001F1E9"),
            (Texts{"\U0001F1E9\U0001F1EA", "\U0001F1E9"}));
  EXPECT_EQ(clusters("a\u1ACF\U000113D1a"), (Texts{"a\u1ACF", "\U000113D1a"}));  // Unicode 17, 16
}

}  // namespace
}  // namespace assay
