// Weights in MXFP4 against the same values in BF16, for every instruction set.
#include "numerics/mxfp4.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/aligned_vector.h"
#include "base/half.h"
#include "numerics/kernels.h"

namespace assay {
namespace {

TEST(Mxfp4, ValuesAreThoseOfTheFormat) {
  constexpr double kMagnitudes[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  for (int scale = 0; scale < 255; ++scale) {
    for (int i = 0; i < 16; ++i) {
      const double exact = std::ldexp(kMagnitudes[i % 8], scale - 127) * (i < 8 ? 1 : -1);
      const float value = bf16_to_f32(kMxfp4Values[scale][i]);
      EXPECT_EQ(static_cast<double>(value),
                std::abs(exact) < std::ldexp(1, 128) ? exact : std::copysign(HUGE_VAL, exact))
          << scale << " " << i;
      EXPECT_EQ(std::signbit(value), i >= 8);
    }
  }
  // 2^128 times zero.
  EXPECT_TRUE(std::isnan(bf16_to_f32(kMxfp4Values[255][0])));
  EXPECT_EQ(bf16_to_f32(kMxfp4Values[255][9]), -HUGE_VALF);
}

// Random blocks, of whose rows every `step`th counts, and the same values in BF16.
struct Matrix {
  std::vector<std::byte> blocks, scales, widened;
  Weight packed, plain;

  Matrix(std::size_t rows, std::size_t cols, std::size_t step) {
    std::mt19937 random{static_cast<unsigned>(rows * cols + step)};
    const std::size_t stored = (rows - 1) * step + 1;
    // At an odd address: files promise no alignment.
    for (std::size_t i = 0; i <= stored * cols / 2; ++i)
      blocks.push_back(std::byte(random() & 255));
    for (std::size_t i = 0; i < stored * cols / 32; ++i) {
      scales.push_back(std::byte(random() % 9 == 0 ? random() & 255 : 118 + random() % 12));
    }
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < cols; ++c) {
        const std::size_t at = r * step * cols + c;
        const auto byte = static_cast<unsigned>(blocks[1 + at / 2]);
        const std::uint16_t bits = kMxfp4Values[static_cast<std::size_t>(scales[at / 32])]
                                               [c % 2 == 0 ? byte & 15 : byte >> 4];
        const auto* bytes = reinterpret_cast<const std::byte*>(&bits);
        widened.insert(widened.end(), bytes, bytes + 2);
      }
    }
    packed = {blocks.data() + 1, DType::kU8, rows, cols, scales.data(), step};
    plain = {widened.data(), DType::kBF16, rows, cols};
  }
};

template <class N>
struct Mxfp4Kernels : testing::Test {};
using Numerics = testing::Types<Bf16, F32, F64>;
TYPED_TEST_SUITE(Mxfp4Kernels, Numerics);

template <class Real>
bool same_bits(const std::vector<Real>& a, const std::vector<Real>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (std::memcmp(&a[i], &b[i], sizeof(Real)) != 0) return false;
  }
  return a.size() == b.size();
}

TYPED_TEST(Mxfp4Kernels, EqualThoseOnTheWidenedWeights) {
  using Real = typename TypeParam::Real;
  std::mt19937 random{7};
  std::normal_distribution<float> normal;
  for (const Simd simd : supported_simd()) {
    const Kernels<TypeParam>& k = kernels<TypeParam>(simd);
    for (const std::size_t cols : {std::size_t{32}, std::size_t{96}, std::size_t{2880}}) {
      for (const std::size_t step : {std::size_t{1}, std::size_t{2}}) {
        const Matrix m(75, cols, step);
        std::vector<Real> row[2] = {std::vector<Real>(cols), std::vector<Real>(cols)};
        k.load_row(m.packed, 33, row[0].data());
        k.load_row(m.plain, 33, row[1].data());
        EXPECT_TRUE(same_bits(row[0], row[1])) << simd_name(simd) << " " << cols;
        for (const std::size_t tokens : {std::size_t{1}, std::size_t{5}, std::size_t{40}}) {
          std::vector<Real> x(tokens * cols);
          std::vector<Real> bias(75);
          for (Real& value : x) value = TypeParam::round(static_cast<Real>(normal(random)));
          for (Real& value : bias) value = TypeParam::round(static_cast<Real>(normal(random)));
          std::vector<Real> out[2];
          for (int i = 0; i < 2; ++i) {
            const Weight& w = i == 0 ? m.packed : m.plain;
            out[i].resize(tokens * 75);
            if (tokens < 40) {
              k.matmul(x.data(), tokens, w, bias.data(), 3, 75, out[i].data(), 75);
              continue;
            }
            AlignedVector<Real> packed(packed_size(tokens, cols));
            for (std::size_t tile = 0; tile < k.tiles(tokens); ++tile) {
              k.pack_tile(x.data(), tokens, cols, tile, packed.data());
            }
            k.packed_matmul(packed.data(), tokens, w, bias.data(), 3, 75, out[i].data(), 75);
          }
          EXPECT_TRUE(same_bits(out[0], out[1]))
              << simd_name(simd) << " " << cols << " step " << step << " tokens " << tokens;
        }
      }
    }
  }
}

}  // namespace
}  // namespace assay
