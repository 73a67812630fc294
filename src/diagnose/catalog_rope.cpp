#include <fmt/format.h>

#include <cmath>

#include "diagnose/catalog_list.h"

namespace assay {
namespace {

std::vector<Variant> other_theta(const Circumstances& at) {
  std::vector<Variant> all;
  for (const double theta : {1e4, 1e6, 5e5, 1e5, 5e6, 1e7, 5e4, 2e5, 2.5e5, 3e5, 8e6, 2e4, 1e8}) {
    if (theta == at.spec.rope_parameters.theta) continue;
    all.push_back({fmt::format("{:.0f}", theta),
                   [theta](Hypothesis& h) { h.program.ropes[0].theta = theta; }});
  }
  return all;
}

// theta^(-c i/d) equals the right formula with theta^(c/2).
std::vector<Variant> other_exponent(const Circumstances& at) {
  const auto power = [](double exponent) {
    return [exponent](Hypothesis& h) {
      double& theta = h.program.ropes[0].theta;
      theta = std::pow(theta, exponent);
    };
  };
  const double d = static_cast<double>(at.spec.head_dim);
  std::vector<Variant> all = {{"i/d instead of 2i/d", power(0.5)},
                              {"4i/d instead of 2i/d", power(2)}};
  all.push_back({"d is hidden_size", power(d / static_cast<double>(at.spec.hidden_size))});
  const std::int64_t share = at.spec.hidden_size / at.spec.num_attention_heads;
  if (share != at.spec.head_dim && share > 0) {
    all.push_back(
        {"d is hidden_size / num_attention_heads", power(d / static_cast<double>(share))});
  }
  return all;
}

// Applies the change to every rotation.
template <class Change>
auto rotations(Change change) {
  return [change](Hypothesis& h) { change_layers<OddRotate>(h.program, change); };
}

std::vector<Variant> missing(const Circumstances&) {
  const auto of = [](std::vector<Tap> taps) {
    return [taps = std::move(taps)](Hypothesis& h) {
      for (const Tap tap : taps) {
        change_rotations(h.program, tap, [](OddRotate& rotation) { rotation.applications = 0; });
      }
    };
  };
  return {{"of queries and keys", of({Tap::kQRope, Tap::kKRope})},
          {"of queries", of({Tap::kQRope})},
          {"of keys", of({Tap::kKRope})}};
}

std::vector<Variant> part_of_head(const Circumstances& at) {
  std::vector<Variant> all;
  for (const std::int64_t divisor : {2, 4}) {
    const std::int64_t dims = at.spec.least_head_dim() / divisor;
    if (dims % 2 != 0 || dims < 2) continue;
    all.push_back({fmt::format("the first {} of {} channels", dims, at.spec.least_head_dim()),
                   rotations([dims](OddRotate& r) { r.rotate.dims = dims; })});
  }
  return all;
}

std::vector<Variant> shifted(const Circumstances&) {
  std::vector<Variant> all;
  for (const std::int64_t n : {1, -1, 2}) {
    all.push_back({fmt::format("by {:+}", n), rotations([n](OddRotate& r) { r.offset = n; })});
  }
  return all;
}

// All angles are those of the first pairs; the pairs are of whole heads.
std::vector<Variant> other_proportion(const Circumstances& at) {
  const double part = at.spec.rope_parameters.part;
  const double factor = at.spec.rope_parameters.factor;
  const auto turned =
      static_cast<std::int64_t>(part * static_cast<double>(at.spec.rotary_dims(std::size_t{0})));
  std::vector<Variant> all = {{"whole heads rotated: the factor ignored",
                               [](Hypothesis& h) { h.program.ropes[0].part = 1; }}};
  if (factor != 1) {
    all.push_back(
        {"frequencies not divided", [](Hypothesis& h) { h.program.ropes[0].factor = 1; }});
  }
  if (part == 1 || turned < 2) return all;
  const auto in_part = [turned](Hypothesis& h) {
    // The first of two tables is the full layers'.
    change_layers<OddRotate>(h.program, [turned](OddRotate& r) {
      if (r.rotate.table % 2 == 0) r.rotate.dims = turned / 2 * 2;
    });
    h.program.ropes[0].part = 1;
  };
  const auto of_part = [part](Hypothesis& h) {
    double& theta = h.program.ropes[0].theta;
    theta = std::pow(theta, 1 / part);
  };
  all.push_back({"plain partial rotation: the first channels by themselves", in_part});
  all.push_back({"plain partial rotation with the frequencies of whole heads",
                 [in_part, part](Hypothesis& h) {
                   in_part(h);
                   double& theta = h.program.ropes[0].theta;
                   theta = std::pow(theta, part);
                 }});
  all.push_back({"with the frequencies of the rotated part", of_part});
  return all;
}

// Only for models with scaled frequencies.
std::vector<Variant> other_scaling(const Circumstances& at) {
  const RopeParameters& own = at.spec.rope_parameters;
  if (own.scaling == RopeScaling::kNone) return {};
  if (own.scaling == RopeScaling::kProportional) return other_proportion(at);
  std::vector<Variant> all = {{"left out", [](Hypothesis& h) {
                                 h.program.ropes[0].scaling = RopeScaling::kNone;
                                 h.program.ropes[0].attention_factor = 1;
                               }}};
  all.push_back({"left out, except for the factor of cos and sin",
                 [](Hypothesis& h) { h.program.ropes[0].scaling = RopeScaling::kNone; }});
  all.push_back({"without the factor of cos and sin",
                 [](Hypothesis& h) { h.program.ropes[0].attention_factor = 1; }});
  all.push_back({"linear: all frequencies divided by the factor", [](Hypothesis& h) {
                   h.program.ropes[0].scaling = RopeScaling::kLinear;
                   h.program.ropes[0].attention_factor = 1;
                 }});
  if (own.scaling == RopeScaling::kLinear) {
    all.push_back({"multiplied instead of divided", [](Hypothesis& h) {
                     double& factor = h.program.ropes[0].factor;
                     factor = 1 / factor;
                   }});
  }
  if (own.scaling == RopeScaling::kYarn || own.scaling == RopeScaling::kLlama3) {
    const auto length = static_cast<double>(at.spec.max_position_embeddings);
    all.push_back({"with max_position_embeddings as the original length",
                   [length](Hypothesis& h) { h.program.ropes[0].original_length = length; }});
  }
  if (own.scaling == RopeScaling::kYarn) {
    all.push_back({own.truncate ? "with the ends of the ramp not rounded to whole channels"
                                : "with the ends of the ramp rounded to whole channels (truncate)",
                   [](Hypothesis& h) {
                     bool& truncate = h.program.ropes[0].truncate;
                     truncate = !truncate;
                   }});
  }
  if (own.scaling == RopeScaling::kLongrope) {
    all.push_back({"the lists for short and long sequences swapped", [](Hypothesis& h) {
                     std::swap(h.program.ropes[0].short_factor, h.program.ropes[0].long_factor);
                   }});
    all.push_back({"always the list for short sequences", [](Hypothesis& h) {
                     h.program.ropes[0].long_factor = h.program.ropes[0].short_factor;
                   }});
    all.push_back({"always the list for long sequences", [](Hypothesis& h) {
                     h.program.ropes[0].short_factor = h.program.ropes[0].long_factor;
                   }});
  }
  return all;
}

// Only for models with other parameters in their sliding layers.
std::vector<Variant> one_base(const Circumstances& at) {
  if (!at.spec.local_rope_parameters) return {};
  return {{"the full layers' everywhere",
           [](Hypothesis& h) { h.program.ropes[1] = h.program.ropes[0]; }},
          {"the sliding layers' everywhere",
           [](Hypothesis& h) { h.program.ropes[0] = h.program.ropes[1]; }},
          {"swapped", [](Hypothesis& h) { std::swap(h.program.ropes[0], h.program.ropes[1]); }}};
}

std::vector<Variant> scaled(const Circumstances&) {
  std::vector<Variant> all;
  for (const double factor : {2.0, 4.0, 8.0, 32.0, 0.5}) {
    all.push_back(
        {fmt::format("by {:g}", factor), rotations([factor](OddRotate& r) { r.factor = factor; })});
  }
  return all;
}

}  // namespace

std::vector<Entry> rope_entries() {
  std::vector<Entry> all;
  all.push_back(
      {.id = "rope-interleaved",
       .group = "RoPE",
       .name = "RoPE pairs neighbouring channels",
       .explanation = "Channels 2i and 2i+1 are rotated together (GPT-J); this model pairs i with "
                      "i + head_dim/2. Position 0 is right.",
       .look_at = "which two channels a rotation mixes; or the conversion's permutation of q_proj "
                  "and k_proj",
       .frequency = 3,
       .variants = always(rotations([](OddRotate& r) { r.interleaved = true; }))});
  all.push_back({.id = "rope-theta",
                 .group = "RoPE",
                 .name = "wrong RoPE base",
                 .explanation = "The angles are not computed from the config's rope_theta.",
                 .look_at = "where rope_theta is read (transformers 5 keeps it in rope_parameters)",
                 .frequency = 3,
                 .variants = other_theta});
  all.push_back({.id = "rope-exponent",
                 .group = "RoPE",
                 .name = "wrong exponent of the RoPE frequencies",
                 .explanation = "theta^(-2i/head_dim) is computed with a wrong factor or width.",
                 .look_at = "the formula of inv_freq",
                 .frequency = 2,
                 .variants = other_exponent});
  all.push_back(
      {.id = "rope-sign",
       .group = "RoPE",
       .name = "RoPE rotates backwards",
       .explanation = "The rotation is by minus the angle: the sign of the sine is wrong.",
       .look_at = "rotate_half, and which product is subtracted",
       .frequency = 2,
       .variants = always(rotations([](OddRotate& r) { r.backwards = true; }))});
  all.push_back({.id = "rope-cos-sin",
                 .group = "RoPE",
                 .name = "cos and sin swapped",
                 .explanation = "Each table is used as the other; even position 0 is wrong.",
                 .look_at = "the order in which the tables are returned and read",
                 .variants = always(rotations([](OddRotate& r) { r.exchanged = true; }))});
  all.push_back({.id = "rope-missing",
                 .group = "RoPE",
                 .name = "RoPE left out",
                 .explanation = "Queries or keys are not rotated (or every token has position 0).",
                 .look_at = "whether positions reach the rotary embedding",
                 .frequency = 3,
                 .variants = missing});
  all.push_back({.id = "rope-twice",
                 .group = "RoPE",
                 .name = "RoPE applied twice",
                 .explanation = "Queries and keys are rotated by twice the angle.",
                 .look_at = "rotation both in the projection's and in the attention's code",
                 .frequency = 2,
                 .variants = always(rotations([](OddRotate& r) { r.applications = 2; }))});
  all.push_back({.id = "rope-on-v",
                 .group = "RoPE",
                 .name = "values rotated too",
                 .explanation = "The rotary embedding is applied to the values as well.",
                 .look_at = "which of q, k and v are rotated",
                 .variants = always([](Hypothesis& h) { rotate_values(h.program); })});
  all.push_back(
      {.id = "rope-partial",
       .group = "RoPE",
       .name = "only a part of each head rotated",
       .explanation =
           "A partial rotary factor is applied, although the model rotates all of head_dim.",
       .look_at = "partial_rotary_factor, rotary_dim",
       .frequency = 2,
       .variants = part_of_head});
  all.push_back(
      {.id = "rope-whole-head",
       .group = "RoPE",
       .name = "whole heads rotated",
       .explanation = "This model rotates only a part of each head (partial_rotary_factor).",
       .look_at = "partial_rotary_factor, and what becomes of the rest of the head",
       .frequency = 3,
       .variants = [](const Circumstances& at) {
         if (at.spec.rope.dims == 0) return std::vector<Variant>{};
         return only(rotations([n = at.spec.head_dim](OddRotate& r) { r.rotate.dims = n; }));
       }});
  all.push_back(
      {.id = "rope-scaling-wrong",
       .group = "RoPE",
       .name = "wrong RoPE scaling",
       .explanation = "The config asks for scaled frequencies (rope_scaling or rope_parameters).",
       .look_at = "rope_type and its parameters",
       .frequency = 3,
       .variants = other_scaling});
  all.push_back({.id = "rope-one-base",
                 .group = "RoPE",
                 .name = "one RoPE base for all layers",
                 .explanation = "Sliding and full layers of this model have different bases.",
                 .look_at = "rope_local_base_freq, and which layers slide",
                 .frequency = 3,
                 .variants = one_base});
  all.push_back({.id = "rope-rounding",
                 .group = "RoPE",
                 .name = "RoPE rounds tables and products",
                 .explanation = "This model rotates with FP32 tables and rounds once; here tables "
                                "and products are rounded to BF16. No logic is wrong.",
                 .look_at = "the type of cos and sin",
                 .frequency = 2,
                 .rounding = true,
                 .variants = [](const Circumstances& at) {
                   if (!at.rounds_to_bf16 || !at.spec.rope.rounded_once) {
                     return std::vector<Variant>{};
                   }
                   return only(rotations([](OddRotate& r) { r.rotate.rounded_once = false; }));
                 }});
  all.push_back({.id = "rope-scaling",
                 .group = "RoPE",
                 .name = "positions scaled",
                 .explanation = "Linear RoPE scaling is applied, but the config has none.",
                 .look_at = "rope_scaling and its default",
                 .frequency = 2,
                 .variants = scaled});
  all.push_back(
      {.id = "pos-offset",
       .group = "RoPE",
       .name = "positions shifted",
       .explanation =
           "All positions are off by a constant. Scores see only differences of positions, so "
           "results stay right as long as queries and keys are shifted alike.",
       .look_at = "whether positions count from 0 (from 1?), and padding",
       .frequency = 2,
       .variants = shifted});
  return all;
}

}  // namespace assay
