#include "model/published.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "assay/error.h"
#include "base/nearest_name.h"

namespace assay {
namespace {

// The fields that config.json files of a family have in common.
constexpr std::string_view kQwen3 = R"({
  "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu",
  "initializer_range": 0.02, "max_position_embeddings": 40960, "model_type": "qwen3",
  "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1000000, "sliding_window": null,
  "tie_word_embeddings": false, "use_cache": true, "use_sliding_window": false})";

constexpr std::string_view kQwen3Moe = R"({
  "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "bos_token_id": 151643, "decoder_sparse_step": 1, "eos_token_id": 151645, "head_dim": 128,
  "hidden_act": "silu", "initializer_range": 0.02, "max_position_embeddings": 40960,
  "mlp_only_layers": [], "model_type": "qwen3_moe", "norm_topk_prob": true, "num_experts": 128,
  "num_experts_per_tok": 8, "output_router_logits": false, "rms_norm_eps": 1e-06,
  "rope_scaling": null, "rope_theta": 1000000.0, "router_aux_loss_coef": 0.001,
  "sliding_window": null, "tie_word_embeddings": false, "use_cache": true,
  "use_sliding_window": false})";

constexpr std::string_view kQwen2Moe = R"({
  "architectures": ["Qwen2MoeForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
  "decoder_sparse_step": 1, "eos_token_id": 151643, "hidden_act": "silu",
  "initializer_range": 0.02, "model_type": "qwen2_moe", "norm_topk_prob": false,
  "output_router_logits": false, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
  "router_aux_loss_coef": 0.001, "tie_word_embeddings": false, "use_cache": true,
  "use_sliding_window": false})";

constexpr std::string_view kQwen3Next = R"({
  "architectures": ["Qwen3NextForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "bos_token_id": 151643, "decoder_sparse_step": 1, "eos_token_id": 151645,
  "full_attention_interval": 4, "head_dim": 256, "hidden_act": "silu", "initializer_range": 0.02,
  "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_num_key_heads": 16,
  "linear_num_value_heads": 32, "linear_value_head_dim": 128, "max_position_embeddings": 262144,
  "mlp_only_layers": [], "model_type": "qwen3_next", "moe_intermediate_size": 512,
  "norm_topk_prob": true, "num_experts": 512, "num_experts_per_tok": 10,
  "output_router_logits": false, "partial_rotary_factor": 0.25, "rms_norm_eps": 1e-06,
  "rope_scaling": null, "rope_theta": 10000000, "router_aux_loss_coef": 0.001,
  "shared_expert_intermediate_size": 512, "tie_word_embeddings": false, "use_cache": true})";

// The language model alone, without the part for images.
constexpr std::string_view kQwen35Text = R"({
  "architectures": ["Qwen3_5ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "eos_token_id": 248044, "full_attention_interval": 4, "head_dim": 256, "hidden_act": "silu",
  "initializer_range": 0.02, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128,
  "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_value_head_dim": 128,
  "max_position_embeddings": 262144, "model_type": "qwen3_5_text", "rms_norm_eps": 1e-06,
  "rope_parameters": {"partial_rotary_factor": 0.25, "rope_theta": 10000000,
                      "rope_type": "default"},
  "tie_word_embeddings": false, "use_cache": true})";

constexpr std::string_view kQwen35Moe = R"({
  "architectures": ["Qwen3_5MoeForCausalLM"], "model_type": "qwen3_5_moe_text",
  "moe_intermediate_size": 512, "num_experts": 256, "num_experts_per_tok": 8,
  "output_router_logits": false, "router_aux_loss_coef": 0.001,
  "shared_expert_intermediate_size": 512})";

constexpr std::string_view kMixtral = R"({
  "architectures": ["MixtralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1,
  "eos_token_id": 2, "hidden_act": "silu", "initializer_range": 0.02,
  "max_position_embeddings": 32768, "model_type": "mixtral", "num_experts_per_tok": 2,
  "num_local_experts": 8, "output_router_logits": false, "rms_norm_eps": 1e-05,
  "rope_theta": 1000000.0, "router_aux_loss_coef": 0.02, "sliding_window": null,
  "tie_word_embeddings": false, "use_cache": true})";

