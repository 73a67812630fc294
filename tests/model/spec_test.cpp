#include "models/spec.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <variant>

#include "assay/error.h"
#include "model/families.h"
#include "model/read_spec.h"
#include "models/program.h"
#include "models/taps.h"
#include "models/text_tower.h"

namespace assay {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// The RoPE parameters by which the layer's program rotates.
RopeParameters rope_of(const ModelSpec& spec, std::int64_t layer) {
  const Block block = layer_of(spec, layer);
  const Step& step = block.steps[*block.step_showing(Tap::kQRope)];
  return ropes_of(spec).at(std::get<Rotate>(step.operation).table);
}

class SpecTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = fs::path(testing::TempDir()) / ("assay-spec-" + std::to_string(::getpid()));
    fs::create_directories(directory_);
    std::ifstream(ASSAY_ROOT "/models/tiny-qwen3/config.json") >> config_;
  }
  void TearDown() override { fs::remove_all(directory_); }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(directory_ / name) << text;
  }
  ModelSpec read(const Json& config) const {
    write("config.json", config.dump());
    return read_spec(directory_);
  }
  // The error for this config.
  std::string error_of(const Json& config) const {
    try {
      read(config);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInput);
      EXPECT_NE(error.where().find("config.json"), std::string::npos) << error.what();
      return error.what();
    }
    return "no error";
  }

  fs::path directory_;
  Json config_;
};

TEST_F(SpecTest, ReadsTheBundledModel) {
  const ModelSpec spec = read(config_);
  EXPECT_EQ(spec.num_hidden_layers, 28);
  EXPECT_EQ(spec.hidden_size, 64);
  EXPECT_EQ(spec.head_dim, 32);
  EXPECT_EQ(spec.q_size(), 128);
  EXPECT_EQ(spec.kv_size(), 64);
  EXPECT_EQ(spec.rms_norm_eps, 1e-6);
  EXPECT_EQ(spec.rope_parameters.theta, 1e6);
  EXPECT_TRUE(spec.tie_word_embeddings);
  EXPECT_TRUE(spec.qk_norm);
}

TEST_F(SpecTest, ReadsTheLayoutOfTransformers5) {
  config_.erase("rope_theta");
  config_.erase("rope_scaling");
  config_["rope_parameters"] = {{"rope_theta", 5000000.0}, {"rope_type", "default"}};
  EXPECT_EQ(read(config_).rope_parameters.theta, 5e6);
}

TEST_F(SpecTest, EveryNeededFieldIsNamedWhenItIsMissingOrWrong) {
  for (const char* field : {"model_type", "vocab_size", "hidden_size", "intermediate_size",
                            "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
                            "head_dim", "max_position_embeddings", "rms_norm_eps"}) {
    Json missing = config_;
    missing.erase(field);
    EXPECT_NE(error_of(missing).find("'" + std::string(field) + "': missing"), std::string::npos)
        << error_of(missing);
    for (const Json& wrong : {Json::array(), Json(-1), Json(true)}) {
      Json config = config_;
      config[field] = wrong;
      EXPECT_NE(error_of(config).find("'" + std::string(field) + "'"), std::string::npos) << field;
    }
  }
  for (const Json& wrong : {Json(0), Json(1.5), Json("64"), Json(1e300), Json(4294967296)}) {
    Json config = config_;
    config["hidden_size"] = wrong;
    EXPECT_NE(error_of(config).find("expected a positive integer"), std::string::npos) << wrong;
  }
}

TEST_F(SpecTest, WhatItDoesNotComputeIsRefused) {
  const std::vector<std::pair<std::string, Json>> unsupported = {
      {"model_type", "gpt2"},
      {"hidden_act", "gelu"},
      {"rope_scaling", {{"rope_type", "magic"}, {"factor", 4.0}}},
      {"rope_parameters", {{"rope_type", "magic"}, {"rope_theta", 1e6}}},
      {"num_key_value_heads", 3},
      {"head_dim", 33}};
  for (const auto& [field, value] : unsupported) {
    Json config = config_;
    config[field] = value;
    EXPECT_NE(error_of(config).find(field.starts_with("rope") ? "rope_type" : field),
              std::string::npos)
        << error_of(config);
  }
}

