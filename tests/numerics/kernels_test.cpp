// Every instruction set against the plain definition, bit for bit, on random and nasty input.
#include "numerics/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/aligned_vector.h"

namespace assay {
namespace {

constexpr std::uint32_t kSeed = 20260731;

// What packed_matmul makes of x: [tokens, w.cols], rows [row_begin, row_end).
template <class N, class Real = typename N::Real>
void packed_matmul(const Kernels<N>& k, const Real* x, std::size_t tokens, const Weight& w,
                   std::size_t row_begin, std::size_t row_end, Real* out, std::size_t ldo,
                   const Real* bias = nullptr) {
  AlignedVector<Real> packed(packed_size(tokens, w.cols));
  for (std::size_t tile = k.tiles(tokens); tile-- > 0;) {
    k.pack_tile(x, tokens, w.cols, tile, packed.data());
  }
  k.packed_matmul(packed.data(), tokens, w, bias, row_begin, row_end, out, ldo);
}

template <class N>
struct KernelsTest : testing::Test {
  using Real = typename N::Real;

  std::mt19937 random{kSeed};

  // Normal values of widely different sizes; with `nasty` also zeros of both signs, subnormals,
  // infinities and NaN.
  std::vector<Real> values(std::size_t n, bool nasty = false) {
    std::normal_distribution<double> normal;
    std::uniform_int_distribution<int> exponent(-6, 6);
    std::uniform_int_distribution<int> kind(0, 60);
    std::vector<Real> x(n);
    for (Real& value : x) {
      value = N::round(static_cast<Real>(std::ldexp(normal(random), exponent(random))));
      if (!nasty) continue;
      switch (kind(random)) {
        case 0:
          value = Real{0};
          break;
        case 1:
          value = -Real{0};
          break;
        case 2:
          value = std::numeric_limits<Real>::denorm_min();
          break;
        case 3:
          value = std::numeric_limits<Real>::infinity();
          break;
        case 4:
          value = std::numeric_limits<Real>::quiet_NaN();
          break;
        case 5:
          value = static_cast<Real>(1e30);
          break;
        default:
          break;
      }
    }
    return x;
  }

  // As the KV cache holds them.
  static std::vector<typename N::Cached> cached(const std::vector<Real>& x) {
    std::vector<typename N::Cached> all(x.size());
    std::transform(x.begin(), x.end(), all.begin(), N::cached);
    return all;
  }

  // Stored bytes; any bit pattern of a 16-bit type may occur, NaN and infinity among them, when
  // nasty. Starts at an odd address: files promise no alignment.
  std::vector<std::byte> storage;
  Weight weight(DType dtype, std::size_t rows, std::size_t cols, bool nasty = false) {
    const std::size_t size = dtype_size(dtype);
    storage.assign(rows * cols * size + 1, std::byte{0});
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < rows * cols; ++i) {
      const float value = normal(random);
      std::uint32_t bits;
      std::memcpy(&bits, &value, 4);
      if (dtype == DType::kBF16) bits >>= 16;
      if (dtype == DType::kF16) {  // exponents around 1, all mantissas
        bits = (static_cast<std::uint32_t>(random()) & 0x83FFu) |
               ((12 + static_cast<std::uint32_t>(random() % 6)) << 10);
      }
      if (nasty && random() % 40 == 0) bits = static_cast<std::uint32_t>(random());
      std::memcpy(&storage[1 + i * size], &bits, size);
    }
    return {storage.data() + 1, dtype, rows, cols};
  }

  // The same bits; two NaNs are equal whatever their payload (which operand's payload survives is
  // no promise of IEEE).
  static void expect_same(const std::vector<Real>& expected, const std::vector<Real>& found,
                          const std::string& what) {
    ASSERT_EQ(expected.size(), found.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      if (std::isnan(expected[i]) && std::isnan(found[i])) continue;
      ASSERT_EQ(std::memcmp(&expected[i], &found[i], sizeof(Real)), 0)
          << what << ", element " << i << ": " << expected[i] << " against " << found[i]
          << ", seed " << kSeed;
    }
  }

