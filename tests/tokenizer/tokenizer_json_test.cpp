// Files that are not what they should be: each is refused by name.
#include "tokenizer/tokenizer_json.h"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "assay/error.h"

namespace assay {
namespace {

using Json = nlohmann::ordered_json;

const std::vector<NormalizerStep> kNfcAlone = {NormalizerStep::kNfc};

const Json& bundled() {
  static const Json json = [] {
    std::ifstream file(ASSAY_ROOT "/models/tiny-qwen3/tokenizer.json");
    return Json::parse(file);
  }();
  return json;
}

struct Case {
  std::function<void(Json&)> change;
  std::string where;
  std::string found;
};

void expect_error(const std::string& text, const std::string& where, const std::string& found) {
  try {
    parse_tokenizer_json("T.json", text);
    ADD_FAILURE() << "accepted; wanted " << where << ": " << found;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput) << error.what();
    EXPECT_EQ(error.where(), where) << error.what();
    EXPECT_NE(error.found().find(found), std::string::npos) << error.what();
    EXPECT_FALSE(error.expected().empty()) << error.what();
  }
}

void expect_errors(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    Json json = bundled();
    c.change(json);
    expect_error(json.dump(), "T.json: field '" + c.where + "'", c.found);
  }
}

TEST(TokenizerJson, AcceptsTheBundledFile) {
  const TokenizerJson json = parse_tokenizer_json("T.json", bundled().dump());
  EXPECT_EQ(json.normalizer, kNfcAlone);
  EXPECT_EQ(json.added.size(), 26u);
  EXPECT_EQ(json.texts.size(), 2526u);
}

TEST(TokenizerJson, AcceptsTheOtherSpellings) {
  Json json = bundled();
  json["normalizer"] = nullptr;
  EXPECT_TRUE(parse_tokenizer_json("T.json", json.dump()).normalizer.empty());
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}};
  json["post_processor"] = nullptr;
  json["model"]["continuing_subword_prefix"] = nullptr;
  json["model"]["end_of_word_suffix"] = nullptr;
  json["model"].erase("ignore_merges");
  json.erase("padding");
  for (Json& merge : json["model"]["merges"]) {
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  const TokenizerJson read = parse_tokenizer_json("T.json", json.dump());
  EXPECT_EQ(read.normalizer, kNfcAlone);
  std::vector<std::int64_t> ids;
  read.bpe.encode("he", ids);
  EXPECT_EQ(ids, (std::vector<std::int64_t>{bundled()["model"]["vocab"]["he"]}));
  json.erase("added_tokens");
  EXPECT_EQ(parse_tokenizer_json("T.json", json.dump()).texts.size(), 2500u);
}

TEST(TokenizerJson, RefusesWhatIsNoJsonObject) {
  const std::string text = bundled().dump();
  expect_error({}, "T.json", "empty file");
  for (const std::size_t length : {std::size_t{1}, text.size() / 2, text.size() - 1}) {
    expect_error(text.substr(0, length), "T.json", "not valid JSON");
  }
  expect_error(text + "}", "T.json", "not valid JSON");
  expect_error("{\"version\": \"\xFF\"}", "T.json", "not valid JSON");
  expect_error("[1]", "T.json", "a list of 1");
  expect_error(std::string(5000, '['), "T.json", "not valid JSON");
}

TEST(TokenizerJson, RefusesUnknownAndRepeatedFields) {
  expect_errors({
      {[](Json& j) { j["extra"] = 1; }, "extra", "does not know"},
      {[](Json& j) { j["model"]["extra"] = 1; }, "model.extra", "does not know"},
      {[](Json& j) { j["added_tokens"][3]["x"] = 1; }, "added_tokens[3].x", "does not know"},
  });
  expect_error(R"({"version": "1.0", "version": "1.0"})", "T.json: field 'version'", "twice");
}

