// Invalid files: each is refused, and the error names the field.
#include "tokenizer/tokenizer_json.h"

#include <gtest/gtest.h>

#include <deque>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "assay/error.h"

namespace assay {
namespace {

using Json = nlohmann::ordered_json;

bool is_nfc_alone(const std::vector<NormalizerStep>& steps) {
  return steps.size() == 1 && std::get_if<UnicodeForm>(&steps[0]) != nullptr &&
         std::get<UnicodeForm>(steps[0]) == UnicodeForm::kNfc;
}

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
  EXPECT_TRUE(is_nfc_alone(json.normalizer));
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
  EXPECT_TRUE(is_nfc_alone(read.normalizer));
  std::vector<std::int64_t> ids;
  encode(read.model, "he", ids);
  EXPECT_EQ(ids, (std::vector<std::int64_t>{bundled()["model"]["vocab"]["he"]}));
  json.erase("added_tokens");
  EXPECT_EQ(parse_tokenizer_json("T.json", json.dump()).texts.size(), 2500u);
}

TEST(TokenizerJson, RefusesWhatIsNotAJsonObject) {
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
      {[](Json& j) { j["extra"] = 1; }, "extra", "unknown field"},
      {[](Json& j) { j["model"]["extra"] = 1; }, "model.extra", "unknown field"},
      {[](Json& j) { j["added_tokens"][3]["x"] = 1; }, "added_tokens[3].x", "unknown field"},
  });
  expect_error(R"({"version": "1.0", "version": "1.0"})", "T.json: field 'version'",
               "duplicate field");
}

TEST(TokenizerJson, RefusesComponentsOfOtherFamilies) {
  expect_errors({
      {[](Json& j) { j["version"] = "2.0"; }, "version", "2.0"},
      {[](Json& j) { j["normalizer"]["type"] = "BertNormalizer"; }, "normalizer.type",
       "BertNormalizer"},
      {[](Json& j) { j["normalizer"] = "NFC"; }, "normalizer", "\"NFC\""},
      {[](Json& j) { j["normalizer"]["strip"] = true; }, "normalizer.strip", "unknown field"},
      {[](Json& j) {
         j["normalizer"] = {{"type", "Sequence"},
                            {"normalizers", {{{"type", "NFC"}}, {{"type", "Umlaut"}}}}};
       },
       "normalizer.normalizers[1].type", "Umlaut"},
      {[](Json& j) {
         j["pre_tokenizer"] = {{"type", "Syllables"}};
       },
       "pre_tokenizer.type", "Syllables"},
      {[](Json& j) {
         j["post_processor"] = {{"type", "RobertaProcessing"}, {"sep", 1}};
       },
       "post_processor.cls", "missing"},
      {[](Json& j) {
         j["post_processor"] = {
             {"type", "BertProcessing"}, {"cls", {"<s>", 1}}, {"sep", {"</s>", "2"}}};
       },
       "post_processor.sep", "a list of 2"},
      {[](Json& j) {
         j["decoder"] = {{"type", "WordPiece"}};
       },
       "decoder.type", "WordPiece"},
      {[](Json& j) { j.erase("model"); }, "model", "missing"},
      {[](Json& j) { j["model"]["type"] = "WordPiece"; }, "model.type", "WordPiece"},
      {[](Json& j) { j["model"].erase("type"); }, "model.type", "missing"},
  });
}