  // run(kernels, out) with the plain kernels and with every other set.
  template <class Run>
  void compare(const std::string& what, std::size_t out_size, Run&& run) {
    std::vector<Real> expected(out_size, Real{-7});
    run(*plain_kernels<N>(), expected.data());
    for (const Simd simd : supported_simd()) {
      std::vector<Real> found(out_size, Real{-7});
      run(kernels<N>(simd), found.data());
      expect_same(expected, found, what + " on " + std::string(simd_name(simd)));
      if (testing::Test::HasFatalFailure()) return;
    }
  }
};

// Numerics `fast` adds in an order of its own: as close to the truth as any order is, no more.
struct FastKernels : KernelsTest<Bf16> {
  void TestBody() override {}
};

TEST(Fast, MatmulIsAsCloseAsAnyOrderOfFp32Sums) {
  FastKernels make;
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const std::size_t cols : {1, 31, 32, 33, 200, 1024, 3072}) {
      for (const std::size_t tokens : {1, 2, 5, 6, 7, 13}) {
        const std::size_t rows = 37;
        const Weight w = make.weight(dtype, rows, cols);
        const std::vector<float> x = make.values(tokens * cols);
        std::vector<float> out(tokens * rows);
        packed_matmul(fast_kernels(), x.data(), tokens, w, 0, 20, out.data(), rows);
        packed_matmul(fast_kernels(), x.data(), tokens, w, 20, rows, out.data(), rows);
        std::vector<float> row(cols);
        for (std::size_t r = 0; r < rows; ++r) {
          plain_kernels<Bf16>()->load_row(w, r, row.data());
          for (std::size_t t = 0; t < tokens; ++t) {
            double dot = 0, size = 0;
            for (std::size_t i = 0; i < cols; ++i) {
              const double product = static_cast<double>(row[i]) * x[t * cols + i];
              dot += product;
              size += std::abs(product);
            }
            const double rounding = std::abs(dot) * 0x1p-8 + size * 0x1p-24 * 100;
            ASSERT_NEAR(out[t * rows + r], dot, rounding) << cols << " columns, " << tokens;
          }
        }
      }
    }
  }
}

// Of the same numbers in the same tile or another, on one thread or several.
TEST(Fast, MatmulDoesNotDependOnWhatElseIsComputed) {
  FastKernels make;
  const std::size_t rows = 70, cols = 3072, tokens = 13;
  const Weight w = make.weight(DType::kBF16, rows, cols);
  const std::vector<float> x = make.values(tokens * cols);
  std::vector<float> all(tokens * rows), alone(tokens * rows);
  packed_matmul(fast_kernels(), x.data(), tokens, w, 0, rows, all.data(), rows);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t r = 0; r < rows; ++r) {
      packed_matmul(fast_kernels(), &x[t * cols], 1, w, r, r + 1, &alone[t * rows], rows);
    }
  }
  make.expect_same(all, alone, "alone");
}

using AllNumerics = testing::Types<Bf16, F32, F64>;
TYPED_TEST_SUITE(KernelsTest, AllNumerics);

const std::size_t kLengths[] = {1, 2, 31, 32, 33, 63, 64, 65, 96, 127, 128, 200, 1024, 3072};

TYPED_TEST(KernelsTest, MatmulEqualsPlain) {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const std::size_t cols : kLengths) {
      for (const std::size_t tokens : {1, 2, 3, 5, 6, 7, 13}) {
        for (const bool nasty : {false, true}) {
          const std::size_t rows = 1 + this->random() % 70;
          const Weight w = this->weight(dtype, rows, cols, nasty);
          const auto x = this->values(tokens * cols, nasty);
          const std::string size = " " + std::to_string(tokens) + "x" + std::to_string(cols) + "x" +
                                   std::to_string(rows);
          const auto added = this->values(rows, nasty);
          const auto* bias = this->random() % 2 == 0 ? added.data() : nullptr;
          this->compare("matmul" + size, tokens * rows,
                        [&](const Kernels<TypeParam>& k, auto* out) {
                          k.matmul(x.data(), tokens, w, bias, 0, rows, out, rows);
                        });
          // Against the same plain matmul: tokens laid out or not, the bits are one.
          this->compare("packed matmul" + size, tokens * rows,
                        [&](const Kernels<TypeParam>& k, auto* out) {
                          if (&k == plain_kernels<TypeParam>()) {
                            k.matmul(x.data(), tokens, w, bias, 0, rows, out, rows);
                          } else {
                            packed_matmul(k, x.data(), tokens, w, 0, rows, out, rows, bias);
                          }
                        });
        }
      }
    }
  }
}

