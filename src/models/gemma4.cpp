// The text models of Gemma 4. Sliding layers have other heads than full ones, which may use their
// keys as values; the last layers may read keys and values of earlier ones. A layer may have
// experts beside its MLP, may add a small embedding of its own, and ends with a learned factor.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "assay/error.h"
#include "models/config_fields.h"
#include "models/gguf_fields.h"
#include "models/model_type.h"
#include "models/parts/attention.h"
#include "models/parts/mlp.h"

namespace assay {
namespace {

constexpr const char* kPerLayer = "per_layer_config";
constexpr const char* kShared = "num_kv_shared_layers";

// transformers writes what differs by layer as `per_layer_config`; published files have a field for
// each size of the full layers.
Heads heads_of_layer(const JsonObject& config, const ModelSpec& spec, std::int64_t l) {
  Heads heads{spec.num_attention_heads, spec.num_key_value_heads, spec.head_dim};
  const bool full = !spec.is_sliding(l);
  const bool shares = config.boolean("attention_k_eq_v", false);
  heads.keys_are_values = full && shares;
  const std::string layer = std::to_string(l);
  if (!config.has(kPerLayer)) {
    if (!full) return heads;
    heads.head_dim = config.positive_integer("global_head_dim", 512);
    if (shares) heads.keys = config.positive_integer("num_global_key_value_heads", heads.keys);
  } else if (config.object(kPerLayer).has(layer)) {
    const JsonObject own = config.object(kPerLayer).object(layer);
    heads.head_dim = own.positive_integer("head_dim", heads.head_dim);
    heads.keys = own.positive_integer("num_key_value_heads", heads.keys);
  }
  if (heads.queries % heads.keys != 0 || heads.head_dim % 2 != 0 || heads.head_dim > kMostHeadDim) {
    throw input_error(config.where(config.has(kPerLayer) ? kPerLayer : "global_head_dim"),
                      fmt::format("{} key heads of {} in layer {}", heads.keys, heads.head_dim, l),
                      fmt::format("a divisor of num_attention_heads ({}), and an even number up to "
                                  "{}",
                                  heads.queries, kMostHeadDim));
  }
  return heads;
}

void read_heads_by_layer(const JsonObject& config, ModelSpec& spec) {
  for (std::int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    const Heads heads = heads_of_layer(config, spec, l);
    if (!spec.is_sliding(l) && !spec.global_heads) spec.global_heads = heads;
    if (heads == spec.heads(l)) continue;
    throw input_error(config.where(kPerLayer), config.text(kPerLayer),
                      "the same sizes in all full layers, and none for sliding ones");
  }
}

void read_shared_layers(const JsonObject& config, ModelSpec& spec) {
  const auto shared = static_cast<std::int64_t>(config.unsigned_integer(kShared, 0));
  refuse_unless(shared < spec.num_hidden_layers, config, kShared,
                fmt::format("less than num_hidden_layers ({})", spec.num_hidden_layers));
  spec.kv_shared_layers = shared;
  for (std::int64_t l = spec.num_hidden_layers - shared; l < spec.num_hidden_layers; ++l) {
    refuse_unless(spec.kv_source(l).has_value(), config, kShared,
                  "so many that the layers before them are of both kinds");
  }
  spec.wide_shared_mlps = config.boolean("use_double_wide_mlp", false);
}

void read_per_layer_input(const JsonObject& config, ModelSpec& spec) {
  constexpr const char* kWidth = "hidden_size_per_layer_input";
  constexpr const char* kVocab = "vocab_size_per_layer_input";
  if (config.is_null(kWidth)) return;
  spec.per_layer_input.width = static_cast<std::int64_t>(config.unsigned_integer(kWidth, 256));
  spec.per_layer_input.vocab = config.positive_integer(kVocab, 262144);
  refuse_unless(spec.per_layer_input.vocab >= spec.vocab_size || spec.per_layer_input.width == 0,
                config, kVocab, fmt::format("at least vocab_size ({})", spec.vocab_size));
}

void read_gemma4_experts(const JsonObject& config, ModelSpec& spec) {
  if (!config.boolean("enable_moe_block", false)) return;
  read_experts(config, {.chosen = "top_k_experts"}, spec);
  RouterSpec& router = spec.moe.router;
  router.norm_topk_prob = router.expert_scales = true;
  router.rounded = false;
}

void read_gemma4(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, false);
  spec.qkv_bias = spec.o_bias = config.boolean("attention_bias", false);
  spec.qk_norm = spec.attention.v_norm = true;
  spec.attention.scale = 1;
  spec.attention.window = config.positive_integer("sliding_window", 512);
  spec.embedding.scale = std::sqrt(static_cast<double>(spec.hidden_size));
  spec.norm.rounded_once = true;
  spec.head.softcap = number_or_null(config, "final_logit_softcapping", 0);
  constexpr const char* kMask = "use_bidirectional_attention";
  refuse_unless(!config.has(kMask) || config.string(kMask) == "vision", config, kMask,
                "null or \"vision\"");
  read_layer_types(config, spec, [](std::size_t l) { return (l + 1) % 6 != 0; });
  spec.sliding_layers.back() = false;  // as in transformers
  read_heads_by_layer(config, spec);
  read_shared_layers(config, spec);
  read_per_layer_input(config, spec);
  read_gemma4_experts(config, spec);
}

void read_gemma4_rope(const JsonObject& config, ModelSpec& spec) {
  const OrderedJson published = {
      {"full_attention",
       {{"rope_type", "proportional"}, {"partial_rotary_factor", 0.25}, {"rope_theta", 1000000.0}}},
      {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 10000.0}}}};
  const JsonObject by_type = config.has("rope_parameters")
                                 ? config.object("rope_parameters")
                                 : JsonObject(config.where("rope_parameters"), published);
  // transformers would read it in place of rope_parameters.
  refuse_unless(!config.has("rope_scaling"), config, "rope_scaling",
                "rope_parameters for each type of layer instead");
  const auto read = [&](const char* name, RopeParameters& to) {
    const JsonObject rope = by_type.object(name);
    const char* type = rope.has("rope_type") ? "rope_type" : "type";
    if (rope.string(type, "default") == "proportional") {
      to.scaling = RopeScaling::kProportional;
      to.factor = rope.positive_number("factor", 1);
      const JsonObject& from = rope.has("partial_rotary_factor") ? rope : config;
      to.part = from.positive_number("partial_rotary_factor", 1);
      refuse_unless(to.part <= 1, from, "partial_rotary_factor", "at most 1");
    } else {
      read_rope_scaling(config, rope, by_type, spec, to);
      refuse_unless(to.scaling == RopeScaling::kNone || to.scaling == RopeScaling::kLinear, rope,
                    type, "\"default\", \"linear\" or \"proportional\"");
    }
    to.theta = (rope.has("rope_theta") ? rope : config).positive_number("rope_theta");
  };
  read("full_attention", spec.rope_parameters);
  for (std::int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    if (!spec.is_sliding(l)) continue;
    return read("sliding_attention", spec.local_rope_parameters.emplace());
  }
}

