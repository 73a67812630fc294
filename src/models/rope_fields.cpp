// `rope_theta` and `rope_scaling` of transformers 4, `rope_parameters` of transformers 5, read in
// the same way as in its modeling_rope_utils.py.
#include "models/rope_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "assay/error.h"
#include "numerics/rope_table.h"

namespace assay {
namespace {

constexpr const char* kRopeTypes = "default, linear, dynamic, yarn, llama3 or longrope";

RopeScaling scaling_of(const JsonObject& rope, const RopeFields& fields) {
  const char* field = rope.has("rope_type") ? "rope_type" : "type";
  const std::string type = rope.string(field, "default");
  const std::vector<std::string_view>& names = fields.only_longrope;
  if (type == "default") return RopeScaling::kNone;
  if (type == "longrope" || std::ranges::count(names, type) > 0) return RopeScaling::kLongrope;
  if (!names.empty()) {
    throw input_error(rope.where(field), "\"" + type + "\"", "default or longrope");
  }
  if (type == "linear") return RopeScaling::kLinear;
  if (type == "dynamic") return RopeScaling::kDynamic;
  if (type == "yarn") return RopeScaling::kYarn;
  if (type == "llama3") return RopeScaling::kLlama3;
  throw input_error(rope.where(field), "\"" + type + "\"", kRopeTypes);
}

void check_factors(const JsonObject& rope, std::string_view field,
                   const std::vector<double>& factors, const ModelSpec& spec) {
  const std::int64_t expected = spec.rotary_dims() / 2;
  if (std::ssize(factors) == expected) return;
  throw input_error(rope.where(field), fmt::format("{} numbers", factors.size()),
                    fmt::format("{}, one for each pair of rotated elements", expected));
}

constexpr const char* kOriginal = "original_max_position_embeddings";
constexpr const char* kPartial = "partial_rotary_factor";
constexpr const char* kFull = "full_attention";
constexpr const char* kSliding = "sliding_attention";

// The length outside of `rope` has priority, unless each type of layer has its own parameters.
double original_length(const JsonObject& config, const JsonObject& rope, const RopeFields& fields,
                       const ModelSpec& spec) {
  if (fields.original_length) return config.positive_number(kOriginal, *fields.original_length);
  if (config.has(kOriginal) && !spec.local_rope_parameters) {
    return config.positive_number(kOriginal);
  }
  return rope.positive_number(kOriginal, static_cast<double>(spec.max_position_embeddings));
}

// A required field, null for the ratio of the two lengths.
double factor_or_ratio(const JsonObject& rope, double ratio) {
  return rope.is_null("factor") ? ratio : rope.positive_number("factor");
}

void read_scaling(const JsonObject& config, const JsonObject& rope, const JsonObject& outer,
                  const RopeFields& fields, const ModelSpec& spec, RopeParameters& to) {
  const auto longest = static_cast<double>(spec.max_position_embeddings);
  to.scaling = scaling_of(rope, fields);
  to.original_length = original_length(config, rope, fields, spec);
  constexpr double kMost = std::numeric_limits<std::int32_t>::max();
  if (to.scaling != RopeScaling::kNone &&
      !(to.original_length > 1 && to.original_length <= kMost)) {
    throw input_error(rope.where(kOriginal), fmt::format("{}", to.original_length),
                      "the number of tokens of the pretraining, more than 1");
  }
  switch (to.scaling) {
    case RopeScaling::kNone:
    case RopeScaling::kProportional:  // see gemma4.cpp
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
      to.factor = factor_or_ratio(rope, longest / to.original_length);
      const double mscale = rope.positive_number("mscale", 0);
      const double all = rope.positive_number("mscale_all_dim", 0);
      const double own = mscale > 0 && all > 0 ? yarn_attention_factor(to.factor, mscale) /
                                                     yarn_attention_factor(to.factor, all)
                                               : yarn_attention_factor(to.factor);
      to.attention_factor = rope.positive_number("attention_factor", own);
      to.beta_fast = rope.positive_number("beta_fast", to.beta_fast);
      to.beta_slow = rope.positive_number("beta_slow", to.beta_slow);
      to.truncate = outer.boolean("truncate", true);
      break;
    }
    case RopeScaling::kLlama3:
      to.factor = rope.positive_number("factor");
      to.low_freq_factor = rope.positive_number("low_freq_factor");
      to.high_freq_factor = rope.positive_number("high_freq_factor");
      if (to.low_freq_factor == to.high_freq_factor) {
        throw input_error(rope.where("high_freq_factor"), rope.text("high_freq_factor"),
                          "a number other than low_freq_factor");
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

// Reads how much of a head is rotated. Without scaling, most types ignore that field.
void read_rotary_dims(const JsonObject& config, const JsonObject& rope, const RopeFields& fields,
                      bool stretched, ModelSpec& spec) {
  if (!fields.rotates_partly && !stretched) return;
  const JsonObject& from = rope.has(kPartial) ? rope : config;
  double factor = from.positive_number(kPartial, fields.part);
  const char* field = kPartial;
  if (!from.has(kPartial) && !fields.dims_field.empty() && config.has(fields.dims_field)) {
    field = fields.dims_field.data();
    factor =
        static_cast<double>(config.positive_integer(field)) / static_cast<double>(spec.head_dim);
  }
  const auto dims =
      static_cast<std::int64_t>(static_cast<double>(spec.head_dim) * std::min(factor, 1.0));
  if (factor > 1 || dims < 2 || dims % 2 != 0) {
    throw input_error(
        from.where(field), from.text(field),
        fmt::format("a part of head_dim ({}) that is a positive even number", spec.head_dim));
  }
  if (dims == spec.head_dim) return;
  if (!fields.rotates_partly) {
    throw input_error(from.where(kPartial), from.text(kPartial),
                      fmt::format("1 (a {} rotates whole heads)", spec.model_type));
  }
  spec.rope.dims = dims;
}

}  // namespace

bool gives_rope(const JsonObject& config) {
  return std::ranges::any_of(std::array{"rope_scaling", "rope_parameters"}, [&](const char* name) {
    return config.has(name) && !config.object(name).empty();
  });
}

// A `rope_scaling` replaces all of
// `rope_parameters`, even its rope_theta.
JsonObject rope_object(const JsonObject& config) {
  if (config.has("rope_scaling")) {
    JsonObject scaling = config.object("rope_scaling");
    if (!scaling.empty()) return scaling;
  }
  if (config.has("rope_parameters")) return config.object("rope_parameters");
  return {config.where("rope_scaling"), OrderedJson::object()};
}

void read_rope_scaling(const JsonObject& config, const JsonObject& rope, const JsonObject& outer,
                       const ModelSpec& spec, RopeParameters& to) {
  read_scaling(config, rope, outer, {}, spec, to);
  ModelSpec whole = spec;
  read_rotary_dims(config, rope, {}, to.scaling != RopeScaling::kNone, whole);
}

void read_rope(const JsonObject& config, const RopeFields& fields, ModelSpec& spec) {
  const JsonObject rope = rope_object(config);
  for (const char* type : {kFull, kSliding}) {
    if (rope.has(type)) {
      throw input_error(rope.where(type), "parameters for each type of layer",
                        fmt::format("one set for all layers (a {})", spec.model_type));
    }
  }
  read_rotary_dims(config, rope, fields, scaling_of(rope, fields) != RopeScaling::kNone, spec);
  read_scaling(config, rope, rope, fields, spec, spec.rope_parameters);
  spec.rope_parameters.theta =
      rope.positive_number("rope_theta", config.positive_number("rope_theta", fields.theta));
}

}  // namespace assay