TEST(TokenizerJson, RefusesComponentsOfOtherFamilies) {
  expect_errors({
      {[](Json& j) { j["version"] = "2.0"; }, "version", "2.0"},
      {[](Json& j) {
         j["truncation"] = {{"max_length", 5}};
       },
       "truncation", "an object"},
      {[](Json& j) {
         j["padding"] = {{"strategy", "x"}};
       },
       "padding", "an object"},
      {[](Json& j) { j["normalizer"]["type"] = "NFKC"; }, "normalizer.type", "NFKC"},
      {[](Json& j) { j["normalizer"] = "NFC"; }, "normalizer", "\"NFC\""},
      {[](Json& j) {
         j["normalizer"] = {{"type", "Sequence"},
                            {"normalizers", {{{"type", "NFC"}}, {{"type", "Lowercase"}}}}};
       },
       "normalizer.normalizers[1].type", "Lowercase"},
      {[](Json& j) { j["pre_tokenizer"] = nullptr; }, "pre_tokenizer", "missing"},
      {[](Json& j) { j["pre_tokenizer"] = j["decoder"]; }, "pre_tokenizer.type", "ByteLevel"},
      {[](Json& j) {
         j["post_processor"] = {{"type", "TemplateProcessing"}};
       },
       "post_processor.type", "TemplateProcessing"},
      {[](Json& j) { j["decoder"] = nullptr; }, "decoder", "missing"},
      {[](Json& j) {
         j["decoder"] = {{"type", "WordPiece"}};
       },
       "decoder.type", "WordPiece"},
      {[](Json& j) { j.erase("model"); }, "model", "missing"},
      {[](Json& j) { j["model"]["type"] = "Unigram"; }, "model.type", "Unigram"},
      {[](Json& j) { j["model"].erase("type"); }, "model.type", "missing"},
  });
}

TEST(TokenizerJson, RefusesAnotherPreTokenizer) {
  const auto part = [](Json& j, int i) -> Json& { return j["pre_tokenizer"]["pretokenizers"][i]; };
  const std::string split = "pre_tokenizer.pretokenizers[0]";
  const std::string bytes = "pre_tokenizer.pretokenizers[1]";
  expect_errors({
      {[](Json& j) { j["pre_tokenizer"]["pretokenizers"].erase(1); }, "pre_tokenizer.pretokenizers",
       "a list of 1"},
      {[&](Json& j) { part(j, 0) = part(j, 1); }, split + ".add_prefix_space", "does not know"},
      {[&](Json& j) { part(j, 0)["type"] = "Digits"; }, split + ".type", "Digits"},
      {[&](Json& j) { part(j, 0)["behavior"] = "Removed"; }, split + ".behavior", "Removed"},
      {[&](Json& j) { part(j, 0)["invert"] = true; }, split + ".invert", "true"},
      {[&](Json& j) {
         part(j, 0)["pattern"] = {{"String", " "}};
       },
       split + ".pattern.String", "does not know"},
      {[&](Json& j) { part(j, 0)["pattern"]["Regex"] = "\\p{L}+"; }, split + ".pattern.Regex",
       "p{L}"},
      {[&](Json& j) { part(j, 1)["add_prefix_space"] = true; }, bytes + ".add_prefix_space",
       "true"},
      {[&](Json& j) { part(j, 1).erase("use_regex"); }, bytes + ".use_regex", "missing"},
      {[&](Json& j) { part(j, 1)["use_regex"] = "no"; }, bytes + ".use_regex", "\"no\""},
  });
}

TEST(TokenizerJson, RefusesOtherKindsOfBpe) {
  expect_errors({
      {[](Json& j) { j["model"]["dropout"] = 0.1; }, "model.dropout", "0.1"},
      {[](Json& j) { j["model"]["unk_token"] = "<unk>"; }, "model.unk_token", "<unk>"},
      {[](Json& j) { j["model"]["continuing_subword_prefix"] = "##"; },
       "model.continuing_subword_prefix", "##"},
      {[](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }, "model.end_of_word_suffix",
       "</w>"},
      {[](Json& j) { j["model"]["byte_fallback"] = true; }, "model.byte_fallback", "true"},
      {[](Json& j) { j["model"]["ignore_merges"] = true; }, "model.ignore_merges", "true"},
      {[](Json& j) { j["model"]["fuse_unk"] = 1; }, "model.fuse_unk", "1"},
  });
}

