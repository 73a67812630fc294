#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "base/expect_error.h"
#include "base/temporary_directory.h"
#include "formats/gguf_builder.h"
#include "model/checkpoint.h"
#include "model/gguf_tokenizer.h"
#include "model/model.h"
#include "model/read_spec.h"
#include "models/gguf_config.h"

namespace assay {
namespace {

// The keys of every architecture: 2 layers, hidden 8, heads 4/2 of 2.
GgufBuilder sizes(const std::string& architecture) {
  const auto key = [&](const char* name) { return architecture + "." + name; };
  return GgufBuilder()
      .text("general.architecture", architecture)
      .u32(key("block_count"), 2)
      .u32(key("context_length"), 4096)
      .u32(key("embedding_length"), 8)
      .u32(key("feed_forward_length"), 16)
      .u32(key("attention.head_count"), 4)
      .u32(key("attention.head_count_kv"), 2)
      .f32(key("attention.layer_norm_rms_epsilon"), 1e-6F)
      .f32(key("rope.freq_base"), 500000)
      .counting("token_embd.weight", {10, 8})
      .counting("output_norm.weight", {8});
}

class GgufCheckpoint : public ::testing::Test {
 protected:
  std::filesystem::path write(const GgufBuilder& builder) const {
    write_text(directory_ / "m.gguf", builder.bytes());
    return directory_ / "m.gguf";
  }
  OrderedJson config(const GgufBuilder& builder) const { return read_config(write(builder)); }
  Weights weights(const GgufBuilder& builder) const {
    return open_weights(write(builder), DequantiseNow::kYes);
  }

