// Outputs of several projections in one array: queries, keys and values, or gate and up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "assay/array.h"

namespace assay {

// The order of the parts in a row.
enum class FusedOrder {
  kBeside,       // one after the other
  kByHead,       // two parts: for each head, its part of both
  kByGroup,      // for each head of keys: its heads of queries, the keys, the values
  kSwapped,      // two parts, the second first
  kInterleaved,  // two parts, element by element
};

std::string_view fused_order_text(FusedOrder order);

// Orders that parts of these widths may have, the usual one first. head_dim: of queries and keys,
// or 0 if the parts have no heads.
std::vector<FusedOrder> fused_orders(std::span<const std::int64_t> widths, std::int64_t head_dim);

// One part of an array whose last axes have all the widths together, [..., width]; none if they
// have not.
std::optional<Array> fused_part(const ArrayView& fused, std::span<const std::int64_t> widths,
                                std::size_t part, FusedOrder order, std::int64_t head_dim);

}  // namespace assay