// The router reads the stream, experts read it through a norm of their own.
ValueId experts_beside_mlp(Builder& b) {
  const ModelSpec& s = b.spec();
  const ValueId all = b.norm(b.stream(), "pre_feedforward_layernorm", Tap::kMlpNorm);
  const ValueId x = b.norm(b.stream(), "pre_feedforward_layernorm_2", Tap::kRoutedNorm);
  const ValueId n = b.bare_norm(b.stream(), s.hidden_size, Tap::kRouterNorm);
  const ValueId scaled = b.step(Multiply{}, {n}, {{s.hidden_size}, std::nullopt},
                                {b.named("router.scale", s.hidden_size)});
  const double root = 1 / std::sqrt(static_cast<double>(s.hidden_size));
  const ValueId routed_by = b.step(Multiply{root}, {scaled}, {{s.hidden_size}, Tap::kRouterInput});
  const ValueId routed =
      routed_experts(b, x, routed_by, {.block = "", .router = "router.proj"}, Tap::kRoutedOutput);
  const ValueId e = b.norm(routed, "post_feedforward_layernorm_2", Tap::kRoutedPostNorm);
  const ValueId d =
      b.norm(mlp_of_all(b, all), "post_feedforward_layernorm_1", Tap::kSharedPostNorm);
  return b.step(Add{}, {d, e}, {{s.hidden_size}, Tap::kMlpOutput});
}

