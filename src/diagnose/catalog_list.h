// The parts of the catalog, one source file per part.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "diagnose/catalog.h"
#include "diagnose/rewrites.h"

namespace assay {

std::vector<Entry> embedding_entries();
std::vector<Entry> weight_entries();  // projections, layers, weights
std::vector<Entry> head_entries();
std::vector<Entry> norm_entries();  // norms, residual stream
std::vector<Entry> norm_weight_entries();
std::vector<Entry> rope_entries();
std::vector<Entry> rotary_entries();     // positions, and numbers in low precision
std::vector<Entry> attention_entries();  // scores, mask, softmax, cache
std::vector<Entry> delta_entries();      // the delta rule, the gate of attention
std::vector<Entry> mlp_entries();        // and dtype
std::vector<Entry> expert_entries();
std::vector<Entry> gemma4_entries();     // keys and values of other layers, per-layer inputs
std::vector<Entry> quantized_entries();  // weights, activations, both
std::vector<Entry> rounding_entries();   // types coarser than the engine's own
std::vector<Entry> foreign_entries();    // what other models have

// A different epsilon in all norms, in some, and in each alone: the same places for every epsilon.
std::vector<Variant> eps_in_norms(const Circumstances& at, double eps);

// One variant without a name.
template <class Apply>
std::vector<Variant> only(Apply apply) {
  return {{"", std::move(apply)}};
}

// A single variant without a name, for every model.
template <class Apply>
auto always(Apply apply) {
  return [apply](const Circumstances&) { return only(apply); };
}

// A variant that stores values in coarser types.
inline Variant holding(std::string detail, std::vector<HeldValues> held) {
  return {std::move(detail), [held = std::move(held)](Hypothesis& h) {
            h.held.insert(h.held.end(), held.begin(), held.end());
          }};
}

}  // namespace assay