TEST(TokenizerJson, RefusesPreTokenizersThatAreNotClear) {
  const auto part = [](Json& j, int i) -> Json& { return j["pre_tokenizer"]["pretokenizers"][i]; };
  const std::string split = "pre_tokenizer.pretokenizers[0]";
  const std::string bytes = "pre_tokenizer.pretokenizers[1]";
  const auto regex = [&](const std::string& pattern) {
    return [=](Json& j) { part(j, 0)["pattern"] = {{"Regex", pattern}}; };
  };
  const std::string where = split + ".pattern.Regex";
  expect_errors({
      {[&](Json& j) { part(j, 1)["extra"] = 1; }, bytes + ".extra", "unknown field"},
      {[&](Json& j) { part(j, 0)["type"] = "Syllables"; }, split + ".type", "Syllables"},
      {[&](Json& j) { part(j, 0)["type"] = "UnicodeScripts"; }, split + ".pattern",
       "unknown field"},
      {[&](Json& j) {
         part(j, 0) = {{"type", "Punctuation"}, {"behavior", "Merged"}};
       },
       split + ".behavior", "Merged"},
      {[&](Json& j) {
         part(j, 0) = {{"type", "FixedLength"}, {"length", 0}};
       },
       split + ".length", "0"},
      {[&](Json& j) {
         part(j, 0) = {{"type", "FixedLength"}, {"length", 65536}};
       },
       split + ".length", "65536"},
      {[&](Json& j) { part(j, 0)["behavior"] = "Merged"; }, split + ".behavior", "Merged"},
      {[&](Json& j) { part(j, 0)["invert"] = 1; }, split + ".invert", "1"},
      {[&](Json& j) { part(j, 0)["pattern"]["String"] = " "; }, where, "beside a String"},
      {[&](Json& j) { part(j, 1)["use_regex"] = "no"; }, bytes + ".use_regex", "\"no\""},
      {[&](Json& j) {
         part(j, 1) = {{"type", "Digits"}, {"individual_digits", 1}};
       },
       bytes + ".individual_digits", "1"},
      // Patterns that Oniguruma and PCRE2 read differently.
      {regex("(a"), where, "parenthesis"},
      {regex("[[:punct:]]"), where, "POSIX"},
      {regex("\\p{Punct}"), where, "Punct"},
      {regex("(?i:ss)"), where, "'ss' under (?i)"},
      {regex("(?i:\u00DF)"), where, "outside of ASCII"},
      {regex("(?m:.)"), where, "(?m:"},
      {regex("a{2,3}+"), where, "after {}"},
      {regex("\\Qa\\E"), where, "\\Q"},
      {regex("[a"), where, "unterminated"},
      {regex("[a&&]"), where, "without a set"},
      {regex("(a+)+(a+)+(a+)+\\1"), where, "\\1"},
      {regex(std::string(100, '[')), where, "classes within classes"},
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
      {[](Json& j) { j["model"]["byte_fallback"] = 1; }, "model.byte_fallback", "1"},
      {[](Json& j) { j["model"]["ignore_merges"] = 1; }, "model.ignore_merges", "1"},
      {[](Json& j) { j["model"]["fuse_unk"] = 1; }, "model.fuse_unk", "1"},
  });
}