// The layer's embedding of the token, with what the token's own embedding says of it.
ValueId per_layer_input(Builder& b) {
  const ModelSpec& s = b.spec();
  const std::int64_t width = s.per_layer_input.width;
  const std::int64_t layers = s.num_hidden_layers;
  const ValueId embedding = b.import({Tap::kEmbeddingOutput, -1}, {s.hidden_size});
  const ValueId own = b.step(
      Lookup{std::sqrt(static_cast<double>(width)), layers, b.layer()}, {},
      {{width}, Tap::kPleEmbedding},
      {Builder::outside("model.embed_tokens_per_layer", s.per_layer_input.vocab, layers * width)});
  TensorUse matrix =
      Builder::outside("model.per_layer_model_projection", layers * width, s.hidden_size);
  matrix.rows = width;
  matrix.first = b.layer() * width;
  const ValueId context = b.step(Linear{}, {embedding}, {{width}, Tap::kPleContext}, {matrix});
  const double root = 1 / std::sqrt(static_cast<double>(s.hidden_size));
  const ValueId scaled = b.step(Multiply{root}, {context}, {{width}, std::nullopt});
  const ValueId normed =
      b.norm(scaled, Builder::outside("model.per_layer_projection_norm", 0, width), Tap::kPleNorm);
  const ValueId sum = b.step(Add{}, {own, normed}, {{width}, std::nullopt});
  return b.step(Multiply{std::sqrt(0.5)}, {sum}, {{width}, Tap::kPleInput});
}

void add_per_layer_input(Builder& b) {
  const ModelSpec& s = b.spec();
  const std::int64_t width = s.per_layer_input.width;
  const ValueId input = per_layer_input(b);
  const ValueId gate = b.step(Linear{}, {b.stream()}, {{width}, Tap::kPleGate},
                              {b.matrix("per_layer_input_gate", width, s.hidden_size)});
  const ValueId act = b.step(Gate{s.mlp.activation}, {gate, input}, {{width}, Tap::kPleAct});
  const ValueId out = b.step(Linear{}, {act}, {{s.hidden_size}, Tap::kPleOutput},
                             {b.matrix("per_layer_projection", s.hidden_size, width)});
  b.add(b.norm(out, "post_per_layer_input_norm", Tap::kPlePostNorm), Tap::kPleResidual);
}

void gemma4_layer(Builder& b) {
  const ModelSpec& s = b.spec();
  const ValueId a = attention(b, b.norm(b.stream(), "input_layernorm", Tap::kInputNorm));
  b.add(b.norm(a, "post_attention_layernorm", Tap::kAttnPostNorm), Tap::kAttnResidual);
  const ValueId m = s.is_sparse(b.layer())
                        ? experts_beside_mlp(b)
                        : mlp(b, b.norm(b.stream(), "pre_feedforward_layernorm", Tap::kMlpNorm));
  b.add(b.norm(m, "post_feedforward_layernorm", Tap::kMlpPostNorm), Tap::kMlpResidual);
  if (s.per_layer_input.width > 0) add_per_layer_input(b);
  b.continue_with(b.step(Multiply{}, {b.stream()}, {{s.hidden_size}, Tap::kLayerOutput},
                         {b.named("layer_scalar", 1)}));
}

// Full layers rotate with all frequencies of the file, which are divided by 1, or by so much that
// nothing is rotated.
OrderedJson full_rope(const GgufFields& gguf) {
  const std::vector<float> factors = gguf.rope_factors("rope_freqs.weight");
  const auto turned = std::ranges::count(factors, 1.0F);
  return {
      {"rope_type", "proportional"},
      {"rope_theta", gguf.number("rope.freq_base", 10000)},
      {"partial_rotary_factor", static_cast<double>(turned) / static_cast<double>(factors.size())}};
}

