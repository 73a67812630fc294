// Every instruction set against the plain definition, bit for bit, on random and extreme input.
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
#include "numerics/flush.h"

namespace assay {
namespace {

constexpr std::uint32_t kSeed = 20260731;

// The result of packed_matmul for x: [tokens, w.cols], rows [row_begin, row_end).
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
  // infinities, NaN, and factors of products around the smallest normal number.
  std::vector<Real> values(std::size_t n, bool nasty = false, bool rounded = true) {
    std::normal_distribution<double> normal;
    std::uniform_int_distribution<int> exponent(-6, 6);
    std::uniform_int_distribution<int> kind(0, 60);
    const bool small = nasty && random() % 3 == 0;
    std::vector<Real> x(n);
    for (Real& value : x) {
      value = static_cast<Real>(std::ldexp(normal(random), exponent(random) - (small ? 70 : 0)));
      if (nasty) {
        switch (kind(random)) {
          case 0:
            value = Real{0};
            break;
          case 1:
            value = -Real{0};
            break;
          case 2:
            value = std::numeric_limits<Real>::min() / static_cast<Real>(1 + random() % 100);
            break;
          case 3:
            value = small ? value : std::numeric_limits<Real>::infinity();
            break;
          case 4:
            value = small ? -value : std::numeric_limits<Real>::quiet_NaN();
            break;
          case 5:
            value = static_cast<Real>(1e30);
            break;
          default:
            break;
        }
      }
      if (rounded) value = N::round(value);
    }
    return x;
  }

  // A head's keys and values in the KV cache's layout, rows of n channels; unwritten entries are
  // NaN.
  using Cache = AlignedVector<typename N::Cached>;
  struct Head {
    Cache keys, values;
  };
  static Head cached(const std::vector<Real>& rows, std::size_t n) {
    const CacheLayout layout{n};
    const std::size_t positions = rows.size() / n;
    const auto garbage = N::cached(std::numeric_limits<Real>::quiet_NaN());
    Head head{Cache(layout.keys(positions), garbage), Cache(layout.values(positions), garbage)};
    for (std::size_t p = 0; p < positions; ++p) {
      const auto channel = [&](std::size_t c) { return N::cached(rows[p * n + c]); };
      put_key(layout, head.keys.data(), p, channel);
      put_value(layout, head.values.data(), p, channel);
    }
    return head;
  }

  // Accumulates as documented.
  static Real fma(Real a, Real b, Real c) {
    if constexpr (N::kFlushes) {
      return flushing_fma(a, b, c);
    } else {
      return std::fma(a, b, c);
    }
  }
  static Real plus(Real a, Real b) {
    if constexpr (N::kFlushes) {
      return flushing_add(a, b);
    } else {
      return a + b;
    }
  }

