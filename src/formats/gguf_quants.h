// The tensor types of ggml in GGUF files: blocks of a few dozen elements that share scales, and
// their conversion to FP32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace assay {

// Numbered as in the files.
enum class GgmlType : std::uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ1_S = 19,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kIQ1_M = 29,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
};

struct GgmlLayout {
  GgmlType type;
  std::string_view name;       // "Q4_K"
  std::size_t block_elements;  // 1 for types without blocks
  std::size_t block_bytes;
};

// nullptr for a type that this version does not read.
const GgmlLayout* ggml_layout(std::uint32_t type);
// The layout of a supported type.
const GgmlLayout& ggml_layout(GgmlType type);

// "NVFP4 (type 40)", or "type 99" for a number that ggml does not use; and "F32, F16, ...", all
// that are read. For messages.
std::string ggml_type_text(std::uint32_t type);
std::string readable_ggml_types();

// Dequantises whole blocks to FP32 by the type's formula. Every operation is rounded to FP32, in
// the same order as in ggml's own dequantize_row functions, so the results are bit-identical to
// theirs. out.size(): a multiple of block_elements; blocks: as many bytes as those blocks have.
void dequantize(GgmlType type, std::span<const std::byte> blocks, std::span<float> out);

}  // namespace assay