constexpr std::string_view kOlmoe = R"({
  "architectures": ["OlmoeForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "clip_qkv": null, "eos_token_id": 50279, "hidden_act": "silu", "initializer_range": 0.02,
  "max_position_embeddings": 4096, "model_type": "olmoe", "norm_topk_prob": false,
  "num_experts": 64, "num_experts_per_tok": 8, "output_router_logits": false, "pad_token_id": 1,
  "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 10000.0,
  "router_aux_loss_coef": 0.01, "tie_word_embeddings": false, "use_cache": true})";

constexpr std::string_view kGlm4Moe = R"({
  "architectures": ["Glm4MoeForCausalLM"], "attention_bias": true, "attention_dropout": 0.0,
  "eos_token_id": [151329, 151336, 151338], "head_dim": 128, "hidden_act": "silu",
  "initializer_range": 0.02, "max_position_embeddings": 131072, "model_type": "glm4_moe",
  "n_group": 1, "n_shared_experts": 1, "norm_topk_prob": true, "num_experts_per_tok": 8,
  "num_nextn_predict_layers": 1, "pad_token_id": 151329, "partial_rotary_factor": 0.5,
  "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 1000000, "tie_word_embeddings": false,
  "topk_group": 1, "use_cache": true})";

constexpr std::string_view kMinimaxM2 = R"({
  "architectures": ["MiniMaxM2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 200034,
  "eos_token_id": 200020, "head_dim": 128, "hidden_act": "silu", "initializer_range": 0.02,
  "max_position_embeddings": 196608, "model_type": "minimax_m2", "num_experts_per_tok": 8,
  "num_local_experts": 256, "output_router_logits": false, "qk_norm_type": "per_layer",
  "rms_norm_eps": 1e-06, "rope_theta": 5000000, "rotary_dim": 64, "router_aux_loss_coef": 0.001,
  "scoring_func": "sigmoid", "shared_intermediate_size": 0, "tie_word_embeddings": false,
  "use_cache": true, "use_qk_norm": true, "use_routing_bias": true})";

constexpr std::string_view kGptOss = R"({
  "architectures": ["GptOssForCausalLM"], "attention_bias": true, "attention_dropout": 0.0,
  "eos_token_id": 200002, "experts_per_token": 4, "head_dim": 64, "hidden_act": "silu",
  "initial_context_length": 4096, "initializer_range": 0.02, "max_position_embeddings": 131072,
  "model_type": "gpt_oss", "num_experts_per_tok": 4, "output_router_logits": false,
  "pad_token_id": 199999, "quantization_config": {"modules_to_not_convert":
    ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"],
    "quant_method": "mxfp4"},
  "rms_norm_eps": 1e-05, "rope_scaling": {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0,
    "original_max_position_embeddings": 4096, "rope_type": "yarn", "truncate": false},
  "rope_theta": 150000, "router_aux_loss_coef": 0.9, "sliding_window": 128, "swiglu_limit": 7.0,
  "tie_word_embeddings": false, "use_cache": true})";

constexpr std::string_view kQwen2 = R"({
  "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
  "eos_token_id": 151643, "hidden_act": "silu", "initializer_range": 0.02,
  "max_position_embeddings": 131072, "model_type": "qwen2", "rms_norm_eps": 1e-06,
  "rope_theta": 1000000.0, "sliding_window": 131072, "tie_word_embeddings": false,
  "use_cache": true, "use_sliding_window": false})";

constexpr std::string_view kLlama2 = R"({
  "architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2,
  "hidden_act": "silu", "initializer_range": 0.02, "max_position_embeddings": 4096,
  "model_type": "llama", "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": null,
  "tie_word_embeddings": false, "use_cache": true})";

constexpr std::string_view kLlama3 = R"({
  "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "bos_token_id": 128000, "eos_token_id": 128001, "hidden_act": "silu",
  "initializer_range": 0.02, "max_position_embeddings": 8192, "model_type": "llama",
  "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 500000.0,
  "tie_word_embeddings": false, "use_cache": true})";

constexpr std::string_view kLlama31 = R"({
  "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "bos_token_id": 128000, "eos_token_id": 128001, "hidden_act": "silu",
  "initializer_range": 0.02, "max_position_embeddings": 131072, "mlp_bias": false,
  "model_type": "llama", "pretraining_tp": 1, "rms_norm_eps": 1e-05,
  "rope_scaling": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                   "original_max_position_embeddings": 8192, "rope_type": "llama3"},
  "rope_theta": 500000.0, "tie_word_embeddings": false, "use_cache": true})";

