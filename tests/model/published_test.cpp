#include "model/published.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <map>
#include <numeric>
#include <set>

#include "base/expect_error.h"
#include "model/model.h"
#include "model/read_spec.h"
#include "model/synth.h"

namespace assay {
namespace {

// By the tensors that a checkpoint with this config has.
std::int64_t stored_numbers(const OrderedJson& config) {
  std::int64_t all = 0;
  for (const TensorInfo& tensor :
       checkpoint_tensors(read_spec_config(JsonObject("config", config)), DType::kBF16)) {
    all += std::accumulate(tensor.shape.begin(), tensor.shape.end(), std::int64_t{1},
                           std::multiplies<>());
  }
  return all;
}

// The number of parameters of a checkpoint with this config; tied ones count once.
std::int64_t parameters(const OrderedJson& config) {
  const auto size = [&](const char* field) { return config.at(field).get<std::int64_t>(); };
  const std::string type = config.at("model_type");
  if (type == "gemma4_text") return stored_numbers(config);
  const bool gemma = type == "gemma2" || type == "gemma3_text";
  const std::int64_t hidden = size("hidden_size");
  const std::int64_t head_dim = config.value("head_dim", hidden / size("num_attention_heads"));
  const std::int64_t q = size("num_attention_heads") * head_dim;
  const std::int64_t kv = size("num_key_value_heads") * head_dim;

  const bool linear = config.contains("linear_num_key_heads");
  std::int64_t layer = 2 * hidden * q + 2 * hidden * kv;
  if (linear) layer += hidden * q;  // the gate
  if (type == "qwen2" || type == "qwen2_moe" || type == "glm4_moe") layer += q + 2 * kv;
  if (type == "qwen3" || type == "qwen3_moe" || type == "gemma3_text" || linear ||
      config.value("use_qk_norm", false)) {
    layer += type == "minimax_m2" ? q + kv : 2 * head_dim;
  }
  if (type == "olmo2" || type == "olmoe") layer += q + kv;
  const bool gpt_oss = type == "gpt_oss";
  if (gpt_oss) layer += q + 2 * kv + hidden + size("num_attention_heads");  // biases, sinks
  layer += (gemma ? 4 : 2) * hidden;
  const std::int64_t dense = 3 * hidden * size("intermediate_size");
  std::int64_t mlps = size("num_hidden_layers") * dense;
  for (const char* count : {"num_experts", "num_local_experts", "n_routed_experts"}) {
    if (!config.contains(count)) continue;
    const std::int64_t width = config.value("moe_intermediate_size", size("intermediate_size"));
    std::int64_t sparse = size(count) * (hidden + 3 * hidden * width);
    if (type == "qwen2_moe" || linear)
      sparse += hidden + 3 * hidden * size("shared_expert_intermediate_size");
    if (type == "glm4_moe") sparse += 3 * hidden * width * size("n_shared_experts");
    if (gpt_oss) sparse += size(count) * (1 + 2 * width + hidden);  // biases
    if (type == "glm4_moe" || type == "minimax_m2") sparse += size(count);
    const std::int64_t dense_layers = config.value("first_k_dense_replace", std::int64_t{0});
    mlps = dense_layers * dense + (size("num_hidden_layers") - dense_layers) * sparse;
  }
  std::int64_t mixers = size("num_hidden_layers") * layer;
  if (linear) {
    const std::int64_t keys = size("linear_num_key_heads") * size("linear_key_head_dim");
    const std::int64_t heads = size("linear_num_value_heads");
    const std::int64_t values = heads * size("linear_value_head_dim");
    const std::int64_t channels = 2 * keys + values;
    const std::int64_t delta = hidden * (channels + 2 * values + 2 * heads) +
                               channels * size("linear_conv_kernel_dim") + 2 * heads +
                               size("linear_value_head_dim") + 2 * hidden;
    const std::int64_t attending = size("num_hidden_layers") / size("full_attention_interval");
    mixers = attending * layer + (size("num_hidden_layers") - attending) * delta;
  }
  const bool tied = config.value("tie_word_embeddings", gemma);
  const std::int64_t vocab = size("vocab_size");
  return mixers + mlps + hidden + (tied ? 1 : 2) * vocab * hidden;
}

// Qwen3.5's and Gemma 4's are those of transformers' class with these sizes, for the language model
// alone. Without GLM's layers that predict further tokens, and MiniMax's scales of FP8.
TEST(Published, ShapesHoldAsManyNumbersAsTheCheckpoints) {
  const std::map<std::string, std::int64_t> totals = {{"Qwen3-0.6B", 596049920},
                                                      {"Qwen3-1.7B", 1720574976},
                                                      {"Qwen3-4B", 4022468096},
                                                      {"Qwen3-8B", 8190735360},
                                                      {"Qwen3-14B", 14768307200},
                                                      {"Qwen3-32B", 32762123264},
                                                      {"Qwen3-30B-A3B", 30532122624},
                                                      {"Qwen3-235B-A22B", 235093634560},
                                                      {"Qwen2-0.5B", 494032768},
                                                      {"Qwen2-1.5B", 1543714304},
                                                      {"Qwen2-7B", 7615616512},
                                                      {"Qwen2-72B", 72706203648},
                                                      {"Qwen2.5-0.5B", 494032768},
                                                      {"Qwen2.5-1.5B", 1543714304},
                                                      {"Qwen2.5-3B", 3085938688},
                                                      {"Qwen2.5-7B", 7615616512},
                                                      {"Qwen2.5-14B", 14770033664},
                                                      {"Qwen2.5-32B", 32763876352},
                                                      {"Qwen2.5-72B", 72706203648},
                                                      {"Llama-2-7b", 6738415616},
                                                      {"Llama-2-13b", 13015864320},
                                                      {"Llama-2-70b", 68976648192},
                                                      {"Meta-Llama-3-8B", 8030261248},
                                                      {"Meta-Llama-3-70B", 70553706496},
                                                      {"Llama-3.1-8B", 8030261248},
                                                      {"Llama-3.1-70B", 70553706496},
                                                      {"Llama-3.1-405B", 405853388800},
                                                      {"Llama-3.2-1B", 1235814400},
                                                      {"Llama-3.2-3B", 3212749824},
                                                      {"Llama-3.3-70B", 70553706496},
                                                      {"Mistral-7B-v0.1", 7241732096},
                                                      {"Mistral-7B-v0.3", 7248023552},
                                                      {"Mistral-Nemo", 12247782400},
                                                      {"Mistral-Small-24B", 23572403200},
                                                      {"Ministral-3-3B", 3429006336},
                                                      {"Ministral-3-8B", 8489553920},
                                                      {"gemma-2-2b", 2614341888},
                                                      {"gemma-2-9b", 9241705984},
                                                      {"gemma-2-27b", 27227128320},
                                                      {"gemma-3-270m", 268098176},
                                                      {"gemma-3-1b", 999885952},
                                                      {"gemma-4-E2B", 4628569379},
                                                      {"gemma-4-E4B", 7463013418},
                                                      {"gemma-4-12B", 11907350320},
                                                      {"gemma-4-26B-A4B", 25233141790},
                                                      {"gemma-4-31B", 30697345340},
                                                      {"OLMo-2-1B", 1484916736},
                                                      {"OLMo-2-7B", 7298617344},
                                                      {"OLMo-2-13B", 13716198400},
                                                      {"OLMo-2-32B", 32234279936},
                                                      {"Phi-3-mini-4k", 3821079552},
                                                      {"Phi-3-mini-128k", 3821079552},
                                                      {"Phi-3-medium-4k", 13960238080},
                                                      {"phi-4", 14659507200},
                                                      {"Phi-4-mini", 3836021760},
                                                      {"Mixtral-8x7B", 46702792704},
                                                      {"Mixtral-8x22B", 140620634112},
                                                      {"Qwen1.5-MoE-A2.7B", 14315784192},
                                                      {"Qwen2-57B-A14B", 57408658944},
                                                      {"Qwen3-Next-80B-A3B", 79674391296},
                                                      {"Qwen3.5-9B", 8953803264},
                                                      {"Qwen3.5-27B", 26895998464},
                                                      {"Qwen3.5-35B-A3B", 34660610688},
                                                      {"OLMoE-1B-7B", 6919161856},
                                                      {"gpt-oss-20b", 20914757184},
                                                      {"gpt-oss-120b", 116829156672},
                                                      {"GLM-4.5-Air", 110468824832 - 3616573568},
                                                      {"GLM-4.5", 358337791296 - 5539962272},
                                                      {"GLM-4.7", 358337791296 - 5539962272},
                                                      {"MiniMax-M2.5", 228703644928 - 13880064}};
  for (const std::string& name : published_models()) {
    ASSERT_TRUE(totals.contains(name)) << name;
    EXPECT_EQ(parameters(published_config(name)), totals.at(name)) << name;
  }
  EXPECT_EQ(published_models().size(), totals.size());
  EXPECT_EQ(published_models(), known_models());
}

// Fields that do not affect the number of parameters.
TEST(Published, ConfigsSayHowTheFamiliesDiffer) {
  const auto field = [](std::string_view name, const char* which) {
    return published_config(name).at(which);
  };
  EXPECT_EQ(field("Mistral-7B-v0.1", "sliding_window"), 4096);
  EXPECT_TRUE(field("Mistral-7B-v0.3", "sliding_window").is_null());
  EXPECT_EQ(field("gemma-2-27b", "query_pre_attn_scalar"), 144);
  EXPECT_EQ(field("gemma-2-9b", "attn_logit_softcapping"), 50.0);
  EXPECT_EQ(field("Llama-3.1-405B", "rope_scaling").at("factor"), 8.0);
  EXPECT_EQ(field("Llama-3.2-1B", "rope_scaling").at("factor"), 32.0);
  EXPECT_EQ(field("Qwen2.5-14B", "rms_norm_eps"), 1e-5);
  EXPECT_EQ(field("Qwen3-30B-A3B", "num_experts_per_tok"), 8);

  const OrderedJson types = field("gemma-3-270m", "layer_types");
  ASSERT_EQ(types.size(), 18u);
  for (std::size_t i = 0; i < types.size(); ++i) {
    EXPECT_EQ(types[i], (i + 1) % 6 == 0 ? "full_attention" : "sliding_attention") << i;
  }
  // One factor per pair of rotated dimensions.
  for (const char* list : {"long_factor", "short_factor"}) {
    EXPECT_EQ(field("Phi-3-mini-128k", "rope_scaling").at(list).size(), 3072u / 32 / 2);
    EXPECT_EQ(field("Phi-4-mini", "rope_scaling").at(list).size(), 3072u / 24 * 3 / 4 / 2);
  }
}

TEST(Published, NamesAreOneInAnyCase) {
  EXPECT_EQ(published_config("QWEN3-0.6b"), published_config("Qwen3-0.6B"));
  std::set<std::string> folded;
  for (std::string name : published_models()) {
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    EXPECT_TRUE(folded.insert(name).second) << name;
  }
  expect_error(ErrorKind::kUsage, {"--like", "GPT-7", "assay synth --list"},
               [] { published_config("GPT-7"); });
}

}  // namespace
}  // namespace assay
