// The vocabulary's table finds joined texts, whatever the order of the merges.
#include "tokenizer/vocab_table.h"

#include <gtest/gtest.h>

namespace assay {
namespace {

TEST(VocabTable, FindsJoinedTextsInAnyOrder) {
  VocabTable table(6);
  const std::vector<VocabTable::Entry> entries = {{"a", 5}, {"b", 1},   {"ab", 9},
                                                  {"", 2},  {"abb", 7}, {"ba", 0}};
  for (const auto& [text, id] : entries) EXPECT_TRUE(table.insert(text, id));
  EXPECT_FALSE(table.insert("ab", 3));
  EXPECT_EQ(table.entries().size(), 6u);
  const auto expect = [&](std::string_view left, std::string_view right,
                          std::optional<TokenId> id) {
    EXPECT_EQ(table.find_joined(left, right), id) << left << " " << right;
  };
  expect("a", "b", 9);
  expect("", "", 2);     // the next one
  expect("a", "bb", 7);  // and again
  expect("a", "b", 9);   // back
  expect("b", "a", 0);
  expect("b", "a", 0);  // nothing after the last
  expect("b", "b", std::nullopt);
  expect("ab", "b", 7);
  EXPECT_EQ(table.find("ba"), 0u);
  EXPECT_EQ(table.find("c"), std::nullopt);
}

}  // namespace
}  // namespace assay
