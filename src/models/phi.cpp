// Phi-3, 3.5, 4 and 4-mini: Llama's layer with its projections fused: q, k and v, and gate and up.
#include <array>
#include <cmath>

#include "models/config_fields.h"
#include "models/gguf_fields.h"
#include "models/model_type.h"
#include "models/parts/pre_norm.h"

namespace assay {
namespace {

void read_phi3(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, true);
  read_window(config, spec, 0);
  spec.runs_anew_when_long = true;
}

void phi3_layer(Builder& b) {
  pre_norm_layer(b, {.fused = "qkv_proj"}, {.fused = "gate_up_proj", .moe = {}});
}

void read_phi3_gguf(GgufFields& gguf) {
  const std::int64_t rotary = gguf.integer("rope.dimension_count", gguf.head_dim());
  gguf.config["partial_rotary_factor"] =
      static_cast<double>(rotary) / static_cast<double>(gguf.head_dim());
  const std::int64_t window = gguf.integer("attention.sliding_window", 0);
  gguf.config["sliding_window"] = window > 0 ? OrderedJson(window) : OrderedJson(nullptr);
  const std::int64_t context = gguf.integer("context_length");
  const std::int64_t original = gguf.integer("rope.scaling.original_context_length", context);
  gguf.config["original_max_position_embeddings"] = original;
  if (gguf.parts().find("rope_factors_long.weight") == nullptr) return;
  OrderedJson scaling = {{"rope_type", "longrope"},
                         {"short_factor", gguf.rope_factors("rope_factors_short.weight")},
                         {"long_factor", gguf.rope_factors("rope_factors_long.weight")}};
  // If it equals what the lengths imply, as in every published model, compute it in double from
  // those, which is more precise than the file's FP32.
  const double stated = gguf.number("rope.scaling.attn_factor", 1);
  const double stretch = static_cast<double>(context) / static_cast<double>(original);
  const double given =
      stretch > 1 ? std::sqrt(1 + std::log(stretch) / std::log(static_cast<double>(original))) : 1;
  if (std::abs(stated / given - 1) > 1e-6) scaling["attention_factor"] = stated;
  gguf.config["rope_scaling"] = std::move(scaling);
}

constexpr std::array<GgufName, 2> kGgufNames = {
    {{"attn_qkv", "self_attn.qkv_proj"}, {"ffn_up", "mlp.gate_up_proj"}}};

}  // namespace

ModelType phi3_type() {
  return {
      .name = "phi3",
      .read = read_phi3,
      .layer = phi3_layer,
      // Phi-3's first configs use these names for longrope. 4096 is Phi3Config's own length.
      .rope = {.only_longrope = {"su", "yarn"}, .original_length = 4096, .rotates_partly = true},
      .gguf = {.architecture = "phi3", .read = read_phi3_gguf, .names = kGgufNames}};
}

}  // namespace assay
