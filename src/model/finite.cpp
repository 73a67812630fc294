#include "model/finite.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>

#include "assay/error.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "base/widen.h"

namespace assay {
namespace {

// Elements per work item: small enough to share one tensor among threads.
constexpr std::size_t kElements = std::size_t{1} << 22;

// Counts elements whose exponent bits are all ones. Data may be unaligned.
template <class Bits>
std::size_t count_not_finite(const std::byte* data, std::size_t count, Bits exponent) {
  std::size_t found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    Bits bits;
    std::memcpy(&bits, data + i * sizeof(Bits), sizeof(Bits));
    found += (bits & exponent) == exponent ? 1 : 0;
  }
  return found;
}

std::size_t count_not_finite(DType dtype, const std::byte* data, std::size_t count) {
  switch (dtype) {
    case DType::kBF16:
      return count_not_finite<std::uint16_t>(data, count, 0x7F80);
    case DType::kF16:
      return count_not_finite<std::uint16_t>(data, count, 0x7C00);
    case DType::kF8E4M3: {
      const auto is_nan = [](std::byte b) { return (b & std::byte{0x7F}) == std::byte{0x7F}; };
      return static_cast<std::size_t>(std::count_if(data, data + count, is_nan));
    }
    case DType::kF32:
      return count_not_finite<std::uint32_t>(data, count, 0x7F800000);
    default:
      return 0;
  }
}

struct Piece {
  const ArrayView* tensor;
  std::size_t begin;
  std::size_t count;
  std::size_t found = 0;
};

std::string describe(const Weights& weights, const ArrayView& tensor, std::size_t begin,
                     std::size_t count, std::size_t all) {
  std::vector<float> values(count);
  const std::size_t size = dtype_size(tensor.dtype);
  widen(tensor.dtype, tensor.bytes.data() + begin * size, static_cast<std::ptrdiff_t>(size),
        std::span(values));
  const auto first = std::ranges::find_if_not(values, [](float x) { return std::isfinite(x); });
  auto at = static_cast<std::int64_t>(begin) + (first - values.begin());
  Shape place(tensor.shape.size());
  for (std::size_t axis = place.size(); axis-- > 0;) {
    place[axis] = at % tensor.shape[axis];
    at /= tensor.shape[axis];
  }
  return fmt::format("{}: tensor '{}': {} at [{}], {} in all",
                     weights.file_of(tensor.name).string(), shown(tensor.name),
                     std::isnan(*first) ? "NaN"
                     : *first > 0       ? "Inf"
                                        : "-Inf",
                     fmt::join(place, ", "), all);
}

}  // namespace

std::vector<std::string> find_not_finite(const Weights& weights) {
  std::vector<Piece> blocks;
  for (const ArrayView& tensor : weights.tensors()) {
    const std::size_t count = tensor.bytes.size() / dtype_size(tensor.dtype);
    for (std::size_t begin = 0; begin < count; begin += kElements) {
      blocks.push_back({&tensor, begin, std::min(kElements, count - begin)});
    }
  }
  ThreadPool pool;
  pool.for_each_item(blocks.size(), [&](std::size_t i) {
    Piece& block = blocks[i];
    block.found = count_not_finite(
        block.tensor->dtype,
        block.tensor->bytes.data() + block.begin * dtype_size(block.tensor->dtype), block.count);
  });
  std::vector<std::string> result;
  for (std::size_t i = 0; i < blocks.size();) {
    const ArrayView* tensor = blocks[i].tensor;
    const Piece* first = nullptr;
    std::size_t all = 0;
    for (; i < blocks.size() && blocks[i].tensor == tensor; ++i) {
      if (first == nullptr && blocks[i].found > 0) first = &blocks[i];
      all += blocks[i].found;
    }
    if (first == nullptr) continue;
    result.push_back(describe(weights, *tensor, first->begin, first->count, all));
  }
  return result;
}

void require_finite(const Weights& weights) {
  const std::vector<std::string> found = find_not_finite(weights);
  if (!found.empty()) throw input_error("weights", found.front(), "finite weights");
}

}  // namespace assay
