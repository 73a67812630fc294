#include "model/fp8_scales.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "assay/error.h"
#include "base/mapped_file.h"
#include "base/widen.h"
#include "formats/json_file.h"
#include "formats/safetensors_header.h"

namespace assay {
namespace {

struct BlockSize {
  std::int64_t rows = 128;  // transformers' own, of a config without the field
  std::int64_t cols = 128;
};

BlockSize block_size(const std::filesystem::path& config_json) {
  constexpr const char* kQuantisation = "quantization_config";
  constexpr const char* kSize = "weight_block_size";
  if (!is_there(config_json)) return {};
  const JsonObject config(config_json);
  if (!config.has(kQuantisation)) return {};
  const JsonObject quantisation = config.object(kQuantisation);
  if (!quantisation.has(kSize)) return {};
  const std::vector<std::int64_t> size = quantisation.sizes(kSize);
  if (size.size() != 2 || std::ranges::min(size) < 1) {
    throw input_error(quantisation.where(kSize), quantisation.text(kSize),
                      "the rows and columns of a block");
  }
  return {size[0], size[1]};
}

std::int64_t ceiling(std::int64_t a, std::int64_t b) { return a / b + (a % b != 0 ? 1 : 0); }

// FP32, BF16 or F16; or bytes, which are exponents plus 127 (E8M0).
void widen_scales(const ArrayView& stored, std::span<float> out) {
  if (stored.dtype != DType::kU8) {
    return widen(stored.dtype, stored.bytes.data(),
                 static_cast<std::ptrdiff_t>(dtype_size(stored.dtype)), out);
  }
  std::ranges::transform(stored.bytes, out.begin(), [](std::byte byte) {
    const auto exponent = static_cast<std::uint32_t>(byte);
    if (exponent == 255) return std::bit_cast<float>(0x7F800000u);  // as 2^128 in FP32
    return std::bit_cast<float>(exponent == 0 ? 0x00400000u : exponent << 23);
  });
}

// The blocks of one matrix [rows, cols] whose scales are [scale_rows, scale_cols]. The config's
// block counts, with a short one at the end; transformers divides evenly, which is the same where
// nothing is left over.
bool fit(const BlockSize& block, const Shape& matrix, std::int64_t scale_rows,
         std::int64_t scale_cols, BlockScales& found) {
  const std::int64_t rows = matrix[matrix.size() - 2];
  const std::int64_t cols = matrix.back();
  if (scale_rows < 1 || scale_cols < 1 || rows < 1 || cols < 1) return false;
  const bool configured =
      scale_rows == ceiling(rows, block.rows) && scale_cols == ceiling(cols, block.cols);
  if (!configured && (rows % scale_rows != 0 || cols % scale_cols != 0)) return false;
  found.rows = static_cast<std::size_t>(configured ? block.rows : rows / scale_rows);
  found.cols = static_cast<std::size_t>(configured ? block.cols : cols / scale_cols);
  found.per_row = static_cast<std::size_t>(scale_cols);
  return true;
}

}  // namespace

void find_fp8_scales(Weights& weights, const std::filesystem::path& config_json) {
  std::vector<const ArrayView*> matrices;
  for (const ArrayView& tensor : weights.tensors()) {
    const std::size_t axes = tensor.shape.size();
    if (tensor.dtype == DType::kF8E4M3 && (axes == 2 || axes == 3)) matrices.push_back(&tensor);
  }
  if (matrices.empty()) return;
  const BlockSize block = block_size(config_json);
  for (const ArrayView* matrix : matrices) {
    const ArrayView* stored = weights.find(matrix->name + "_scale_inv");
    if (stored == nullptr) continue;
    const std::string where = tensor_where(weights.file_of(stored->name), stored->name);
    if (stored->dtype != DType::kF32 && stored->dtype != DType::kBF16 &&
        stored->dtype != DType::kF16 && stored->dtype != DType::kU8) {
      throw input_error(where, fmt::format("dtype {}", dtype_name(stored->dtype)),
                        "F32, BF16 or F16, or exponents as U8");
    }
    // One scale for all of a matrix may have no axes, or axes of 1.
    const std::size_t stacked = matrix->shape.size() - 2;
    Shape shape = stored->shape;
    while (shape.size() < matrix->shape.size()) shape.push_back(1);
    BlockScales blocks;
    const bool stacks = std::equal(
        shape.begin(), shape.begin() + static_cast<std::ptrdiff_t>(stacked), matrix->shape.begin());
    if (shape.size() != matrix->shape.size() || !stacks ||
        !fit(block, matrix->shape, shape[stacked], shape[stacked + 1], blocks)) {
      Shape expected(matrix->shape.begin(), matrix->shape.end() - 2);
      expected.push_back(ceiling(matrix->shape[stacked], block.rows));
      expected.push_back(ceiling(matrix->shape[stacked + 1], block.cols));
      throw input_error(where, "shape " + shape_text(stored->shape),
                        fmt::format("{} (a scale for each block of {} x {}), or a single scale",
                                    shape_text(expected), block.rows, block.cols));
    }
    const std::size_t count = stored->bytes.size() / dtype_size(stored->dtype);
    const std::span<std::byte> made = weights.make_vectors(count * sizeof(float));
    const std::span<float> values(reinterpret_cast<float*>(made.data()), count);
    widen_scales(*stored, values);
    blocks.values = values;
    blocks.moderate = std::ranges::all_of(values, [](float scale) {
      return scale == 0 || (std::abs(scale) > 0x1p-100F && std::abs(scale) < 0x1p100F);
    });
    weights.set_fp8_scales(matrix->name, {blocks});
  }
}

}  // namespace assay
