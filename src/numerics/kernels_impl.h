// The kernels, written once over a Lanes type. Each kernels_*.cpp includes this after its lanes and
// is compiled for its own instruction set: everything here is in an unnamed namespace, so that no
// copy made for one set can be linked into another.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "numerics/kernels.h"
#include "numerics/matmul_impl.h"
#include "numerics/matmul_packed_impl.h"

namespace assay {
namespace {

// Not std::sqrt: an inline library function compiled here could be the copy that everybody links.
ASSAY_INLINE float square_root(float x) { return __builtin_sqrtf(x); }
ASSAY_INLINE double square_root(double x) { return __builtin_sqrt(x); }

template <class N, class Lanes>
struct KernelSet {
  using Real = typename N::Real;
  using Cached = typename N::Cached;

  static void matmul(const Real* x, std::size_t tokens, const Weight& w, const Real* bias,
                     std::size_t row_begin, std::size_t row_end, Real* out, std::size_t ldo) {
    weights_dots<N, Lanes>(x, tokens, w, bias, row_begin, row_end, out, ldo);
  }

  static void pack_tile(const Real* x, std::size_t tokens, std::size_t k, std::size_t tile,
                        Real* packed) {
    assay::pack_tile<Lanes>(x, tokens, k, tile, packed);
  }

  static void packed_matmul(const Real* packed, std::size_t tokens, const Weight& w,
                            const Real* bias, std::size_t row_begin, std::size_t row_end, Real* out,
                            std::size_t ldo) {
    packed_weights_dots<N, Lanes>(packed, tokens, w, bias, row_begin, row_end, out, ldo);
  }

  static void load_row(const Weight& w, std::size_t row, Real* out) {
    with_stored(w.dtype, [&]<DType kStored>() {
      using Rows = StoredWeights<N, Lanes, kStored>;
      const std::byte* data = w.data + row * w.cols * Rows::kSize;
      for (std::size_t i = 0; i < w.cols; i += kLanes) {
        const std::size_t n = std::min(kLanes, w.cols - i);
        const std::byte* at = data + i * Rows::kSize;
        const Lanes lanes = n == kLanes ? Rows::load(at) : load_row_tail<Lanes, Rows>(at, n);
        std::memcpy(out + i, &lanes, n * sizeof(Real));
      }
    });
  }

  // The dot product of two activations.
  ASSAY_INLINE static Real dot(const Real* a, const Real* b, std::size_t n) {
    Lanes sum = Lanes::zero();
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) sum.fma(Lanes::load(a + i), Lanes::load(b + i));
    if (i < n) sum.fma(load_tail<Lanes>(a + i, n - i), load_tail<Lanes>(b + i, n - i));
    return sum_of(sum);
  }

  static void rms_norm(const Real* x, const Weight& w, Real eps, NormForm form, std::size_t n,
                       Real* out) {
    const Real r = Real{1} / square_root(dot(x, x, n) / static_cast<Real>(n) + eps);
    with_stored(w.dtype, [&]<DType kStored>() {
      using Rows = StoredWeights<N, Lanes, kStored>;
      for (std::size_t i = 0; i < n; i += kLanes) {
        const std::size_t count = std::min(kLanes, n - i);
        const std::byte* at = w.data + i * Rows::kSize;
        const Lanes lanes =
            count == kLanes ? Rows::load(at) : load_row_tail<Lanes, Rows>(at, count);
        Real weight[kLanes];
        std::memcpy(weight, &lanes, sizeof weight);
        if (form == NormForm::kRoundedTwice) {
          for (std::size_t j = 0; j < count; ++j) {
            out[i + j] = N::round(weight[j] * N::round(x[i + j] * r));
          }
          continue;
        }
        const Real base = form == NormForm::kOnePlus ? Real{1} : Real{0};
        for (std::size_t j = 0; j < count; ++j) {
          out[i + j] = N::round(x[i + j] * r * (base + weight[j]));
        }
      }
    });
  }