TEST_F(SpecTest, ReadsEveryModelType) {
  std::set<std::string> seen;
  for (const auto& [name, config] : family_configs()) {
    SCOPED_TRACE(name);
    const ModelSpec spec = read(config);
    seen.insert(spec.model_type);
    EXPECT_EQ(spec.num_hidden_layers, config["num_hidden_layers"]);
    // Gemma 4 has one for each type of layer instead.
    if (spec.model_type != "gemma4_text") {
      EXPECT_EQ(spec.rope_parameters.theta, 10000);
    }
  }
  for (const std::string& tower : tower_types()) seen.insert(tower);
  const std::vector<std::string> types = model_types();
  EXPECT_EQ(seen, std::set<std::string>(types.begin(), types.end()));
}

Json config_of(const std::string& type) {
  for (const auto& [name, config] : family_configs()) {
    if (config["model_type"] == type) return config;
  }
  return {};
}

TEST_F(SpecTest, WindowsAreWhereTheTypeHasThem) {
  const auto layers = [](const ModelSpec& spec) {
    std::string text;
    for (std::int64_t l = 0; l < spec.num_hidden_layers; ++l)
      text += spec.is_sliding(l) ? 's' : 'f';
    return text;
  };
  EXPECT_EQ(layers(read(config_of("qwen3"))), "fss");
  EXPECT_EQ(layers(read(config_of("qwen2"))), "fff");
  EXPECT_EQ(layers(read(config_of("mistral"))), "sss");
  EXPECT_EQ(layers(read(config_of("gemma2"))), "sfs");
  EXPECT_EQ(layers(read(config_of("gemma3_text"))), "sfs");
  Json config = config_of("gemma2");
  config["layer_types"] = {"full_attention", "full_attention", "sliding_attention"};
  EXPECT_EQ(layers(read(config)), "ffs");
  config["layer_types"] = {"full_attention", "chunked_attention", "sliding_attention"};
  EXPECT_NE(error_of(config).find("chunked_attention"), std::string::npos);
  config["layer_types"] = {"full_attention"};
  EXPECT_NE(error_of(config).find("3 (num_hidden_layers)"), std::string::npos);
  config = config_of("mistral");
  config["sliding_window"] = nullptr;
  EXPECT_EQ(layers(read(config)), "fff");
  config.erase("sliding_window");  // transformers' default
  EXPECT_EQ(read(config).attention.window, 4096);
}

TEST_F(SpecTest, GemmaIsGemma) {
  const ModelSpec spec = read(config_of("gemma2"));
  EXPECT_DOUBLE_EQ(spec.embedding.scale, std::sqrt(70.0));
  EXPECT_TRUE(spec.norm.one_plus && spec.norm.rounded_once);
  EXPECT_TRUE(has_tap(Tap::kInputNorm, 0, spec) && has_tap(Tap::kAttnPostNorm, 0, spec));
  EXPECT_EQ(spec.mlp.activation, Activation::kGeluTanh);
  EXPECT_DOUBLE_EQ(spec.attention.scale, 1 / std::sqrt(30.0));
  EXPECT_EQ(spec.attention.softcap, 5);
  EXPECT_EQ(spec.head.softcap, 3);
  EXPECT_FALSE(spec.qk_norm);
  Json config = config_of("gemma2");
  config["attn_logit_softcapping"] = nullptr;
  EXPECT_EQ(read(config).attention.softcap, 0);
  config["use_bidirectional_attention"] = true;
  EXPECT_NE(error_of(config).find("use_bidirectional_attention"), std::string::npos);

  const ModelSpec third = read(config_of("gemma3_text"));
  EXPECT_TRUE(third.qk_norm);
  EXPECT_EQ(rope_of(third, 0).theta, 100);
  EXPECT_EQ(rope_of(third, 1).theta, 10000);
  config = config_of("gemma3_text");
  config["rope_parameters"] = {
      {"full_attention", {{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 5e5}}},
      {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 70.0}}}};
  EXPECT_EQ(rope_of(read(config), 1).factor, 8);
  EXPECT_EQ(rope_of(read(config), 1).theta, 5e5);
  EXPECT_EQ(rope_of(read(config), 0).theta, 70);
}

