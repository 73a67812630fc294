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

// What the catalog must know of model and candidate to list the variants of a mistake.
struct Circumstances {
  const ModelSpec& spec;
  const Program& program;      // the model's own
  bool tied_head = true;       // the head is the embedding
  bool rounds_to_bf16 = true;  // the candidate's values lie on the BF16 grid
  // Errors are such as a coarser type makes, and no larger.
  bool loose = false;
  // Taps whose values lie on a coarser grid than the others of an FP32 engine.
  std::vector<HeldValues> coarse_taps = {};
  // What ggml rounds for the model's file (see ggml_operands).
  std::vector<HeldValues> ggml_operands = {};
  std::int64_t positions = 0;  // of the longest prompt
  // Where errors begin, where that is behind position 0: in decode, or beyond a window.
  std::optional<std::int64_t> first_bad_position = {};
  std::vector<std::int64_t> bad_layers = {};  // where errors arise
  bool survey = false;  // no candidate: every way in which the mistake could be made
};

// One way in which a mistake can be made.
struct Variant {
  std::string detail;  // "theta 10000", "of k_proj"; empty where there is only one way
  std::function<void(Hypothesis&)> apply;
};

struct Entry {
  std::string_view id = {};
  std::string_view group = {};        // "norms", "rope", ...
  std::string_view name = {};         // what is wrong, in a few words
  std::string_view explanation = {};  // in a sentence
  std::string_view look_at = {};      // in one's own code
  int frequency = 1;                  // 1 rare, 2 seen, 3 common
  // Changes roundings alone: believed only where it makes nearly every bit right.
  bool rounding = false;
  std::function<std::vector<Variant>(const Circumstances&)> variants = {};
};

// Of the forward pass; in the order of the data flow.
const std::vector<Entry>& catalog();

// Whether it asks for nothing that the model, with this program of its own, has not. Each mistake
// may be possible alone, and two of them not together.
bool is_possible(const Hypothesis& hypothesis, const ModelSpec& own, const Program& program);

// The entry's variants that are a mistake in this model: that change something, and ask for nothing
// that it has not.
std::vector<Variant> variants_of(const Entry& entry, const Circumstances& at);

}  // namespace assay
