#include "formats/gguf_quants.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>

#include "assay/npz.h"
#include "formats/gguf.h"
#include "formats/golden_arrays.h"

namespace assay {
namespace {

// From python/make_gguf_goldens.py: random blocks, and what the gguf package decodes them to.
TEST(GgufQuants, EveryTypeIsThePackagesBitByBit) {
  const GgufFile file(golden("gguf_types.gguf"));
  const NpzReader expected(golden("gguf_types.npz"));
  ASSERT_EQ(file.tensors().size(), 25u);
  for (const GgufTensor& tensor : file.tensors()) {
    SCOPED_TRACE(tensor.name);
    EXPECT_EQ(tensor.name, ggml_layout(tensor.type).name);
    const Array values = expected.read(tensor.name);
    ASSERT_EQ(values.dtype, DType::kF32);
    ASSERT_EQ(values.shape, tensor.shape);
    std::vector<float> found(tensor.elements());
    dequantize(tensor.type, tensor.bytes, found);
    const std::span<const float> wanted = values.as<float>();
    ASSERT_EQ(found.size(), wanted.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(found[i]), std::bit_cast<std::uint32_t>(wanted[i]))
          << i;
    }
    EXPECT_NE(std::ranges::count(found, 0.0F), std::ssize(found));
  }
}

TEST(GgufQuants, PartsOfARowAreTheRowsParts) {
  const GgufFile file(golden("gguf_types.gguf"));
  for (const GgufTensor& tensor : file.tensors()) {
    const GgmlLayout& layout = ggml_layout(tensor.type);
    std::vector<float> whole(tensor.elements());
    dequantize(tensor.type, tensor.bytes, whole);
    std::vector<float> block(layout.block_elements);
    const std::size_t last = whole.size() / block.size() - 1;
    dequantize(tensor.type, tensor.bytes.subspan(last * layout.block_bytes), block);
    EXPECT_TRUE(std::equal(block.begin(), block.end(), whole.end() - std::ssize(block)))
        << layout.name;
  }
}

TEST(GgufQuants, TypesHaveNames) {
  EXPECT_EQ(ggml_type_text(12), "Q4_K (type 12)");
  EXPECT_EQ(ggml_type_text(40), "NVFP4 (type 40)");
  EXPECT_EQ(ggml_type_text(99), "type 99");
  EXPECT_EQ(ggml_layout(40u), nullptr);
  EXPECT_EQ(readable_ggml_types(),
            "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ1_S, "
            "IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S, IQ4_NL, IQ4_XS, TQ1_0, TQ2_0, MXFP4");
}

}  // namespace
}  // namespace assay