TEST_F(SpecTest, MoesAreChecked) {
  Json config = config_of("qwen3_moe");
  const ModelSpec spec = read(config);
  EXPECT_TRUE(spec.is_sparse(0) && !spec.is_sparse(1) && spec.is_sparse(2));
  config["decoder_sparse_step"] = 3;
  EXPECT_TRUE(!read(config).is_sparse(0) && read(config).is_sparse(2));
  config["num_experts_per_tok"] = 10;
  EXPECT_NE(error_of(config).find("at most 9 (num_experts)"), std::string::npos);
  config.erase("num_experts");
  EXPECT_NE(error_of(config).find("'num_experts': missing"), std::string::npos);
  config["num_experts_per_tok"] = 3;
  config["num_local_experts"] = 11;
  EXPECT_EQ(read(config).moe.num_experts, 11);
  config["num_local_experts"] = kMostExperts + 1;
  EXPECT_NE(error_of(config).find("at most 1024"), std::string::npos);
}

TEST_F(SpecTest, RoutersAreOfTheirTypes) {
  const RouterSpec glm = read(config_of("glm4_moe")).moe.router;
  EXPECT_TRUE(glm.fp32_logits && glm.function == RouterFunction::kSigmoid && !glm.rounded);
  EXPECT_EQ(glm.bias, RouterSpec::Bias::kOwnType);
  EXPECT_EQ(glm.groups, 4);
  EXPECT_EQ(glm.factor, 2.5);
  Json config = config_of("glm4_moe");
  config["n_group"] = 5;
  EXPECT_NE(error_of(config).find("divisor of n_routed_experts"), std::string::npos);
  config["n_group"] = 12;
  EXPECT_NE(error_of(config).find("at least 2 experts"), std::string::npos);
  config["n_group"] = 2;
  config["topk_group"] = 3;
  EXPECT_NE(error_of(config).find("at most n_group"), std::string::npos);
  config = config_of("minimax_m2");
  EXPECT_EQ(read(config).rope.dims, 12);
  EXPECT_EQ(read(config).moe.router.bias, RouterSpec::Bias::kRounded);
  config["rotary_dim"] = 23;
  EXPECT_NE(error_of(config).find("'rotary_dim'"), std::string::npos);
  config = config_of("olmoe");
  config["clip_qkv"] = 8.0;
  EXPECT_NE(error_of(config).find("clip_qkv"), std::string::npos);
}