TEST(TokenizerJson, RefusesAnInconsistentVocabulary) {
  const auto vocab = [](Json& j) -> Json& { return j["model"]["vocab"]; };
  expect_errors({
      {[&](Json& j) { vocab(j) = Json::array(); }, "model.vocab", "a list of 0"},
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
  expect_error(text, "T.json: field 'model.vocab'", "token 'he' appears twice");
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
      {[&](Json& j) {  // equal after normalization
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

// A SentencePiece model: its components, and a vocabulary of its 256 byte tokens.
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

TEST(TokenizerJson, RefusesNormalizersThatAreNotClear) {
  const auto part = [](Json& j, int i) -> Json& { return j["normalizer"]["normalizers"][i]; };
  const std::string where = "normalizer.normalizers[";
  expect_sentencepiece_errors({
      {[&](Json& j) { part(j, 0)["prepend"] = 1; }, where + "0].prepend", "1"},
      {[&](Json& j) { part(j, 1)["pattern"]["String"] = ""; }, where + "1].pattern.String",
       "empty"},
      {[&](Json& j) {
         part(j, 1)["pattern"] = {{"Regex", "("}};
       },
       where + "1].pattern.Regex", "parenthesis"},
      {[](Json& j) { j["normalizer"]["type"] = "Umlaut"; }, "normalizer.type", "Umlaut"},
  });
}

// A word must not become gigabytes.
TEST(TokenizerJson, RefusesWhatMakesTextsMuchLonger) {
  const auto replace = [](const char* kind, const std::string& from, const std::string& to) {
    return Json{{"type", "Replace"}, {"pattern", {{kind, from}}}, {"content", to}};
  };
  const auto many = [](const Json& step, int count) { return Json(std::vector(count, step)); };
  const auto normalizer = [](const Json& steps) {
    return [steps](Json& j) { j["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}}; };
  };
  const auto decoder = [](const Json& steps) {
    return [steps](Json& j) { j["decoder"] = {{"type", "Sequence"}, {"decoders", steps}}; };
  };
  const std::string ten(10, 'x');
  expect_sentencepiece_errors({
      {normalizer(many(replace("String", "x", ten), 4)), "normalizer.normalizers[3].content",
       "10 bytes for one, after 1000 for one"},
      {normalizer(many(replace("Regex", "x*", ten), 3)), "normalizer.normalizers[2].content",
       "11 bytes for one, after 121 for one"},
      {normalizer(many({{"type", "Prepend"}, {"prepend", ten}}, 3)),
       "normalizer.normalizers[2].prepend", "11 bytes for one"},
      {decoder(many(replace("String", "x", ten), 4)), "decoder.decoders[3].content",
       "10 bytes for one"},
      {[&](Json& j) {
         const Json part = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
         j["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", many(part, 10)}};
       },
       "pre_tokenizer.pretokenizers[9].type", "2 bytes for one, after 512 for one"},
  });
  // Any number of rules that make nothing longer.
  Json json = bundled();
  Json steps = many(replace("String", "x", "y"), 50);
  steps.insert(steps.end(), replace("Regex", " {2,}", "  "));
  normalizer(steps)(json);
  EXPECT_EQ(parse_tokenizer_json("T.json", json.dump()).normalizer.size(), 51u);
}

TEST(TokenizerJson, RefusesMetaspacesThatAreNotClear) {
  const auto metaspace = [&](const std::string& field, const Json& value) {
    Json part = {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "first"}};
    part[field] = value;
    return [part](Json& j) { j["pre_tokenizer"] = part; };
  };
  expect_sentencepiece_errors({
      {metaspace("replacement", "__"), "pre_tokenizer.replacement", "__"},
      {metaspace("prepend_scheme", "last"), "pre_tokenizer.prepend_scheme", "last"},
      {metaspace("add_prefix_space", false), "pre_tokenizer.add_prefix_space", "'first'"},
      {metaspace("split", 1), "pre_tokenizer.split", "1"},
      {metaspace("more", 1), "pre_tokenizer.more", "unknown field"},
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
       where + "single[0].Text", "unknown field"},
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

TEST(TokenizerJson, RefusesDecodersThatAreNotClear) {
  const auto parts = [](Json& j) -> Json& { return j["decoder"]["decoders"]; };
  expect_sentencepiece_errors({
      {[&](Json& j) { parts(j)[0]["pattern"]["String"] = ""; },
       "decoder.decoders[0].pattern.String", "empty"},
      {[&](Json& j) { parts(j)[3]["stop"] = -1; }, "decoder.decoders[3].stop", "-1"},
      {[&](Json& j) { parts(j)[3]["content"] = "__"; }, "decoder.decoders[3].content", "__"},
      {[](Json& j) { j["decoder"]["type"] = "CTC"; }, "decoder.type", "CTC"},
  });
}

std::vector<std::int64_t> ids_of(const Json& json, std::string_view text) {
  const TokenizerJson read = parse_tokenizer_json("T.json", json.dump());
  std::deque<std::string> made;
  std::vector<std::int64_t> ids;
  for (const std::string_view piece : read.pre_tokenizer.pieces(text, true, made)) {
    encode(read.model, piece, ids);
  }
  return ids;
}

// As in tokenizers: dropped, the unknown token, one for several neighbours, or tokens of bytes.
TEST(TokenizerJson, BytesWithoutATokenAreUnknown) {
  Json json = bundled();
  json["added_tokens"] = Json::array();
  json["model"]["merges"] = Json::array();
  json["model"]["vocab"] = {{"a", 0}, {"b", 1}, {"?", 2}, {"<0xC3>", 3}, {"<0x84>", 4}};
  using Ids = std::vector<std::int64_t>;
  EXPECT_EQ(ids_of(json, "axxb"), (Ids{0, 1}));
  json["model"]["unk_token"] = "?";
  EXPECT_EQ(ids_of(json, "axxb"), (Ids{0, 2, 2, 1}));
  json["model"]["fuse_unk"] = true;
  EXPECT_EQ(ids_of(json, "axxb"), (Ids{0, 2, 1}));
  json["model"]["byte_fallback"] = true;  // the byte 0x84 is spelled U+0126, which is C4 A6
  EXPECT_EQ(ids_of(json, "axxb"), (Ids{0, 2, 1}));
  json["model"]["vocab"]["<0xC4>"] = 5;
  json["model"]["vocab"]["<0xA6>"] = 6;
  EXPECT_EQ(ids_of(json, "\u00C4"), (Ids{5, 6, 2}));  // C3 has no token: it is kept back
  json["model"]["unk_token"] = "none";
  try {
    ids_of(json, "x");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("'none'"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace assay
