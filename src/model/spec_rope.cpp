// `rope_theta` and `rope_scaling` of transformers 4, `rope_parameters` of transformers 5: read as
// its modeling_rope_utils.py does.
#include <fmt/format.h>

#include <cmath>

#include "assay/error.h"
#include "model/spec_config.h"
#include "numerics/rope_table.h"

namespace assay {
namespace {

constexpr const char* kTypes = "default, linear, dynamic, yarn, llama3 or longrope";

RopeScaling scaling_of(const JsonObject& rope, const ModelSpec& spec) {
  const char* field = rope.has("rope_type") ? "rope_type" : "type";
  const std::string type = rope.string(field, "default");
  const bool phi = spec.model_type == "phi3";
  if (type == "default") return RopeScaling::kNone;
  // Phi-3 called it so when it was new.
  if (type == "longrope" || (phi && (type == "su" || type == "yarn"))) {
    return RopeScaling::kLongrope;
  }
  if (phi) throw input_error(rope.where(field), "\"" + type + "\"", "default or longrope");
  if (type == "linear") return RopeScaling::kLinear;
  if (type == "dynamic") return RopeScaling::kDynamic;
  if (type == "yarn") return RopeScaling::kYarn;
  if (type == "llama3") return RopeScaling::kLlama3;
  throw input_error(rope.where(field), "\"" + type + "\"", kTypes);
}

void check_factors(const JsonObject& rope, std::string_view field,
                   const std::vector<double>& factors, const ModelSpec& spec) {
  const std::int64_t expected = spec.rotary_dims() / 2;
  if (std::ssize(factors) == expected) return;
  throw input_error(rope.where(field), fmt::format("{} numbers", factors.size()),
                    fmt::format("{}, one for each pair of rotated elements", expected));
}

// The stretching that `rope` speaks of. Where the original length stands outside of it (Phi-3),
// that one counts.
void read_scaling(const JsonObject& config, const JsonObject& rope, const ModelSpec& spec,
                  RopeParameters& to) {
  constexpr const char* kOriginal = "original_max_position_embeddings";
  const auto longest = static_cast<double>(spec.max_position_embeddings);
  to.scaling = scaling_of(rope, spec);
  to.original_length = config.has(kOriginal) ? config.positive_number(kOriginal)
                                             : rope.positive_number(kOriginal, longest);
  switch (to.scaling) {
    case RopeScaling::kNone:
      break;
    case RopeScaling::kLinear:
      to.factor = rope.positive_number("factor");
      break;
    case RopeScaling::kDynamic:
      to.factor = rope.positive_number("factor");
      to.original_length = longest;
      if (spec.rotary_dims() <= 2) {
        throw input_error(
            config.where("head_dim"), std::to_string(spec.rotary_dims()),
            "more than 2 rotated elements (dynamic RoPE divides by their number - 2)");
      }
      break;
    case RopeScaling::kYarn: {
      to.factor = rope.positive_number("factor", longest / to.original_length);
      const double mscale = rope.positive_number("mscale", 0);
      const double all = rope.positive_number("mscale_all_dim", 0);
      const double own = mscale > 0 && all > 0 ? yarn_attention_factor(to.factor, mscale) /
                                                     yarn_attention_factor(to.factor, all)
                                               : yarn_attention_factor(to.factor);
      to.attention_factor = rope.positive_number("attention_factor", own);
      to.beta_fast = rope.positive_number("beta_fast", to.beta_fast);
      to.beta_slow = rope.positive_number("beta_slow", to.beta_slow);
      to.truncate = rope.boolean("truncate", true);
      break;
    }
    case RopeScaling::kLlama3:
      to.factor = rope.positive_number("factor");
      to.low_freq_factor = rope.positive_number("low_freq_factor");
      to.high_freq_factor = rope.positive_number("high_freq_factor");
      if (to.low_freq_factor == to.high_freq_factor) {
        throw input_error(rope.where("high_freq_factor"), rope.text("high_freq_factor"),
                          "another number than low_freq_factor");
      }
      break;
    case RopeScaling::kLongrope:
      to.factor = rope.positive_number("factor", longest / to.original_length);
      to.attention_factor = rope.positive_number(
          "attention_factor", longrope_attention_factor(to.factor, to.original_length));
      to.short_factor = rope.positive_numbers("short_factor");
      to.long_factor = rope.positive_numbers("long_factor");
      check_factors(rope, "short_factor", to.short_factor, spec);
      check_factors(rope, "long_factor", to.long_factor, spec);
      break;
  }
}

// Configs of these types have always had the field: a default would hide that it is missing.
double theta_of(const JsonObject& config, const JsonObject& rope, const ModelSpec& spec) {
  if (rope.has("rope_theta")) return rope.positive_number("rope_theta");
  if (spec.model_type.starts_with("qwen")) return config.positive_number("rope_theta");
  return config.positive_number("rope_theta", 10000);
}

// The object that says how to stretch: an empty one where there is none.
JsonObject scaling_object(const JsonObject& config) {
  if (config.has("rope_parameters")) return config.object("rope_parameters");
  if (config.has("rope_scaling")) return config.object("rope_scaling");
  return {config.where("rope_scaling"), OrderedJson::object()};
}

void read_rotary_dims(const JsonObject& config, const JsonObject& rope, ModelSpec& spec) {
  constexpr const char* kField = "partial_rotary_factor";
  const JsonObject& from = rope.has(kField) ? rope : config;
  const double factor = from.positive_number(kField, 1);
  const auto dims =
      static_cast<std::int64_t>(static_cast<double>(spec.head_dim) * std::min(factor, 1.0));
  if (factor > 1 || dims < 2 || dims % 2 != 0) {
    throw input_error(
        from.where(kField), from.text(kField),
        fmt::format("a part of head_dim ({}) that is a positive even number", spec.head_dim));
  }
  if (dims == spec.head_dim) return;
  if (spec.model_type != "phi3") {
    throw input_error(from.where(kField), from.text(kField),
                      fmt::format("1 (a {} rotates whole heads)", spec.model_type));
  }
  spec.rope.dims = dims;
}

// One set of parameters for each type of layer.
void read_gemma3(const JsonObject& config, ModelSpec& spec) {
  RopeParameters& global = spec.rope_parameters;
  RopeParameters& local = spec.local_rope_parameters.emplace();
  const double global_theta = config.positive_number("rope_theta", 1000000);
  const double local_theta = config.positive_number("rope_local_base_freq", 10000);
  const JsonObject none(config.where("rope_parameters"), OrderedJson::object());
  const JsonObject by_type =
      config.has("rope_parameters") ? config.object("rope_parameters") : none;
  const auto part = [&](const char* type) {
    return by_type.has(type) ? by_type.object(type) : none;
  };
  const JsonObject full = part("full_attention");
  const JsonObject sliding = part("sliding_attention");
  read_scaling(config, config.has("rope_scaling") ? config.object("rope_scaling") : full, spec,
               global);
  read_scaling(config, sliding, spec, local);
  global.theta = full.positive_number("rope_theta", global_theta);
  local.theta = sliding.positive_number("rope_theta", local_theta);
}

}  // namespace

void read_rope(const JsonObject& config, ModelSpec& spec) {
  if (spec.model_type == "gemma3_text") return read_gemma3(config, spec);
  const JsonObject rope = scaling_object(config);
  read_rotary_dims(config, rope, spec);
  read_scaling(config, rope, spec, spec.rope_parameters);
  spec.rope_parameters.theta = theta_of(config, rope, spec);
}

}  // namespace assay
