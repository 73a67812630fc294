// What the verdicts of one prompt's tensors mean together.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "assay/comparison.h"
#include "candidate/data_flow.h"
#include "formats/array_file.h"

namespace assay {

// The operation that makes a tap, in words: "the RMSNorm before attention".
std::string operation_of(const TapPlace& place);

// Of what a tap is computed from, the nearest taps that are there.
struct Upstream {
  std::vector<TapPlace> nearest;  // in data-flow order
  bool gap = false;               // others lie between that are not there
};
Upstream upstream_of(const TapPlace& place, const ModelSpec& model,
                     const std::function<bool(const TapPlace&)>& is_there);

// What can be said of where a tap went wrong, no more precisely than what is there allows:
// operation_of() without a gap; else "between q_proj and attn_output", "somewhere before the
// logits".
std::string operation_of(const TapPlace& place, const Upstream& upstream, const ModelSpec& model);

// The reference's arrays that can be compared, in data-flow order, tables last; names and layers
// set, nothing compared yet.
std::vector<TensorResult> list_tensors(const ArrayFile& reference);

// Sets first_divergence, the earliest tap that fails while all that it is computed from passes (as
// far as it was compared), and divergence_text, which says what lies between. layers: of the model.
void find_first_divergence(PromptResult& result, std::int64_t layers);

// Fails closed: what is missing does not count, and one failure is enough.
bool passed(const PromptResult& prompt);

// Whether any tensor of it is coarse.
bool is_coarse(const PromptResult& prompt);
bool compared_anything(const PromptResult& prompt);

}  // namespace assay
