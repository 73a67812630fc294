#include "reference/explain.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "assay/error.h"
#include "base/temporary_directory.h"
#include "model/published.h"
#include "model/read_spec.h"
#include "model/synth.h"
#include "models/taps.h"

namespace assay {
namespace {

using Json = nlohmann::ordered_json;

// A directory with only a config.json.
class Explain : public testing::TestWithParam<std::string> {
 protected:
  Explain() {
    std::ofstream(std::filesystem::path(directory_.path()) / "config.json")
        << published_config(GetParam()).dump();
  }
  std::filesystem::path model() const { return directory_.path(); }

  TemporaryDirectory directory_;
};

TEST_P(Explain, TellsHowEveryTapIsComputedAndNamesNothingElse) {
  const ModelSpec spec = read_spec(model());
  const Json found = explain(model());
  std::set<std::int64_t> layers;
  for (const Json& block : found.at("blocks")) {
    std::set<std::string> known = {"x"};
    std::set<std::string> taps;
    for (const Json& step : block.at("steps")) {
      for (const Json& read : step.at("reads")) {
        const auto name = read.get<std::string>();
        // Or what an earlier layer computed: the embedding, another layer's keys and values.
        EXPECT_TRUE(known.contains(name) || name == "embedding_output" ||
                    name.starts_with("k_rope of layer ") || name.starts_with("v_norm of layer "))
            << name;
        EXPECT_NE(step.at("formula").get<std::string>().find(name), std::string::npos) << step;
      }
      for (const Json& value : step.at("writes")) {
        const auto name = value.at("name").get<std::string>();
        EXPECT_TRUE(known.insert(name).second) << name;
        if (value.at("tap")) taps.insert(name);
        EXPECT_NE(step.at("formula").get<std::string>().find(name), std::string::npos) << step;
      }
      EXPECT_FALSE(step.at("rounding").get<std::string>().empty());
      for (const Json& tensor : step.at("tensors")) EXPECT_FALSE(tensor.contains("dtype"));
    }
    if (!block.contains("layers")) continue;
    for (const Json& number : block.at("layers")) {
      const auto l = number.get<std::int64_t>();
      EXPECT_TRUE(layers.insert(l).second);
      for (int t = 0; t < kTapCount; ++t) {
        const Tap tap = static_cast<Tap>(t);
        if (!is_layer_tap(tap)) continue;
        EXPECT_EQ(taps.contains(std::string(tap_base_name(tap))), has_tap(tap, l, spec))
            << tap_name(tap, l, spec);
      }
    }
  }
  EXPECT_EQ(std::ssize(layers), spec.num_hidden_layers);
}

TEST_P(Explain, OfOneLayerNamesItsTensors) {
  const ModelSpec spec = read_spec(model());
  const std::int64_t last = spec.num_hidden_layers - 1;
  const Json found = explain(model(), last);
  ASSERT_EQ(found.at("blocks").size(), 1U);
  const std::string prefix = "model.layers." + std::to_string(last) + ".";
  for (const Json& step : found.at("blocks")[0].at("steps")) {
    for (const Json& tensor : step.at("tensors")) {
      const auto name = tensor.at("name").get<std::string>();
      // Gemma 4's layers share the tensors of their own embeddings, each of them a part.
      EXPECT_TRUE(name.starts_with(prefix) || name.find("per_layer") != name.npos) << tensor;
    }
  }
  EXPECT_THROW(explain(model(), spec.num_hidden_layers), Error);
  EXPECT_THROW(explain(model(), -1), Error);
}

INSTANTIATE_TEST_SUITE_P(Published, Explain, testing::ValuesIn(published_models()),
                         [](const auto& of) {
                           std::string name = of.param;
                           std::ranges::replace_if(
                               name, [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
                           return name;
                         });

// A small checkpoint with random weights.
class ExplainWeights : public testing::Test {
 protected:
  ExplainWeights() {
    const std::string config = directory_ / "shape.json";
    write(config, true);
    SynthOptions options;
    options.config = config;
    options.out = model();
    synthesize(options);
  }
  // Without tie_word_embeddings, a head is stored.
  void write(const std::filesystem::path& file, bool first) const {
    Json config = {{"model_type", "llama"},    {"vocab_size", 50},
                   {"hidden_size", 32},        {"intermediate_size", 48},
                   {"num_hidden_layers", 3},   {"num_attention_heads", 4},
                   {"num_key_value_heads", 2}, {"max_position_embeddings", 64},
                   {"rms_norm_eps", 1e-5},     {"rope_theta", 10000.0},
                   {"hidden_act", "silu"},     {"tie_word_embeddings", !first}};
    std::ofstream(file) << config.dump();
  }
  std::filesystem::path model() const { return directory_ / "model"; }

  TemporaryDirectory directory_;
};

TEST_F(ExplainWeights, AStoredHeadIsTheOneThatIsUsed) {
  write(model() / "config.json", false);
  const Json head = explain(model()).at("blocks").back();
  EXPECT_EQ(head.at("steps").back().at("tensors")[0].at("name"), "lm_head.weight");
  EXPECT_EQ(head.at("steps").back().at("tensors")[0].at("dtype"), "BF16");
}

TEST_F(ExplainWeights, DamagedWeightsAreAnError) {
  std::filesystem::resize_file(model() / "model.safetensors", 100);
  EXPECT_THROW(explain(model()), Error);
  std::filesystem::remove(model() / "model.safetensors");
  EXPECT_EQ(explain(model()).at("blocks").size(), 3U);
}

// Each model's special features appear in the text.
TEST(ExplainWords, SayWhatIsTheModelsOwn) {
  const auto words_of = [](const char* published) {
    TemporaryDirectory directory;
    std::ofstream(std::filesystem::path(directory.path()) / "config.json")
        << published_config(published).dump();
    return explain(directory.path()).dump();
  };
  const std::string gemma = words_of("gemma-2-2b");
  for (const char* own :
       {"(1 + input_layernorm.weight)", "50 * tanh(s / 50)", "i - 4096 < j <= i", "30 * tanh(",
        "once, after the weight", "0.044715", "(sqrt(hidden_size))", "\"window\":4096"}) {
    EXPECT_NE(gemma.find(own), std::string::npos) << own;
  }
  const std::string phi = words_of("Phi-4-mini");
  for (const char* own :
       {"qkv_proj.weight[0:3072]", "elements from 96 on stay as they are", "inv_freq_of_longer"}) {
    EXPECT_NE(phi.find(own), std::string::npos) << own;
  }
  const std::string moe = words_of("Qwen3-30B-A3B");
  for (const char* own : {"of a token's 8 experts", "divided by the sum", "\"experts\":128"}) {
    EXPECT_NE(moe.find(own), std::string::npos) << own;
  }
  const std::string olmo = words_of("OLMo-2-7B");
  for (const char* own : {"all 4096 elements of a token's heads together", "q_proj = x @"}) {
    EXPECT_NE(olmo.find(own), std::string::npos) << own;
  }
}

}  // namespace
}  // namespace assay
