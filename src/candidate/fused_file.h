// Arrays that hold several taps side by side, in parts.
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

// How many values a tap has of one position (of experts: of one of them); none where that is not
// known.
using WidthOfTap = std::function<std::optional<std::int64_t>(const std::string& tap)>;

// Of a position in a tap's array [1, S, ...], or of one of its experts: all heads together.
std::optional<std::int64_t> width_in(Tap tap, const Shape& shape);
// As the model has it; none of a model whose sizes are not known.
std::optional<std::int64_t> width_of(const std::string& tap, const ModelSpec& model);
// As a reference has it, else the model.
WidthOfTap widths_of(const ArrayFile& reference, const ModelSpec& model);

// "attn.qkv: k_proj", as NameMap::meaning() reads it; of another order than the usual one with that
// in words behind it.
std::string part_name(std::string_view array, std::string_view tap, FusedOrder order);
// The array's own name before that; the whole name where it is no part's.
std::string_view array_of_part(std::string_view name);

// The file with such arrays replaced by their parts, in each order that they may have: the content
// tells which it is. An array whose shape is not that of all parts together stays as it is.
// head_dim: of queries and keys; 0: not known.
ArrayFile with_parts(ArrayFile file, const NameMap& map, std::int64_t layers, std::int64_t head_dim,
                     const WidthOfTap& width_of);

// The parts of one array, of which the map says that it holds several taps, in the order whose
// content fits: error(part) tells how far a part lies from its tap. Empty where it is no such
// array, or of another shape.
std::vector<Array> parts_of(const ArrayView& array, const NameMap& map, std::int64_t layers,
                            std::int64_t head_dim, const WidthOfTap& width_of,
                            const std::function<double(const ArrayView& part)>& error);

// Why an array is not split of which the map says that it holds several taps; empty where it can
// be, or is no such array.
std::string why_not_split(std::string_view name, const Shape& shape, const NameMap& map,
                          std::int64_t layers, const WidthOfTap& width_of);

}  // namespace assay
