#include "candidate/fused.h"

#include <cstring>
#include <numeric>
#include <utility>

namespace assay {
namespace {

// The positions of a part's elements in a row.
std::vector<std::int64_t> columns_of(std::span<const std::int64_t> widths, std::size_t part,
                                     FusedOrder order, std::int64_t head_dim) {
  std::vector<std::int64_t> columns(static_cast<std::size_t>(widths[part]));
  std::int64_t begin = 0;
  switch (order) {
    case FusedOrder::kBeside:
      begin = std::accumulate(widths.begin(), widths.begin() + static_cast<std::ptrdiff_t>(part),
                              std::int64_t{0});
      break;
    case FusedOrder::kSwapped:
      begin = part == 0 ? widths[1] : 0;
      break;
    case FusedOrder::kInterleaved:
      for (std::size_t i = 0; i < columns.size(); ++i) {
        columns[i] = 2 * static_cast<std::int64_t>(i) + static_cast<std::int64_t>(part);
      }
      return columns;
    case FusedOrder::kByHead:
      for (std::size_t i = 0; i < columns.size(); ++i) {
        const auto column = static_cast<std::int64_t>(i);
        columns[i] = column + (column / head_dim + static_cast<std::int64_t>(part)) * head_dim;
      }
      return columns;
    case FusedOrder::kByGroup: {
      const std::int64_t queries = widths[0] / widths[1] * head_dim;  // per group
      const std::int64_t group = queries + 2 * head_dim;
      const std::int64_t own = part == 0 ? queries : head_dim;
      const std::int64_t at = part == 0 ? 0 : queries + (part == 1 ? 0 : head_dim);
      for (std::size_t i = 0; i < columns.size(); ++i) {
        const auto column = static_cast<std::int64_t>(i);
        columns[i] = column / own * group + at + column % own;
      }
      return columns;
    }
  }
  std::iota(columns.begin(), columns.end(), begin);
  return columns;
}

}  // namespace

std::string_view fused_order_text(FusedOrder order) {
  switch (order) {
    case FusedOrder::kByHead:
      return "head by head";
    case FusedOrder::kByGroup:
      return "by heads of keys";
    case FusedOrder::kSwapped:
      return "the second part first";
    case FusedOrder::kInterleaved:
      return "element by element";
    default:
      return "side by side";
  }
}

std::vector<FusedOrder> fused_orders(std::span<const std::int64_t> widths, std::int64_t head_dim) {
  std::vector<FusedOrder> orders = {FusedOrder::kBeside};
  if (widths.size() == 3 && head_dim > 0 && widths[1] == widths[2] && widths[1] > 0 &&
      widths[0] % widths[1] == 0 && widths[1] % head_dim == 0 && widths[1] > head_dim) {
    orders.push_back(FusedOrder::kByGroup);
  }
  if (widths.size() == 2 && widths[0] == widths[1]) {
    if (head_dim > 0 && widths[0] > head_dim && widths[0] % head_dim == 0) {
      orders.push_back(FusedOrder::kByHead);
    }
    orders.push_back(FusedOrder::kSwapped);
    orders.push_back(FusedOrder::kInterleaved);
  }
  return orders;
}

std::optional<Array> fused_part(const ArrayView& fused, std::span<const std::int64_t> widths,
                                std::size_t part, FusedOrder order, std::int64_t head_dim) {
  const std::int64_t all = std::accumulate(widths.begin(), widths.end(), std::int64_t{0});
  std::int64_t width = 1;
  std::size_t axis = fused.shape.size();
  while (axis > 0 && width < all) width *= fused.shape[--axis];
  if (width != all || all == 0) return std::nullopt;
  Array array;
  array.name = fused.name;
  array.dtype = fused.dtype;
  array.shape.assign(fused.shape.begin(), fused.shape.begin() + static_cast<std::ptrdiff_t>(axis));
  const std::int64_t rows =
      std::accumulate(array.shape.begin(), array.shape.end(), std::int64_t{1}, std::multiplies<>());
  array.shape.push_back(widths[part]);
  const std::vector<std::int64_t> columns = columns_of(widths, part, order, head_dim);
  const std::size_t element = dtype_size(fused.dtype);
  array.bytes.resize(static_cast<std::size_t>(rows) * columns.size() * element);
  std::byte* to = array.bytes.data();
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::byte* from = fused.bytes.data() + static_cast<std::size_t>(row * all) * element;
    for (const std::int64_t column : columns) {
      std::memcpy(to, from + static_cast<std::size_t>(column) * element, element);
      to += element;
    }
  }
  return array;
}

}  // namespace assay
