// What the verdicts of a prompt's tensors mean together.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "assay/comparison.h"
#include "candidate/data_flow.h"
#include "candidate/module_flow.h"
#include "formats/array_file.h"

namespace assay {

// The operation that makes a tap, in words: "the RMSNorm before attention".
std::string operation_of(const TapPlace& place);

// The nearest available taps that a tap is computed from.
struct Upstream {
  std::vector<TapPlace> nearest;  // in data-flow order
  bool gap = false;               // missing taps lie between
};
Upstream upstream_of(const TapPlace& place, const ModelSpec& model,
                     const std::function<bool(const TapPlace&)>& is_there);

// Where a tap went wrong, as precisely as the available taps allow: operation_of() without a gap;
// otherwise "between q_proj and attn_output", "somewhere before the logits".
std::string operation_of(const TapPlace& place, const Upstream& upstream, const ModelSpec& model);

// The reference's arrays that can be compared, in data-flow order, tables last; with names and
// layers, not compared yet.
// modules: a captured reference's, in their order of execution; null: the arrays are taps.
std::vector<TensorResult> list_tensors(const ArrayFile& reference,
                                       const ModuleFlow* modules = nullptr);

// Sets first_divergence, the earliest tap that fails although everything that it is computed from
// passes (if compared), and divergence_text, which tells what lies between. layers: of the model.
// modules: a captured reference's; null: the arrays are taps.
void find_first_divergence(PromptResult& result, std::int64_t layers,
                           const ModuleFlow* modules = nullptr);

// Fails closed: missing tensors do not count as passed, and one failure is enough.
bool passed(const PromptResult& prompt);

// Whether any tensor is coarse.
bool is_coarse(const PromptResult& prompt);
bool compared_anything(const PromptResult& prompt);

}  // namespace assay
