#include "numerics/rope_table.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace assay {
namespace {

constexpr std::size_t kHeadDim = 128;
constexpr double kTheta = 1e6;
RopeParameters plain() { return {.theta = kTheta}; }

template <class Real>
struct Row {
  std::vector<Real> cos, sin;
};
template <class Real>
Row<Real> row_of(const RopeParameters& rope, std::size_t position, std::size_t length = 1) {
  const RopeFrequencies<Real> frequencies = rope_frequencies<Real>(rope, kHeadDim, length);
  Row<Real> row{std::vector<Real>(kHeadDim / 2), std::vector<Real>(kHeadDim / 2)};
  rope_row(frequencies, position, row.cos.data(), row.sin.data());
  return row;
}

TEST(RopeTable, PositionZeroDoesNotTurn) {
  const auto row = row_of<float>(plain(), 0);
  for (std::size_t i = 0; i < kHeadDim / 2; ++i) {
    EXPECT_EQ(row.cos[i], 1.0F);
    EXPECT_EQ(row.sin[i], 0.0F);
  }
}

// Against long double, up to the last position of Qwen3's context.
TEST(RopeTable, InDoubleFollowsTheFormula) {
  for (const std::size_t p : {1, 7, 4095, 40959}) {
    const auto row = row_of<double>(plain(), p);
    for (std::size_t i = 0; i < kHeadDim / 2; ++i) {
      const long double exponent = 2.0L * static_cast<long double>(i) / kHeadDim;
      const long double angle = static_cast<long double>(p) * std::pow(1e6L, -exponent);
      // The angle itself is rounded: relative 2^-52, three operations.
      const double bound = 3e-16 * (2 + static_cast<double>(angle) * 3);
      EXPECT_NEAR(row.cos[i], static_cast<double>(std::cos(angle)), bound);
      EXPECT_NEAR(row.sin[i], static_cast<double>(std::sin(angle)), bound);
    }
  }
}

// FP32 throughout, as in transformers: at position 40,000 the fastest angle's frequency is 1, so it
// is exact; the slow ones have the FP32 rounding error of their frequency.
TEST(RopeTable, InSingleIsTheNearestToItsSingleAngle) {
  const std::size_t p = 40000;
  const auto row = row_of<float>(plain(), p);
  EXPECT_EQ(row.cos[0], static_cast<float>(std::cos(40000.0)));
  EXPECT_EQ(row.sin[0], static_cast<float>(std::sin(40000.0)));
  for (std::size_t i = 0; i < kHeadDim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(kHeadDim);
    const auto frequency = static_cast<float>(1.0F / static_cast<float>(std::pow(1e6, exponent)));
    const double angle = static_cast<float>(p) * frequency;
    // A frequency may be off by one step, like the power: 2^-22 of the angle.
    EXPECT_NEAR(row.cos[i], std::cos(angle), 1e-7 + angle * 0x1p-22);
  }
}

std::vector<double> frequencies(const RopeParameters& rope, std::size_t length = 1) {
  return rope_frequencies<double>(rope, kHeadDim, length).inv_freq;
}

TEST(RopeScaling, LinearDividesAllFrequencies) {
  RopeParameters rope = plain();
  const std::vector<double> own = frequencies(rope);
  rope.scaling = RopeScaling::kLinear;
  rope.factor = 4;
  const std::vector<double> scaled = frequencies(rope);
  for (std::size_t i = 0; i < own.size(); ++i) EXPECT_DOUBLE_EQ(scaled[i], own[i] / 4);
}

TEST(RopeScaling, DynamicChangesNothingWithinTheContext) {
  RopeParameters rope = plain();
  const std::vector<double> own = frequencies(rope);
  rope.scaling = RopeScaling::kDynamic;
  rope.factor = 2;
  rope.original_length = 100;
  EXPECT_EQ(frequencies(rope, 100), own);
  // Twice the context: theta is 3^(128/126) times itself (factor * 2 - (factor - 1) = 3).
  const std::vector<double> longer = frequencies(rope, 200);
  const double theta = kTheta * std::pow(3.0, 128.0 / 126.0);
  for (std::size_t i = 0; i < own.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / kHeadDim;
    EXPECT_NEAR(longer[i] * std::pow(theta, exponent), 1, 1e-13);
  }
}

// Fast frequencies are kept, slow ones divided, and those in between lie between the two.
TEST(RopeScaling, YarnAndLlama3LeaveFastFrequenciesAlone) {
  const std::vector<double> own = frequencies(plain());
  for (const RopeScaling scaling : {RopeScaling::kYarn, RopeScaling::kLlama3}) {
    RopeParameters rope = plain();
    rope.scaling = scaling;
    rope.factor = 8;
    rope.original_length = 8192;
    const std::vector<double> scaled = frequencies(rope);
    EXPECT_DOUBLE_EQ(scaled.front(), own.front());
    EXPECT_DOUBLE_EQ(scaled.back(), own.back() / 8);
    int between = 0;
    for (std::size_t i = 0; i < own.size(); ++i) {
      EXPECT_LE(scaled[i], own[i] * (1 + 1e-15));
      EXPECT_GE(scaled[i], own[i] / 8 * (1 - 1e-15));
      const bool is_between = scaled[i] < own[i] * 0.999 && scaled[i] > own[i] / 8 * 1.001;
      between += is_between ? 1 : 0;
      // Llama 3's ramp is between wavelengths of 8192 / 4 and 8192.
      const double wavelength = 2 * std::numbers::pi / own[i];
      if (scaling == RopeScaling::kLlama3 && is_between) {
        EXPECT_GT(wavelength, 2048);
        EXPECT_LT(wavelength, 8192);
      }
    }
    EXPECT_GT(between, 2);
  }
}

TEST(RopeScaling, LongropeHasAListForLongSequences) {
  RopeParameters rope = plain();
  const std::vector<double> own = frequencies(rope);
  rope.scaling = RopeScaling::kLongrope;
  rope.original_length = 50;
  rope.attention_factor = 1.25;
  rope.short_factor.assign(kHeadDim / 2, 1.5);
  rope.long_factor.assign(kHeadDim / 2, 16);
  EXPECT_DOUBLE_EQ(frequencies(rope, 50)[9], own[9] / 1.5);
  EXPECT_DOUBLE_EQ(frequencies(rope, 51)[9], own[9] / 16);
  EXPECT_DOUBLE_EQ(row_of<double>(rope, 0, 51).cos[9], 1.25);
}

TEST(RopeScaling, AttentionFactorsAreThePapers) {
  EXPECT_DOUBLE_EQ(yarn_attention_factor(4), 0.1 * std::log(4.0) + 1);
  EXPECT_DOUBLE_EQ(yarn_attention_factor(0.5), 1);
  EXPECT_DOUBLE_EQ(longrope_attention_factor(32, 4096),
                   std::sqrt(1 + std::log(32) / std::log(4096)));
}

}  // namespace
}  // namespace assay