  // Stored bytes; any bit pattern of a 16-bit type may occur, NaN and infinity among them, when
  // nasty. Starts at an odd address: files promise no alignment.
  std::vector<std::byte> storage;
  Weight weight(DType dtype, std::size_t rows, std::size_t cols, bool nasty = false) {
    const std::size_t size = dtype_size(dtype);
    storage.assign(rows * cols * size + 1, std::byte{0});
    std::normal_distribution<float> normal;
    const bool small = nasty && random() % 3 == 0;
    for (std::size_t i = 0; i < rows * cols; ++i) {
      const float value = std::ldexp(normal(random), small ? -62 : 0);
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

  // Bit-identical; two NaNs are equal whatever their payload, because IEEE does not define which
  // operand's payload survives.
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

  // Calls run(kernels, out) with the plain kernels and with every other set.
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

using AllNumerics = testing::Types<Bf16, F32, F64>;
TYPED_TEST_SUITE(KernelsTest, AllNumerics);

const std::size_t kLengths[] = {1, 2, 31, 32, 33, 63, 64, 65, 96, 127, 128, 200, 1024, 3072};

TYPED_TEST(KernelsTest, MatmulEqualsPlain) {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const std::size_t cols : kLengths) {
      for (const std::size_t tokens : {1, 2, 3, 5, 6, 7, 13}) {
        for (const bool nasty : {false, true}) {
          // Half of them in whole groups, which may be read in place.
          const std::size_t some = 1 + this->random() % 70;
          const std::size_t rows = some % 2 == 0 ? some : (some + 15) / 16 * 16;
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
          // Against the same plain matmul: the bits are the same with and without laying out.
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

// A dot product's bits must not depend on which rows and tokens are computed with it, on any set
// including the plain one. More tokens than are packed at a time, more rows than a block of panels.
TYPED_TEST(KernelsTest, MatmulOfOneTokenEqualsItsRowOfMany) {
  constexpr std::size_t kTokens = 530;
  struct Size {
    std::size_t rows, cols, cut;
  };
  // Laid out in panels, and where rows are whole blocks, read in place.
  for (const auto& [rows, cols, cut] : {Size{167, 2000, 53}, Size{176, 2080, 64}}) {
    const Weight w = this->weight(DType::kBF16, rows, cols);
    const auto x = this->values(kTokens * cols);
    for (const Simd simd : supported_simd()) {
      const auto& k = kernels<TypeParam>(simd);
      std::vector<typename TypeParam::Real> whole(kTokens * rows), few(kTokens * rows),
          single(kTokens * rows);
      packed_matmul(k, x.data(), kTokens, w, 0, cut, whole.data(), rows);
      packed_matmul(k, x.data(), kTokens, w, cut, rows, whole.data(), rows);
      k.matmul(x.data(), kTokens, w, nullptr, 0, rows, few.data(), rows);
      for (std::size_t t = 0; t < kTokens; ++t) {
        k.matmul(x.data() + t * cols, 1, w, nullptr, 0, 5, single.data() + t * rows, rows);
        k.matmul(x.data() + t * cols, 1, w, nullptr, 5, rows, single.data() + t * rows, rows);
      }
      this->expect_same(few, single, std::string(simd_name(simd)));
      this->expect_same(few, whole, "packed, " + std::string(simd_name(simd)));
    }
  }
}

// The documented order, written again as simply as possible.
TYPED_TEST(KernelsTest, DotFollowsTheDocumentedOrder) {
  using R = typename TypeParam::Real;
  for (const std::size_t cols : kLengths) {
    for (const bool nasty : {false, true}) {
      const Weight w = this->weight(DType::kBF16, 1, cols, nasty);
      const auto x = this->values(cols, nasty);
      const auto bias = this->values(1, nasty);
      std::vector<R> row(cols);
      plain_kernels<TypeParam>()->load_row(w, 0, row.data());
      const std::size_t padded = (cols + 31) / 32 * 32;
      const auto at = [&](const std::vector<R>& v, std::size_t i) {
        return i < cols ? v[i] : R{0};
      };
      R lane[16] = {};
      for (std::size_t i = 0; i < padded; i += 2) {
        R& l = lane[i % 32 / 2];
        l = this->fma(at(row, i + 1), at(x, i + 1), l);
        l = this->fma(at(row, i), at(x, i), l);
      }
      for (std::size_t width = 8; width > 0; width /= 2) {
        for (std::size_t l = 0; l < width; ++l) lane[l] = this->plus(lane[l], lane[l + width]);
      }
      R out;
      plain_kernels<TypeParam>()->matmul(x.data(), 1, w, bias.data(), 0, 1, &out, 1);
      this->expect_same({TypeParam::round(this->plus(lane[0], bias[0]))}, {out},
                        "dot of " + std::to_string(cols));
    }
  }
}

// Under bf16 too: operands may be off the grid.
TYPED_TEST(KernelsTest, OffTheGridEqualsPlain) {
  for (const std::size_t cols : kLengths) {
    for (const bool nasty : {false, true}) {
      for (const std::size_t tokens : {1, 5, 26}) {
        constexpr std::size_t kRows = 19;
        const Weight w = this->weight(DType::kBF16, kRows, cols, nasty);
        const auto x = this->values(tokens * cols, nasty, false);
        this->compare("off the grid", tokens * kRows, [&](const auto& k, auto* out) {
          k.any_operands().matmul(x.data(), tokens, w, nullptr, 0, kRows, out, kRows);
        });
        this->compare("packed, off the grid", tokens * kRows, [&](const auto& k, auto* out) {
          packed_matmul(k.any_operands(), x.data(), tokens, w, 0, kRows, out, kRows);
        });
        const auto q = this->values(3 * cols, nasty, false);
        const auto p = this->values(3 * tokens, nasty, false);
        const auto head = this->cached(this->values(tokens * cols, nasty), cols);
        const std::size_t ldo = (tokens + 15) / 16 * 16;
        this->compare("scores off the grid", 3 * tokens, [&](const auto& k, auto* out) {
          AlignedVector<typename TypeParam::Real> scores(3 * ldo);
          k.any_operands().scores(q.data(), cols, 3, head.keys.data(), tokens, cols, 0.17F,
                                  scores.data(), ldo);
          for (std::size_t i = 0; i < 3; ++i) {
            std::copy_n(&scores[i * ldo], tokens, out + i * tokens);
          }
        });
        this->compare("sums off the grid", cols, [&](const auto& k, auto* out) {
          k.any_operands().weighted_sum(p.data(), tokens, 1, {tokens}, head.values.data(), cols,
                                        out, cols);
        });
      }
    }
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
      this->compare("mul_silu" + size, 2 * n, [&](const auto& k, typename TypeParam::Real* out) {
        k.mul_silu(x.data(), y.data(), 2 * n, out);
      });
      this->compare("unit" + size, 2 * n, [&](const auto& k, typename TypeParam::Real* out) {
        using R = typename TypeParam::Real;
        k.unit(x.data(), R(1e-6), R(0.3), 2 * n, out);
      });
      this->compare("exp" + size, 2 * n, [&](const auto& k, typename TypeParam::Real* out) {
        k.exp(x.data(), 2 * n, out);
      });
      const auto weights = this->values(3 * n, nasty);
      this->compare("causal_conv" + size, n, [&](const auto& k, typename TypeParam::Real* out) {
        const typename TypeParam::Real* rows[] = {x.data(), y.data(), x.data() + n};
        k.causal_conv(rows, weights.data(), n, 3, n, out);
      });
      const std::vector<typename TypeParam::Real> kept(7 * n, 0.25);
      this->compare("delta_rule" + size, 8 * n, [&](const auto& k, typename TypeParam::Real* out) {
        using R = typename TypeParam::Real;
        const R q[] = {1, -2, R(0.5), 3, R(-0.1), R(0.7), 1};
        const R key[] = {R(0.3), R(-0.2), R(0.5), R(0.1), R(-0.7), R(0.2), R(0.9)};
        std::copy(kept.begin(), kept.end(), out + n);  // the state
        for (int token = 0; token < 3; ++token) {
          k.delta_rule(q, key, x.data(), R(0.9), R(0.6), 7, n, out + n, out);
        }
      });
      this->compare("gelu_tanh_mul" + size, 2 * n,
                    [&](const auto& k, typename TypeParam::Real* out) {
                      k.gelu_tanh_mul(x.data(), y.data(), 2 * n, out);
                    });
      for (const bool plus_one : {false, true}) {
        const SwishForm<typename TypeParam::Real> form{
            static_cast<typename TypeParam::Real>(1.702F), typename TypeParam::Real{2}, plus_one};
        this->compare("swish_mul" + size, 2 * n, [&](const auto& k, typename TypeParam::Real* out) {
          k.swish_mul(x.data(), y.data(), form, 2 * n, out);
        });
      }
      this->compare("sink_softmax" + size, 2 * n,
                    [&](const auto& k, typename TypeParam::Real* out) {
                      k.sink_softmax(x.data(), 2 * n, y[0], out);
                    });
      this->compare("softcap" + size, 2 * n, [&](const auto& k, typename TypeParam::Real* out) {
        k.softcap(x.data(), typename TypeParam::Real{30}, 2 * n, out);
      });
      this->compare("router_softmax" + size, 2 * n,
                    [&](const auto& k, typename TypeParam::Real* out) {
                      k.router_softmax(x.data(), 2 * n, out);
                    });
      this->compare("sigmoid" + size, 2 * n, [&](const auto& k, typename TypeParam::Real* out) {
        k.sigmoid(x.data(), 2 * n, out);
      });
      this->compare("add" + size, 2 * n, [&](const auto& k, typename TypeParam::Real* out) {
        k.add(x.data(), y.data(), 2 * n, out);
      });
      this->compare("softmax" + size, 2 * n, [&](const auto& k, typename TypeParam::Real* out) {
        k.softmax(x.data(), 2 * n, out);
      });
      for (const std::size_t count : {1, 2, 5, 40}) {
        for (const std::size_t queries : {1, 2, 6, 7, 13}) {
          using R = typename TypeParam::Real;
          const std::size_t positions = count + queries - 1;
          const auto head = this->cached(this->values(positions * n, nasty), n);
          const auto q = this->values(queries * (n + 3), nasty);
          const std::size_t ldo = (positions + 15) / 16 * 16;
          this->compare("scores" + size, queries * positions, [&](const auto& k, R* out) {
            AlignedVector<R> scores(queries * ldo);
            k.scores(q.data(), n + 3, queries, head.keys.data(), positions, n, R(0.17),
                     scores.data(), ldo);
            for (std::size_t i = 0; i < queries; ++i) {
              std::copy_n(&scores[i * ldo], positions, out + i * positions);
            }
          });
          const auto p = this->values(queries * positions, nasty);
          for (const std::size_t window :
               {std::size_t{1}, std::size_t{4}, std::size_t{7}, Seen{}.window}) {
            this->compare("weighted_sum" + size, queries * (n + 1), [&](const auto& k, R* out) {
              k.weighted_sum(p.data(), positions, queries, {count, window}, head.values.data(), n,
                             out, n + 1);
            });
          }
        }
      }
    }
  }
}

// In the order that kernels.h documents; how many columns there are does not matter.
TYPED_TEST(KernelsTest, DeltaRuleFollowsTheDocumentedOrder) {
  using R = typename TypeParam::Real;
  constexpr std::size_t kKeys = 5;
  constexpr std::size_t kValues = 67;
  const auto q = this->values(kKeys, false);
  const auto k = this->values(kKeys, false);
  const auto v = this->values(kValues, false);
  const auto before = this->values(kKeys * kValues, false);
  const R factor(0.75);
  const auto beta = static_cast<R>(0.3);
  std::vector<R> state(before.begin(), before.end());
  std::vector<R> out(kValues);
  kernels<TypeParam>(chosen_simd())
      .delta_rule(q.data(), k.data(), v.data(), factor, beta, kKeys, kValues, state.data(),
                  out.data());
  for (std::size_t c = 0; c < kValues; ++c) {
    R known = 0;
    R result = 0;
    R s[kKeys];
    for (std::size_t i = 0; i < kKeys; ++i) {
      s[i] = before[i * kValues + c] * factor;
      known = known + s[i] * k[i];
    }
    const R d = beta * (v[c] - known);
    for (std::size_t i = 0; i < kKeys; ++i) {
      s[i] = s[i] + k[i] * d;
      result = result + s[i] * q[i];
      ASSERT_EQ(state[i * kValues + c], s[i]) << c;
    }
    ASSERT_EQ(out[c], TypeParam::round(result)) << c;
  }
}

// A query's result does not depend on the queries beside it, nor on memory that it does not see; in
// the documented order.
TYPED_TEST(KernelsTest, QueriesOfABlockEqualEachAlone) {
  using R = typename TypeParam::Real;
  constexpr std::size_t kQueries = 13, kFirst = 9, kChannels = 80;
  constexpr std::size_t kPositions = kFirst + kQueries - 1, kLdo = 32;
  for (const std::size_t window : {std::size_t{3}, std::size_t{6}, Seen{}.window}) {
    const auto q = this->values(kQueries * kChannels);
    auto values = this->values(kPositions * kChannels, true);
    for (R& x : values) x = std::isfinite(x) ? x : R{1};
    const auto head = this->cached(values, kChannels);
    for (const Simd simd : supported_simd()) {
      const auto& k = kernels<TypeParam>(simd);
      std::vector<R> scores(kQueries * kLdo), whole(kQueries * kChannels);
      k.scores(q.data(), kChannels, kQueries, head.keys.data(), kPositions, kChannels, R(0.3),
               scores.data(), kLdo);
      k.weighted_sum(scores.data(), kLdo, kQueries, {kFirst, window}, head.values.data(), kChannels,
                     whole.data(), kChannels);
      for (std::size_t i = 0; i < kQueries; ++i) {
        const std::size_t end = kFirst + i;
        const std::size_t begin = end > window ? end - window : 0;
        std::vector<R> alone(kLdo), block(&scores[i * kLdo], &scores[i * kLdo] + end);
        k.scores(&q[i * kChannels], kChannels, 1, head.keys.data(), end, kChannels, R(0.3),
                 alone.data(), kLdo);
        alone.resize(end);
        this->expect_same(block, alone, "scores on " + std::string(simd_name(simd)));
        // Hidden positions are NaN.
        std::vector<R> seen(kPositions * kChannels, std::numeric_limits<R>::quiet_NaN());
        std::copy_n(&values[begin * kChannels], (end - begin) * kChannels,
                    &seen[begin * kChannels]);
        const auto of_query = this->cached(seen, kChannels);
        std::vector<R> context(kChannels), one(kChannels);
        k.weighted_sum(block.data(), kLdo, 1, {end, window}, of_query.values.data(), kChannels,
                       one.data(), kChannels);
        for (std::size_t c = 0; c < kChannels; ++c) {
          const auto sees = [&](std::size_t j) { return j >= begin && j < end; };
          const auto p = [&](std::size_t j) { return sees(j) ? block[j] : R{0}; };
          const auto v = [&](std::size_t j) { return sees(j) ? values[j * kChannels + c] : R{0}; };
          R sum{0};
          for (std::size_t j = begin / 2 * 2; j < end; j += 2) {
            sum = this->fma(p(j + 1), v(j + 1), sum);
            sum = this->fma(p(j), v(j), sum);
          }
          context[c] = TypeParam::round(this->plus(sum, R{0}));
        }
        this->expect_same(one, context, "one query on " + std::string(simd_name(simd)));
        this->expect_same({&whole[i * kChannels], &whole[i * kChannels] + kChannels}, context,
                          "weighted_sum on " + std::string(simd_name(simd)));
      }
    }
  }
}

// All exponents, to see over- and underflow of every exp.
TYPED_TEST(KernelsTest, ExpIsTheSameOverItsWholeRange) {
  std::uniform_real_distribution<double> range(-800, 800);
  std::vector<typename TypeParam::Real> gate(20000), up(20000, typename TypeParam::Real{1});
  for (typename TypeParam::Real& g : gate)
    g = static_cast<typename TypeParam::Real>(range(this->random));
  this->compare("silu_mul", gate.size(), [&](const auto& k, typename TypeParam::Real* out) {
    k.silu_mul(gate.data(), up.data(), gate.size(), out);
  });
}

// A value is subnormal if it is below 2^-126 after rounding to 24 bits.
TEST(Flushing, IsDecidedAfterRounding) {
  const float least = 0x1p-126F;
  EXPECT_EQ(flushing_fma(-0x1p-75F, 0x1p-76F, least), least);   // a tie of 24 bits: up
  EXPECT_EQ(flushing_fma(-0x1.8p-75F, 0x1p-76F, least), 0.0F);  // fmaf says 2^-126
  EXPECT_EQ(std::fma(-0x1.8p-75F, 0x1p-76F, least), least);
  EXPECT_EQ(flushing_fma(0x1.8p-75F, 0x1p-76F, -least), 0.0F);
  EXPECT_TRUE(std::signbit(flushing_fma(0x1.8p-75F, 0x1p-76F, -least)));
  EXPECT_EQ(flushing_fma(0x1p-149F, 0x1p30F, 1.0F), 1.0F);  // a subnormal operand
  EXPECT_TRUE(std::signbit(flushing_fma(-0x1p-149F, 1.0F, -0.0F)));
  EXPECT_EQ(flushing_add(least, -0x1.8p-126F), 0.0F);
}

// Every set of bf16 on accumulations around 2^-126: one pair per lane, with the sum as bias.
TEST(Flushing, EqualsTheKernels) {
  std::mt19937 random(kSeed);
  const auto near = [&](int exponent) {
    const auto bits = static_cast<std::uint32_t>(random());
    return round_to_bf16(std::ldexp(1 + static_cast<float>(bits & 127) / 128, exponent) *
                         ((bits & 128) != 0 ? 1.0F : -1.0F));
  };
  for (int round = 0; round < 20000; ++round) {
    float x[4], w[4];
    for (int i = 0; i < 4; ++i) {
      const int exponent = -static_cast<int>(random() % 127);
      x[i] = near(exponent);
      w[i] = near(std::clamp(-124 - exponent - static_cast<int>(random() % 28), -127, 100));
    }
    if (round % 2 == 0) {  // 2^-126 and something below its last bit
      x[1] = 0x1p-60F;
      w[1] = random() % 2 == 0 ? 0x1p-66F : -0x1p-66F;
      x[0] = near(-75);
      w[0] = near(-74 - static_cast<int>(random() % 6));
    }
    std::uint16_t bits[4];
    for (int i = 0; i < 4; ++i) {
      bits[i] = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(w[i]) >> 16);
    }
    const Weight weight{reinterpret_cast<const std::byte*>(bits), DType::kBF16, 1, 4};
    const float low = flushing_fma(x[0], w[0], flushing_fma(x[1], w[1], 0));
    const float high = flushing_fma(x[2], w[2], flushing_fma(x[3], w[3], 0));
    const auto and_zero = [](float lane) { return flushing_add(lane, 0); };  // lanes 8 above
    const float expected = round_to_bf16(flushing_add(and_zero(low), and_zero(high)));
    for (const Simd simd : supported_simd()) {
      float found;
      kernels<Bf16>(simd).matmul(x, 1, weight, nullptr, 0, 1, &found, 1);
      ASSERT_EQ(std::bit_cast<std::uint32_t>(found), std::bit_cast<std::uint32_t>(expected))
          << simd_name(simd) << ", round " << round;
    }
  }
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
