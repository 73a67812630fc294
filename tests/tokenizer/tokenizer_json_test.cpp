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
      {[](Json& j) { j["normalizer"]["type"] = "NFKC"; }, "normalizer.type", "NFKC"},
      {[](Json& j) { j["normalizer"] = "NFC"; }, "normalizer", "\"NFC\""},
      {[](Json& j) {
         j["normalizer"] = {{"type", "Sequence"},
                            {"normalizers", {{{"type", "NFC"}}, {{"type", "Lowercase"}}}}};
       },
       "normalizer.normalizers[1].type", "Lowercase"},
      {[](Json& j) { j["pre_tokenizer"] = nullptr; }, "decoder.type", "ByteLevel"},
      {[](Json& j) {
         j["pre_tokenizer"] = {{"type", "Whitespace"}};
       },
       "pre_tokenizer.type", "Whitespace"},
      {[](Json& j) {
         j["post_processor"] = {{"type", "RobertaProcessing"}, {"sep", 1}};
       },
       "post_processor.type", "RobertaProcessing"},
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
      {[&](Json& j) { j["pre_tokenizer"]["pretokenizers"].push_back(part(j, 1)); }, "pre_tokenizer",
       "a Sequence of 3"},
      {[](Json& j) { j["pre_tokenizer"]["pretokenizers"].erase(1); }, split + ".pattern.Regex",
       "does not know"},
      {[&](Json& j) { part(j, 0) = part(j, 1); }, split + ".type", "ByteLevel"},
      {[&](Json& j) { part(j, 1) = part(j, 0); }, bytes + ".type", "Split"},
      {[&](Json& j) { part(j, 1)["extra"] = 1; }, bytes + ".extra", "does not know"},
      {[&](Json& j) { part(j, 0)["type"] = "Digits"; }, split + ".type", "Digits"},
      {[&](Json& j) { part(j, 0)["behavior"] = "Removed"; }, split + ".invert", "false"},
      {[&](Json& j) { part(j, 0)["behavior"] = "Contiguous"; }, split + ".behavior", "Contiguous"},
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
      {[](Json& j) { j["model"]["unk_token"] = 3; }, "model.unk_token", "3"},
      {[](Json& j) { j["model"]["continuing_subword_prefix"] = "##"; },
       "model.continuing_subword_prefix", "##"},
      {[](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }, "model.end_of_word_suffix",
       "</w>"},
      {[](Json& j) { j["model"]["byte_fallback"] = true; }, "model.byte_fallback", "true"},
      {[](Json& j) { j["model"]["ignore_merges"] = 1; }, "model.ignore_merges", "1"},
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