constexpr std::string_view kMistral = R"({
  "architectures": ["MistralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1,
  "eos_token_id": 2, "hidden_act": "silu", "initializer_range": 0.02,
  "max_position_embeddings": 32768, "model_type": "mistral", "rms_norm_eps": 1e-05,
  "rope_theta": 1000000.0, "sliding_window": null, "tie_word_embeddings": false,
  "use_cache": true})";

// The language model within the checkpoint, in BF16.
constexpr std::string_view kMinistral3 = R"({
  "architectures": ["Ministral3ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1,
  "eos_token_id": 2, "head_dim": 128, "hidden_act": "silu", "initializer_range": 0.02,
  "max_position_embeddings": 262144, "model_type": "ministral3", "pad_token_id": 11,
  "rms_norm_eps": 1e-05,
  "rope_parameters": {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 16.0,
    "llama_4_scaling_beta": 0.1, "mscale": 1.0, "mscale_all_dim": 1.0,
    "original_max_position_embeddings": 16384, "rope_theta": 1000000.0, "rope_type": "yarn"},
  "sliding_window": null, "tie_word_embeddings": false, "use_cache": true})";

constexpr std::string_view kGemma2 = R"({
  "architectures": ["Gemma2ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "attn_logit_softcapping": 50.0, "bos_token_id": 2, "cache_implementation": "hybrid",
  "eos_token_id": 1, "final_logit_softcapping": 30.0, "head_dim": 256,
  "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
  "initializer_range": 0.02, "max_position_embeddings": 8192, "model_type": "gemma2",
  "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06, "rope_theta": 10000.0,
  "sliding_window": 4096, "use_cache": true})";

constexpr std::string_view kGemma3 = R"({
  "architectures": ["Gemma3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "attn_logit_softcapping": null, "bos_token_id": 2, "eos_token_id": 1,
  "final_logit_softcapping": null, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh",
  "initializer_range": 0.02, "max_position_embeddings": 32768, "model_type": "gemma3_text",
  "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06,
  "rope_local_base_freq": 10000.0, "rope_scaling": null, "rope_theta": 1000000.0,
  "sliding_window": 512, "use_cache": true})";

// The language model alone, without the parts for images and sound.
constexpr std::string_view kGemma4 = R"({
  "architectures": ["Gemma4ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "attention_k_eq_v": false, "bos_token_id": 2, "enable_moe_block": false, "eos_token_id": 1,
  "final_logit_softcapping": 30.0, "global_head_dim": 512, "head_dim": 256,
  "hidden_activation": "gelu_pytorch_tanh", "hidden_size_per_layer_input": 0,
  "initializer_range": 0.02, "max_position_embeddings": 262144, "model_type": "gemma4_text",
  "num_kv_shared_layers": 0, "pad_token_id": 0, "rms_norm_eps": 1e-06,
  "rope_parameters": {
    "full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1000000.0,
                       "rope_type": "proportional"},
    "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"}},
  "sliding_window": 1024, "tie_word_embeddings": true, "use_cache": true,
  "use_double_wide_mlp": false, "vocab_size_per_layer_input": 262144})";

constexpr std::string_view kOlmo2 = R"({
  "architectures": ["Olmo2ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "eos_token_id": 100257, "hidden_act": "silu", "initializer_range": 0.02,
  "max_position_embeddings": 4096, "model_type": "olmo2", "pad_token_id": 100277,
  "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 500000,
  "tie_word_embeddings": false, "use_cache": true})";

constexpr std::string_view kPhi3 = R"({
  "architectures": ["Phi3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "bos_token_id": 1, "embd_pdrop": 0.0, "eos_token_id": 32000, "hidden_act": "silu",
  "initializer_range": 0.02, "max_position_embeddings": 4096, "model_type": "phi3",
  "original_max_position_embeddings": 4096, "pad_token_id": 32000, "resid_pdrop": 0.0,
  "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 10000.0, "sliding_window": 2047,
  "tie_word_embeddings": false, "use_cache": true})";

