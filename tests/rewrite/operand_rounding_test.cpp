#include "rewrite/operand_rounding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace assay {
namespace {

std::vector<float> rounded(OperandType type, std::vector<float> values, std::size_t width = 0) {
  round_operand<float>(type, values, width > 0 ? width : values.size());
  return values;
}

TEST(OperandRounding, OfHalvesIsToTheNearest) {
  EXPECT_EQ(rounded(OperandType::kBf16, {1.00390625F, 1.01F}),
            (std::vector<float>{1.0F, 1.0078125F}));
  EXPECT_EQ(rounded(OperandType::kF16, {1.00048828125F, 2049, 70000}),
            (std::vector<float>{1.0F, 2048, INFINITY}));
  EXPECT_EQ(rounded(OperandType::kOwn, {0.1F}), std::vector<float>{0.1F});
}

TEST(OperandRounding, OfTf32KeepsTenBits) {
  const float above = 1 + 0x1.8p-11F;
  EXPECT_EQ(
      rounded(OperandType::kTf32, {above, -above, 1e38F}),
      (std::vector<float>{1 + 0x1p-10F, -1 - 0x1p-10F, rounded(OperandType::kTf32, {1e38F})[0]}));
  EXPECT_EQ(rounded(OperandType::kTf32Cut, {above, -above}), (std::vector<float>{1, -1}));
  EXPECT_EQ(rounded(OperandType::kTf32, {INFINITY})[0], INFINITY);
  EXPECT_TRUE(std::isnan(rounded(OperandType::kTf32, {NAN})[0]));
}

// Expected numbers from ggml's quantize_row_q8_0 and quantize_row_q8_K.
TEST(OperandRounding, OfBlocksIsGgmls) {
  std::vector<float> values(64);
  for (std::size_t i = 0; i < 64; ++i) values[i] = 0.01F * static_cast<float>(i) - 0.2F;
  const std::vector<float> q8 = rounded(OperandType::kQ8Of32, values);
  // The first block reaches -0.2, the second 0.43.
  const auto step_of = [](float most) {
    return static_cast<float>(rounded_to(DType::kF16, static_cast<double>(most / 127)));
  };
  EXPECT_EQ(q8[0], -127 * step_of(0.2F));
  EXPECT_EQ(q8[63], 127 * step_of(values[63]));
  for (std::size_t i = 0; i < 64; ++i) {
    const float step = step_of(i < 32 ? 0.2F : values[63]);
    EXPECT_NEAR(q8[i], values[i], 0.51F * step + 127 * 0x1p-11F * step) << i;
    EXPECT_NEAR(std::remainder(q8[i], step), 0, 1e-7F) << i;
  }
  EXPECT_NE(rounded(OperandType::kQ8Of32Exact, values), q8);

  // The value farthest from zero becomes -127, so the other side reaches at most 127.
  const std::vector<float> one = rounded(OperandType::kQ8Of256, {1, -1, 0.5F, 0});
  EXPECT_EQ(one[0], 1);
  EXPECT_EQ(one[1], -1);
  EXPECT_NEAR(one[2], 64.0F / 127, 1e-7F);  // 63.5 to even
  EXPECT_EQ(one[3], 0);
  EXPECT_EQ(rounded(OperandType::kQ8Of32, std::vector<float>(40, 0)), std::vector<float>(40, 0));
}

// A row's blocks end with the row.
TEST(OperandRounding, TakesEachRowByItself) {
  const std::vector<float> rows = {1, 0.3F, 100, 30};
  const std::vector<float> by_row = rounded(OperandType::kI8Row, rows, 2);
  EXPECT_EQ(by_row[0], 1);
  EXPECT_NEAR(by_row[1], 38.0F / 127, 1e-7F);
  EXPECT_EQ(by_row[2], 100);
  const std::vector<float> together = rounded(OperandType::kI8Row, rows, 4);
  EXPECT_NEAR(together[0], 100.0F / 127, 1e-5F);
  EXPECT_EQ(rounded(OperandType::kQ8Of256, rows, 2),
            (std::vector<float>{rounded(OperandType::kQ8Of256, {1, 0.3F})[0],
                                rounded(OperandType::kQ8Of256, {1, 0.3F})[1],
                                rounded(OperandType::kQ8Of256, {100, 30})[0],
                                rounded(OperandType::kQ8Of256, {100, 30})[1]}));
}

TEST(OperandRounding, OfFp8KeepsThreeBits) {
  EXPECT_EQ(rounded(OperandType::kF8, {1.0625F, 1.07F, 500, -1000}),
            (std::vector<float>{1, 1.125F, 448, -448}));
  const std::vector<float> row = rounded(OperandType::kF8Row, {4.48F, 1.07F, 100, 10}, 2);
  EXPECT_NEAR(row[0], 4.48F, 1e-6F);
  EXPECT_NEAR(row[1], 1.04F, 1e-6F);  // 107 to 104
  EXPECT_NEAR(row[2], 100, 1e-4F);
  EXPECT_NEAR(rounded(OperandType::kF8Tensor, {4.48F, 1.07F, 100, 10}, 2)[1], 4.75F * 100 / 448,
              1e-1F);
}

}  // namespace
}  // namespace assay
