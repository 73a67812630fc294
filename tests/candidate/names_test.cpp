// Names: of other engines, and of the taps themselves.
#include <gtest/gtest.h>

#include "base/expect_error.h"
#include "base/temporary_directory.h"
#include "candidate/data_flow.h"
#include "candidate/name_map.h"

namespace assay {
namespace {

std::string tap_of(const NameMap& map, std::string_view name) {
  return map.tap_of(name, 28).value_or("-");
}

TEST(NameMap, TapNamesNeedNoRule) {
  const NameMap map("llama.cpp");
  EXPECT_EQ(tap_of(map, "layer_03_q_proj"), "layer_03_q_proj");
  EXPECT_EQ(tap_of(map, "layer_3_q_proj"), "layer_03_q_proj");
  EXPECT_EQ(tap_of(map, "input_ids"), "input_ids");
  EXPECT_EQ(map.tap_of("layer_3_output", 120), "layer_003_output");
  EXPECT_EQ(tap_of(map, "layer_3_nothing"), "-");
  EXPECT_EQ(tap_of(map, "layer__output"), "-");
}

TEST(NameMap, KnowsTransformersModules) {
  const NameMap map("transformers");
  EXPECT_EQ(tap_of(map, "model.layers.3.self_attn.q_proj"), "layer_03_q_proj");
  EXPECT_EQ(tap_of(map, "model.layers.27"), "layer_27_output");
  EXPECT_EQ(tap_of(map, "model.layers.27.output.0"), "layer_27_output");
  EXPECT_EQ(tap_of(map, "model.layers.0.mlp"), "layer_00_mlp_output");
  EXPECT_EQ(tap_of(map, "lm_head.output"), "logits");
  EXPECT_EQ(tap_of(map, "hidden_states.0"), "embedding_output");
  EXPECT_EQ(tap_of(map, "hidden_states.5"), "layer_04_output");
  EXPECT_EQ(tap_of(map, "model.layers.x.mlp"), "-");
  EXPECT_EQ(tap_of(map, "l_out-3"), "-");
}

TEST(NameMap, KnowsLlamaCppAndCandle) {
  const NameMap llama("llama.cpp");
  EXPECT_EQ(tap_of(llama, "l_out-3"), "layer_03_output");
  EXPECT_EQ(tap_of(llama, "attn_norm-12"), "layer_12_input_norm");
  EXPECT_EQ(tap_of(llama, "result_output"), "logits");
  const NameMap candle("candle");
  EXPECT_EQ(tap_of(candle, "blk.3.attn_q_norm"), "layer_03_q_norm");
  EXPECT_EQ(tap_of(candle, "layers.3.self_attn.o_proj"), "layer_03_attn_output");
  const NameMap all("");
  EXPECT_EQ(tap_of(all, "l_out-3"), "layer_03_output");
  EXPECT_EQ(tap_of(all, "model.norm"), "final_norm_output");
}

TEST(NameMap, ReadsRulesFromAFile) {
  const TemporaryDirectory directory;
  const std::string file = directory / "map.json";
  write_text(file,
             R"({"h{layer}/res": "layer_{layer}_output", "n{layer+1}": "layer_{layer}_mlp_norm",
                       "out": "logits"})");
  const NameMap map(file);
  EXPECT_EQ(tap_of(map, "h7/res"), "layer_07_output");
  EXPECT_EQ(tap_of(map, "n7"), "layer_06_mlp_norm");
  EXPECT_EQ(tap_of(map, "n0"), "-");
  EXPECT_EQ(tap_of(map, "out"), "logits");
  EXPECT_EQ(tap_of(map, "l_out-3"), "-");