// Fields of single models, in addition to their sizes.
constexpr std::string_view kTied = R"({"tie_word_embeddings": true})";
constexpr std::string_view kLlama32 = R"({
  "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                   "original_max_position_embeddings": 8192, "rope_type": "llama3"},
  "tie_word_embeddings": true})";
constexpr std::string_view kPhi3Mini128k = R"({
  "max_position_embeddings": 131072, "rope_scaling": {
    "long_factor": [
      1.0700000524520874, 1.1200000047683716, 1.149999976158142, 1.4199999570846558,
      1.5699999332427979, 1.7999999523162842, 2.129999876022339, 2.129999876022339,
      3.009999990463257, 5.910000324249268, 6.950000286102295, 9.070000648498535,
      9.930000305175781, 10.710000038146973, 11.130000114440918, 14.609999656677246,
      15.409998893737793, 19.809999465942383, 37.279998779296875, 38.279998779296875,
      38.599998474121094, 40.12000274658203, 46.20000457763672, 50.940006256103516,
      53.66000747680664, 54.9373893737793, 56.89738845825195, 57.28738784790039,
      59.98738479614258, 60.86738586425781, 60.887386322021484, 61.71739196777344,
      62.91739273071289, 62.957393646240234, 63.41739273071289, 63.8173942565918,
      63.83739471435547, 63.897396087646484, 63.93739700317383, 64.06739807128906,
      64.11434936523438, 64.12435150146484, 64.15435028076172, 64.19435119628906,
      64.24435424804688, 64.57435607910156, 64.69000244140625, 64.76000213623047],
    "short_factor": [
      1.1, 1.1, 1.1, 1.3000000000000003, 1.3500000000000003, 1.3500000000000003,
      1.4000000000000004, 1.5500000000000005, 2.000000000000001, 2.000000000000001,
      2.000000000000001, 2.000000000000001, 2.000000000000001, 2.000000000000001,
      2.000000000000001, 2.000000000000001, 2.000000000000001, 2.000000000000001,
      2.000000000000001, 2.000000000000001, 2.000000000000001, 2.000000000000001,
      2.000000000000001, 2.000000000000001, 2.000000000000001, 2.0500000000000007,
      2.0500000000000007, 2.0500000000000007, 2.0500000000000007, 2.0500000000000007,
      2.0500000000000007, 2.1000000000000005, 2.1000000000000005, 2.1500000000000004,
      2.25, 2.25, 2.25, 2.25, 2.25, 2.3999999999999995, 2.4499999999999993, 2.499999999999999,
      2.6999999999999984, 2.6999999999999984, 2.7499999999999982, 2.799999999999998,
      2.8999999999999977, 3.049999999999997],
    "type": "longrope"}, "sliding_window": 262144})";
constexpr std::string_view kPhi4 = R"({
  "bos_token_id": 100257, "eos_token_id": 100257, "max_position_embeddings": 16384,
  "original_max_position_embeddings": 16384, "pad_token_id": 100257, "rope_theta": 250000,
  "sliding_window": null})";
constexpr std::string_view kPhi4Mini = R"({
  "bos_token_id": 199999, "eos_token_id": 199999, "max_position_embeddings": 131072,
  "pad_token_id": 199999, "partial_rotary_factor": 0.75, "rope_scaling": {
    "long_factor": [
      1, 1.118320672, 1.250641126, 1.398617824, 1.564103225, 1.74916897, 1.956131817,
      2.187582649, 2.446418898, 2.735880826, 3.059592084, 3.421605075, 3.826451687,
      4.279200023, 4.785517845, 5.351743533, 5.984965424, 6.693110555, 7.485043894,
      8.370679318, 9.36110372, 10.4687158, 11.70738129, 13.09260651, 14.64173252, 16.37415215,
      18.31155283, 20.47818807, 22.90118105, 25.61086418, 28.64115884, 32.03, 32.1, 32.13,
      32.23, 32.6, 32.61, 32.64, 32.66, 32.7, 32.71, 32.93, 32.97, 33.28, 33.49, 33.5, 44.16,
      47.77],
    "short_factor": [
      1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0,
      1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0,
      1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    "type": "longrope"}, "sliding_window": 262144, "tie_word_embeddings": true})";

