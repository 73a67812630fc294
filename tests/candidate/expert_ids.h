// Arrays of expert ids for tests.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <vector>

#include "assay/array.h"

namespace assay {

// Three experts a token.
inline Array ids_of(std::vector<std::int64_t> ids) {
  Array array{"layer_00_expert_ids", DType::kI64, {1, std::ssize(ids) / 3, 3}, {}};
  array.bytes.resize(ids.size() * 8);
  std::ranges::copy(ids, array.as<std::int64_t>().begin());
  return array;
}

}  // namespace assay