  const auto refused = [&](const char* text, std::initializer_list<std::string_view> parts) {
    write_text(file, text);
    expect_error(ErrorKind::kInput, parts, [&] { NameMap bad(file); });
  };
  refused("[]", {"map.json", "not a JSON object"});
  refused(R"({"a": 1})", {"'a'", "expected a tap name"});
  refused(R"({"a": "layer_0_nothing"})", {"'a'", "'layer_0_nothing' is no tap"});
  refused(R"({"a": "layer_{layer}_output"})", {"{layer} on one side only"});
  expect_error(ErrorKind::kUsage, {"--map", "'vllm'", "transformers, llama.cpp, candle"},
               [] { NameMap bad("vllm"); });
}

TEST(DataFlow, NamesAndOrder) {
  const auto place = [](const char* name) { return *parse_tap_name(name); };
  EXPECT_EQ(place("layer_05_q_norm").layer, 5);
  EXPECT_EQ(place("layer_05_q_norm").tap, Tap::kQNorm);
  EXPECT_EQ(place("logits").layer, -1);
  EXPECT_FALSE(parse_tap_name("rope_cos"));
  EXPECT_FALSE(parse_tap_name("q_norm"));
  EXPECT_FALSE(parse_tap_name("layer_05_logits"));
  EXPECT_LT(place("embedding_output"), place("layer_00_input_norm"));
  EXPECT_LT(place("layer_04_output"), place("layer_05_input_norm"));
  EXPECT_LT(place("layer_05_q_norm"), place("layer_05_q_rope"));
  EXPECT_LT(place("layer_27_output"), place("final_norm_output"));
  EXPECT_LT(place("final_norm_output"), place("logits"));
}

// transformers has one name for two places.
TEST(NameMap, KnowsWhereAModelsNormsStand) {
  NameMap map("transformers");
  const std::string name = "model.layers.3.post_attention_layernorm";
  EXPECT_EQ(map.tap_of(name, 28), "layer_03_mlp_norm");
  map.suit(model_of_names({"layer_00_input_norm", "layer_00_mlp_norm"}));
  EXPECT_EQ(map.tap_of(name, 28), "layer_03_mlp_norm");
  map.suit(model_of_names({"layer_00_input_norm", "layer_00_mlp_post_norm"}));
  EXPECT_EQ(map.tap_of(name, 28), "layer_03_attn_post_norm");
  EXPECT_EQ(map.tap_of(name + ".output", 28), "layer_03_attn_post_norm");
  EXPECT_EQ(map.tap_of("model.layers.3.pre_feedforward_layernorm", 28), "layer_03_mlp_norm");
  EXPECT_EQ(map.tap_of("model.layers.3.post_feedforward_layernorm", 28), "layer_03_mlp_post_norm");
}

// Everything is computed from taps before it; every tap but the logits is used, in one model or
// another.
TEST(DataFlow, RunsForward) {
  std::vector<int> used(kTapCount, 0);
  ModelSpec model;
  model.num_hidden_layers = 2;
  model.qk_norm = true;
  for (const Norms norms : {Norms::kBefore, Norms::kAfter, Norms::kAround}) {
    for (const std::int64_t experts : {0, 1}) {
      model.block.norms = norms;
      model.moe.num_experts = experts;
      for (int t = 0; t < kTapCount; ++t) {
        const Tap tap = static_cast<Tap>(t);
        if (!has_tap(tap, 1, model)) continue;
        const TapPlace place{tap, is_layer_tap(tap) ? 1 : -1};
        for (const TapPlace& before : computed_from(place, model)) {
          EXPECT_LT(before, place);
          EXPECT_TRUE(has_tap(before.tap, 1, model)) << tap_base_name(before.tap);
          used[static_cast<std::size_t>(before.tap)] = 1;
        }
      }
    }
  }
  used[static_cast<std::size_t>(Tap::kEmbeddingOutput)] = 1;  // of layer 0
  EXPECT_EQ(std::count(used.begin(), used.end(), 0), 1);
  EXPECT_EQ(computed_from({Tap::kInputNorm, 0}, model)[0].tap, Tap::kEmbeddingOutput);
}

// Without norms before it, a projection reads the stream; with an MLP, no expert stands between.
TEST(DataFlow, PassesThroughWhatAModelDoesNotHave) {
  ModelSpec model = model_of_names({"layer_00_output", "layer_01_attn_post_norm"});
  EXPECT_EQ(model.num_hidden_layers, 2);
  EXPECT_EQ(model.block.norms, Norms::kAfter);
  const TapPlace stream{Tap::kLayerOutput, 0};
  EXPECT_EQ(computed_from({Tap::kQProj, 1}, model), std::vector{stream});
  const TapPlace k_proj{Tap::kKProj, 1};
  EXPECT_EQ(computed_from({Tap::kKRope, 1}, model), std::vector{k_proj});
  model = model_of_names({"layer_00_expert_ids", "layer_01_mlp_norm"});
  EXPECT_EQ(computed_from({Tap::kGateProj, 0}, model).size(), 2U);
  EXPECT_EQ(computed_from({Tap::kGateProj, 1}, model).size(), 1U);
}

}  // namespace
}  // namespace assay
