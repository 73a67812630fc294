// Each model family's kind of tokenizer.json: text to ids and back as the tokenizers library does.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "assay/error.h"
#include "base/temporary_directory.h"
#include "tokenizer/tokenizer.h"

namespace assay {
namespace {

using nlohmann::json;
using Ids = std::vector<std::int64_t>;

std::vector<std::string> families() {
  std::vector<std::string> names;
  for (const auto& entry :
       std::filesystem::directory_iterator(ASSAY_TEST_DATA "/tokenizer/data/families")) {
    names.push_back(entry.path().stem());
  }
  return names;
}

class Family : public testing::TestWithParam<std::string> {
 protected:
  Family() {
    std::ifstream file(ASSAY_TEST_DATA "/tokenizer/data/families/" + GetParam() + ".json");
    golden_ = json::parse(file);
  }

  Tokenizer load(const json& contents) const {
    const std::filesystem::path path = directory_.path() / "tokenizer.json";
    std::ofstream(path) << contents;
    return Tokenizer::load(path);
  }

  TemporaryDirectory directory_;
  json golden_;
};

TEST_P(Family, EncodesAsTheTokenizersLibrary) {
  const Tokenizer tokenizer = load(golden_["tokenizer"]);
  ASSERT_GT(golden_["encode"].size(), 20u);
  for (const json& c : golden_["encode"]) {
    const std::string text = c["text"];
    EXPECT_EQ(tokenizer.encode(text), c["ids"].get<Ids>()) << c["text"];
    EXPECT_EQ(tokenizer.encode(text, "text", /*add_special_tokens=*/true),
              c["with_special"].get<Ids>())
        << c["text"];
  }
}

TEST_P(Family, DecodesAsTheTokenizersLibrary) {
  const Tokenizer tokenizer = load(golden_["tokenizer"]);
  ASSERT_GT(golden_["decode"].size(), 20u);
  for (const json& c : golden_["decode"]) {
    EXPECT_EQ(tokenizer.decode(c["ids"].get<Ids>(), c["skip_special"]), c["text"]) << c;
  }
}

TEST_P(Family, FindsTokensByTheirText) {
  const Tokenizer tokenizer = load(golden_["tokenizer"]);
  for (const auto& [token, id] : golden_["id_of"].items()) {
    const std::optional<std::int64_t> found = tokenizer.id_of(token);
    EXPECT_EQ(found ? json(*found) : json(nullptr), id) << token;
  }
}

// Truncation and padding apply only to calls that ask for them.
TEST_P(Family, EncodesTheWholeTextWhateverTheFileSaysOfLengths) {
  json contents = golden_["tokenizer"];
  contents["truncation"] = {{"max_length", 2}, {"strategy", "LongestFirst"}};
  contents["padding"] = {{"strategy", {{"Fixed", 100}}}, {"pad_id", 0}};
  const json& c = golden_["encode"][4];
  EXPECT_EQ(load(contents).encode(c["text"].get<std::string>()), c["ids"].get<Ids>());
}

TEST_P(Family, LongTextsAreEncodedWhole) {
  const Tokenizer tokenizer = load(golden_["tokenizer"]);
  for (const std::string part : {" ", "a", "Ab", "\u4F60", "\u0301", "x\n", "\u2581"}) {
    std::string text = "b";
    while (text.size() < 100'000) text += part;
    const std::string decoded = tokenizer.decode(tokenizer.encode(text));
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(decoded)), decoded) << part;
    // Without byte fallback, a Unigram model makes one token of consecutive unknown characters.
    const json& model = golden_["tokenizer"]["model"];
    if (model["type"] == "BPE" || model["byte_fallback"]) {
      EXPECT_GT(decoded.size(), 30'000u) << part;
    }
  }
}

TEST_P(Family, DamagedFilesAreRefusedOrWork) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const std::string valid = golden_["tokenizer"].dump();
  const std::filesystem::path path = directory_.path() / "damaged.json";
  int refused = 0;
  for (int round = 0; round < 60; ++round) {
    std::string text = valid;
    for (int change = 0; change < 1 + round % 3; ++change) {
      const std::size_t at = random() % text.size();
      const std::string_view some = "0189-\"\\{}[],: <>xtu";
      if (random() % 3 == 0) {
        text.erase(at, random() % 40);
      } else if (random() % 2 == 0) {
        text.insert(at, text.substr(random() % text.size(), random() % 40));
      } else {
        text[at] = some[random() % some.size()];
      }
    }
    std::ofstream(path) << text;
    try {
      const Tokenizer tokenizer = Tokenizer::load(path);
      const Ids ids = tokenizer.encode("<s> The 12\n e\u0301 one# \u4F60", "text", true);
      tokenizer.decode(ids, true);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInput) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, 10);
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, Family, testing::ValuesIn(families()),
                         [](const auto& family) { return family.param; });

}  // namespace
}  // namespace assay