TEST(TokenizerJson, RefusesAnInconsistentVocabulary) {
  const auto vocab = [](Json& j) -> Json& { return j["model"]["vocab"]; };
  expect_errors({
      {[&](Json& j) { vocab(j) = Json::array(); }, "model.vocab", "a list of 0"},
      {[&](Json& j) { vocab(j) = Json::object(); }, "model.vocab", "for byte 0x00"},
      {[&](Json& j) { vocab(j).erase("a"); }, "model.vocab", "no token 'a' for byte 0x61"},
      {[&](Json& j) { vocab(j)["he"] = vocab(j)["h"]; }, "model.vocab", "of another token"},
      {[&](Json& j) { vocab(j)["he"] = -1; }, "model.vocab", "token 'he' with id -1"},
      {[&](Json& j) { vocab(j)["he"] = 1.5; }, "model.vocab", "token 'he' with id 1.5"},
      {[&](Json& j) { vocab(j)["he"] = "7"; }, "model.vocab", "token 'he' with id \"7\""},
      {[&](Json& j) { vocab(j)["he"] = 1 << 22; }, "model.vocab", "with id 4194304"},
      {[&](Json& j) { vocab(j)["he"] = ~std::uint64_t{0}; }, "model.vocab",
       "with id 18446744073709551615"},
  });
  std::string text = bundled().dump();
  const std::string entry = "\"he\":";
  text.insert(text.find(entry), "\"he\":3000000,");
  expect_error(text, "T.json: field 'model.vocab'", "token 'he' twice");
}

TEST(TokenizerJson, RefusesMergesThatMergeNothing) {
  const auto merge = [](Json& j) -> Json& { return j["model"]["merges"][7]; };
  const std::string where = "model.merges[7]";
  expect_errors({
      {[&](Json& j) { j["model"]["merges"] = nullptr; }, "model.merges", "missing"},
      {[&](Json& j) { j["model"]["merges"] = "a b"; }, "model.merges", "\"a b\""},
      {[&](Json& j) { merge(j) = {"a"}; }, where, "a list of 1"},
      {[&](Json& j) {
         merge(j) = {"a", "b", "c"};
       },
       where, "a list of 3"},
      {[&](Json& j) {
         merge(j) = {"a", 1};
       },
       where, "a list of 2"},
      {[&](Json& j) { merge(j) = 7; }, where, "7"},
      {[&](Json& j) { merge(j) = "ab"; }, where, "ab"},
      {[&](Json& j) { merge(j) = "a b c"; }, where, "a b c"},
      {[&](Json& j) {
         merge(j) = {"a", "qqqq"};
       },
       where, "unknown token 'qqqq'"},
      {[&](Json& j) {
         merge(j) = {"q", "q"};
       },
       where, "unknown token 'qq'"},
      {[&](Json& j) { merge(j) = j["model"]["merges"][0]; }, where, "again"},
  });
}

TEST(TokenizerJson, RefusesAddedTokensThatMatchOtherwise) {
  const auto token = [](Json& j) -> Json& { return j["added_tokens"][2]; };
  const std::string where = "added_tokens[2]";
  expect_errors({
      {[](Json& j) { j["added_tokens"] = Json::object(); }, "added_tokens", "an object"},
      {[&](Json& j) { token(j) = "x"; }, where, "\"x\""},
      {[&](Json& j) { token(j)["normalized"] = true; }, where + ".normalized", "true"},
      {[&](Json& j) { token(j)["lstrip"] = true; }, where + ".lstrip", "true"},
      {[&](Json& j) { token(j)["rstrip"] = true; }, where + ".rstrip", "true"},
      {[&](Json& j) { token(j)["single_word"] = true; }, where + ".single_word", "true"},
      {[&](Json& j) { token(j).erase("lstrip"); }, where + ".lstrip", "missing"},
      {[&](Json& j) { token(j).erase("special"); }, where + ".special", "missing"},
      {[&](Json& j) { token(j)["content"] = ""; }, where + ".content", "empty"},
      {[&](Json& j) { token(j)["content"] = 5; }, where + ".content", "5"},
      {[&](Json& j) { token(j)["content"] = j["added_tokens"][0]["content"]; }, where + ".content",
       "again"},
      {[&](Json& j) { token(j)["content"] = "he"; }, where + ".id", "2502"},
      // Without "he" there are 2499 tokens, so the first added one is number 2499: as is the last.
      {[](Json& j) {
         j["model"]["vocab"].erase("he");
         j["model"]["merges"] = Json::array();
         j["added_tokens"] = Json::array({j["added_tokens"][0]});
         j["added_tokens"][0]["id"] = 2499;
       },
       "added_tokens[0].id", "2499 of another token"},
      {[&](Json& j) { token(j)["id"] = 9999; }, where + ".id", "9999"},
      {[&](Json& j) { token(j)["id"] = 2501; }, where + ".id", "2501"},
      {[&](Json& j) { token(j)["id"] = -1; }, where + ".id", "-1"},
      {[&](Json& j) { token(j)["id"] = ~std::uint64_t{0}; }, where + ".id", "18446744073709551615"},
  });
}

}  // namespace
}  // namespace assay
