// Gemma 4: its config in both spellings, whose keys a layer reads, and what is stored beside.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/expect_error.h"
#include "base/temporary_directory.h"
#include "formats/json_file.h"
#include "model/executor.h"
#include "model/model.h"
#include "model/read_spec.h"
#include "model/sequence_state.h"
#include "model/synth.h"
#include "models/program.h"

namespace assay {
namespace {

using Gemma4Json = nlohmann::ordered_json;

Gemma4Json gemma4_config() {
  return {{"model_type", "gemma4_text"},
          {"vocab_size", 40},
          {"hidden_size", 32},
          {"intermediate_size", 20},
          {"num_hidden_layers", 6},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 8},
          {"global_head_dim", 12},
          {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-6},
          {"layer_types",
           {"sliding_attention", "full_attention", "sliding_attention", "full_attention",
            "sliding_attention", "full_attention"}},
          {"sliding_window", 4},
          {"vocab_size_per_layer_input", 40},
          {"hidden_size_per_layer_input", 6},
          {"num_kv_shared_layers", 2},
          {"use_double_wide_mlp", true},
          {"initializer_range", 0.3}};
}

ModelSpec gemma4_spec(const Gemma4Json& config) {
  return read_spec_config(JsonObject("config", config));
}

Gemma4Json gemma4_with(const Gemma4Json& more) {
  Gemma4Json config = gemma4_config();
  config.update(more);
  return config;
}

void refuse_gemma4(const Gemma4Json& config, std::string_view field) {
  expect_error(ErrorKind::kInput, {field}, [&] { gemma4_spec(config); });
}

TEST(Gemma4, LayersReadTheKeysOfTheLastOneOfTheirKind) {
  const ModelSpec spec = gemma4_spec(gemma4_config());
  EXPECT_EQ(spec.kv_source(3), std::nullopt);
  EXPECT_EQ(spec.kv_source(4), 2);
  EXPECT_EQ(spec.kv_source(5), 3);
  const Block layer = layer_of(spec, 5);
  EXPECT_FALSE(layer.find(Tap::kKProj));
  EXPECT_FALSE(layer.find(Tap::kKRope));
  std::vector<TapPlace> from;
  for (const Import& import : layer.imports) from.push_back(import.from);
  EXPECT_EQ(from, (std::vector<TapPlace>{
                      {Tap::kKRope, 3}, {Tap::kVNorm, 3}, {Tap::kEmbeddingOutput, -1}}));
  EXPECT_EQ(tap_shape(Tap::kGateProj, 5, spec, 1).back(), 40);  // twice as wide
  EXPECT_EQ(tap_shape(Tap::kGateProj, 3, spec, 1).back(), 20);
}

TEST(Gemma4, SizesByLayerMeanTheSameInBothSpellings) {
  const Gemma4Json more = {{"attention_k_eq_v", true}, {"num_global_key_value_heads", 1}};
  Gemma4Json by_layer = gemma4_with({{"attention_k_eq_v", true}});
  by_layer.erase("global_head_dim");
  for (const char* layer : {"1", "3", "5"}) {
    by_layer["per_layer_config"][layer] = {{"head_dim", 12}, {"num_key_value_heads", 1}};
  }
  EXPECT_EQ(gemma4_spec(gemma4_with(more)), gemma4_spec(by_layer));
  EXPECT_TRUE(gemma4_spec(by_layer).heads(1).keys_are_values);
  EXPECT_FALSE(gemma4_spec(by_layer).heads(0).keys_are_values);
  by_layer["per_layer_config"]["3"]["head_dim"] = 16;
  refuse_gemma4(by_layer, "per_layer_config");
}

TEST(Gemma4, TheLastLayerIsFull) {
  const ModelSpec spec =
      gemma4_spec(gemma4_with({{"layer_types",
                                {"sliding_attention", "full_attention", "sliding_attention",
                                 "full_attention", "sliding_attention", "sliding_attention"}}}));
  EXPECT_FALSE(spec.is_sliding(5));
}

TEST(Gemma4, RefusesWhatItCannotRun) {
  refuse_gemma4(gemma4_with({{"num_kv_shared_layers", 6}}), "num_kv_shared_layers");
  refuse_gemma4(gemma4_with({{"num_kv_shared_layers", 5}}), "num_kv_shared_layers");
  refuse_gemma4(gemma4_with({{"vocab_size_per_layer_input", 39}}), "vocab_size_per_layer_input");
  refuse_gemma4(gemma4_with({{"use_bidirectional_attention", "all"}}),
                "use_bidirectional_attention");
  refuse_gemma4(gemma4_with({{"num_global_key_value_heads", 3}, {"attention_k_eq_v", true}}),
                "global_head_dim");
  refuse_gemma4(gemma4_with({{"rope_scaling", {{"rope_type", "linear"}, {"factor", 2.0}}}}),
                "rope_scaling");
  Gemma4Json yarn = {{"rope_type", "yarn"}, {"rope_theta", 1e6}, {"factor", 2.0}};
  refuse_gemma4(
      gemma4_with({{"rope_parameters", {{"full_attention", yarn}, {"sliding_attention", yarn}}}}),
      "rope_parameters.full_attention.rope_type");
  EXPECT_NO_THROW(gemma4_spec(gemma4_with({{"use_bidirectional_attention", "vision"}})));
}

class Gemma4Run : public testing::Test {
 protected:
  std::filesystem::path synthesized(const Gemma4Json& of, const std::string& name) const {
    write_text(directory_ / (name + ".json"), of.dump());
    SynthOptions options;
    options.config = directory_ / (name + ".json");
    options.out = directory_ / name;
    synthesize(options);
    return options.out;
  }

