// The Unigram model, and tokenizer.json files with invalid ones.
#include "tokenizer/unigram.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "assay/error.h"
#include "tokenizer/tokenizer.h"

namespace assay {
namespace {

using nlohmann::json;
using Ids = std::vector<std::int64_t>;

Ids encode(const Unigram& model, std::string_view piece) {
  Ids ids;
  model.encode(piece, ids);
  return ids;
}

TEST(Unigram, TakesTheGreatestSum) {
  const std::vector<Unigram::Token> vocabulary = {{"<unk>", 0}, {"a", 0},   {"b", 0},
                                                  {"c", 0},     {"d", 0},   {"cd", 1},
                                                  {"ab", 2},    {"abc", 5}, {"abcd", 10}};
  const Unigram model(vocabulary, 0, false);
  EXPECT_EQ(encode(model, "abcd"), (Ids{8}));
  EXPECT_EQ(encode(model, "abcdacdxx"),
            (Ids{8, 1, 5, 0}));  // neighbouring unknown characters are one token
  EXPECT_EQ(encode(model, ""), Ids{});
  EXPECT_EQ(encode(model, "x\U0001F600y"), (Ids{0}));
  EXPECT_EQ(encode(model, "<unk>x"), (Ids{0}));  // the token's own text is unknown, too
}

TEST(Unigram, TakesTheFirstOfEqualSums) {
  const std::vector<Unigram::Token> vocabulary = {
      {"<unk>", 0}, {"a", -1}, {"aa", -2}, {"aaa", -3}, {"b", 0}};
  const Unigram model(vocabulary, 0, false);
  EXPECT_EQ(encode(model, "aa"), (Ids{2}));
  EXPECT_EQ(encode(model, "aaaa"), (Ids{1, 3}));
}

TEST(Unigram, WhatIsUnknownIsSpelledByItsBytesOrKnownTogether) {
  const std::vector<Unigram::Token> vocabulary = {
      {"<unk>", 0}, {"a", 50}, {"<0xC3>", 0}, {"<0xA9>", 0}, {"xy", 50}};
  const Unigram falls_back(vocabulary, 0, true);
  EXPECT_EQ(encode(falls_back, "a\u00E9"), (Ids{1, 2, 3}));
  EXPECT_EQ(encode(falls_back, "\u00E9z"), (Ids{0}));  // z has no token, so its neighbour gets none
  EXPECT_EQ(encode(Unigram(vocabulary, 0, false), "a\u00E9"), (Ids{1, 0}));
  // Two unknown characters may score above the token that they form; then they get its id.
  const std::vector<Unigram::Token> high = {{"<unk>", 40}, {"xy", 50}, {"x\u00E9", 59}};
  EXPECT_EQ(encode(Unigram(high, 0, false), "xyx\u00E9"), (Ids{0}));
  EXPECT_EQ(encode(Unigram(high, 0, false), "x\u00E9"), (Ids{2}));
}

TEST(Unigram, SaysWhereAnUnknownTokenIsNeeded) {
  const std::vector<Unigram::Token> vocabulary = {{"a", 0}, {"ab", 0}};
  const Unigram model(vocabulary, std::nullopt, false);
  EXPECT_EQ(encode(model, "aab"), (Ids{0, 1}));
  try {
    encode(model, "ac");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    EXPECT_NE(std::string(error.what()).find("'c'"), std::string::npos) << error.what();
  }
}

// Compared with all ways to cut short texts, with exact sums.
TEST(Unigram, AgreesWithEveryWayToCut) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> texts = {"<unk>", "a", "b", "\u00E9"};
    for (int i = 0; i < 8; ++i) {
      std::string text;
      for (unsigned c = 0; c < 2 + random() % 3; ++c) text += texts[1 + random() % 3];
      if (std::ranges::find(texts, text) == texts.end()) texts.push_back(text);
    }
    std::vector<Unigram::Token> vocabulary;
    for (const std::string& text : texts) {
      vocabulary.push_back({text, -static_cast<double>(random() % 64) / 4});
    }
    const Unigram model(vocabulary, 0, false);
    std::string piece;
    for (int c = 0; c < 9; ++c) piece += texts[1 + random() % 3];
    const auto best = [&](const auto& self, std::string_view rest) -> double {
      if (rest.empty()) return 0;
      double sum = -1e9;
      for (std::size_t id = 1; id < texts.size(); ++id) {
        if (!rest.starts_with(texts[id])) continue;
        sum = std::max(sum, vocabulary[id].score + self(self, rest.substr(texts[id].size())));
      }
      return sum;
    };
    double sum = 0;
    std::string joined;
    for (const std::int64_t id : encode(model, piece)) {
      sum += vocabulary[static_cast<std::size_t>(id)].score;
      joined += texts[static_cast<std::size_t>(id)];
    }
    EXPECT_EQ(joined, piece);
    EXPECT_EQ(sum, best(best, piece)) << piece;
  }
}

// A file whose model's fields are replaced by these.
json contents(const std::string& fields) {
  json whole = {{"version", "1.0"}};
  whole["model"] =
      json::parse(R"({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["a", -1.5]]})");
  whole["model"].update(json::parse(fields));
  return whole;
}

TEST(UnigramJson, IsRead) {
  const Tokenizer tokenizer = Tokenizer::parse("T.json", contents("{}").dump());
  EXPECT_EQ(tokenizer.encode("aab"), (Ids{1, 1, 0}));
  EXPECT_EQ(tokenizer.size(), 2);
  EXPECT_EQ(tokenizer.id_of("a"), 1);
}

TEST(UnigramJson, RefusesWhatIsNotClear) {
  const auto expect_error = [](const std::string& text, const std::string& where,
                               const std::string& found) {
    try {
      Tokenizer::parse("T.json", text);
      ADD_FAILURE() << "accepted: " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInput) << error.what();
      EXPECT_EQ(error.where(), where) << error.what();
      EXPECT_NE(error.found().find(found), std::string::npos) << error.what();
      EXPECT_FALSE(error.expected().empty()) << error.what();
    }
  };
  const auto refuse = [&](const std::string& fields, const std::string& field,
                          const std::string& found) {
    expect_error(contents(fields).dump(), "T.json: field 'model." + field + "'", found);
  };
  refuse(R"({"vocab": []})", "vocab", "0 tokens");
  refuse(R"({"vocab": {}})", "vocab", "an object");
  refuse(R"({"vocab": null})", "vocab", "missing");
  refuse(R"({"vocab": [["a", 0], ["a", 1]]})", "vocab[1]", "'a' appears twice");
  refuse(R"({"vocab": [["a", 0], ["b"]]})", "vocab[1]", "a list of 1");
  refuse(R"({"vocab": [["a", 0], ["b", "1"]]})", "vocab[1]", "a list of 2");
  refuse(R"({"vocab": [["a", 0], [1, 1]]})", "vocab[1]", "a list of 2");
  refuse(R"({"vocab": [["a", 0], ["b", null]]})", "vocab[1]", "a list of 2");
  refuse(R"({"unk_id": 2})", "unk_id", "2");
  refuse(R"({"unk_id": -1})", "unk_id", "-1");
  refuse(R"({"unk_id": "0"})", "unk_id", "\"0\"");
  refuse(R"({"byte_fallback": 1})", "byte_fallback", "1");
  refuse(R"({"merges": []})", "merges", "unknown field");
  for (const std::string number : {"NaN", "Infinity", "1e999", "-1e999"}) {
    std::string text = contents("{}").dump();
    text.replace(text.find("-1.5"), 4, number);
    expect_error(text, "T.json", "not valid JSON");
  }
}

}  // namespace
}  // namespace assay
