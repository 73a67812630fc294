#include "numerics/rope_table.h"

#include <gtest/gtest.h>

#include <cmath>

namespace assay {
namespace {

constexpr std::size_t kHeadDim = 128;
constexpr double kTheta = 1e6;

TEST(RopeTable, PositionZeroDoesNotTurn) {
  const auto table = make_rope_table<float>(kTheta, kHeadDim, 1);
  for (std::size_t i = 0; i < kHeadDim; ++i) {
    EXPECT_EQ(table.cos[i], 1.0F);
    EXPECT_EQ(table.sin[i], 0.0F);
  }
}

TEST(RopeTable, HoldsEveryValueTwice) {
  const auto table = make_rope_table<float>(kTheta, kHeadDim, 50);
  ASSERT_EQ(table.cos.size(), 50 * kHeadDim);
  ASSERT_EQ(table.sin.size(), 50 * kHeadDim);
  for (std::size_t p = 0; p < 50; ++p) {
    for (std::size_t i = 0; i < kHeadDim / 2; ++i) {
      ASSERT_EQ(table.cos[p * kHeadDim + i], table.cos[p * kHeadDim + i + kHeadDim / 2]);
      ASSERT_EQ(table.sin[p * kHeadDim + i], table.sin[p * kHeadDim + i + kHeadDim / 2]);
    }
  }
}

// Against long double, up to the last position of Qwen3's context.
TEST(RopeTable, InDoubleFollowsTheFormula) {
  const std::size_t positions = 40960;
  const auto table = make_rope_table<double>(kTheta, kHeadDim, positions);
  for (const std::size_t p : {std::size_t{1}, std::size_t{7}, std::size_t{4095}, positions - 1}) {
    for (std::size_t i = 0; i < kHeadDim / 2; ++i) {
      const long double exponent = 2.0L * static_cast<long double>(i) / kHeadDim;
      const long double angle = static_cast<long double>(p) * std::pow(1e6L, -exponent);
      // The angle itself is rounded: relative 2^-52, three operations.
      const double bound = 3e-16 * (2 + static_cast<double>(angle) * 3);
      EXPECT_NEAR(table.cos[p * kHeadDim + i], static_cast<double>(std::cos(angle)), bound);
      EXPECT_NEAR(table.sin[p * kHeadDim + i], static_cast<double>(std::sin(angle)), bound);
    }
  }
}

// FP32 throughout, as transformers: at position 40,000 the fastest angle's frequency is 1, so it is
// exact; the slow ones carry the FP32 rounding of their frequency.
TEST(RopeTable, InSingleIsTheNearestToItsSingleAngle) {
  const std::size_t p = 40000;
  const auto table = make_rope_table<float>(kTheta, kHeadDim, p + 1);
  EXPECT_EQ(table.cos[p * kHeadDim], static_cast<float>(std::cos(40000.0)));
  EXPECT_EQ(table.sin[p * kHeadDim], static_cast<float>(std::sin(40000.0)));
  for (std::size_t i = 0; i < kHeadDim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(kHeadDim);
    const auto frequency = static_cast<float>(1.0F / static_cast<float>(std::pow(1e6, exponent)));
    const double angle = static_cast<float>(p) * frequency;
    // A frequency may be a step off where the power is: 2^-22 of the angle.
    EXPECT_NEAR(table.cos[p * kHeadDim + i], std::cos(angle), 1e-7 + angle * 0x1p-22);
  }
}

}  // namespace
}  // namespace assay