struct Published {
  std::string_view name;
  std::string_view family;
  int layers;
  int hidden;
  int heads;
  int kv_heads;
  int intermediate;
  int vocab;
  std::string_view own = "{}";
};

constexpr Published kPublished[] = {
    {"Qwen3-0.6B", kQwen3, 28, 1024, 16, 8, 3072, 151936, kTied},
    {"Qwen3-1.7B", kQwen3, 28, 2048, 16, 8, 6144, 151936, kTied},
    {"Qwen3-4B", kQwen3, 36, 2560, 32, 8, 9728, 151936, kTied},
    {"Qwen3-8B", kQwen3, 36, 4096, 32, 8, 12288, 151936},
    {"Qwen3-14B", kQwen3, 40, 5120, 40, 8, 17408, 151936},
    {"Qwen3-32B", kQwen3, 64, 5120, 64, 8, 25600, 151936},
    {"Qwen3-30B-A3B", kQwen3Moe, 48, 2048, 32, 4, 6144, 151936,
     R"({"moe_intermediate_size": 768})"},
    {"Qwen3-235B-A22B", kQwen3Moe, 94, 4096, 64, 4, 12288, 151936,
     R"({"moe_intermediate_size": 1536})"},

    {"Qwen1.5-MoE-A2.7B", kQwen2Moe, 24, 2048, 16, 16, 5632, 151936,
     R"({"max_position_embeddings": 8192, "moe_intermediate_size": 1408, "num_experts": 60,
         "num_experts_per_tok": 4, "shared_expert_intermediate_size": 5632,
         "sliding_window": 32768})"},
    {"Qwen2-57B-A14B", kQwen2Moe, 28, 3584, 28, 4, 18944, 151936,
     R"({"max_position_embeddings": 131072, "moe_intermediate_size": 2560, "num_experts": 64,
         "num_experts_per_tok": 8, "shared_expert_intermediate_size": 20480,
         "sliding_window": 65536})"},

    {"Qwen3-Next-80B-A3B", kQwen3Next, 48, 2048, 16, 2, 5120, 151936},
    {"Qwen3.5-9B", kQwen35Text, 32, 4096, 16, 4, 12288, 248320},
    {"Qwen3.5-27B", kQwen35Text, 64, 5120, 24, 4, 17408, 248320,
     R"({"linear_num_value_heads": 48})"},
    {"Qwen3.5-35B-A3B", kQwen35Text, 40, 2048, 16, 2, 512, 248320, kQwen35Moe},
    {"gpt-oss-20b", kGptOss, 24, 2880, 64, 8, 2880, 201088, R"({"num_local_experts": 32})"},
    {"gpt-oss-120b", kGptOss, 36, 2880, 64, 8, 2880, 201088, R"({"num_local_experts": 128})"},

    {"Qwen2-0.5B", kQwen2, 24, 896, 14, 2, 4864, 151936, kTied},
    {"Qwen2-1.5B", kQwen2, 28, 1536, 12, 2, 8960, 151936, kTied},
    {"Qwen2-7B", kQwen2, 28, 3584, 28, 4, 18944, 152064},
    {"Qwen2-72B", kQwen2, 80, 8192, 64, 8, 29568, 152064, R"({"rms_norm_eps": 1e-05})"},
    {"Qwen2.5-0.5B", kQwen2, 24, 896, 14, 2, 4864, 151936,
     R"({"max_position_embeddings": 32768, "sliding_window": 32768, "tie_word_embeddings": true})"},
    {"Qwen2.5-1.5B", kQwen2, 28, 1536, 12, 2, 8960, 151936, kTied},
    {"Qwen2.5-3B", kQwen2, 36, 2048, 16, 2, 11008, 151936,
     R"({"max_position_embeddings": 32768, "sliding_window": 32768, "tie_word_embeddings": true})"},
    {"Qwen2.5-7B", kQwen2, 28, 3584, 28, 4, 18944, 152064},
    {"Qwen2.5-14B", kQwen2, 48, 5120, 40, 8, 13824, 152064, R"({"rms_norm_eps": 1e-05})"},
    {"Qwen2.5-32B", kQwen2, 64, 5120, 40, 8, 27648, 152064, R"({"rms_norm_eps": 1e-05})"},
    {"Qwen2.5-72B", kQwen2, 80, 8192, 64, 8, 29568, 152064, R"({"rms_norm_eps": 1e-05})"},

    {"Llama-2-7b", kLlama2, 32, 4096, 32, 32, 11008, 32000},
    {"Llama-2-13b", kLlama2, 40, 5120, 40, 40, 13824, 32000},
    {"Llama-2-70b", kLlama2, 80, 8192, 64, 8, 28672, 32000},
    {"Meta-Llama-3-8B", kLlama3, 32, 4096, 32, 8, 14336, 128256},
    {"Meta-Llama-3-70B", kLlama3, 80, 8192, 64, 8, 28672, 128256},
    {"Llama-3.1-8B", kLlama31, 32, 4096, 32, 8, 14336, 128256},
    {"Llama-3.1-70B", kLlama31, 80, 8192, 64, 8, 28672, 128256},
    {"Llama-3.1-405B", kLlama31, 126, 16384, 128, 8, 53248, 128256},
    {"Llama-3.2-1B", kLlama31, 16, 2048, 32, 8, 8192, 128256, kLlama32},
    {"Llama-3.2-3B", kLlama31, 28, 3072, 24, 8, 8192, 128256, kLlama32},
    {"Llama-3.3-70B", kLlama31, 80, 8192, 64, 8, 28672, 128256,
     R"({"eos_token_id": [128001, 128008, 128009]})"},

    {"Mistral-7B-v0.1", kMistral, 32, 4096, 32, 8, 14336, 32000,
     R"({"rope_theta": 10000.0, "sliding_window": 4096})"},
    {"Mistral-7B-v0.3", kMistral, 32, 4096, 32, 8, 14336, 32768},
    {"Mistral-Nemo", kMistral, 40, 5120, 32, 8, 14336, 131072,
     R"({"head_dim": 128, "max_position_embeddings": 128000})"},
    {"Mistral-Small-24B", kMistral, 40, 5120, 32, 8, 32768, 131072,
     R"({"head_dim": 128, "rope_theta": 100000000.0})"},

    {"Ministral-3-3B", kMinistral3, 26, 3072, 32, 8, 9216, 131072, kTied},
    {"Ministral-3-8B", kMinistral3, 34, 4096, 32, 8, 14336, 131072},

    {"Mixtral-8x7B", kMixtral, 32, 4096, 32, 8, 14336, 32000},
    {"Mixtral-8x22B", kMixtral, 56, 6144, 48, 8, 16384, 32000,
     R"({"max_position_embeddings": 65536})"},

    {"gemma-2-2b", kGemma2, 26, 2304, 8, 4, 9216, 256000},
    {"gemma-2-9b", kGemma2, 42, 3584, 16, 8, 14336, 256000},
    {"gemma-2-27b", kGemma2, 46, 4608, 32, 16, 36864, 256000,
     R"({"head_dim": 128, "query_pre_attn_scalar": 144})"},
    {"gemma-3-270m", kGemma3, 18, 640, 4, 1, 2048, 262144, R"({"_sliding_window_pattern": 6})"},
    {"gemma-3-1b", kGemma3, 26, 1152, 4, 1, 6912, 262144, R"({"sliding_window_pattern": 6})"},

    {"gemma-4-E2B", kGemma4, 35, 1536, 8, 1, 6144, 262144,
     R"({"hidden_size_per_layer_input": 256, "max_position_embeddings": 131072,
         "num_kv_shared_layers": 20, "sliding_window": 512, "use_double_wide_mlp": true})"},
    {"gemma-4-E4B", kGemma4, 42, 2560, 8, 2, 10240, 262144,
     R"({"hidden_size_per_layer_input": 256, "max_position_embeddings": 131072,
         "num_kv_shared_layers": 18, "sliding_window": 512})"},
    {"gemma-4-12B", kGemma4, 48, 3840, 16, 8, 15360, 262144,
     R"({"attention_k_eq_v": true, "num_global_key_value_heads": 1})"},
    {"gemma-4-26B-A4B", kGemma4, 30, 2816, 16, 8, 2112, 262144,
     R"({"attention_k_eq_v": true, "enable_moe_block": true, "moe_intermediate_size": 704,
         "num_experts": 128, "num_global_key_value_heads": 2, "top_k_experts": 8})"},
    {"gemma-4-31B", kGemma4, 60, 5376, 32, 16, 21504, 262144,
     R"({"attention_k_eq_v": true, "num_global_key_value_heads": 4})"},

    {"OLMo-2-1B", kOlmo2, 16, 2048, 16, 16, 8192, 100352},
    {"OLMo-2-7B", kOlmo2, 32, 4096, 32, 32, 11008, 100352},
    {"OLMo-2-13B", kOlmo2, 40, 5120, 40, 40, 13824, 100352},
    {"OLMo-2-32B", kOlmo2, 64, 5120, 40, 8, 27648, 100352},
    {"OLMoE-1B-7B", kOlmoe, 16, 2048, 16, 16, 1024, 50304},

    {"GLM-4.5-Air", kGlm4Moe, 46, 4096, 96, 8, 10944, 151552,
     R"({"first_k_dense_replace": 1, "moe_intermediate_size": 1408, "n_routed_experts": 128,
         "routed_scaling_factor": 1.0, "use_qk_norm": false})"},
    {"GLM-4.5", kGlm4Moe, 92, 5120, 96, 8, 12288, 151552,
     R"({"first_k_dense_replace": 3, "moe_intermediate_size": 1536, "n_routed_experts": 160,
         "routed_scaling_factor": 2.5, "use_qk_norm": true})"},
    {"GLM-4.7", kGlm4Moe, 92, 5120, 96, 8, 12288, 151552,
     R"({"first_k_dense_replace": 3, "max_position_embeddings": 202752,
         "moe_intermediate_size": 1536, "n_routed_experts": 160, "routed_scaling_factor": 2.5,
         "use_qk_norm": true})"},
    {"MiniMax-M2.5", kMinimaxM2, 62, 3072, 48, 8, 1536, 200064},

    {"Phi-3-mini-4k", kPhi3, 32, 3072, 32, 32, 8192, 32064},
    {"Phi-3-mini-128k", kPhi3, 32, 3072, 32, 32, 8192, 32064, kPhi3Mini128k},
    {"Phi-3-medium-4k", kPhi3, 40, 5120, 40, 10, 17920, 32064},
    {"phi-4", kPhi3, 40, 5120, 40, 10, 17920, 100352, kPhi4},
    {"Phi-4-mini", kPhi3, 32, 3072, 24, 8, 8192, 200064, kPhi4Mini},
};

