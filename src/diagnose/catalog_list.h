// The parts of the catalog, one source file each.
#pragma once

#include <utility>
#include <vector>

#include "diagnose/catalog.h"

namespace assay {

std::vector<Entry> weight_entries();  // embedding, projections, layers, weights, head
std::vector<Entry> norm_entries();    // norms, residual stream
std::vector<Entry> rope_entries();
std::vector<Entry> attention_entries();  // scores, mask, softmax, cache
std::vector<Entry> mlp_entries();        // and dtype
std::vector<Entry> rounding_entries();   // types coarser than the engine's own

// One variant without a name.
template <class Apply>
std::vector<Variant> only(Apply apply) {
  return {{"", std::move(apply)}};
}

}  // namespace assay