  static void rope(const Real* x, const Real* cos, const Real* sin, bool rounded_once,
                   std::size_t n, Real* out) {
    constexpr std::size_t kBlock = 32;  // through arrays: `out` may be `x`
    const std::size_t half = n / 2;
    for (std::size_t first = 0; first < half; first += kBlock) {
      const std::size_t count = std::min(kBlock, half - first);
      Real low[kBlock], high[kBlock];
      std::memcpy(low, x + first, count * sizeof(Real));
      std::memcpy(high, x + first + half, count * sizeof(Real));
      const Real* c = cos + first;
      const Real* s = sin + first;
      if (rounded_once) {
        for (std::size_t i = 0; i < count; ++i) {
          out[first + i] = N::round(low[i] * c[i] - high[i] * s[i]);
          out[first + half + i] = N::round(high[i] * c[i] + low[i] * s[i]);
        }
        continue;
      }
      for (std::size_t i = 0; i < count; ++i) {
        out[first + i] = N::round(N::round(low[i] * c[i]) + N::round(-high[i] * s[i]));
      }
      for (std::size_t i = 0; i < count; ++i) {
        out[first + half + i] = N::round(N::round(high[i] * c[i]) + N::round(low[i] * s[i]));
      }
    }
  }

  static void scores(const Real* q, std::size_t ldq, std::size_t queries, const Cached* keys,
                     std::size_t count, std::size_t n, Real scale, Real* out, std::size_t ldo) {
    all_dots<Lanes, CachedRows<N, Lanes>>(
        q, ldq, queries, reinterpret_cast<const std::byte*>(keys), count, n, out, ldo,
        [scale](Real dot, std::size_t) { return N::round(N::round(dot) * scale); });
  }

  // out[i] = f(x[i]); the tail goes through a padded block, so that every element takes one path.
  template <class Function>
  ASSAY_INLINE static void map(const Function& f, const Real* x, std::size_t n, Real* out) {
    constexpr std::size_t kWidth = Lanes::kMathWidth;
    std::size_t i = 0;
    for (; i + kWidth <= n; i += kWidth) f(x + i, out + i);
    if (i < n) {
      Real padded[kWidth] = {};
      std::memcpy(padded, x + i, (n - i) * sizeof(Real));
      f(padded, padded);
      std::memcpy(out + i, padded, (n - i) * sizeof(Real));
    }
  }
  ASSAY_INLINE static void exp(const Real* x, std::size_t n, Real* out) {
    map([](const Real* from, Real* to) { Lanes::exp(from, to); }, x, n, out);
  }
  ASSAY_INLINE static void tanh(const Real* x, std::size_t n, Real* out) {
    map([](const Real* from, Real* to) { Lanes::tanh(from, to); }, x, n, out);
  }

  // A NaN may be passed over: it makes the sum of the exponentials NaN, and with it every result.
  ASSAY_INLINE static Real max(const Real* x, std::size_t count) {
    Lanes highest = Lanes::broadcast(x[0]);
    std::size_t j = 0;
    for (; j + kLanes <= count; j += kLanes) highest.max(Lanes::load(x + j));
    Real lane[kLanes];
    std::memcpy(lane, &highest, sizeof lane);
    Real most = lane[0];
    for (const Real value : lane) most = value > most ? value : most;
    for (; j < count; ++j) most = x[j] > most ? x[j] : most;
    return most;
  }

  // out[j] = exp(x[j] - max(x)); returns their sum.
  ASSAY_INLINE static Real exponentials(const Real* x, std::size_t count, Real* out) {
    const Real highest = max(x, count);
    for (std::size_t j = 0; j < count; ++j) out[j] = x[j] - highest;
    exp(out, count, out);
    Lanes sum = Lanes::zero();
    std::size_t j = 0;
    for (; j + kLanes <= count; j += kLanes) sum.add(Lanes::load(out + j));
    if (j < count) sum.add(load_tail<Lanes>(out + j, count - j));
    return sum_of(sum);
  }