  TemporaryDirectory directory_;
};

std::vector<float> floats(const Weights& weights, std::string_view name) {
  const ArrayView* view = weights.find(name);
  if (view == nullptr || view->dtype != DType::kF32) throw std::runtime_error(std::string(name));
  std::vector<float> values(view->bytes.size() / sizeof(float));
  std::memcpy(values.data(), view->bytes.data(), view->bytes.size());
  return values;
}

TEST_F(GgufCheckpoint, Qwen3) {
  const OrderedJson c = config(sizes("qwen3")
                                   .u32("qwen3.attention.key_length", 32)
                                   .u32("tokenizer.ggml.bos_token_id", 3)
                                   .u32("tokenizer.ggml.eos_token_id", 5)
                                   .u32("tokenizer.ggml.eot_token_id", 6)
                                   .u32("tokenizer.ggml.eom_token_id", 5));
  EXPECT_EQ(c["model_type"], "qwen3");
  EXPECT_EQ(c["vocab_size"], 10);
  EXPECT_EQ(c["hidden_size"], 8);
  EXPECT_EQ(c["intermediate_size"], 16);
  EXPECT_EQ(c["num_hidden_layers"], 2);
  EXPECT_EQ(c["num_attention_heads"], 4);
  EXPECT_EQ(c["num_key_value_heads"], 2);
  EXPECT_EQ(c["head_dim"], 32);
  EXPECT_EQ(c["max_position_embeddings"], 4096);
  EXPECT_EQ(c["rms_norm_eps"], 1e-6);
  EXPECT_EQ(c["rope_theta"], 500000);
  EXPECT_EQ(c["rope_scaling"], nullptr);
  EXPECT_EQ(c["tie_word_embeddings"], true);
  EXPECT_EQ(c["attention_bias"], false);
  EXPECT_EQ(c["bos_token_id"], 3);
  EXPECT_EQ(c["eos_token_id"], OrderedJson({5, 6}));
  const ModelSpec spec = read_spec(directory_ / "m.gguf");
  EXPECT_EQ(spec.head_dim, 32);
  EXPECT_EQ(read_eos_token_ids(directory_.path()), (std::vector<std::int64_t>{5, 6}));
}

TEST_F(GgufCheckpoint, AStoredHeadUnties) {
  EXPECT_EQ(config(sizes("qwen2").counting("output.weight", {10, 8}))["tie_word_embeddings"],
            false);
}

TEST_F(GgufCheckpoint, Qwen3Moe) {
  const OrderedJson c = config(sizes("qwen3moe")
                                   .u32("qwen3moe.expert_count", 8)
                                   .u32("qwen3moe.expert_used_count", 2)
                                   .u32("qwen3moe.expert_feed_forward_length", 6)
                                   .counting("blk.1.ffn_gate.weight", {16, 8}));
  EXPECT_EQ(c["model_type"], "qwen3_moe");
  EXPECT_EQ(c["num_experts"], 8);
  EXPECT_EQ(c["num_experts_per_tok"], 2);
  EXPECT_EQ(c["moe_intermediate_size"], 6);
  EXPECT_EQ(c["norm_topk_prob"], true);
  EXPECT_EQ(c["mlp_only_layers"], OrderedJson({1}));
}

TEST_F(GgufCheckpoint, Gemma2) {
  const OrderedJson c = config(sizes("gemma2").u32("gemma2.attention.sliding_window", 16));
  EXPECT_EQ(c["model_type"], "gemma2");
  EXPECT_EQ(c["hidden_activation"], "gelu_pytorch_tanh");
  EXPECT_EQ(c["attn_logit_softcapping"], 50);
  EXPECT_EQ(c["final_logit_softcapping"], 30);
  EXPECT_EQ(c["query_pre_attn_scalar"], 2);
  EXPECT_EQ(c["sliding_window"], 16);
  EXPECT_EQ(c["layer_types"], OrderedJson({"sliding_attention", "full_attention"}));
}

TEST_F(GgufCheckpoint, Gemma3) {
  GgufBuilder builder = sizes("gemma3").u32("gemma3.attention.sliding_window", 16);
  OrderedJson c = config(builder);
  EXPECT_EQ(c["model_type"], "gemma3_text");
  EXPECT_EQ(c["rope_local_base_freq"], 10000);
  EXPECT_EQ(c["layer_types"], OrderedJson({"sliding_attention", "sliding_attention"}));
  builder.text("gemma3.rope.scaling.type", "linear")
      .f32("gemma3.rope.scaling.factor", 8)
      .raw("gemma3.attention.sliding_window_pattern", 9,
           GgufBuilder::number(std::uint32_t{7}) + GgufBuilder::number(std::uint64_t{2}) +
               std::string("\0\1", 2));
  c = config(builder);
  EXPECT_EQ(c["rope_scaling"], OrderedJson({{"rope_type", "linear"}, {"factor", 8.0}}));
  EXPECT_EQ(c["layer_types"], OrderedJson({"full_attention", "sliding_attention"}));
}

std::vector<float> llama3_factors(double theta, double factor, std::size_t pairs) {
  std::vector<float> factors;
  for (std::size_t i = 0; i < pairs; ++i) {
    const double turns = 8192 / (2 * std::numbers::pi) *
                         std::pow(theta, -static_cast<double>(i) / static_cast<double>(pairs));
    const double smooth = std::clamp((turns - 1) / 3, 0.0, 1.0);
    factors.push_back(static_cast<float>(1 / ((1 - smooth) / factor + smooth)));
  }
  return factors;
}

TEST_F(GgufCheckpoint, LlamaRecognisesLlama3sFrequencies) {
  const auto scaling = [&](const std::vector<float>& factors) {
    const std::uint64_t pairs = factors.size();
    return config(sizes("llama")
                      .u32("llama.rope.dimension_count", 64)
                      .u32("llama.attention.key_length", 64)
                      .f32_tensor("rope_freqs.weight", {pairs}, factors))["rope_scaling"];
  };
  for (const double factor : {8.0, 32.0}) {
    EXPECT_EQ(scaling(llama3_factors(500000, factor, 32)),
              OrderedJson({{"rope_type", "llama3"},
                           {"factor", factor},
                           {"low_freq_factor", 1.0},
                           {"high_freq_factor", 4.0},
                           {"original_max_position_embeddings", 8192}}));
  }
  EXPECT_EQ(scaling(std::vector<float>(32, 1.0F)), nullptr);
  std::vector<float> others = llama3_factors(500000, 8, 32);
  others[20] *= 1.01F;
  const OrderedJson found = scaling(others);
  EXPECT_EQ(found["rope_type"], "longrope");
  EXPECT_EQ(found["attention_factor"], 1.0);
  EXPECT_EQ(found["short_factor"].get<std::vector<float>>(), others);
  EXPECT_EQ(found["long_factor"], found["short_factor"]);
  EXPECT_EQ(config(sizes("llama"))["model_type"], "llama");
  EXPECT_EQ(config(sizes("llama").u32("llama.attention.sliding_window", 16))["model_type"],
            "mistral");
}

TEST_F(GgufCheckpoint, Phi3) {
  const std::vector<float> small = {1.5F};
  const std::vector<float> large = {3.5F};
  GgufBuilder builder = sizes("phi3")
                            .u32("phi3.rope.dimension_count", 2)
                            .u32("phi3.attention.sliding_window", 0)
                            .u32("phi3.rope.scaling.original_context_length", 1024)
                            .f32_tensor("rope_factors_short.weight", {1}, small)
                            .f32_tensor("rope_factors_long.weight", {1}, large);
  GgufBuilder usual = builder;
  usual.f32("phi3.rope.scaling.attn_factor",
            static_cast<float>(std::sqrt(1 + std::log(4.0) / std::log(1024.0))));
  OrderedJson c = config(usual);
  EXPECT_EQ(c["model_type"], "phi3");
  EXPECT_EQ(c["partial_rotary_factor"], 1.0);
  EXPECT_EQ(c["sliding_window"], nullptr);
  EXPECT_EQ(c["original_max_position_embeddings"], 1024);
  EXPECT_EQ(
      c["rope_scaling"],
      OrderedJson({{"rope_type", "longrope"}, {"short_factor", {1.5}}, {"long_factor", {3.5}}}));
  c = config(builder.f32("phi3.rope.scaling.attn_factor", 1.25F));
  EXPECT_EQ(c["rope_scaling"]["attention_factor"], 1.25);
}

TEST_F(GgufCheckpoint, Yarn) {
  const auto builder = [] {
    return sizes("qwen2")
        .text("qwen2.rope.scaling.type", "yarn")
        .f32("qwen2.rope.scaling.factor", 4)
        .u32("qwen2.rope.scaling.original_context_length", 1024);
  };
  EXPECT_EQ(
      config(builder())["rope_scaling"],
      OrderedJson(
          {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 1024}}));
  expect_error(ErrorKind::kInput, {"rope.scaling.attn_factor", "1.5"},
               [&] { config(builder().f32("qwen2.rope.scaling.attn_factor", 1.5F)); });
}

TEST_F(GgufCheckpoint, WhatIsNotKnownIsNamed) {
  expect_error(ErrorKind::kInput,
               {"general.architecture", "'mamba'",
                "gemma2, gemma3, gemma4, glm4moe, gpt-oss, llama, minimax-m2, mistral3, olmo2"},
               [&] { config(sizes("mamba")); });
  expect_error(ErrorKind::kInput, {"m.gguf", "qwen3.context_length", "missing"}, [&] {
    config(GgufBuilder()
               .text("general.architecture", "qwen3")
               .u32("qwen3.block_count", 1)
               .u32("qwen3.embedding_length", 8)
               .u32("qwen3.feed_forward_length", 8)
               .u32("qwen3.attention.head_count", 2)
               .counting("token_embd.weight", {2, 8}));
  });
  expect_error(ErrorKind::kInput, {"rope.scaling.type", "'dynamic'"},
               [&] { config(sizes("qwen3").text("qwen3.rope.scaling.type", "dynamic")); });
  expect_error(ErrorKind::kInput, {"llama.expert_used_count", "missing"},
               [&] { config(sizes("llama").u32("llama.expert_count", 8)); });
  expect_error(ErrorKind::kInput, {"olmo2.attention.sliding_window", "OLMo 3"},
               [&] { config(sizes("olmo2").u32("olmo2.attention.sliding_window", 8)); });
  expect_error(ErrorKind::kInput, {"qwen3.logit_scale"},
               [&] { config(sizes("qwen3").f32("qwen3.logit_scale", 2)); });
}

TEST_F(GgufCheckpoint, PlainTensorsAreViewsOfTheFile) {
  const Weights w = weights(sizes("qwen3")
                                .counting("blk.1.attn_q.weight", {8, 8})
                                .counting("blk.1.ffn_norm.weight", {8})
                                .counting("blk.11.attn_k_norm.weight", {2})
                                .counting("blk.0.something.weight", {2}));
  EXPECT_TRUE(w.in_place());
  const auto inside = w.mapped(0);
  for (const char* name :
       {"model.embed_tokens.weight", "model.norm.weight", "model.layers.1.self_attn.q_proj.weight",
        "model.layers.1.post_attention_layernorm.weight", "model.layers.11.self_attn.k_norm.weight",
        "blk.0.something.weight"}) {
    const ArrayView* view = w.find(name);
    ASSERT_NE(view, nullptr) << name;
    EXPECT_GE(view->bytes.data(), inside.data()) << name;
    EXPECT_LE(view->bytes.data() + view->bytes.size(), inside.data() + inside.size()) << name;
  }
  EXPECT_EQ(w.tensors().size(), 6u);
  EXPECT_EQ(w.find("model.embed_tokens.weight")->shape, (Shape{10, 8}));
  EXPECT_EQ(w.files().front(), directory_ / "m.gguf");
}

TEST_F(GgufCheckpoint, LlamasRowsAreInTheOriginalOrder) {
  const std::vector<float> bias = {0, 1, 2, 3};
  GgufBuilder builder = sizes("llama")
                            .counting("blk.0.attn_q.weight", {16, 1})  // 4 heads of 4 rows
                            .counting("blk.0.attn_k.weight", {8, 1})   // 2 heads of 4
                            .counting("blk.0.attn_v.weight", {8, 1})
                            .f32_tensor("blk.0.attn_k.bias", {4}, bias);
  const Weights w = weights(builder);
  EXPECT_FALSE(w.in_place());
  const std::string at = "model.layers.0.self_attn.";
  EXPECT_EQ(floats(w, at + "q_proj.weight"),
            (std::vector<float>{0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15}));
  EXPECT_EQ(floats(w, at + "k_proj.weight"), (std::vector<float>{0, 2, 1, 3, 4, 6, 5, 7}));
  EXPECT_EQ(floats(w, at + "v_proj.weight"), (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(floats(w, at + "k_proj.bias"), (std::vector<float>{0, 1, 2, 3}));
  // In heads of 8 rows, the two rows of a pair are four apart.
  const Weights wide = weights(sizes("llama").counting("blk.0.attn_k.weight", {16, 1}));
  EXPECT_EQ(floats(wide, at + "k_proj.weight"),
            (std::vector<float>{0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15}));
}

TEST_F(GgufCheckpoint, ReorderedHalvesStayHalves) {
  std::string data;
  for (std::uint16_t i = 0; i < 16; ++i) data += GgufBuilder::number(i);
  const Weights w =
      weights(sizes("llama").tensor("blk.0.attn_q.weight", {16, 1}, GgmlType::kF16, data));
  const ArrayView* view = w.find("model.layers.0.self_attn.q_proj.weight");
  ASSERT_NE(view, nullptr);
  ASSERT_EQ(view->dtype, DType::kF16);
  EXPECT_EQ(view->as<std::uint16_t>()[1], 2);
  EXPECT_EQ(view->as<std::uint16_t>()[2], 1);
}

TEST_F(GgufCheckpoint, GemmasNormsAreLessOne) {
  const Weights w = weights(sizes("gemma2")
                                .counting("blk.0.attn_norm.weight", {8})
                                .counting("blk.0.ffn_norm.weight", {8})
                                .counting("blk.0.post_ffw_norm.weight", {8})
                                .counting("blk.0.ffn_up.weight", {2, 8}));
  const std::vector<float> expected = {-1, 0, 1, 2, 3, 4, 5, 6};
  EXPECT_EQ(floats(w, "model.norm.weight"), expected);
  EXPECT_EQ(floats(w, "model.layers.0.input_layernorm.weight"), expected);
  EXPECT_EQ(floats(w, "model.layers.0.pre_feedforward_layernorm.weight"), expected);
  EXPECT_EQ(floats(w, "model.layers.0.post_feedforward_layernorm.weight"), expected);
  EXPECT_EQ(floats(w, "model.layers.0.mlp.up_proj.weight")[1], 1);
}

// Two key heads of two rows, four value heads of one.
GgufBuilder with_delta_rule(const std::string& architecture) {
  const auto key = [&](const char* name) { return architecture + ".ssm." + name; };
  return sizes(architecture)
      .u32(key("group_count"), 2)
      .u32(key("time_step_rank"), 4)
      .u32(key("state_size"), 2)
      .u32(key("inner_size"), 4)
      .u32(key("conv_kernel"), 3);
}

TEST_F(GgufCheckpoint, ADeltaRulesHeadsAreBesideTheirKeyHeads) {
  const Weights w = weights(with_delta_rule("qwen35")
                                .counting("blk.0.attn_qkv.weight", {12, 1})
                                .counting("blk.0.ssm_alpha.weight", {4, 2})
                                .counting("blk.0.ssm_conv1d.weight", {12, 1})
                                .f32_tensor("blk.0.ssm_a", {4}, std::vector<float>{-1, -2, -3, -4})
                                .counting("blk.0.ssm_dt.bias", {4})
                                .counting("blk.0.ssm_norm.weight", {1})
                                .counting("blk.0.ssm_out.weight", {2, 4})
                                .counting("blk.0.attn_norm.weight", {2}));
  const std::string at = "model.layers.0.linear_attn.";
  const std::vector<float> rows = {0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 9, 11};
  EXPECT_EQ(floats(w, at + "in_proj_qkv.weight"), rows);
  EXPECT_EQ(floats(w, at + "conv1d.weight"), rows);
  EXPECT_EQ(w.find(at + "conv1d.weight")->shape, (Shape{12, 1, 1}));
  EXPECT_EQ(floats(w, at + "in_proj_a.weight"), (std::vector<float>{0, 1, 4, 5, 2, 3, 6, 7}));
  EXPECT_EQ(floats(w, at + "A_log"), (std::vector<float>{0, 1.0986123F, 0.6931472F, 1.3862944F}));
  EXPECT_EQ(floats(w, at + "dt_bias"), (std::vector<float>{0, 2, 1, 3}));
  EXPECT_EQ(floats(w, at + "norm.weight"), std::vector<float>{0}) << "not stored plus one";
  EXPECT_EQ(floats(w, at + "out_proj.weight"), (std::vector<float>{0, 2, 1, 3, 4, 6, 5, 7}));
  EXPECT_EQ(floats(w, "model.layers.0.input_layernorm.weight"), (std::vector<float>{-1, 0}));
  expect_error(ErrorKind::kInput, {"blk.0.attn_gate.weight", "[6, 1]", "4 in the place of 6"}, [&] {
    weights(with_delta_rule("qwen35").counting("blk.0.attn_gate.weight", {6, 1}));
  });
}

TEST_F(GgufCheckpoint, Qwen3NextsProjectionIsWhole) {
  const std::string name = "model.layers.0.linear_attn.in_proj_qkvz.weight";
  const std::vector<float> expected = {0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15};
  std::vector<float> z = {12, 13, 14, 15};
  GgufBuilder builder = with_delta_rule("qwen3next")
                            .counting("blk.0.attn_qkv.weight", {12, 1})
                            .f32_tensor("blk.0.attn_gate.weight", {4, 1}, z);
  EXPECT_EQ(floats(weights(builder), name), expected);
  const Weights older =
      weights(with_delta_rule("qwen3next").counting("blk.0.ssm_in.weight", {16, 1}));
  EXPECT_EQ(floats(older, name)[2], 2);
  expect_error(ErrorKind::kInput, {"blk.0.attn_gate.weight", "missing"}, [&] {
    weights(with_delta_rule("qwen3next").counting("blk.0.attn_qkv.weight", {12, 1}));
  });
}

TEST_F(GgufCheckpoint, ExpertsAreSeparateTensors) {
  GgufBuilder builder = sizes("qwen3moe").counting("blk.0.ffn_up_exps.weight", {3, 2, 4});
  const Weights w = weights(builder);
  EXPECT_TRUE(w.in_place());
  EXPECT_EQ(w.find("model.layers.0.mlp.experts.2.up_proj.weight")->shape, (Shape{2, 4}));
  EXPECT_EQ(floats(w, "model.layers.0.mlp.experts.2.up_proj.weight"),
            (std::vector<float>{16, 17, 18, 19, 20, 21, 22, 23}));
  expect_error(ErrorKind::kInput, {"blk.0.ffn_up_exps.weight", "[experts, out, in]"}, [&] {
    weights(sizes("qwen3moe").counting("blk.0.ffn_up_exps.weight", {3, 2}));
  });
}

TEST_F(GgufCheckpoint, PhisFusedProjectionsStayFused) {
  const Weights w = weights(sizes("phi3")
                                .counting("blk.0.attn_qkv.weight", {16, 8})
                                .counting("blk.0.ffn_up.weight", {32, 8}));
  EXPECT_NE(w.find("model.layers.0.self_attn.qkv_proj.weight"), nullptr);
  EXPECT_NE(w.find("model.layers.0.mlp.gate_up_proj.weight"), nullptr);
}

// A Q8_0 matrix: scale 0.5 times the bytes.
std::string q8_0(std::size_t blocks) {
  std::string data;
  for (std::size_t b = 0; b < blocks; ++b) {
    data += GgufBuilder::number<std::uint16_t>(0x3800);
    for (std::size_t i = 0; i < 32; ++i) data += static_cast<char>(b + i);
  }
  return data;
}

TEST_F(GgufCheckpoint, QuantisedTensorsAreMadeWhenAskedFor) {
  const std::filesystem::path file =
      write(sizes("llama")
                .tensor("blk.0.attn_v.weight", {4, 32}, GgmlType::kQ8_0, q8_0(4))
                .tensor("blk.0.attn_q.weight", {16, 32}, GgmlType::kQ8_0, q8_0(16)));
  const Weights made = open_weights(file, DequantiseNow::kYes);
  const std::string at = "model.layers.0.self_attn.";
  const std::vector<float> v = floats(made, at + "v_proj.weight");
  ASSERT_EQ(v.size(), 128u);
  EXPECT_EQ(v[33], 1.0F);  // block 1, element 1: (1 + 1) / 2
  const std::vector<float> q = floats(made, at + "q_proj.weight");
  EXPECT_EQ(q[32], 1.0F);  // row 1 is the file's row 2
  EXPECT_EQ(q[64], 0.5F);
  const Weights planned = open_weights(file, DequantiseNow::kNo);
  EXPECT_EQ(planned.find(at + "v_proj.weight")->shape, (Shape{4, 32}));
  EXPECT_TRUE(planned.find(at + "v_proj.weight")->bytes.empty());
  for (const Weights* w : {&made, &planned}) {
    EXPECT_FALSE(w->in_place());
    EXPECT_EQ(w->total_bytes(), (80u + 8 + 128 + 512) * 4);
  }
}

// Merges by score: "ab" before "bc", so "abc" is "ab" "c".
GgufBuilder sentencepiece(const std::string& architecture) {
  return sizes(architecture)
      .text("tokenizer.ggml.model", "llama")
      .texts("tokenizer.ggml.tokens",
             {"<unk>", "<s>", "</s>", "<0x41>", "a", "b", "c", "bc", "ab", "abc", "\u2581"})
      .numbers<float>("tokenizer.ggml.scores", 6, {0, 0, 0, 0, -1, -2, -3, -5, -4, -6, -7})
      .numbers<std::int32_t>("tokenizer.ggml.token_type", 5, {2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 1})
      .u32("tokenizer.ggml.bos_token_id", 1)
      .u32("tokenizer.ggml.eos_token_id", 2);
}

OrderedJson tokenizer_json(const std::filesystem::path& file) {
  return OrderedJson::parse(gguf_tokenizer_json(GgufFile(file)));
}

TEST_F(GgufCheckpoint, ScoresBecomeMerges) {
  const OrderedJson json = tokenizer_json(write(sentencepiece("llama")));
  EXPECT_EQ(json["model"]["merges"],
            OrderedJson::parse(R"([["a","b"],["b","c"],["ab","c"],["a","bc"]])"));
  EXPECT_EQ(json["model"]["byte_fallback"], true);
  EXPECT_EQ(json["model"]["unk_token"], "<unk>");
  EXPECT_EQ(json["model"]["vocab"]["abc"], 9);
  EXPECT_EQ(json["added_tokens"].size(), 3u);
  EXPECT_EQ(json["normalizer"]["normalizers"][0]["type"], "Prepend");
  EXPECT_EQ(json["post_processor"]["single"][0]["SpecialToken"]["id"], "<s>");
  EXPECT_EQ(json["post_processor"]["special_tokens"]["<s>"]["ids"], OrderedJson({1}));
}

TEST_F(GgufCheckpoint, GemmasMergesGoByNumber) {
  const OrderedJson json = tokenizer_json(
      write(sentencepiece("gemma2").boolean("tokenizer.ggml.add_space_prefix", false)));
  EXPECT_EQ(json["model"]["merges"],
            OrderedJson::parse(R"([["b","c"],["a","b"],["ab","c"],["a","bc"]])"));
  EXPECT_EQ(json["normalizer"]["type"], "Replace");
}

TEST_F(GgufCheckpoint, ByteLevelVocabulariesAreTakenAsTheyAre) {
  const auto builder = [](const char* pre) {
    return sizes("qwen3")
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", pre)
        .texts("tokenizer.ggml.tokens", {"a", "\"", "a\"", "<x>", "<y>", "[PAD5]", "[PAD7]"})
        .numbers<std::int32_t>("tokenizer.ggml.token_type", 5, {1, 1, 1, 3, 4, 5, 5})
        .texts("tokenizer.ggml.merges", {"a \""})
        .u32("tokenizer.ggml.bos_token_id", 3);
  };
  OrderedJson json = tokenizer_json(write(builder("qwen2")));
  EXPECT_EQ(json["normalizer"]["type"], "NFC");
  EXPECT_EQ(json["model"]["merges"], OrderedJson({"a \""}));
  EXPECT_EQ(json["model"]["vocab"].size(), 6u);  // without the filler [PAD5]
  EXPECT_EQ(json["added_tokens"][0]["special"], true);
  EXPECT_EQ(json["added_tokens"][1]["special"], false);
  EXPECT_EQ(json["post_processor"]["type"], "ByteLevel");
  json = tokenizer_json(write(builder("llama-bpe")));
  EXPECT_EQ(json["model"]["ignore_merges"], true);
  EXPECT_EQ(json["post_processor"]["processors"][1]["single"][0]["SpecialToken"]["id"], "<x>");
  json = tokenizer_json(write(builder("llama-bpe").boolean("tokenizer.ggml.add_bos_token", false)));
  EXPECT_EQ(json["post_processor"]["type"], "ByteLevel");
  expect_error(ErrorKind::kInput, {"tokenizer.ggml.pre", "'nobody-knows'", "docs/gguf.md"},
               [&] { tokenizer_json(write(builder("nobody-knows"))); });
}

// llama.cpp's names; their patterns compile.
TEST_F(GgufCheckpoint, EveryPreTokenizerIsRead) {
  for (const char* pre :
       {"default",  "llama-bpe",  "dbrx",         "chatglm-bpe",    "tekken",
        "gpt-4o",   "qwen2",      "qwen35",       "stablelm2",      "gpt-2",
        "smollm",   "jais-2",     "deepseek-llm", "deepseek-coder", "deepseek-v3",
        "youtu",    "falcon",     "bloom",        "viking",         "chameleon",
        "tiny_aya", "kimi-k2",    "superbpe",     "bailingmoe",     "seed-coder",
        "ufakzeka", "afmoe",      "laguna",       "exaone-moe",     "minicpm5",
        "gemma4",   "starcoder",  "command-r",    "olmo",           "granite-embed-multi-97m",
        "spark2.5", "k2-horizon", "whitespace"}) {
    SCOPED_TRACE(pre);
    const auto file =
        write(sizes("llama")
                  .text("tokenizer.ggml.model", "gpt2")
                  .text("tokenizer.ggml.pre", pre)
                  .texts("tokenizer.ggml.tokens", {"1", "2", "a", "12", "<s>"})
                  .numbers<std::int32_t>("tokenizer.ggml.token_type", 5, {1, 1, 1, 1, 3})
                  .texts("tokenizer.ggml.merges", {"1 2"})
                  .u32("tokenizer.ggml.bos_token_id", 4));
    const Tokenizer tokenizer = load_tokenizer(file);
    EXPECT_EQ(tokenizer.encode("aa"), (std::vector<std::int64_t>{2, 2}));
    if (pre == std::string_view("smollm") || pre == std::string_view("spark2.5")) {
      // One piece per digit.
      EXPECT_EQ(tokenizer.encode("12"), (std::vector<std::int64_t>{0, 1}));
    }
  }
}

TEST_F(GgufCheckpoint, WhitespaceKeepsWordsAsTheyAre) {
  const auto file = write(sizes("llama")
                              .text("tokenizer.ggml.model", "gpt2")
                              .text("tokenizer.ggml.pre", "whitespace")
                              .texts("tokenizer.ggml.tokens", {"\u00E9", "a", " ", "a\u00E9", " a"})
                              .texts("tokenizer.ggml.merges", {"a \u00E9"}));
  const Tokenizer tokenizer = load_tokenizer(file);
  const std::vector<std::int64_t> ids = {1, 2, 3, 2, 3};  // x has no token
  EXPECT_EQ(tokenizer.encode("a a\u00E9x a\u00E9"), ids);
  EXPECT_EQ(tokenizer.decode(ids), "a a\u00E9 a\u00E9");
}

TEST_F(GgufCheckpoint, WrongVocabulariesAreNamed) {
  expect_error(ErrorKind::kInput, {"tokenizer.ggml.model", "'t5'"},
               [&] { tokenizer_json(write(sizes("qwen3").text("tokenizer.ggml.model", "t5"))); });
  const auto with = [&](const std::vector<std::string>& tokens) {
    return tokenizer_json(write(sizes("llama")
                                    .text("tokenizer.ggml.model", "llama")
                                    .texts("tokenizer.ggml.tokens", tokens)));
  };
  expect_error(ErrorKind::kInput, {"tokens", "missing or empty"}, [&] { with({}); });
  expect_error(ErrorKind::kInput, {"tokens", "duplicate token 'a'"}, [&] { with({"a", "a"}); });
  expect_error(ErrorKind::kInput, {"tokens", "token 1 is not valid UTF-8"}, [&] {
    with({"a", "\xFF"});
  });
  expect_error(ErrorKind::kInput, {"bos_token_id", "missing"}, [&] { with({"a"}); });
}

TEST_F(GgufCheckpoint, TheChatTemplateIsInTheFile) {
  const auto builder = [](std::string_view text =
                              "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}",
                          const std::string& end = "</s>") {
    return sizes("qwen3")
        .texts("tokenizer.ggml.tokens", {"a", "<s>", end})
        .u32("tokenizer.ggml.bos_token_id", 1)
        .text("tokenizer.chat_template", text);
  };
  const auto render = [this](const GgufBuilder& file, std::string tools = "") {
    const Conversation chat = {R"([{"role": "user", "content": "hi"}])", std::move(tools), "chat"};
    return load_chat_template(write(file)).render({&chat, 1}).front();
  };
  EXPECT_EQ(render(builder()), "<s>hi");
  EXPECT_EQ(render(builder().u32("tokenizer.ggml.eos_token_id", 2)), "<s>hi</s>");
  const auto with_more = builder()
                             .texts("tokenizer.chat_templates", {"tool_use"})
                             .text("tokenizer.chat_template.tool_use", "tools: {{ tools[0].x }}");
  EXPECT_EQ(render(with_more), "<s>hi");
  EXPECT_EQ(render(with_more, R"([{"x": 1}])"), "tools: 1");

  expect_error(ErrorKind::kInput, {"m.gguf: key 'tokenizer.chat_template'", "missing"},
               [&] { render(sizes("qwen3")); });
  expect_error(ErrorKind::kInput, {"tokenizer.chat_template.rag", "missing"},
               [&] { render(builder().texts("tokenizer.chat_templates", {"rag"})); });
  expect_error(ErrorKind::kInput, {"tokenizer.ggml.eos_token_id", "3", "below 3"},
               [&] { render(builder().u32("tokenizer.ggml.eos_token_id", 3)); });
  expect_error(ErrorKind::kInput, {"tokenizer.chat_template", "invalid UTF-8 at byte 1"},
               [&] { render(builder("a\xFF")); });
  expect_error(ErrorKind::kInput, {"tokenizer.chat_template", "eos_token", "invalid UTF-8"},
               [&] { render(builder("a", "\xFF").u32("tokenizer.ggml.eos_token_id", 2)); });
}

TEST_F(GgufCheckpoint, QuantisedOnesAreNotStreamed) {
  const std::filesystem::path file =
      write(sizes("qwen3")
                .u32("qwen3.attention.key_length", 2)
                .tensor("blk.0.attn_v.weight", {4, 32}, GgmlType::kQ8_0, q8_0(4)));
  expect_error(ErrorKind::kUsage, {"--stream", "m.gguf"}, [&] { load_model(file, true); });
}

}  // namespace
}  // namespace assay
