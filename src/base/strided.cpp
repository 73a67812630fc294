#include "base/strided.h"

#include <fmt/format.h>

#include <cstring>

#include "assay/error.h"
#include "base/sizes.h"

namespace assay {
namespace {

constexpr int kMostAxes = 16;

// Strides count unless they are those of a row-major array; an axis of 1 has none that matters.
bool is_row_major(std::span<const std::int64_t> shape, const std::int64_t* strides) {
  if (strides == nullptr) return true;
  std::int64_t expected = 1;
  for (std::size_t a = shape.size(); a-- > 0;) {
    if (shape[a] != 1 && strides[a] != expected) return false;
    expected *= shape[a];
  }
  return true;
}

std::vector<std::byte> gather(const std::byte* data, std::size_t item,
                              std::span<const std::int64_t> shape, const std::int64_t* strides,
                              std::size_t count) {
  std::vector<std::byte> out(count * item);
  std::vector<std::int64_t> index(shape.size());
  std::ptrdiff_t at = 0;
  for (std::size_t i = 0; i < count; ++i) {
    std::memcpy(&out[i * item], data + at * static_cast<std::ptrdiff_t>(item), item);
    for (std::size_t a = shape.size(); a-- > 0;) {
      at += strides[a];
      if (++index[a] < shape[a]) break;
      at -= shape[a] * strides[a];
      index[a] = 0;
    }
  }
  return out;
}

}  // namespace

Strided::Strided(const char* name, const void* data, int dtype, int rank, const std::int64_t* shape,
                 const std::int64_t* strides) {
  view_.name = name;
  const auto wrong = [&](const std::string& found, const char* expected) {
    return usage_error(view_.name, found, expected);
  };
  if (dtype < 0 || dtype > static_cast<int>(DType::kU64)) {
    throw wrong(fmt::format("dtype {}", dtype), "one of assay_dtype");
  }
  if (rank < 0 || rank > kMostAxes) throw wrong(fmt::format("rank {}", rank), "0 to 16");
  if (shape == nullptr && rank > 0) throw wrong("shape NULL", "one extent for each axis");
  view_.dtype = static_cast<DType>(dtype);
  view_.shape.assign(shape, shape + rank);
  const auto count = static_cast<std::size_t>(element_count(view_.shape, view_.name));
  const std::size_t item = dtype_size(view_.dtype);
  if (!product_of(static_cast<std::int64_t>(count), static_cast<std::int64_t>(item))) {
    throw wrong(fmt::format("shape {}", shape_text(view_.shape)), "elements that fit into memory");
  }
  if (count == 0) return;
  if (data == nullptr) throw wrong("data NULL", "the elements in host memory");
  const auto* bytes = static_cast<const std::byte*>(data);
  if (is_row_major(view_.shape, strides)) {
    view_.bytes = {bytes, count * item};
  } else {
    gathered_ = gather(bytes, item, view_.shape, strides, count);
    view_.bytes = gathered_;
  }
}

}  // namespace assay
