// The mistakes that people make, as hypotheses.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "diagnose/hypothesis.h"

namespace assay {

// What the catalog must know about model and candidate to list the variants of a mistake.
struct Circumstances {
  const ModelSpec& spec;
  const Program& program;      // the model's own
  bool tied_head = true;       // the head is the embedding
  bool rounds_to_bf16 = true;  // the candidate's values lie on the BF16 grid
  // All errors are as small as a coarser type's rounding.
  bool loose = false;
  // Taps whose values are on a coarser grid than the other values of an FP32 engine.
  std::vector<HeldValues> coarse_taps = {};
  // What ggml rounds because of the model's file (see ggml_operands).
  std::vector<HeldValues> ggml_operands = {};
  std::int64_t positions = 0;  // of the longest prompt
  // The first position with an error, unless it is 0: where decoding begins, or a window ends.
  std::optional<std::int64_t> first_bad_position = {};
  // Whether there are decoded tokens after prompts of different lengths.
  bool decodes_after_several = false;
  std::vector<std::int64_t> bad_layers = {};  // that have errors
  bool survey = false;                        // no candidate: list every variant of each mistake
};

// A way to make a mistake.
struct Variant {
  std::string detail;  // "theta 10000", "of k_proj"; empty if there is only one way
  std::function<void(Hypothesis&)> apply;
};

struct Entry {
  std::string_view id = {};
  std::string_view group = {};        // "norms", "rope", ...
  std::string_view name = {};         // what is wrong, in a few words
  std::string_view explanation = {};  // in a sentence
  std::string_view look_at = {};      // in the user's code
  int frequency = 1;                  // 1 rare, 2 seen, 3 common
  // Changes only roundings: accepted only if it makes nearly every bit right.
  bool rounding = false;
  std::function<std::vector<Variant>(const Circumstances&)> variants = {};
};

// Mistakes of the forward pass, in data-flow order.
const std::vector<Entry>& catalog();

// Whether the model, with this program of its own, has everything that the hypothesis needs. Two
// mistakes may each be possible alone but not together.
bool is_possible(const Hypothesis& hypothesis, const ModelSpec& own, const Program& program);

// The entry's variants that are possible in this model and change something.
std::vector<Variant> variants_of(const Entry& entry, const Circumstances& at);

}  // namespace assay