// A dot product's bits may not depend on which rows and tokens are computed with it; on all sets,
// the plain one included. More tokens than are packed at a time, more rows than a block of panels.
TYPED_TEST(KernelsTest, MatmulOfOneTokenEqualsItsRowOfMany) {
  constexpr std::size_t kRows = 167, kCols = 2000, kTokens = 530;
  const Weight w = this->weight(DType::kBF16, kRows, kCols);
  const auto x = this->values(kTokens * kCols);
  for (const Simd simd : supported_simd()) {
    const auto& k = kernels<TypeParam>(simd);
    std::vector<typename TypeParam::Real> whole(kTokens * kRows), few(kTokens * kRows),
        single(kTokens * kRows);
    packed_matmul(k, x.data(), kTokens, w, 0, 53, whole.data(), kRows);
    packed_matmul(k, x.data(), kTokens, w, 53, kRows, whole.data(), kRows);
    k.matmul(x.data(), kTokens, w, nullptr, 0, kRows, few.data(), kRows);
    for (std::size_t t = 0; t < kTokens; ++t) {
      k.matmul(x.data() + t * kCols, 1, w, nullptr, 0, 5, single.data() + t * kRows, kRows);
      k.matmul(x.data() + t * kCols, 1, w, nullptr, 5, kRows, single.data() + t * kRows, kRows);
    }
    this->expect_same(few, single, std::string(simd_name(simd)));
    this->expect_same(few, whole, "packed, " + std::string(simd_name(simd)));
  }
}

// The order of the contract, written down a second time and as simply as possible.
TYPED_TEST(KernelsTest, DotFollowsTheDocumentedOrder) {
  for (const std::size_t cols : kLengths) {
    const Weight w = this->weight(DType::kBF16, 1, cols);
    const auto x = this->values(cols);
    std::vector<typename TypeParam::Real> row(cols);
    plain_kernels<TypeParam>()->load_row(w, 0, row.data());
    typename TypeParam::Real lane[32] = {};
    for (std::size_t i = 0; i < cols; ++i) lane[i % 32] = std::fma(row[i], x[i], lane[i % 32]);
    for (std::size_t width = 16; width > 0; width /= 2) {
      for (std::size_t l = 0; l < width; ++l) lane[l] += lane[l + width];
    }
    typename TypeParam::Real out;
    plain_kernels<TypeParam>()->matmul(x.data(), 1, w, nullptr, 0, 1, &out, 1);
    EXPECT_EQ(out, TypeParam::round(lane[0])) << cols;
  }
}

TYPED_TEST(KernelsTest, EverythingElseEqualsPlain) {
  for (const std::size_t n : kLengths) {
    for (const bool nasty : {false, true}) {
      const auto x = this->values(2 * n, nasty);
      const auto y = this->values(2 * n, nasty);
      const std::string size = " " + std::to_string(n) + (nasty ? " nasty" : "");
      for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
        const Weight w = this->weight(dtype, 3, n, nasty);
        this->compare("load_row" + size, n,
                      [&](const auto& k, typename TypeParam::Real* out) { k.load_row(w, 2, out); });
        for (const NormForm form :
             {NormForm::kRoundedTwice, NormForm::kRoundedOnce, NormForm::kOnePlus}) {
          this->compare("rms_norm" + size, n, [&](const auto& k, typename TypeParam::Real* out) {
            k.rms_norm(x.data(), w, static_cast<typename TypeParam::Real>(1e-6), form, n, out);
          });
        }
      }
      for (const bool rounded_once : {false, true}) {
        this->compare("rope" + size, 2 * n, [&](const auto& k, typename TypeParam::Real* out) {
          k.rope(x.data(), y.data(), y.data() + n, rounded_once, 2 * n, out);
        });
      }
      this->compare("silu_mul" + size, 2 * n, [&](const auto& k, typename TypeParam::Real* out) {
        k.silu_mul(x.data(), y.data(), 2 * n, out);
      });
      this->compare("gelu_tanh_mul" + size, 2 * n,
                    [&](const auto& k, typename TypeParam::Real* out) {
                      k.gelu_tanh_mul(x.data(), y.data(), 2 * n, out);
                    });
      this->compare("softcap" + size, 2 * n, [&](const auto& k, typename TypeParam::Real* out) {
        k.softcap(x.data(), typename TypeParam::Real{30}, 2 * n, out);
      });
      this->compare("router_softmax" + size, 2 * n,
                    [&](const auto& k, typename TypeParam::Real* out) {
                      k.router_softmax(x.data(), 2 * n, out);
                    });
      this->compare("add" + size, 2 * n, [&](const auto& k, typename TypeParam::Real* out) {
        k.add(x.data(), y.data(), 2 * n, out);
      });
      this->compare("softmax" + size, 2 * n, [&](const auto& k, typename TypeParam::Real* out) {
        k.softmax(x.data(), 2 * n, out);
      });
      for (const std::size_t count : {1, 2, 5, 40}) {
        for (const std::size_t queries : {1, 2, 6, 7, 13}) {
          const std::size_t positions = count + queries - 1;
          const auto rows = this->cached(this->values(positions * n, nasty));
          const auto q = this->values(queries * (n + 3), nasty);
          this->compare("scores" + size, queries * positions,
                        [&](const auto& k, typename TypeParam::Real* out) {
                          k.scores(q.data(), n + 3, queries, rows.data(), positions, n,
                                   static_cast<typename TypeParam::Real>(0.17), out, positions);
                        });
          const auto p = this->values(queries * positions, nasty);
          this->compare("weighted_sum" + size, queries * (n + 1),
                        [&](const auto& k, typename TypeParam::Real* out) {
                          k.weighted_sum(p.data(), positions, queries, count, rows.data(), n, out,
                                         n + 1);
                        });
        }
      }
    }
  }
}