void read_gemma4_gguf(GgufFields& gguf) {
  OrderedJson& config = gguf.config;
  config.erase("hidden_act");
  config["hidden_activation"] = "gelu_pytorch_tanh";
  config["sliding_window"] = gguf.integer("attention.sliding_window");
  config["layer_types"] = gguf.layer_types(6);
  config["global_head_dim"] = gguf.head_dim();
  config["head_dim"] = gguf.integer("attention.key_length_swa");
  config["rope_parameters"] = {
      {"full_attention", full_rope(gguf)},
      {"sliding_attention",
       {{"rope_type", "default"}, {"rope_theta", gguf.number("rope.freq_base_swa", 10000)}}}};
  const std::vector<std::int64_t> keys = gguf.of_layers("attention.head_count_kv", gguf.heads());
  for (std::size_t l = keys.size(); l-- > 0;) {
    if (config["layer_types"][l] == "sliding_attention") {
      config["num_key_value_heads"] = keys[l];
      continue;
    }
    config["num_global_key_value_heads"] = keys[l];
    const auto has = [&](std::string_view name) {
      return gguf.parts().find(fmt::format("blk.{}.{}", l, name)) != nullptr;
    };
    if (has("attn_k.weight")) config["attention_k_eq_v"] = !has("attn_v.weight");
  }
  config["num_kv_shared_layers"] = gguf.integer("attention.shared_kv_layers", 0);
  const std::vector<std::int64_t> widths = gguf.of_layers("feed_forward_length", 0);
  config["use_double_wide_mlp"] = !widths.empty() && widths.back() == 2 * widths.front();
  config["hidden_size_per_layer_input"] = gguf.integer("embedding_length_per_layer_input", 0);
  if (const GgufTensor* rows = gguf.parts().find("per_layer_token_embd.weight")) {
    config["vocab_size_per_layer_input"] = rows->shape.front();
  }
  if (gguf.has("final_logit_softcapping")) {
    config["final_logit_softcapping"] = gguf.number("final_logit_softcapping", 0);
  }
  if (gguf.integer("expert_count", 0) == 0) return;
  config["enable_moe_block"] = true;
  config["num_experts"] = gguf.integer("expert_count");
  config["top_k_experts"] = gguf.integer("expert_used_count");
  config["moe_intermediate_size"] = gguf.integer("expert_feed_forward_length");
}

constexpr std::array<GgufName, 15> kGemma4GgufNames = {
    {{"ffn_norm", "pre_feedforward_layernorm"},
     {"pre_ffw_norm_2", "pre_feedforward_layernorm_2"},
     {"post_ffw_norm_1", "post_feedforward_layernorm_1"},
     {"post_ffw_norm_2", "post_feedforward_layernorm_2"},
     {"ffn_gate_inp", "router.proj"},
     {"ffn_gate_inp.scale", "router.scale"},
     {"ffn_down_exps.scale", "router.per_expert_scale"},
     {"ffn_gate_up_exps.weight", "experts.gate_up_proj"},
     {"ffn_gate_exps", "experts.{}.gate_proj"},
     {"ffn_up_exps", "experts.{}.up_proj"},
     {"ffn_down_exps", "experts.{}.down_proj"},
     {"layer_output_scale.weight", "layer_scalar"},
     {"inp_gate", "per_layer_input_gate"},
     {"proj", "per_layer_projection"},
     {"post_norm", "post_per_layer_input_norm"}}};

}  // namespace

ModelType gemma4_text_type() {
  return {.name = "gemma4_text",
          .read = read_gemma4,
          .layer = gemma4_layer,
          .activation_field = "hidden_activation",
          .activation = "gelu_pytorch_tanh",
          .ties = true,
          .read_rope = read_gemma4_rope,
          .gguf = {.architecture = "gemma4",
                   .read = read_gemma4_gguf,
                   .names = kGemma4GgufNames,
                   .sizes_by_layer = true}};
}

}  // namespace assay
