// Splits arrays that hold several taps side by side.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "candidate/fused.h"
#include "candidate/name_map.h"
#include "formats/array_file.h"
#include "models/taps.h"

namespace assay {

// Number of values that a tap has per position (for experts: per expert); none if unknown.
using WidthOfTap = std::function<std::optional<std::int64_t>(const std::string& tap)>;

// From the shape [1, S, ...] of a tap's array: all heads together.
std::optional<std::int64_t> width_in(Tap tap, const Shape& shape);
// From the model; none if its sizes are unknown.
std::optional<std::int64_t> width_of(const std::string& tap, const ModelSpec& model);
// From a reference, or else the model.
WidthOfTap widths_of(const ArrayFile& reference, const ModelSpec& model);

// "attn.qkv: k_proj", as NameMap::meaning() reads it; an unusual order is appended in words.
std::string part_name(std::string_view array, std::string_view tap, FusedOrder order);
// The array's name in that; the whole name if it is not a part's.
std::string_view array_of_part(std::string_view name);

// The file with such arrays replaced by their parts, in each order that they may have: the content
// tells which one is right. An array with a different total width stays unchanged. head_dim: of
// queries and keys; 0: unknown.
ArrayFile with_parts(ArrayFile file, const NameMap& map, std::int64_t layers, std::int64_t head_dim,
                     const WidthOfTap& width_of);

// The parts of an array that holds several taps according to the map, in the order whose content
// fits: error(part) tells how far a part is from its tap. Empty if it is not such an array, or has
// another shape.
std::vector<Array> parts_of(const ArrayView& array, const NameMap& map, std::int64_t layers,
                            std::int64_t head_dim, const WidthOfTap& width_of,
                            const std::function<double(const ArrayView& part)>& error);

// Why an array that holds several taps according to the map is not split; empty if it can be, or is
// not such an array.
std::string why_not_split(std::string_view name, const Shape& shape, const NameMap& map,
                          std::int64_t layers, const WidthOfTap& width_of);

}  // namespace assay