// What a query sees does not depend on the queries beside it, and ends at its own position.
TYPED_TEST(KernelsTest, QueriesOfABlockEqualEachAlone) {
  using R = typename TypeParam::Real;
  constexpr std::size_t kQueries = 13, kFirst = 9, kChannels = 80;
  constexpr std::size_t kPositions = kFirst + kQueries - 1;
  const auto q = this->values(kQueries * kChannels);
  const auto values = this->values(kPositions * kChannels);
  const auto rows = this->cached(values);
  for (const Simd simd : supported_simd()) {
    const auto& k = kernels<TypeParam>(simd);
    std::vector<R> scores(kQueries * kPositions), whole(kQueries * kChannels);
    k.scores(q.data(), kChannels, kQueries, rows.data(), kPositions, kChannels, R(0.3),
             scores.data(), kPositions);
    k.weighted_sum(scores.data(), kPositions, kQueries, kFirst, rows.data(), kChannels,
                   whole.data(), kChannels);
    for (std::size_t i = 0; i < kQueries; ++i) {
      const std::size_t count = kFirst + i;
      std::vector<R> alone(count), block(&scores[i * kPositions], &scores[i * kPositions] + count);
      k.scores(&q[i * kChannels], kChannels, 1, rows.data(), count, kChannels, R(0.3), alone.data(),
               count);
      this->expect_same(block, alone, "scores on " + std::string(simd_name(simd)));
      // The order of the contract: one fused multiply-add per position.
      std::vector<R> context(kChannels);
      for (std::size_t c = 0; c < kChannels; ++c) {
        R sum{0};
        for (std::size_t j = 0; j < count; ++j)
          sum = std::fma(block[j], values[j * kChannels + c], sum);
        context[c] = TypeParam::round(sum);
      }
      this->expect_same({&whole[i * kChannels], &whole[i * kChannels] + kChannels}, context,
                        "weighted_sum on " + std::string(simd_name(simd)));
    }
  }
}

// All exponents, so that over- and underflow of every exp are seen.
TYPED_TEST(KernelsTest, ExpIsTheSameOverItsWholeRange) {
  std::uniform_real_distribution<double> range(-800, 800);
  std::vector<typename TypeParam::Real> gate(20000), up(20000, typename TypeParam::Real{1});
  for (typename TypeParam::Real& g : gate)
    g = static_cast<typename TypeParam::Real>(range(this->random));
  this->compare("silu_mul", gate.size(), [&](const auto& k, typename TypeParam::Real* out) {
    k.silu_mul(gate.data(), up.data(), gate.size(), out);
  });
}

TEST(RoundToBf16, TiesGoToEvenAndNanStaysNan) {
  EXPECT_EQ(round_to_bf16(1.0F + 0x1p-8F), 1.0F);                // tie, even below
  EXPECT_EQ(round_to_bf16(1.0F + 3 * 0x1p-8F), 1.0F + 0x1p-6F);  // tie, even above
  EXPECT_EQ(round_to_bf16(1.0F + 0x1.01p-8F), 1.0F + 0x1p-7F);
  EXPECT_EQ(round_to_bf16(-0.0F), 0.0F);
  EXPECT_TRUE(std::signbit(round_to_bf16(-0.0F)));
  EXPECT_EQ(round_to_bf16(std::numeric_limits<float>::max()),
            std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(round_to_bf16(std::bit_cast<float>(0x7F800001u))));
}

}  // namespace
}  // namespace assay