// The language model's config within a multimodal one, with the fields that its class fills in.
TEST_F(SpecTest, TextTowersAreRead) {
  Json text = {
      {"model_type", "gemma3_text"}, {"hidden_size", 2560},
      {"intermediate_size", 10240},  {"num_hidden_layers", 34},
      {"sliding_window", 1024},      {"rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}}};
  Json config = {
      {"model_type", "gemma3"}, {"text_config", text}, {"vision_config", Json::object()}};
  const ModelSpec gemma = read(config);
  EXPECT_EQ(gemma.model_type, "gemma3_text");
  EXPECT_EQ(gemma.num_attention_heads, 8);
  EXPECT_EQ(gemma.head_dim, 256);
  EXPECT_EQ(gemma.vocab_size, 262208);
  EXPECT_TRUE(gemma.tie_word_embeddings);
  config["tie_word_embeddings"] = false;
  EXPECT_FALSE(read(config).tie_word_embeddings);
  config["text_config"]["model_type"] = "llama";
  EXPECT_NE(error_of(config).find("\"gemma3_text\" within a gemma3"), std::string::npos);
  config.erase("text_config");
  EXPECT_NE(error_of(config).find("'text_config': missing"), std::string::npos);
  text = config_of("qwen3_moe");
  text["model_type"] = "qwen3_vl_moe_text";
  text["norm_topk_prob"] = false;  // the class has no such field
  text.erase("rope_theta");
  const ModelSpec qwen = read({{"model_type", "qwen3_vl_moe"}, {"text_config", text}});
  EXPECT_EQ(qwen.model_type, "qwen3_moe");
  EXPECT_TRUE(qwen.moe.router.norm_topk_prob && qwen.exchanged_experts);
  EXPECT_EQ(qwen.rope_parameters.theta, 500000);
}

// Which layers have a delta rule, and its sizes.
TEST_F(SpecTest, LinearLayersAreRead) {
  Json config = config_of("qwen3_5_text");
  config["num_hidden_layers"] = 4;
  config.erase("full_attention_interval");
  for (const char* field : {"linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim",
                            "linear_value_head_dim"}) {
    config.erase(field);
  }
  ModelSpec spec = read(config);
  EXPECT_EQ(spec.linear_layers, (std::vector<bool>{true, true, true, false}));
  EXPECT_EQ(spec.delta.value_heads, 32);
  EXPECT_EQ(spec.delta.conv_size(), 2 * 16 * 128 + 32 * 128);
  EXPECT_EQ(spec.delta.conv_taps, 4);
  EXPECT_EQ(spec.rope.dims, 6);  // a quarter of 24
  EXPECT_TRUE(spec.norm.one_plus && spec.norm.rounded_once);
  config["layer_types"] = {"full_attention", "linear_attention", "full_attention",
                           "linear_attention"};
  spec = read(config);
  EXPECT_EQ(spec.linear_layers, (std::vector<bool>{false, true, false, true}));
  EXPECT_TRUE(layer_of(spec, 0).find(Tap::kAttnGated));
  EXPECT_FALSE(layer_of(spec, 1).find(Tap::kQProj));
  config["layer_types"][1] = "sliding_attention";
  EXPECT_NE(error_of(config).find("\"linear_attention\" or \"full_attention\""), std::string::npos);
  config.erase("layer_types");
  config["linear_num_value_heads"] = 20;
  EXPECT_NE(error_of(config).find("a multiple of linear_num_key_heads (16)"), std::string::npos);
  config["linear_num_value_heads"] = 32;
  config["hidden_act"] = "gelu_pytorch_tanh";
  EXPECT_NE(error_of(config).find("\"silu\""), std::string::npos);
  Json text = config_of("qwen3_5_moe_text");
  text.erase("intermediate_size");  // the class has no such field
  const ModelSpec within = read({{"model_type", "qwen3_5_moe"}, {"text_config", text}});
  EXPECT_EQ(within.model_type, "qwen3_5_moe_text");
  EXPECT_TRUE(within.moe.router.norm_topk_prob && within.moe.shared_gated);
}

TEST_F(SpecTest, OneExpertIsNumberedToo) {
  Json config = config_of("qwen3_moe");
  config["num_experts"] = 1;
  config["num_experts_per_tok"] = 1;
  const Block layer = layer_of(read(config), 0);
  const auto experts = std::ranges::find_if(layer.steps, [](const Step& step) {
    return std::holds_alternative<ExpertLinear>(step.operation);
  });
  ASSERT_NE(experts, layer.steps.end());
  EXPECT_EQ(each_tensor(*experts).front().name, "model.layers.0.mlp.experts.0.gate_proj.weight");
}

TEST_F(SpecTest, MaxWindowLayersIsOneNumber) {
  Json config = config_of("qwen3");
  for (const Json& bad : {Json::array(), Json::array({1}), Json(-1), Json(0.5)}) {
    config["max_window_layers"] = bad;
    EXPECT_NE(error_of(config).find("'max_window_layers'"), std::string::npos) << bad;
  }
}

TEST_F(SpecTest, SizesBeyondEveryModelAreRefused) {
  Json config = config_of("llama");
  config["head_dim"] = kMostHeadDim + 2;
  EXPECT_NE(error_of(config).find("at most 65536"), std::string::npos);
  config = config_of("llama");
  for (const double length : {0.5, 1.0, 1e300}) {
    config["rope_scaling"]["original_max_position_embeddings"] = length;
    EXPECT_NE(error_of(config).find("more than 1"), std::string::npos) << length;
  }
}

TEST_F(SpecTest, RopeScalingIsReadInBothLayouts) {
  Json config = config_of("llama");
  const Json scaling = config["rope_scaling"];
  const RopeParameters old = read(config).rope_parameters;
  EXPECT_EQ(old.scaling, RopeScaling::kLlama3);
  config.erase("rope_scaling");
  config.erase("rope_theta");
  config["rope_parameters"] = scaling;
  config["rope_parameters"]["rope_theta"] = 10000;
  EXPECT_EQ(read(config).rope_parameters, old);
  config["rope_parameters"] = {
      {"rope_type", "yarn"}, {"factor", 4}, {"mscale", 2.0}, {"mscale_all_dim", 1.0}};
  const RopeParameters yarn = read(config).rope_parameters;
  EXPECT_EQ(yarn.original_length, 64);  // max_position_embeddings, where it is not given
  EXPECT_DOUBLE_EQ(yarn.attention_factor, (0.2 * std::log(4.0) + 1) / (0.1 * std::log(4.0) + 1));
  config["rope_parameters"] = {{"rope_type", "linear"}};
  EXPECT_NE(error_of(config).find("rope_parameters.factor"), std::string::npos);
  config["rope_parameters"] = {
      {"rope_type", "longrope"}, {"short_factor", {1.0}}, {"long_factor", {1.0}}};
  EXPECT_NE(error_of(config).find("short_factor': 1 numbers; expected 11"), std::string::npos)
      << error_of(config);
}

// transformers 5.23: a rope_scaling replaces rope_parameters, an outer length the inner one.
TEST_F(SpecTest, OverlappingRopeFieldsAreReadAsTransformersDoes) {
  Json config = config_of("llama");
  config["rope_theta"] = 777;
  config["rope_parameters"] = {{"rope_type", "linear"}, {"factor", 3.0}, {"rope_theta", 5e5}};
  config["rope_scaling"] = {
      {"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32}};
  RopeParameters rope = read(config).rope_parameters;
  EXPECT_EQ(rope.scaling, RopeScaling::kYarn);
  EXPECT_EQ(rope.factor, 4);
  EXPECT_EQ(rope.theta, 777);
  EXPECT_EQ(rope.original_length, 32);
  config["original_max_position_embeddings"] = 16;
  EXPECT_EQ(read(config).rope_parameters.original_length, 16);
  config.erase("rope_theta");
  EXPECT_EQ(read(config).rope_parameters.theta, 10000);
  config["rope_scaling"]["rope_type"] = "default";
  EXPECT_EQ(read(config).rope_parameters.scaling, RopeScaling::kNone);
  config["rope_scaling"] = Json::object();
  rope = read(config).rope_parameters;
  EXPECT_EQ(rope.scaling, RopeScaling::kLinear);
  EXPECT_EQ(rope.theta, 5e5);
  config["rope_parameters"] = {{"full_attention", {{"rope_type", "linear"}, {"factor", 3.0}}}};
  EXPECT_NE(error_of(config).find("one set for all layers"), std::string::npos);
  config["rope_scaling"] = {{"rope_type", "yarn"}};
  EXPECT_NE(error_of(config).find("'rope_scaling.factor': missing"), std::string::npos);
  config["rope_scaling"]["factor"] = nullptr;
  EXPECT_EQ(read(config).rope_parameters.factor, 4);  // 64 / 16

  config = config_of("gemma3_text");
  config["rope_theta"] = 300;
  config["rope_scaling"] = {{"type", "linear"}, {"factor", 8.0}};
  EXPECT_EQ(rope_of(read(config), 1).scaling, RopeScaling::kNone);
  config["rope_parameters"] = {{"full_attention", {{"rope_type", "linear"}, {"factor", 2.0}}},
                               {"sliding_attention", {{"rope_theta", 70.0}}}};
  EXPECT_EQ(rope_of(read(config), 1).factor, 8);
  EXPECT_EQ(rope_of(read(config), 1).theta, 300);
  config["rope_parameters"].erase("full_attention");
  EXPECT_NE(error_of(config).find("full_attention"), std::string::npos);

  config = config_of("phi3");
  config["rope_parameters"] = {{"rope_type", "longrope"},
                               {"original_max_position_embeddings", 16},
                               {"short_factor", std::vector<double>(8, 1.0)},
                               {"long_factor", std::vector<double>(8, 2.0)}};
  config.erase("original_max_position_embeddings");
  EXPECT_EQ(read(config).rope_parameters.original_length, 4096);
}

TEST_F(SpecTest, ScalingAllowsLongerSequences) {
  Json config = config_of("llama");
  config["rope_scaling"] = {
      {"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 48}};
  EXPECT_EQ(read(config).longest_sequence(), 192);
  config["rope_scaling"]["factor"] = 1.1;
  EXPECT_EQ(read(config).longest_sequence(), 64);
  config.erase("rope_scaling");
  EXPECT_EQ(read(config).longest_sequence(), 64);
  config["rope_scaling"] = {{"rope_type", "dynamic"}, {"factor", 2.0}};
  EXPECT_EQ(read(config).longest_sequence(), 2147483647);
}

TEST_F(SpecTest, PhiRotatesAPartOfItsHeads) {
  Json config = config_of("phi3");
  EXPECT_EQ(read(config).rotary_dims(), 16);  // int(22 * 0.75)
  config["partial_rotary_factor"] = 1.5;
  EXPECT_NE(error_of(config).find("partial_rotary_factor"), std::string::npos);
  config["model_type"] = "llama";
  config["partial_rotary_factor"] = 0.75;
  EXPECT_EQ(read(config).rotary_dims(), 22);  // transformers ignores it
  config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 2.0}};
  EXPECT_NE(error_of(config).find("a llama rotates whole heads"), std::string::npos);
  config["model_type"] = "phi3";
  config["original_max_position_embeddings"] = 16;
  config["rope_scaling"] = {{"type", "su"},
                            {"short_factor", std::vector<double>(8, 1.0)},
                            {"long_factor", std::vector<double>(8, 2.0)}};
  const ModelSpec spec = read(config);
  EXPECT_EQ(spec.rope_parameters.scaling, RopeScaling::kLongrope);
  EXPECT_DOUBLE_EQ(spec.rope_parameters.attention_factor,
                   std::sqrt(1 + std::log(4.0) / std::log(16.0)));
  EXPECT_TRUE(spec.starts_anew(16, 17));
  EXPECT_FALSE(spec.starts_anew(17, 18));
}

TEST_F(SpecTest, BrokenFilesAreNamed) {
  EXPECT_THROW(read_spec(directory_ / "nowhere"), Error);
  for (const char* text : {"", "{", "[1, 2]", "{\"model_type\": \"qwen3\""}) {
    write("config.json", text);
    EXPECT_THROW(read_spec(directory_), Error) << text;
  }
}

TEST_F(SpecTest, EosIdsComeFromGenerationConfigFirst) {
  write("config.json", config_.dump());
  EXPECT_EQ(read_eos_token_ids(directory_), std::vector<std::int64_t>{config_["eos_token_id"]});
  write("generation_config.json", R"({"eos_token_id": [7, 9]})");
  EXPECT_EQ(read_eos_token_ids(directory_), (std::vector<std::int64_t>{7, 9}));
  write("generation_config.json", R"({"eos_token_id": null})");
  EXPECT_EQ(read_eos_token_ids(directory_), std::vector<std::int64_t>{config_["eos_token_id"]});
  for (const char* wrong : {R"({"eos_token_id": "x"})", R"({"eos_token_id": [-1]})", "{"}) {
    write("generation_config.json", wrong);
    EXPECT_THROW(read_eos_token_ids(directory_), Error) << wrong;
  }
}

}  // namespace
}  // namespace assay
