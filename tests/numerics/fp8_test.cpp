// Weights in FP8 against the same values in F32, for every instruction set.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/aligned_vector.h"
#include "base/half.h"
#include "numerics/kernels.h"

namespace assay {
namespace {

// Rows [first, first + rows) of a random matrix, and the same values in F32.
struct Fp8Matrix {
  std::vector<std::byte> bytes;
  std::vector<float> scales, values;
  BlockScales blocks;
  Weight packed, plain;

  // moderate: as BlockScales has it.
  Fp8Matrix(std::size_t first, std::size_t rows, std::size_t cols, std::size_t block,
            bool moderate) {
    std::mt19937 random{static_cast<unsigned>(rows * cols + block)};
    const std::size_t all = first + rows;
    blocks = {{}, block, block, (cols + block - 1) / block};
    scales.resize((all + block - 1) / block * blocks.per_row);
    for (float& scale : scales)
      scale = std::ldexp(1.0F + static_cast<float>(random() % 997) / 997, -8);
    blocks.moderate = moderate;
    if (moderate)
      scales[0] = 0;
    else
      scales[0] = 0x1.8p-130F;  // products that are subnormal, and some that round up to normal
    blocks.values = scales;
    // At an odd address: files promise no alignment.
    bytes.resize(1 + all * cols);
    for (std::byte& byte : bytes) {
      do byte = std::byte(random() & 255);
      while ((byte & std::byte{0x7F}) == std::byte{0x7F});
    }
    for (std::size_t r = first; r < all; ++r) {
      for (std::size_t c = 0; c < cols; ++c) {
        values.push_back(f8e4m3_to_f32(static_cast<std::uint8_t>(bytes[1 + r * cols + c])) *
                         scales[r / block * blocks.per_row + c / block]);
      }
    }
    packed = {bytes.data() + 1, DType::kF8E4M3, all, cols, nullptr, 1, &blocks};
    packed = packed.from_row(first, rows);
    plain = {reinterpret_cast<const std::byte*>(values.data()), DType::kF32, rows, cols};
  }
};

template <class N>
struct Fp8Kernels : testing::Test {};
using EveryNumerics = testing::Types<Bf16, F32, F64>;
TYPED_TEST_SUITE(Fp8Kernels, EveryNumerics);

template <class Real>
bool equal_bits(const std::vector<Real>& a, const std::vector<Real>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(Real)) == 0;
}

TYPED_TEST(Fp8Kernels, EqualThoseOnTheProducts) {
  using Real = typename TypeParam::Real;
  std::mt19937 random{7};
  std::normal_distribution<float> normal;
  constexpr std::size_t kRows = 75;
  for (const Simd simd : supported_simd()) {
    const Kernels<TypeParam>& k = kernels<TypeParam>(simd);
    for (const std::size_t cols : {std::size_t{7}, std::size_t{320}, std::size_t{700}}) {
      for (const std::size_t block : {std::size_t{30}, std::size_t{128}, std::size_t{100000}}) {
        for (const bool moderate : {false, true}) {
          const Fp8Matrix m(41, kRows, cols, block, moderate);
          std::vector<Real> row[2] = {std::vector<Real>(cols), std::vector<Real>(cols)};
          for (std::size_t r = 0; r < kRows; ++r) {
            k.load_row(m.packed, r, row[0].data());
            k.load_row(m.plain, r, row[1].data());
            ASSERT_TRUE(equal_bits(row[0], row[1])) << simd_name(simd) << " row " << r;
          }
          for (const std::size_t tokens :
               {std::size_t{1}, std::size_t{5}, std::size_t{9}, std::size_t{40}}) {
            std::vector<Real> x(tokens * cols);
            for (Real& value : x) value = TypeParam::round(static_cast<Real>(normal(random)));
            std::vector<Real> out[2];
            for (int i = 0; i < 2; ++i) {
              const Weight& w = i == 0 ? m.packed : m.plain;
              out[i].resize(tokens * kRows);
              if (tokens < 40) {
                k.matmul(x.data(), tokens, w, nullptr, 3, kRows, out[i].data(), kRows);
                continue;
              }
              AlignedVector<Real> tiles(packed_size(tokens, cols));
              for (std::size_t tile = 0; tile < k.tiles(tokens); ++tile) {
                k.pack_tile(x.data(), tokens, cols, tile, tiles.data());
              }
              k.packed_matmul(tiles.data(), tokens, w, nullptr, 3, kRows, out[i].data(), kRows);
            }
            EXPECT_TRUE(equal_bits(out[0], out[1]))
                << simd_name(simd) << " " << cols << " block " << block << " tokens " << tokens;
          }
        }
      }
    }
  }
}

TYPED_TEST(Fp8Kernels, KnowEveryElement) {
  using Real = typename TypeParam::Real;
  std::vector<std::byte> all(256);
  for (std::size_t i = 0; i < 256; ++i) all[i] = std::byte(i);
  const float one = 1;
  const BlockScales blocks{{&one, 1}, 1, 256, 1};
  const Weight w{all.data(), DType::kF8E4M3, 1, 256, nullptr, 1, &blocks};
  for (const Simd simd : supported_simd()) {
    std::vector<Real> values(256);
    kernels<TypeParam>(simd).load_row(w, 0, values.data());
    for (std::size_t i = 0; i < 256; ++i) {
      const float exact = f8e4m3_to_f32(static_cast<std::uint8_t>(i));
      if (std::isnan(exact)) {
        EXPECT_TRUE(std::isnan(values[i]));
      } else {
        EXPECT_EQ(values[i], static_cast<Real>(exact)) << i;
        EXPECT_EQ(std::signbit(values[i]), i >= 128);
      }
    }
  }
}

}  // namespace
}  // namespace assay