TEST(TokenizerJson, RefusesAddedTokensThatAreNotClear) {
  const auto token = [](Json& j) -> Json& { return j["added_tokens"][2]; };
  const std::string where = "added_tokens[2]";
  expect_errors({
      {[](Json& j) { j["added_tokens"] = Json::object(); }, "added_tokens", "an object"},
      {[&](Json& j) { token(j) = "x"; }, where, "\"x\""},
      {[&](Json& j) { token(j).erase("lstrip"); }, where + ".lstrip", "missing"},
      {[&](Json& j) { token(j).erase("special"); }, where + ".special", "missing"},
      {[&](Json& j) { token(j)["content"] = ""; }, where + ".content", "empty"},
      {[&](Json& j) { token(j)["single_word"] = "no"; }, where + ".single_word", "\"no\""},
      {[&](Json& j) {  // the same once they are normalized
         j["added_tokens"][1]["normalized"] = token(j)["normalized"] = true;
         j["added_tokens"][1]["content"] = "<\u00E9>";
         token(j)["content"] = "<e\u0301>";
       },
       where + ".content", "normalized, again"},
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

// A SentencePiece model: the components around it, and a vocabulary of its 256 byte tokens.
Json sentencepiece() {
  Json json;
  std::ifstream file(ASSAY_TEST_DATA "/tokenizer/data/families/llama2.json");
  json = Json::parse(file)["tokenizer"];
  return json;
}

void expect_sentencepiece_errors(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    Json json = sentencepiece();
    c.change(json);
    expect_error(json.dump(), "T.json: field '" + c.where + "'", c.found);
  }
}

TEST(TokenizerJson, RefusesOtherNormalizers) {
  const auto part = [](Json& j, int i) -> Json& { return j["normalizer"]["normalizers"][i]; };
  const std::string where = "normalizer.normalizers[";
  expect_sentencepiece_errors({
      {[&](Json& j) { part(j, 0)["prepend"] = "_"; }, where + "0].prepend", "_"},
      {[&](Json& j) { part(j, 1)["content"] = "_"; }, where + "1].content", "_"},
      {[&](Json& j) { part(j, 1)["pattern"]["String"] = "  "; }, where + "1].pattern.String", "  "},
      {[&](Json& j) {
         part(j, 1)["pattern"] = {{"Regex", " "}};
       },
       where + "1].pattern.Regex", "does not know"},
      {[](Json& j) { j["normalizer"]["type"] = "Precompiled"; }, "normalizer.type", "Precompiled"},
  });
}

TEST(TokenizerJson, RefusesOtherWaysToCutSentencePieceText) {
  const auto pre_tokenizer = [](Json value) {
    return [value](Json& j) { j["pre_tokenizer"] = value; };
  };
  const auto metaspace = [&](const std::string& field, const Json& value) {
    Json part = {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "first"}};
    part[field] = value;
    return pre_tokenizer(part);
  };
  const auto split = [&](const std::string& field, const Json& value) {
    Json part = {{"type", "Split"},
                 {"pattern", {{"String", " "}}},
                 {"behavior", "MergedWithPrevious"},
                 {"invert", false}};
    part[field] = value;
    return pre_tokenizer(part);
  };
  expect_sentencepiece_errors({
      {metaspace("replacement", "_"), "pre_tokenizer.replacement", "_"},
      {metaspace("prepend_scheme", "last"), "pre_tokenizer.prepend_scheme", "last"},
      {metaspace("add_prefix_space", false), "pre_tokenizer.add_prefix_space", "'first'"},
      {metaspace("split", 1), "pre_tokenizer.split", "1"},
      {metaspace("more", 1), "pre_tokenizer.more", "does not know"},
      {split("pattern", {{"String", "\n"}}), "pre_tokenizer.pattern.String", "n"},
      {split("behavior", "Isolated"), "pre_tokenizer.behavior", "Isolated"},
      {split("invert", true), "pre_tokenizer.invert", "true"},
  });
}

TEST(TokenizerJson, RefusesOtherTemplates) {
  const auto single = [](Json& j) -> Json& { return j["post_processor"]["single"]; };
  const std::string where = "post_processor.";
  expect_sentencepiece_errors({
      {[&](Json& j) { single(j).erase(1); }, where + "single", "no Sequence A"},
      {[&](Json& j) { single(j).push_back(single(j)[1]); }, where + "single", "the text twice"},
      {[&](Json& j) { single(j)[1]["Sequence"]["id"] = "B"; }, where + "single[1].Sequence.id",
       "B"},
      {[&](Json& j) { single(j)[0]["SpecialToken"]["id"] = "<x>"; }, where + "special_tokens.<x>",
       "missing"},
      {[&](Json& j) {
         single(j)[0] = {{"Text", "x"}};
       },
       where + "single[0].Text", "does not know"},
      {[&](Json& j) { j["post_processor"]["special_tokens"]["<s>"]["ids"][0] = 5000; },
       "post_processor", "id 5000 without a token"},
      {[&](Json& j) { j["post_processor"]["special_tokens"]["<s>"]["ids"][0] = -1; },
       where + "special_tokens.<s>.ids", "-1"},
      {[&](Json& j) {
         j["post_processor"] = {{"type", "Sequence"},
                                {"processors", {j["post_processor"], j["post_processor"]}}};
       },
       where + "processors[1].type", "again"},
  });
}

TEST(TokenizerJson, RefusesOtherDecodersOfSentencePieceText) {
  const auto parts = [](Json& j) -> Json& { return j["decoder"]["decoders"]; };
  expect_sentencepiece_errors({
      {[&](Json& j) { parts(j).erase(1); }, "decoder.decoders[1].type", "Fuse"},
      {[&](Json& j) {
         parts(j).erase(3);
         parts(j).erase(2);
       },
       "decoder.decoders", "a list of 2"},
      {[&](Json& j) { parts(j).push_back(parts(j)[3]); }, "decoder.decoders[4].type", "Strip"},
      {[&](Json& j) { parts(j)[0]["content"] = "_"; }, "decoder.decoders[0].content", "_"},
      {[&](Json& j) { parts(j)[3]["stop"] = 1; }, "decoder.decoders[3].stop", "1"},
      {[&](Json& j) { parts(j)[3]["content"] = "_"; }, "decoder.decoders[3].content", "_"},
      {[](Json& j) { j["decoder"]["type"] = "Metaspace"; }, "decoder.type", "Metaspace"},
  });
}

TEST(TokenizerJson, RefusesSentencePieceModelsWithoutBytes) {
  expect_sentencepiece_errors({
      {[](Json& j) { j["model"]["byte_fallback"] = false; }, "model.byte_fallback", "false"},
      {[](Json& j) { j["model"].erase("byte_fallback"); }, "model.byte_fallback", "missing"},
      {[](Json& j) { j["model"]["vocab"].erase("<0xAB>"); }, "model.vocab",
       "no token '<0xAB>' for byte 0xAB"},
  });
}

}  // namespace
}  // namespace assay