  static void softmax(const Real* x, std::size_t count, Real* out) {
    const Real total = exponentials(x, count, out);
    for (std::size_t i = 0; i < count; ++i) out[i] = N::round(out[i] / total);
  }

  static void router_softmax(const Real* x, std::size_t count, Real* out) {
    const Real total = exponentials(x, count, out);
    for (std::size_t i = 0; i < count; ++i) out[i] = out[i] / total;
  }

  // kQueries x (32 * kGroups) channels, or n < 32 channels where kGroups is 0.
  template <int kQueries, int kGroups>
  ASSAY_INLINE static void weighted_tile(const Real* probs, std::size_t ldp, std::size_t first,
                                         const Cached* values, std::size_t stride, std::size_t n,
                                         Real* out, std::size_t ldo) {
    constexpr int kParts = std::max(kGroups, 1);
    Lanes sum[kQueries][kParts];
    ASSAY_UNROLL
    for (auto& query : sum) {
      ASSAY_UNROLL
      for (Lanes& lanes : query) lanes = Lanes::zero();
    }
    const auto add_position = [&](std::size_t j, int from_query) {
      Lanes value[kParts];
      ASSAY_UNROLL
      for (int g = 0; g < kParts; ++g) {
        using Rows = CachedRows<N, Lanes>;
        const auto* at = reinterpret_cast<const std::byte*>(values + j * stride +
                                                            static_cast<std::size_t>(g) * kLanes);
        value[g] = kGroups == 0 ? load_row_tail<Lanes, Rows>(at, n) : Rows::load(at);
      }
      ASSAY_UNROLL
      for (int i = from_query; i < kQueries; ++i) {
        const Lanes p = Lanes::broadcast(probs[static_cast<std::size_t>(i) * ldp + j]);
        ASSAY_UNROLL
        for (int g = 0; g < kParts; ++g) sum[i][g].fma(p, value[g]);
      }
    };
    for (std::size_t j = 0; j < first; ++j) add_position(j, 0);
    ASSAY_UNROLL
    for (int i = 1; i < kQueries; ++i) add_position(first + static_cast<std::size_t>(i) - 1, i);
    ASSAY_UNROLL
    for (int i = 0; i < kQueries; ++i) {
      ASSAY_UNROLL
      for (int g = 0; g < kParts; ++g) {
        store_rounded(
            sum[i][g], kGroups == 0 ? n : kLanes,
            out + static_cast<std::size_t>(i) * ldo + static_cast<std::size_t>(g) * kLanes);
      }
    }
  }

  static void weighted_sum(const Real* probs, std::size_t ldp, std::size_t queries,
                           std::size_t first, const Cached* values, std::size_t n, Real* out,
                           std::size_t ldo) {
    constexpr auto kTile = static_cast<std::size_t>(Lanes::kTokenTile);
    constexpr std::size_t kWide = static_cast<std::size_t>(Lanes::kRowTile) * kLanes;
    for (std::size_t q = 0; q < queries; q += kTile) {
      with_tokens<Lanes::kTokenTile>(std::min(kTile, queries - q), [&]<int kQueries>() {
        const Real* p = probs + q * ldp;
        Real* to = out + q * ldo;
        std::size_t i = 0;
        for (; i + kWide <= n; i += kWide) {
          weighted_tile<kQueries, Lanes::kRowTile>(p, ldp, first + q, values + i, n, 0, to + i,
                                                   ldo);
        }
        for (; i + kLanes <= n; i += kLanes) {
          weighted_tile<kQueries, 1>(p, ldp, first + q, values + i, n, 0, to + i, ldo);
        }
        if (i < n) weighted_tile<kQueries, 0>(p, ldp, first + q, values + i, n, n - i, to + i, ldo);
      });
    }
  }

