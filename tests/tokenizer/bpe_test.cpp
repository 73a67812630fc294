// Merges: the queue for long pieces compared with the definition.
#include "tokenizer/bpe.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <string>

namespace assay {
namespace {

using Ids = std::vector<std::int64_t>;
using Ranks = std::map<std::pair<std::int64_t, std::int64_t>, std::pair<int, TokenId>>;

// Lowest rank, then leftmost, one merge at a time.
Ids by_definition(const std::string& piece, const Ranks& ranks) {
  Ids ids(piece.begin(), piece.end());
  for (;;) {
    std::optional<std::size_t> best;
    int best_rank = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = ranks.find({ids[i], ids[i + 1]});
      if (found != ranks.end() && (!best || found->second.first < best_rank)) {
        best = i;
        best_rank = found->second.first;
      }
    }
    if (!best) return ids;
    ids[*best] = ranks.at({ids[*best], ids[*best + 1]}).second;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(*best) + 1);
  }
}

Bpe::Alphabet identity() {
  Bpe::Alphabet alphabet;
  std::iota(alphabet.bytes.begin(), alphabet.bytes.end(), 0u);
  return alphabet;
}

TEST(Bpe, MergesLowestRankThenLeftmost) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 200; ++round) {
    // Random merges over three letters; a text has one id, whichever merge makes it.
    Bpe bpe(identity(), 30);
    Ranks ranks;
    std::map<std::string, TokenId> ids = {{"a", 'a'}, {"b", 'b'}, {"c", 'c'}};
    std::vector<std::string> texts = {"a", "b", "c"};
    for (int rank = 0; rank < 30; ++rank) {
      const std::string left = texts[random() % texts.size()];
      const std::string right = texts[random() % texts.size()];
      const auto [entry, is_new] =
          ids.insert({left + right, static_cast<TokenId>(256 + ids.size())});
      if (is_new) texts.push_back(left + right);
      const bool added = bpe.add(ids[left], ids[right], entry->second);
      const int next = static_cast<int>(ranks.size());
      EXPECT_EQ(added, ranks.insert({{ids[left], ids[right]}, {next, entry->second}}).second);
    }
    for (const std::size_t length : {1, 2, 5, 47, 48, 49, 50, 200}) {
      std::string piece;
      while (piece.size() < length) piece += static_cast<char>('a' + random() % 3);
      Ids found = {-7};  // ids are appended
      bpe.encode(piece, found);
      Ids expected = by_definition(piece, ranks);
      expected.insert(expected.begin(), -7);
      ASSERT_EQ(found, expected) << piece;
    }
  }
}

TEST(Bpe, WithoutMergesEveryByteIsAToken) {
  Ids ids;
  Bpe(identity(), 0).encode("a\xFF", ids);
  EXPECT_EQ(ids, (Ids{'a', 0xFF}));
}

TEST(Bpe, CharactersWithoutATokenAreSpelledInBytes) {
  Bpe::Alphabet alphabet;
  alphabet.is_bytes = false;
  std::iota(alphabet.fallback.begin(), alphabet.fallback.end(), 0u);
  alphabet.characters.assign(0xEA, kNoToken);
  alphabet.characters['a'] = 1000;
  alphabet.characters[0xE9] = 1001;
  Bpe bpe(alphabet, 1);
  bpe.add(1000, 1001, 1002);
  Ids ids;
  bpe.encode("a\u00E9b\u00E9\u00EA\U0001F642", ids);
  EXPECT_EQ(ids, (Ids{1002, 'b', 1001, 0xC3, 0xAA, 0xF0, 0x9F, 0x99, 0x82}));
  ids.clear();
  std::string text;
  for (int i = 0; i < 60; ++i) text += "a\u00E9";
  bpe.encode(text, ids);
  EXPECT_EQ(ids, Ids(60, 1002));
}

TEST(Bpe, KeepsWholePiecesAsTheyAre) {
  WholePieces whole(3);
  whole.add("abc", 7);
  whole.add("", 8);
  Bpe bpe(identity(), 1);
  bpe.add('a', 'b', 500);
  bpe.keep_whole(std::move(whole));
  Ids ids;
  for (const char* piece : {"abc", "abcd", "ab"}) bpe.encode(piece, ids);
  EXPECT_EQ(ids, (Ids{7, 500, 'c', 'd', 500}));
}

}  // namespace
}  // namespace assay
