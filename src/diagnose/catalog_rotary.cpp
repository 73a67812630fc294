// The catalog: rotary embeddings that no model has, with low precision or a wrong order of
// positions.
#include <fmt/format.h>

#include "diagnose/catalog_list.h"

namespace assay {
namespace {

// Larger integers are not exact in the type.
std::int64_t exact_positions(DType type) { return type == DType::kBF16 ? 256 : 2048; }

std::string_view name_of(DType type) { return type == DType::kBF16 ? "BF16" : "F16"; }

// Every combination of what an engine computes on the way to the rotated values. The tables and
// products of a BF16 engine are BF16 anyway.
std::vector<Variant> low_precision(const Circumstances& at) {
  struct Kept {
    std::string_view name;
    DType RotaryTypes::*type;
  };
  constexpr Kept kNumbers[] = {{"positions", &RotaryTypes::positions},
                               {"frequencies", &RotaryTypes::frequencies},
                               {"angles", &RotaryTypes::angles},
                               {"cos and sin", &RotaryTypes::table},
                               {"products", &RotaryTypes::products}};
  std::vector<Variant> all;
  for (const DType type : {DType::kBF16, DType::kF16}) {
    const bool positions_matter = at.survey || at.positions > exact_positions(type) + 1;
    const bool table_matters =
        !at.rounds_to_bf16 || at.spec.rope.rounded_once || type != DType::kBF16;
    for (unsigned set = 1; set < 32; ++set) {
      const auto has = [set](unsigned i) { return (set >> i & 1U) != 0; };
      if (has(0) && !positions_matter) continue;
      if ((has(3) || has(4)) && !table_matters) continue;
      if (has(4) && !has(3)) continue;  // products in the type need tables in it
      if (has(3) && at.rounds_to_bf16 && set != 0b1000 && set != 0b11000) continue;
      Rotary rotary;
      std::vector<std::string_view> names;
      for (unsigned i = 0; i < 5; ++i) {
        if (!has(i)) continue;
        rotary.types.*kNumbers[i].type = type;
        names.push_back(kNumbers[i].name);
      }
      all.push_back({fmt::format("{} in {}", fmt::join(names, ", "), name_of(type)),
                     [rotary](Hypothesis& h) { set_rotary(h.program, rotary); }});
    }
  }
  return all;
}

template <class Position>
Variant moved(const Circumstances& at, std::string detail, Position position) {
  Rotary rotary;
  for (std::int64_t p = 0; p < at.positions; ++p) rotary.position_of.push_back(position(p));
  return {std::move(detail), [rotary](Hypothesis& h) { set_rotary(h.program, rotary); }};
}

// Where errors begin, and a little before it: the very first ones may be within noise.
std::vector<std::int64_t> beginnings(const Circumstances& at) {
  std::vector<std::int64_t> all;
  if (at.survey && at.positions > 1) return {at.positions / 2};
  for (std::int64_t back = 0; back < 3 && at.first_bad_position; ++back) {
    const std::int64_t from = *at.first_bad_position - back;
    if (from >= 1 && from < at.positions) all.push_back(from);
  }
  return all;
}

// Positions that restart once, or in every piece of that length.
std::vector<Variant> restarted(const Circumstances& at) {
  std::vector<Variant> all;
  const auto decoded = [&](std::string detail, DecodedPositions positions) {
    all.push_back({std::move(detail), [positions](Hypothesis& h) {
                     change_layers<OddRotate>(h.program,
                                              [&](OddRotate& r) { r.decoded = positions; });
                   }});
  };
  if (at.decodes_after_several) {
    decoded("from 0 after the prompt", {.from = kAfterPrompt, .restart = true});
    decoded("from 1 after the prompt", {.from = kAfterPrompt, .by = 1, .restart = true});
    decoded("all after the prompt at 0", {.from = kAfterPrompt, .stuck = true, .restart = true});
  }
  for (const std::int64_t from : beginnings(at)) {
    all.push_back(moved(at, fmt::format("from 0 at position {}", from),
                        [from](std::int64_t p) { return p < from ? p : p - from; }));
    if (2 * from < at.positions) {
      all.push_back(moved(at, fmt::format("from 0 every {} positions", from),
                          [from](std::int64_t p) { return p % from; }));
    }
    all.push_back(moved(at, fmt::format("from 1 at position {}", from),
                        [from](std::int64_t p) { return p < from ? p : p - from + 1; }));
    all.push_back(moved(at, fmt::format("all from {} on at 0", from),
                        [from](std::int64_t p) { return p < from ? p : 0; }));
  }
  return all;
}

// A prompt that is run in pieces that do not see each other.
std::vector<Variant> cut(const Circumstances& at) {
  std::vector<Variant> all;
  const auto add = [&](std::string detail, std::vector<std::int64_t> cuts) {
    all.push_back({std::move(detail), [cuts = std::move(cuts)](Hypothesis& h) {
                     change_attention(h.program, [&](OddAttention& a) { a.cuts = cuts; });
                   }});
  };
  for (const std::int64_t from : beginnings(at)) {
    add(fmt::format("at position {}", from), {from});
    if (2 * from >= at.positions) continue;
    std::vector<std::int64_t> cuts;
    for (std::int64_t p = from; p < at.positions; p += from) cuts.push_back(p);
    add(fmt::format("every {} positions", from), std::move(cuts));
  }
  return all;
}

// Only for models whose sliding layers have their own rotary parameters.
std::vector<Variant> other_layers_scaling(const Circumstances& at) {
  if (!at.spec.local_rope_parameters) return {};
  const RopeParameters full = at.spec.rope_parameters;
  const RopeParameters sliding = *at.spec.local_rope_parameters;
  const auto with_base_of = [](RopeParameters scaling, const RopeParameters& base) {
    scaling.theta = base.theta;
    return scaling;
  };
  const RopeParameters scaled = with_base_of(full, sliding);
  const RopeParameters based = with_base_of(sliding, full);
  return {{"the full layers' scaling in the sliding ones",
           [scaled](Hypothesis& h) { h.program.ropes[1] = scaled; }},
          {"the full layers' base without their scaling in the sliding ones",
           [based](Hypothesis& h) { h.program.ropes[1] = based; }},
          {"the sliding layers' scaling, or none, in the full ones",
           [based](Hypothesis& h) { h.program.ropes[0] = based; }},
          {"the sliding layers' base in the full ones",
           [scaled](Hypothesis& h) { h.program.ropes[0] = scaled; }},
          {"scaling swapped between full and sliding layers", [=](Hypothesis& h) {
             h.program.ropes[1] = scaled;
             h.program.ropes[0] = based;
           }}};
}

}  // namespace

std::vector<Entry> rotary_entries() {
  std::vector<Entry> all;
  all.push_back(
      {.id = "rope-table-lowp",
       .group = "RoPE",
       .name = "RoPE angles in low precision",
       .explanation =
           "Positions, frequencies, angles, tables or products are rounded to 16 bits; the "
           "error grows with the position.",
       .look_at = "the type of inv_freq and of the position ids (model.to(bfloat16) rounds the "
                  "buffer)",
       .frequency = 3,
       .variants = low_precision});
  all.push_back(
      {.id = "rope-layers-scaling",
       .group = "RoPE",
       .name = "RoPE scaling of the wrong kind of layer",
       .explanation = "Full and sliding layers of this model scale their frequencies differently.",
       .look_at = "rope_parameters of full_attention and sliding_attention (rope_scaling is only "
                  "for the full layers)",
       .frequency = 3,
       .variants = other_layers_scaling});
  all.push_back(
      {.id = "pos-restart",
       .group = "RoPE",
       .name = "positions restart",
       .explanation = "From some position on they are counted from the start again, or stay at 0.",
       .look_at = "position ids of packed sequences and of chunks of a prompt",
       .frequency = 2,
       .variants = restarted});
  all.push_back(
      {.id = "prompt-cut",
       .group = "attention",
       .name = "the prompt is split into pieces",
       .explanation = "A token does not see anything before its own piece of the prompt.",
       .look_at = "the mask of packed sequences, and what a chunked prefill reads from the cache",
       .frequency = 2,
       .variants = cut});
  return all;
}

}  // namespace assay
