#include "base/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace assay {
namespace {

constexpr std::uint32_t bits_of(float x) { return std::bit_cast<std::uint32_t>(x); }

// Rounds to BF16 or F16 by comparing all neighbours: the nearest, ties to the even pattern.
template <class ToFloat>
std::uint16_t nearest(float x, std::uint16_t at, ToFloat to_float, std::uint16_t infinity,
                      double next_power) {
  const auto value = [&](int bits) {
    return bits == infinity ? next_power : static_cast<double>(to_float(bits));
  };
  int best = -1;
  for (int bits = std::max(0, at - 2); bits <= std::min<int>(infinity, at + 2); ++bits) {
    const double distance = std::fabs(value(bits) - static_cast<double>(x));
    const double least = best < 0 ? std::numeric_limits<double>::infinity()
                                  : std::fabs(value(best) - static_cast<double>(x));
    if (distance < least || (distance == least && bits % 2 == 0)) best = bits;
  }
  return static_cast<std::uint16_t>(best);
}

// Everything around a pattern's value: itself, its neighbours in FP32, the ties on both sides.
template <class Check>
void for_floats_around(float value, float next, Check check) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float tie =
      static_cast<float>((static_cast<double>(value) + static_cast<double>(next)) / 2);
  for (const float x : {value, std::nextafter(value, infinity), tie, std::nextafter(tie, 0.0F),
                        std::nextafter(tie, infinity)}) {
    check(x);
  }
}

TEST(Half, Bf16IsTheUpperHalfOfAnFp32) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const float x = bf16_to_f32(static_cast<std::uint16_t>(bits));
    ASSERT_EQ(bits_of(x), bits << 16);
    if (std::isnan(x)) {
      ASSERT_EQ(f32_to_bf16(x), bits | 0x40u);
    } else {
      ASSERT_EQ(f32_to_bf16(x), bits);
    }
  }
}

TEST(Half, Bf16RoundsToTheNearestTiesToEven) {
  for (std::uint32_t bits = 0; bits < 0x7F80; ++bits) {
    const auto at = static_cast<std::uint16_t>(bits);
    const float next = bits + 1 == 0x7F80 ? bf16_to_f32(at) : bf16_to_f32(at + 1);
    for_floats_around(bf16_to_f32(at), next, [&](float x) {
      const std::uint16_t expected = nearest(
          x, at, [](int b) { return bf16_to_f32(static_cast<std::uint16_t>(b)); }, 0x7F80, 0x1p128);
      ASSERT_EQ(f32_to_bf16(x), expected) << x;
      ASSERT_EQ(f32_to_bf16(-x), expected | 0x8000u) << x;
    });
  }
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7F80);
}

TEST(Half, F16RoundsToTheNearestTiesToEven) {
  for (std::uint32_t bits = 0; bits < 0x7C00; ++bits) {
    const auto at = static_cast<std::uint16_t>(bits);
    const float next = bits + 1 == 0x7C00 ? 65536.0F : f16_to_f32(at + 1);
    for_floats_around(f16_to_f32(at), next, [&](float x) {
      const std::uint16_t expected = nearest(
          x, at, [](int b) { return f16_to_f32(static_cast<std::uint16_t>(b)); }, 0x7C00, 65536);
      ASSERT_EQ(f32_to_f16(x), expected) << x;
      ASSERT_EQ(f32_to_f16(-x), expected | 0x8000u) << x;
    });
  }
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::max()), 0x7C00);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::infinity()), 0x7C00);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::denorm_min()), 0);
}

TEST(Half, NaNsStayNaNsWhateverTheirPayload) {
  for (const std::uint32_t sign : {0u, 0x80000000u}) {
    for (int bit = 0; bit < 23; ++bit) {
      const float nan = std::bit_cast<float>(sign | 0x7F800000u | 1u << bit);
      EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(nan)))) << bit;
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(nan)))) << bit;
      EXPECT_EQ(f32_to_bf16(nan) & 0x8000u, sign >> 16);
      EXPECT_EQ(f32_to_f16(nan) & 0x8000u, sign >> 16);
    }
  }
}

TEST(Half, F16RoundTripsEveryPattern) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const bool nan = (bits & 0x7FFFu) > 0x7C00u;
    ASSERT_EQ(f32_to_f16(f16_to_f32(half)), nan ? (bits | 0x200u) : bits);
  }
}

#if defined(__FLT16_MANT_DIG__)
TEST(Half, F16AgreesWithTheCompilersOwn) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const auto expected = static_cast<float>(std::bit_cast<_Float16>(half));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(f16_to_f32(half)));
    } else {
      ASSERT_EQ(bits_of(f16_to_f32(half)), bits_of(expected)) << bits;
    }
  }
  const unsigned seed = std::random_device()();
  std::mt19937 random(seed);
  for (int i = 0; i < 2000000; ++i) {
    const float x = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    const auto expected = std::bit_cast<std::uint16_t>(static_cast<_Float16>(x));
    if (std::isnan(x)) continue;
    ASSERT_EQ(f32_to_f16(x), expected) << x << ", seed " << seed;
  }
}
#endif

}  // namespace
}  // namespace assay