  // The logits after each of the pieces of a prompt.
  static std::vector<float> logits(const Model& model, std::vector<std::size_t> pieces) {
    ThreadPool pool(2);
    Executor<Bf16> run(model, pool);
    SequenceState<Bf16> sequence(model.program, 16);
    const std::vector<std::int64_t> ids = {3, 1, 4, 15, 9, 2, 6, 5, 35, 8};
    std::vector<float> last;
    std::size_t first = 0;
    for (const std::size_t count : pieces) {
      const std::span part = std::span(ids).subspan(first, count);
      const Chunk<Bf16> chunk{part, &sequence, nullptr};
      const std::span<const float> now = run.run({&chunk, 1});
      last.assign(now.begin(), now.end());
      first += count;
    }
    return last;
  }

  TemporaryDirectory directory_;
};

TEST_F(Gemma4Run, PiecesAndDecodeGiveTheBitsOfOnePass) {
  const Model model = load_model(synthesized(gemma4_config(), "model"));
  const std::vector<float> whole = logits(model, {10});
  EXPECT_EQ(logits(model, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1}), whole);
  EXPECT_EQ(logits(model, {7, 3}), whole);
  EXPECT_EQ(logits(model, {3, 5, 1, 1}), whole);
}

TEST_F(Gemma4Run, StreamedWeightsGiveTheSameBits) {
  const std::filesystem::path path = synthesized(gemma4_config(), "model");
  EXPECT_EQ(logits(load_model(path, true), {10}), logits(load_model(path), {10}));
}

TEST_F(Gemma4Run, KeepsNoKeysForLayersThatReadOthers) {
  const Model model = load_model(synthesized(gemma4_config(), "model"));
  SequenceState<F32> sequence(model.program, 8);
  const auto cache_of = [&](std::size_t l) -> KvCache<F32>& {
    const Block& layer = model.program.layers[l];
    for (std::size_t s = 0; s < layer.steps.size(); ++s) {
      if (std::holds_alternative<Scores>(layer.steps[s].operation)) return sequence.cache(l, s);
    }
    throw std::logic_error("no attention");
  };
  EXPECT_EQ(&cache_of(4), &cache_of(2));
  EXPECT_EQ(&cache_of(5), &cache_of(3));
  EXPECT_NE(&cache_of(3), &cache_of(1));
}

}  // namespace
}  // namespace assay
