// Configs of small models of every type, with sizes that are not multiples of anything.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace assay {

inline std::vector<std::pair<std::string, nlohmann::json>> family_configs() {
  using nlohmann::json;
  const json common = {{"vocab_size", 101},        {"hidden_size", 70},
                       {"intermediate_size", 45},  {"num_hidden_layers", 3},
                       {"num_attention_heads", 6}, {"num_key_value_heads", 2},
                       {"head_dim", 22},           {"max_position_embeddings", 64},
                       {"rms_norm_eps", 1e-6},     {"rope_theta", 10000},
                       {"initializer_range", 0.1}, {"tie_word_embeddings", false},
                       {"eos_token_id", 100}};
  const auto with = [&](json more) {
    json config = common;
    config.update(more);
    return config;
  };
  return {
      {"qwen3 with everything",
       with(
           {{"model_type", "qwen3"},
            {"attention_bias", true},
            {"use_sliding_window", true},
            {"sliding_window", 7},
            {"max_window_layers", 1},
            {"rope_scaling",
             {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 16}}}})},
      {"qwen3_moe", with({{"model_type", "qwen3_moe"},
                          {"num_experts", 9},
                          {"num_experts_per_tok", 3},
                          {"moe_intermediate_size", 13},
                          {"norm_topk_prob", true},
                          {"mlp_only_layers", {1}}})},
      {"qwen2_moe", with({{"model_type", "qwen2_moe"},
                          {"num_experts", 9},
                          {"num_experts_per_tok", 3},
                          {"moe_intermediate_size", 13},
                          {"shared_expert_intermediate_size", 19},
                          {"mlp_only_layers", {1}}})},
      {"mixtral", with({{"model_type", "mixtral"},
                        {"num_local_experts", 5},
                        {"num_experts_per_tok", 2},
                        {"sliding_window", 13}})},
      {"olmoe", with({{"model_type", "olmoe"},
                      {"hidden_size", 72},
                      {"head_dim", nullptr},
                      {"num_experts", 9},
                      {"num_experts_per_tok", 3}})},
      {"glm4_moe", with({{"model_type", "glm4_moe"},
                         {"head_dim", 24},
                         {"attention_bias", true},
                         {"use_qk_norm", true},
                         {"n_routed_experts", 12},
                         {"num_experts_per_tok", 3},
                         {"n_shared_experts", 2},
                         {"moe_intermediate_size", 13},
                         {"first_k_dense_replace", 1},
                         {"n_group", 4},
                         {"topk_group", 2},
                         {"routed_scaling_factor", 2.5}})},
      {"minimax_m2", with({{"model_type", "minimax_m2"},
                           {"rotary_dim", 12},
                           {"num_local_experts", 9},
                           {"num_experts_per_tok", 3}})},
      {"gpt_oss", with({{"model_type", "gpt_oss"},
                        {"num_local_experts", 9},
                        {"num_experts_per_tok", 3},
                        {"sliding_window", 5},
                        {"swiglu_limit", 0.5}})},
      {"qwen2", with({{"model_type", "qwen2"}, {"tie_word_embeddings", true}})},
      {"llama", with({{"model_type", "llama"},
                      {"attention_bias", true},
                      {"mlp_bias", true},
                      {"rope_scaling",
                       {{"rope_type", "llama3"},
                        {"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 32}}}})},
      {"mistral", with({{"model_type", "mistral"}, {"sliding_window", 13}})},
      {"gemma2", with({{"model_type", "gemma2"},
                       {"hidden_activation", "gelu_pytorch_tanh"},
                       {"query_pre_attn_scalar", 30},
                       {"attn_logit_softcapping", 5.0},
                       {"final_logit_softcapping", 3.0},
                       {"sliding_window", 5}})},
      {"gemma3_text", with({{"model_type", "gemma3_text"},
                            {"hidden_activation", "gelu_pytorch_tanh"},
                            {"query_pre_attn_scalar", 22},
                            {"rope_local_base_freq", 100},
                            {"sliding_window", 9},
                            {"sliding_window_pattern", 2}})},
      {"olmo2", with({{"model_type", "olmo2"}})},
      {"phi3", with({{"model_type", "phi3"}, {"partial_rotary_factor", 0.75}})},
  };
}

}  // namespace assay