  static void silu_mul(const Real* gate, const Real* up, std::size_t n, Real* out) {
    constexpr std::size_t kBlock = 64;
    Real e[kBlock];
    for (std::size_t i = 0; i < n; i += kBlock) {
      const std::size_t count = std::min(kBlock, n - i);
      for (std::size_t j = 0; j < count; ++j) e[j] = -gate[i + j];
      exp(e, count, e);
      for (std::size_t j = 0; j < count; ++j) {
        out[i + j] = N::round(N::round(gate[i + j] / (Real{1} + e[j])) * up[i + j]);
      }
    }
  }

  static void gelu_tanh_mul(const Real* gate, const Real* up, std::size_t n, Real* out) {
    constexpr std::size_t kBlock = 64;
    constexpr auto kRoot = static_cast<Real>(0.79788456080286535588);  // sqrt(2 / pi)
    constexpr auto kCubic = static_cast<Real>(0.044715);
    Real t[kBlock];
    for (std::size_t i = 0; i < n; i += kBlock) {
      const std::size_t count = std::min(kBlock, n - i);
      for (std::size_t j = 0; j < count; ++j) {
        const Real g = gate[i + j];
        t[j] = kRoot * (g + kCubic * (g * g * g));
      }
      tanh(t, count, t);
      for (std::size_t j = 0; j < count; ++j) {
        const Real g = N::round(Real{0.5} * gate[i + j] * (Real{1} + t[j]));
        out[i + j] = N::round(g * up[i + j]);
      }
    }
  }

  static void softcap(const Real* x, Real cap, std::size_t n, Real* out) {
    for (std::size_t i = 0; i < n; ++i) out[i] = N::round(x[i] / cap);
    tanh(out, n, out);
    for (std::size_t i = 0; i < n; ++i) out[i] = N::round(N::round(out[i]) * cap);
  }

  static void add(const Real* a, const Real* b, std::size_t n, Real* out) {
    for (std::size_t i = 0; i < n; ++i) out[i] = N::round(a[i] + b[i]);
  }

  static std::size_t multiply_adds(std::size_t rounds, Real* out) {
    constexpr std::size_t kSums = Lanes::kRowTile * Lanes::kTokenTile;  // as many as matmul holds
    Lanes sum[kSums];
    // Different sums: equal ones would be computed once.
    ASSAY_UNROLL
    for (std::size_t i = 0; i < kSums; ++i) sum[i] = Lanes::broadcast(static_cast<Real>(i));
    Lanes factor = Lanes::broadcast(Real{0.5});
    for (std::size_t i = 0; i < rounds; ++i) {
      asm volatile("" : "+m"(factor));  // the compiler may not know it
      ASSAY_UNROLL
      for (Lanes& lanes : sum) lanes.fma(factor, factor);
    }
    ASSAY_UNROLL
    for (std::size_t i = 1; i < kSums; ++i) sum[0].add(sum[i]);
    *out = sum_of(sum[0]);
    return rounds * kSums * kLanes;
  }

  ASSAY_INLINE static void store_rounded(const Lanes& lanes, std::size_t n, Real* out) {
    Real values[kLanes];
    std::memcpy(values, &lanes, sizeof values);
    for (std::size_t i = 0; i < n; ++i) out[i] = N::round(values[i]);
  }

  static constexpr Kernels<N> kTable = {.token_tile = static_cast<std::size_t>(Lanes::kPartTokens),
                                        .matmul = matmul,
                                        .pack_tile = pack_tile,
                                        .packed_matmul = packed_matmul,
                                        .load_row = load_row,
                                        .rms_norm = rms_norm,
                                        .rope = rope,
                                        .scores = scores,
                                        .softmax = softmax,
                                        .router_softmax = router_softmax,
                                        .weighted_sum = weighted_sum,
                                        .silu_mul = silu_mul,
                                        .gelu_tanh_mul = gelu_tanh_mul,
                                        .softcap = softcap,
                                        .add = add,
                                        .multiply_adds = multiply_adds};
};

}  // namespace
}  // namespace assay
