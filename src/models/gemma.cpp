// Gemma 2 and the text models of Gemma 3: norms of 1 + weight around both blocks, an embedding
// times sqrt(hidden_size), GELU, sliding layers. Gemma 2 caps scores and logits; Gemma 3 normalises
// query and key heads and rotates its sliding layers with another base.
#include <array>
#include <cmath>
#include <cstddef>
#include <tuple>

#include "assay/error.h"
#include "models/config_fields.h"
#include "models/gguf_fields.h"
#include "models/model_type.h"
#include "models/parts/attention.h"
#include "models/parts/mlp.h"

namespace assay {
namespace {

void read_gemma(const JsonObject& config, ModelSpec& spec) {
  const bool second = spec.model_type == "gemma2";
  read_heads(config, spec, false);
  spec.qkv_bias = spec.o_bias = config.boolean("attention_bias", false);
  spec.qk_norm = !second;
  spec.embedding.scale = std::sqrt(static_cast<double>(spec.hidden_size));
  spec.norm.one_plus = spec.norm.rounded_once = true;
  spec.attention.scale = 1 / std::sqrt(config.positive_number("query_pre_attn_scalar", 256));
  // Gemma 3 has both caps in its config and applies only one (transformers 5.23).
  if (second) spec.attention.softcap = number_or_null(config, "attn_logit_softcapping", 50);
  spec.head.softcap = number_or_null(config, "final_logit_softcapping", second ? 30 : 0);
  refuse_unless(!config.boolean("use_bidirectional_attention", false), config,
                "use_bidirectional_attention", "false");
  read_window(config, spec, 4096);
  const auto pattern =
      static_cast<std::size_t>(second ? 2 : config.positive_integer("sliding_window_pattern", 6));
  read_layer_types(config, spec, [&](std::size_t l) { return (l + 1) % pattern != 0; });
}

void gemma_layer(Builder& b) {
  const ValueId a = attention(b, b.norm(b.stream(), "input_layernorm", Tap::kInputNorm));
  b.add(b.norm(a, "post_attention_layernorm", Tap::kAttnPostNorm), Tap::kAttnResidual);
  const ValueId m = mlp(b, b.norm(b.stream(), "pre_feedforward_layernorm", Tap::kMlpNorm));
  b.add(b.norm(m, "post_feedforward_layernorm", Tap::kMlpPostNorm), Tap::kLayerOutput);
}

// One set of parameters per type of layer. `rope_scaling` overrides that of the full layers field
// by field: a `type` in it is ignored, because there is a `rope_type` already.
void read_gemma3_rope(const JsonObject& config, ModelSpec& spec) {
  RopeParameters& global = spec.rope_parameters;
  RopeParameters& local = spec.local_rope_parameters.emplace();
  const double global_theta = config.positive_number("rope_theta", 1000000);
  const double local_theta = config.positive_number("rope_local_base_freq", 10000);
  const JsonObject none(config.where("rope_parameters"),
                        OrderedJson::object({{"rope_type", "default"}}));
  const bool given = config.has("rope_parameters");
  const JsonObject by_type = given ? config.object("rope_parameters") : none;
  JsonObject full = by_type.has("full_attention") ? by_type.object("full_attention") : none;
  if (config.has("rope_scaling")) {
    if (given && !by_type.has("full_attention")) {
      throw input_error(by_type.where("full_attention"), "missing although there is a rope_scaling",
                        "a JSON object");
    }
    full = full.updated(config.object("rope_scaling"));
  }
  JsonObject sliding =
      by_type.has("sliding_attention") ? by_type.object("sliding_attention") : none;
  for (const auto& [rope, to, theta] :
       {std::tuple(&full, &global, global_theta), std::tuple(&sliding, &local, local_theta)}) {
    read_rope_scaling(config, *rope, by_type, spec, *to);
    to->theta = rope->positive_number("rope_theta", theta);
  }
}

// For both. No key tells by what the largest models scale their scores; llama.cpp recognises them
// by their number of layers.
void read_gemma_gguf(GgufFields& gguf, std::int64_t period, std::int64_t layers_of_27b) {
  gguf.config.erase("hidden_act");
  gguf.config["hidden_activation"] = "gelu_pytorch_tanh";
  gguf.config["sliding_window"] = gguf.integer("attention.sliding_window");
  gguf.config["layer_types"] = gguf.layer_types(period);
  gguf.config["query_pre_attn_scalar"] =
      gguf.layers() == layers_of_27b ? gguf.hidden() / gguf.heads() : gguf.head_dim();
}

void read_gemma2_gguf(GgufFields& gguf) {
  read_gemma_gguf(gguf, 2, 46);
  gguf.config["attn_logit_softcapping"] = gguf.number("attn_logit_softcapping", 50);
  gguf.config["final_logit_softcapping"] = gguf.number("final_logit_softcapping", 30);
}

void read_gemma3_gguf(GgufFields& gguf) {
  read_gemma_gguf(gguf, 6, 62);
  gguf.config["rope_local_base_freq"] = gguf.number("rope.freq_base_swa", 10000);
  if (gguf.has("final_logit_softcapping")) {
    gguf.config["final_logit_softcapping"] = gguf.number("final_logit_softcapping", 0);
  }
}

constexpr std::array<GgufName, 1> kGgufNames = {{{"ffn_norm", "pre_feedforward_layernorm"}}};

// The fields that both types share.
ModelType gemma_type(const char* name, const char* architecture, void (*gguf)(GgufFields&)) {
  return {.name = name,
          .read = read_gemma,
          .layer = gemma_layer,
          .activation_field = "hidden_activation",
          .activation = "gelu_pytorch_tanh",
          .ties = true,
          .gguf = {.architecture = architecture,
                   .read = gguf,
                   .names = kGgufNames,
                   .adds_one_to_norms = true}};
}

}  // namespace

ModelType gemma2_type() { return gemma_type("gemma2", "gemma2", read_gemma2_gguf); }
ModelType gemma3_text_type() {
  ModelType type = gemma_type("gemma3_text", "gemma3", read_gemma3_gguf);
  type.read_rope = read_gemma3_rope;
  return type;
}

}  // namespace assay
