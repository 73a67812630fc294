// Names of other engines' arrays, and of the taps.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "base/expect_error.h"
#include "base/temporary_directory.h"
#include "candidate/data_flow.h"
#include "candidate/fused.h"
#include "candidate/name_map.h"

namespace assay {
namespace {

std::string tap_of(const NameMap& map, std::string_view name) {
  return map.tap_of(name, 28).value_or("-");
}

// The rule for the whole array decides its parts, whatever other rules match their names.
TEST(NameMap, PartsOfAFusedArrayFollowItsRule) {
  const TemporaryDirectory directory;
  const std::string file = directory / "map.json";
  write_text(file,
             R"({"qkv.{layer}": "layer_{layer}_q_proj + layer_{layer}_k_proj", "qkv*": null})");
  const NameMap map(file);
  EXPECT_EQ(map.tap_of("qkv.3: k_proj", 28), "layer_03_k_proj");
  EXPECT_EQ(map.tap_of("qkv.3: q_proj, element by element", 28), "layer_03_q_proj");
  EXPECT_FALSE(map.tap_of("qkv.3", 28));
  EXPECT_TRUE(map.ignores("qkv.x: q_proj", 28));
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

// The meaning of a name under a map, for a model: alternatives separated by "|", a fused output's
// parts by "+", "?" after what only the content can show, "ignored", or "-".
std::string meaning(const NameMap& map, std::string_view name) {
  const NameMeaning found = map.meaning(name, 28);
  if (!found.known) return "-";
  if (found.claims.empty()) return "ignored";
  std::string text;
  for (const NameClaim& claim : found.claims) {
    text += fmt::format("{}{}{}", text.empty() ? "" : " | ", fmt::join(claim.taps, " + "),
                        claim.sure ? "" : "?");
  }
  return text;
}

ModelSpec model_of_type(const char* type) {
  ModelSpec model;
  model.model_type = type;
  return model;
}

TEST(NameMap, ReadsRulesFromAFile) {
  const TemporaryDirectory directory;
  const std::string file = directory / "map.json";
  write_text(file,
             R"({"h{layer}/res": "layer_{layer}_output", "n{layer+1}": "layer_{layer}_mlp_norm",
                       "rope#{2*layer+1}": "layer_{layer}_k_rope", "out": "logits",
                       "qkv.{layer}": "layer_{layer}_q_proj + layer_{layer}_k_proj",
                       "a.{layer}": ["layer_{layer}_attn_output", "layer_{layer}_attn_post_norm"],
                       "b": ["logits", null], "tmp*": null, "layer_05_output": null})");
  const NameMap map(file);
  EXPECT_EQ(meaning(map, "h7/res"), "layer_07_output");
  EXPECT_EQ(meaning(map, "n7"), "layer_06_mlp_norm");
  EXPECT_EQ(meaning(map, "n0"), "-");
  EXPECT_EQ(meaning(map, "rope#7"), "layer_03_k_rope");
  EXPECT_EQ(meaning(map, "rope#6"), "-");
  EXPECT_EQ(meaning(map, "out"), "logits");
  EXPECT_EQ(meaning(map, "qkv.3"), "layer_03_q_proj + layer_03_k_proj");
  EXPECT_EQ(meaning(map, "a.3"), "layer_03_attn_output | layer_03_attn_post_norm");
  EXPECT_EQ(meaning(map, "b"), "logits?");
  EXPECT_EQ(meaning(map, "tmp.3"), "ignored");
  EXPECT_EQ(meaning(map, "layer_05_output"), "ignored") << "a rule comes before a tap's own name";
  EXPECT_EQ(meaning(map, "layer_06_output"), "layer_06_output");
  EXPECT_EQ(meaning(map, "l_out-3"), "layer_03_output") << "rules come on top of the known maps";

  const auto refused = [&](const char* text, std::initializer_list<std::string_view> parts) {
    write_text(file, text);
    expect_error(ErrorKind::kInput, parts, [&] { NameMap bad(file); });
  };
  refused("[]", {"map.json", "not a JSON object"});
  refused(R"({"a": 1})", {"'a'", "expected a tap name"});
  refused(R"({"a": [null]})", {"'a'", "expected a tap name"});
  refused(R"({"a": "layer_0_nothing"})", {"'a'", "'layer_0_nothing' is not a tap"});
  refused(R"({"a": "layer_{layer}_output"})", {"{layer} on one side only"});
  refused(R"({"a.{layer}": "logits"})", {"{layer} on one side only"});
  refused(R"({"a.{layer}.{layer}": null})", {"placeholder"});
  refused(R"({"a.{level}": null})", {"placeholder"});
  refused(R"({"a": {"norms": "logits"}})", {"'norms'", "post_norms"});
  expect_error(ErrorKind::kUsage, {"--map", "'nobody'", "transformers, llama.cpp, candle"},
               [] { NameMap bad("nobody"); });
}

// Both the pattern and the name may come from anybody.
TEST(NameMap, ManyStarsTakeNoTime) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += "*a";
  const std::string name(100'000, 'a');
  const auto matches = [](const std::string& pattern, std::string_view of) {
    return NamePattern::parse(pattern)->match(of);
  };
  EXPECT_FALSE(matches(text + "b", name));
  EXPECT_TRUE(matches(text + "b", name + "b"));
  EXPECT_EQ(matches("*.{layer}.*b", "x.1.2.3ab.b"), 1);
  EXPECT_EQ(matches("*{layer}b", "1b2b"), 2);
  EXPECT_EQ(matches("*x*", "abc"), std::nullopt);
  EXPECT_EQ(matches("**", ""), NamePattern::kNoLayer);
}

// The last of several files has priority, and all of them over the built-in maps.
TEST(NameMap, TakesSeveral) {
  const TemporaryDirectory directory;
  const std::string one = directory / "one.json";
  const std::string two = directory / "two.json";
  write_text(one, R"({"x": "logits", "y": "logits", "l_out-{layer}": "layer_{layer}_mlp_output"})");
  write_text(two, R"({"x": "final_norm_output", "result_norm": null})");
  const NameMap both(one + "," + two);
  EXPECT_EQ(meaning(both, "x"), "final_norm_output");
  EXPECT_EQ(meaning(both, "y"), "logits");
  EXPECT_EQ(meaning(both, "l_out-3"), "layer_03_mlp_output");
  EXPECT_EQ(meaning(both, "result_norm"), "ignored");
  EXPECT_EQ(meaning(both, "transformer.ln_f"), "final_norm_output");
  const NameMap named("LITGPT," + one);
  EXPECT_EQ(meaning(named, "transformer.ln_f"), "final_norm_output");
  EXPECT_EQ(meaning(named, "y"), "logits");
  EXPECT_EQ(meaning(named, "result_norm"), "-") << "an engine's name leaves the others out";
}

// One name and what it means in a model without norms after its blocks, and in one with them.
struct Known {
  const char* map;
  const char* name;
  const char* before;
  const char* around;
};

TEST(NameMap, KnowsOtherEngines) {
  const Known all[] = {
      {"litgpt", "transformer.h.3.post_attention_norm", "layer_03_attn_output",
       "layer_03_attn_post_norm"},
      {"litgpt", "transformer.h.3.norm_2", "layer_03_mlp_norm", "layer_03_mlp_norm"},
      {"litgpt", "transformer.h.3.attn.attn", "layer_03_q_proj + layer_03_k_proj + layer_03_v_proj",
       "layer_03_q_proj + layer_03_k_proj + layer_03_v_proj"},
      {"torchtune", "layers.3.sa_scale", "layer_03_attn_output", "layer_03_attn_post_norm"},
      {"torchtune", "layers.0.attn.pos_embeddings.call7", "layer_03_k_rope", "layer_03_k_rope"},
      {"torchtune", "layers.0.attn.pos_embeddings#8", "layer_03_k_rope", "layer_03_k_rope"},
      {"torchtune", "layers.0.attn.pos_embeddings", "layer_00_q_rope? | layer_00_k_rope?",
       "layer_00_q_rope? | layer_00_k_rope?"},
      {"torchtune", "norm.logit_capping", "ignored", "ignored"},
      {"TransformerLens", "blocks.3.hook_attn_out", "layer_03_attn_output",
       "layer_03_attn_post_norm | layer_03_attn_output"},
      {"TransformerLens", "blocks.3.hook_resid_pre", "layer_02_output", "layer_02_output"},
      {"TransformerLens", "blocks.0.hook_resid_pre", "embedding_output", "embedding_output"},
      {"TransformerLens", "blocks.3.ln2.hook_normalized", "layer_03_mlp_norm", "layer_03_mlp_norm"},
      {"TransformerLens", "blocks.3.mlp.gate.hook_out", "layer_03_gate_proj", "layer_03_gate_proj"},
      {"TransformerLens", "blocks.3.ln1.hook_scale", "ignored", "ignored"},
      {"keras-hub", "transformer_layer_3/self_attention/query", "layer_03_q_proj",
       "layer_03_q_proj"},
      {"keras-hub", "decoder_block_3.ffw_gating_2", "layer_03_up_proj", "layer_03_up_proj"},
      {"mlx-lm", "model.layers.3.self_attn.rope.call1", "layer_03_k_rope | layer_03_q_rope",
       "layer_03_k_rope | layer_03_q_rope"},
      {"mlx-lm", "model.layers.3.post_attention_layernorm", "layer_03_mlp_norm",
       "layer_03_attn_post_norm"},
      {"onnxruntime-genai", "/model/layers.3/attn/qkv_proj/MatMul/output_0",
       "layer_03_q_proj + layer_03_k_proj + layer_03_v_proj",
       "layer_03_q_proj + layer_03_k_proj + layer_03_v_proj"},
      {"onnxruntime-genai", "model.layers.3.input_layernorm.output_3", "layer_02_output",
       "layer_02_output"},
      {"onnxruntime-genai", "/model/layers.28/final_norm_layernorm/output_0", "final_norm_output",
       "final_norm_output"},
      {"vLLM", "model.layers.3.output.0", "layer_03_mlp_output | layer_03_output",
       "layer_03_mlp_post_norm | layer_03_output"},
      {"vLLM", "model.layers.3.output.1", "layer_03_attn_residual", "layer_03_attn_residual"},
      {"vLLM", "model.layers.3.mlp.act_fn", "layer_03_mlp_act", "layer_03_mlp_act"},
      {"SGLang", "model.layers.3.input_layernorm.1", "layer_02_output", "layer_02_output"},
      {"SGLang", "model.layers.3.self_attn.rotary_emb.1", "layer_03_k_rope?", "layer_03_k_rope?"},
      {"transformers", "model.layers.3.mlp.act_fn", "ignored", "ignored"},
      {"transformers", "module.model.layers.3.mlp", "layer_03_mlp_output", "layer_03_mlp_output"},
      {"llama.cpp", "Qcur-3 (view)", "ignored", "ignored"},
      {"llama.cpp", "Qcur_full-3", "layer_03_q_proj + layer_03_attn_gate",
       "layer_03_q_proj + layer_03_attn_gate"},
      {"llama.cpp", "attn_post_norm-3", "layer_03_mlp_norm", "layer_03_attn_post_norm"},
      {"llama.cpp", "z-3", "layer_03_gdn_z?", "layer_03_gdn_z?"},
      {"transformers", "model.layers.3.self_attn.q_proj",
       "layer_03_q_proj | layer_03_q_proj + layer_03_attn_gate",
       "layer_03_q_proj | layer_03_q_proj + layer_03_attn_gate"},
      {"vLLM", "language_model.model.layers.3.mlp.shared_experts.gate_up_proj",
       "layer_03_shared_gate_proj + layer_03_shared_up_proj",
       "layer_03_shared_gate_proj + layer_03_shared_up_proj"},
      {"llama.cpp", "ffn_up-3", "layer_03_up_proj | layer_03_gate_proj + layer_03_up_proj",
       "layer_03_up_proj | layer_03_gate_proj + layer_03_up_proj"},
  };
  for (const Known& known : all) {
    NameMap map(known.map);
    map.adapt_to(model_of_type("llama"));
    EXPECT_EQ(meaning(map, known.name), known.before) << known.map << ": " << known.name;
    map.adapt_to(model_of_type("gemma2"));
    EXPECT_EQ(meaning(map, known.name), known.around) << known.map << ": " << known.name;
  }
}

TEST(NameMap, KnowsAnMoesRouter) {
  NameMap map("TransformerLens");
  ModelSpec model = model_of_type("qwen3_moe");
  model.moe.num_experts = 4;
  model.sparse_layers = {false, true};
  map.adapt_to(model);
  EXPECT_EQ(meaning(map, "blocks.0.mlp.gate.hook_out"), "layer_00_gate_proj");
  EXPECT_EQ(meaning(map, "blocks.1.mlp.gate.hook_out"), "layer_01_router_logits");
}

// llama.cpp has the same names for a dense MLP and for the expert of all tokens.
TEST(NameMap, KnowsSharedExperts) {
  NameMap map("llama.cpp");
  ModelSpec model = model_of_type("qwen2_moe");
  model.moe.num_experts = 4;
  model.sparse_layers = {false, true};
  map.adapt_to(model);
  EXPECT_EQ(meaning(map, "ffn_gate-0"), "layer_00_gate_proj");
  EXPECT_EQ(meaning(map, "ffn_gate-1"), "layer_01_shared_gate_proj");
  EXPECT_EQ(meaning(map, "ffn_swiglu-1"), "layer_01_shared_mlp_act");
  EXPECT_EQ(meaning(map, "ffn_moe_up-1"), "layer_01_up_proj");
  EXPECT_EQ(meaning(map, "ffn_shexp-1"), "layer_01_shared_expert_output");
  EXPECT_EQ(meaning(map, "ffn_moe_out-1"), "layer_01_mlp_output | layer_01_routed_output");
}

// The engine that knows most of a dump's names is sure; the others need the content's support.
TEST(NameMap, AsksTheEngineThatKnowsTheMost) {
  NameMap map("");
  map.adapt_to(std::vector<std::string>{"model.layers.0", "model.layers.0.self_attn.attn",
                                        "model.layers.0.mlp.act_fn",
                                        "model.layers.0.mlp.down_proj"});
  EXPECT_EQ(meaning(map, "model.layers.0"), "layer_00_mlp_output | layer_00_output");
  EXPECT_EQ(meaning(map, "model.layers.0.mlp.act_fn"), "layer_00_mlp_act");
  map.adapt_to(std::vector<std::string>{"model.layers.0", "model.layers.0.self_attn.q_proj"});
  EXPECT_EQ(meaning(map, "model.layers.0"), "layer_00_output | layer_00_mlp_output?");
  EXPECT_EQ(meaning(map, "model.layers.0.mlp.act_fn"), "ignored");
  map.adapt_to(std::vector<std::string>{"embd", "result_norm", "norm", "logits"});
  EXPECT_EQ(meaning(map, "norm"), "ignored");
  map.adapt_to(std::vector<std::string>{"norm", "logits"});
  EXPECT_EQ(meaning(map, "norm"), "final_norm_output");
}

// Whatever msprobe's map ignores may matter in another engine's dump.
TEST(NameMap, IgnoresWhatAnEngineDoesOnlyInItsDumps) {
  NameMap map("");
  map.adapt_to(std::vector<std::string>{"model.embed_tokens.input.0", "model.layers.0.output.0"});
  EXPECT_EQ(meaning(map, "model.embed_tokens.input.0"), "input_ids");
  EXPECT_EQ(meaning(map, "model.layers.0.input.0"), "ignored");
  EXPECT_EQ(meaning(map, "Torch.matmul.0.forward.output.0"), "ignored");
  EXPECT_EQ(meaning(map, "model.layers.0.self_attn.o_proj.input.0"),
            "layer_00_attn_context | layer_00_attn_gated");
  map.adapt_to(std::vector<std::string>{"blk.0", "blk.1"});
  EXPECT_EQ(meaning(map, "blk.0.input.0"), "-");
}

TEST(NameMap, KnowsEdgeLlmsCaches) {
  NameMap map("");
  map.adapt_to(std::vector<std::string>{"round_0.logits", "round_0.layer_1.kv[0]"});
  EXPECT_EQ(meaning(map, "round_0.logits"), "logits");
  EXPECT_EQ(meaning(map, "round_0.layer_1.kv[0]"), "layer_01_k_rope");
  EXPECT_EQ(meaning(map, "round_0.layer_1.kv[1]"), "layer_01_v_proj");
  EXPECT_EQ(meaning(map, "round_1.layer_1.kv"), "ignored");
  EXPECT_EQ(meaning(map, "round_0.generated_token_ids"), "ignored");
}

// Every built-in rule has a unique name in its map.
TEST(NameMap, KnownMapsHaveNoDuplicateRules) {
  EXPECT_EQ(NameMap::known().size(), 13U);
  for (const std::string& name : NameMap::known()) {
    const std::string file = std::string(ASSAY_ROOT) + "/src/candidate/maps/" + name + ".json";
    std::map<std::string, int> count;
    const std::string text = read_text(file);
    for (std::size_t at = text.find("\n  \""); at != text.npos; at = text.find("\n  \"", at + 1)) {
      ++count[text.substr(at + 4, text.find('"', at + 4) - at - 4)];
    }
    EXPECT_GT(count.size(), 6U) << name;
    for (const auto& [rule, times] : count) EXPECT_EQ(times, 1) << name << ": " << rule;
  }
}

TEST(Fused, PartsInEveryOrder) {
  // Two query heads for each of two key heads, two elements per head; two rows.
  Array qkv{"qkv", DType::kF32, {2, 16}, std::vector<std::byte>(2 * 16 * 4)};
  std::iota(qkv.as<float>().begin(), qkv.as<float>().end(), 0.0F);
  const std::int64_t widths[] = {8, 4, 4};
  const auto part_of = [&](std::span<const std::int64_t> of, std::size_t which, FusedOrder order) {
    const std::optional<Array> array = fused_part(qkv.view(), of, which, order, 2);
    const auto values = array->as<float>();
    return std::vector<float>(values.begin(), values.begin() + array->shape.back());
  };
  const auto part = [&](std::size_t which, FusedOrder order) {
    return part_of(widths, which, order);
  };
  EXPECT_EQ(part(1, FusedOrder::kBeside), (std::vector<float>{8, 9, 10, 11}));
  EXPECT_EQ(part(0, FusedOrder::kByGroup), (std::vector<float>{0, 1, 2, 3, 8, 9, 10, 11}));
  EXPECT_EQ(part(1, FusedOrder::kByGroup), (std::vector<float>{4, 5, 12, 13}));
  EXPECT_EQ(part(2, FusedOrder::kByGroup), (std::vector<float>{6, 7, 14, 15}));
  EXPECT_EQ(fused_orders(widths, 2).size(), 2U);
  EXPECT_EQ(fused_orders(widths, 4).size(), 1U) << "one head of keys: both orders are one";
  const std::int64_t halves[] = {8, 8};
  EXPECT_EQ(fused_orders(halves, 0).size(), 3U);
  EXPECT_EQ(fused_part(qkv.view(), halves, 0, FusedOrder::kSwapped, 0)->as<float>()[0], 8);
  EXPECT_EQ(fused_part(qkv.view(), halves, 1, FusedOrder::kInterleaved, 0)->as<float>()[1], 3);
  EXPECT_EQ(fused_orders(halves, 2).size(), 4U);
  EXPECT_EQ(part_of(halves, 0, FusedOrder::kByHead),
            (std::vector<float>{0, 1, 4, 5, 8, 9, 12, 13}));
  EXPECT_EQ(part_of(halves, 1, FusedOrder::kByHead),
            (std::vector<float>{2, 3, 6, 7, 10, 11, 14, 15}));
  const std::int64_t wrong[] = {8, 4};
  EXPECT_FALSE(fused_part(qkv.view(), wrong, 0, FusedOrder::kBeside, 2));
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

// transformers uses one name for two places.
TEST(NameMap, KnowsWhereAModelsNormsStand) {
  NameMap map("transformers");
  const std::string name = "model.layers.3.post_attention_layernorm";
  EXPECT_EQ(map.tap_of(name, 28), "layer_03_mlp_norm");
  map.adapt_to(model_of_names({"layer_00_input_norm", "layer_00_mlp_norm"}));
  EXPECT_EQ(map.tap_of(name, 28), "layer_03_mlp_norm");
  map.adapt_to(model_of_names({"layer_00_input_norm", "layer_00_mlp_post_norm"}));
  EXPECT_EQ(map.tap_of(name, 28), "layer_03_attn_post_norm");
  EXPECT_EQ(map.tap_of(name + ".output", 28), "layer_03_attn_post_norm");
  EXPECT_EQ(map.tap_of("model.layers.3.pre_feedforward_layernorm", 28), "layer_03_mlp_norm");
  EXPECT_EQ(map.tap_of("model.layers.3.post_feedforward_layernorm", 28), "layer_03_mlp_post_norm");
}

// Every tap is computed only from earlier taps, and every tap but the logits is used in some model.
TEST(DataFlow, RunsForward) {
  std::vector<int> used(kTapCount, 0);
  ModelSpec model;
  model.num_hidden_layers = 2;
  model.qk_norm = true;
  for (const char* type : {"llama", "olmo2", "gemma2", "gemma4_text", "qwen3_next", "delta rule"}) {
    for (const std::int64_t experts : {0, 1}) {
      const bool linear = type == std::string_view("delta rule");
      model.model_type = linear ? "qwen3_next" : type;
      model.linear_layers = {false, linear};
      model.delta = {2, 4, 8, 8, 4};
      model.attention.gated = model.model_type == "qwen3_next";
      model.attention.v_norm = model.model_type == "gemma4_text";
      model.per_layer_input = {1, 1};
      model.moe.num_experts = experts;
      model.moe.shared_size = experts;
      model.moe.shared_gated = true;
      model.moe.router.bias = RouterSpec::Bias::kOwnType;
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

// A projection without a norm before it reads the stream; an MLP has no experts in between.
TEST(DataFlow, PassesThroughWhatAModelDoesNotHave) {
  ModelSpec model = model_of_names({"layer_00_output", "layer_01_attn_post_norm"});
  EXPECT_EQ(model.num_hidden_layers, 2);
  EXPECT_EQ(model.model_type, "olmo2");
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