bool same_name(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

}  // namespace

std::vector<std::string> published_models() {
  std::vector<std::string> names;
  for (const Published& model : kPublished) names.emplace_back(model.name);
  return names;
}

OrderedJson published_config(std::string_view name) {
  const auto* model = std::ranges::find_if(
      kPublished, [&](const Published& known) { return same_name(known.name, name); });
  if (model == std::end(kPublished)) {
    const std::vector<std::string> known = published_models();
    throw usage_error("--like", "'" + std::string(name) + "'",
                      fmt::format("one of the {} models that 'assay synth --list' shows{}",
                                  known.size(), did_you_mean(name, known)));
  }
  // Sorted alphabetically, as transformers writes it.
  nlohmann::json config = nlohmann::json::parse(model->family);
  config["hidden_size"] = model->hidden;
  config["intermediate_size"] = model->intermediate;
  config["num_attention_heads"] = model->heads;
  config["num_hidden_layers"] = model->layers;
  config["num_key_value_heads"] = model->kv_heads;
  config["vocab_size"] = model->vocab;
  config.update(nlohmann::json::parse(model->own));
  if (config.contains("use_sliding_window")) config["max_window_layers"] = model->layers;
  if (config["model_type"] == "gpt_oss") {
    for (int layer = 0; layer < model->layers; ++layer) {
      config["layer_types"].push_back(layer % 2 == 0 ? "sliding_attention" : "full_attention");
    }
  }
  int pattern = config.value("_sliding_window_pattern", 0);
  if (config["model_type"] == "gemma4_text") pattern = model->layers % 6 == 0 ? 6 : 5;
  if (pattern > 0) {
    for (int layer = 1; layer <= model->layers; ++layer) {
      config["layer_types"].push_back(layer % pattern == 0 ? "full_attention"
                                                           : "sliding_attention");
    }
  }
  return config;
}

}  // namespace assay
