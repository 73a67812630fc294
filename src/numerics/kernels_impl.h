// The kernels, written once over a Lanes type. Each kernels_*.cpp includes this after its lanes and
// is compiled for its own instruction set: everything here is in an unnamed namespace, so that no
// copy made for one set can be linked into another.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "numerics/attention_impl.h"
#include "numerics/elements.h"
#include "numerics/kernels.h"
#include "numerics/matmul_impl.h"
#include "numerics/matmul_packed_impl.h"
#include "numerics/widened_rows_impl.h"
#if defined(__x86_64__) || defined(__aarch64__)
#include "numerics/flush_mode.h"
#endif

namespace assay {
namespace {

// Not std::sqrt: the linker could choose the copy of an inline library function that is compiled
// here.
ASSAY_INLINE float square_root(float x) { return __builtin_sqrtf(x); }
ASSAY_INLINE double square_root(double x) { return __builtin_sqrt(x); }

// What adds up dots, over one Lanes type.
template <class N, class Lanes>
struct DotKernels {
  using Real = typename N::Real;
  using Cached = typename N::Cached;

  [[gnu::noinline]] static void matmul(const Real* x, std::size_t tokens, const Weight& w,
                                       const Real* bias, std::size_t row_begin, std::size_t row_end,
                                       Real* out, std::size_t ldo) {
    weights_dots<N, Lanes, false>(x, tokens, w, bias, row_begin, row_end, out, ldo);
  }

  // The same for rows that are in the cache.
  template <DType kStored>
  [[gnu::noinline]] static void cached_matmul(const Real* x, std::size_t tokens, const Weight& w,
                                              const Real* bias, Real* out, std::size_t ldo) {
    using Rows = StoredWeights<N, typename Lanes::Pairs, kStored>;
    all_dots<Lanes, Rows, true>(
        x, w.cols, tokens, Rows{w.data, w.row_bytes()}, w.rows, w.cols, out, ldo,
        [=](Real dot, std::size_t r) { return finished<N, Lanes>(dot, bias, r); });
  }

  [[gnu::noinline]] static void pack_tile(const Real* x, std::size_t tokens, std::size_t k,
                                          std::size_t tile, Real* packed) {
    assay::pack_tile<Lanes>(x, tokens, k, tile, packed);
  }

  [[gnu::noinline]] static void packed_matmul(const Real* packed, std::size_t tokens,
                                              const Weight& w, const Real* bias,
                                              std::size_t row_begin, std::size_t row_end, Real* out,
                                              std::size_t ldo) {
    packed_weights_dots<N, Lanes>(packed, tokens, w, bias, row_begin, row_end, out, ldo);
  }

  [[gnu::noinline]] static void scores(const Real* q, std::size_t ldq, std::size_t queries,
                                       const Cached* keys, std::size_t count, std::size_t n,
                                       Real* out, std::size_t ldo) {
    rounded_dots<N, Lanes>(q, ldq, queries, keys, count, n, out, ldo);
  }

  [[gnu::noinline]] static void weighted_sum(const Real* probs, std::size_t ldp,
                                             std::size_t queries, Seen seen, const Cached* values,
                                             std::size_t n, Real* out, std::size_t ldo) {
    weighted_sums<N, Lanes>(probs, ldp, queries, seen, values, n, out, ldo);
  }
};

// Lanes that flush in software if the CPU's own mode is not enough (NEON); otherwise the same
// lanes.
template <class Lanes>
struct ExactOf {
  using Type = Lanes;
};
template <class Lanes>
requires requires { typename Lanes::Exact; }
struct ExactOf<Lanes> {
  using Type = typename Lanes::Exact;
};

// Calls body.operator()<Lanes>(), with flushing if N flushes. The mode is changed around calls that
// are not inlined, because compilers move arithmetic across a change of mode.
template <class N, class Lanes, class Body>
ASSAY_INLINE void flushing(const Body& body) {
  if constexpr (!N::kFlushes || requires { Lanes::kFlushesItself; }) {
    body.template operator()<Lanes>();
  } else {
#if defined(__x86_64__)
    const FlushMode mode;
    body.template operator()<Lanes>();
#elif defined(__aarch64__)
    bool flushed;
    {
      const FlushMode mode;
      body.template operator()<Lanes>();
      flushed = FlushMode::has_flushed();
    }
    if (flushed) body.template operator()<typename ExactOf<Lanes>::Type>();
#endif
  }
}

template <class N, class Lanes>
struct KernelSet {
  using Real = typename N::Real;
  using Cached = typename N::Cached;

  static void matmul(const Real* x, std::size_t tokens, const Weight& w, const Real* bias,
                     std::size_t row_begin, std::size_t row_end, Real* out, std::size_t ldo) {
    // Packed weights are widened in registers, but several tiles of tokens would each do so.
    if (w.is_packed() && (tokens > Lanes::kTokenTile ||
                          (w.is_fp8() && !Fp8Weights<N, typename Lanes::Pairs>::fit(w)))) {
      return in_widened_rows<N>(w, row_begin, row_end, [&](const Weight& rows, std::size_t first) {
        const Real* own = bias == nullptr ? nullptr : bias + first;
        flushing<N, Lanes>([&]<class L>() {
          if (!N::kRoundsWeights && rows.dtype == DType::kF32) {
            DotKernels<N, L>::template cached_matmul<DType::kF32>(x, tokens, rows, own, out + first,
                                                                  ldo);
          } else {
            DotKernels<N, L>::template cached_matmul<DType::kBF16>(x, tokens, rows, own,
                                                                   out + first, ldo);
          }
        });
      });
    }
    flushing<N, Lanes>([&]<class L>() {
      DotKernels<N, L>::matmul(x, tokens, w, bias, row_begin, row_end, out, ldo);
    });
  }

  static void packed_matmul(const Real* packed, std::size_t tokens, const Weight& w,
                            const Real* bias, std::size_t row_begin, std::size_t row_end, Real* out,
                            std::size_t ldo) {
    if (w.is_packed()) {
      return in_widened_rows<N>(w, row_begin, row_end, [&](const Weight& rows, std::size_t first) {
        packed_matmul(packed, tokens, rows, bias == nullptr ? nullptr : bias + first, 0, rows.rows,
                      out + first, ldo);
      });
    }
    flushing<N, Lanes>([&]<class L>() {
      DotKernels<N, L>::packed_matmul(packed, tokens, w, bias, row_begin, row_end, out, ldo);
    });
  }

  static void scores(const Real* q, std::size_t ldq, std::size_t queries, const Cached* keys,
                     std::size_t count, std::size_t n, Real scale, Real* out, std::size_t ldo) {
    flushing<N, Lanes>(
        [&]<class L>() { DotKernels<N, L>::scores(q, ldq, queries, keys, count, n, out, ldo); });
    // Elementwise operations do not flush.
    for (std::size_t i = 0; i < queries; ++i) {
      Real* row = out + i * ldo;
      for (std::size_t j = 0; j < count; ++j) row[j] = N::round(row[j] * scale);
    }
  }

  static void weighted_sum(const Real* probs, std::size_t ldp, std::size_t queries, Seen seen,
                           const Cached* values, std::size_t n, Real* out, std::size_t ldo) {
    flushing<N, Lanes>([&]<class L>() {
      DotKernels<N, L>::weighted_sum(probs, ldp, queries, seen, values, n, out, ldo);
    });
  }

  static void load_row(const Weight& w, std::size_t row, Real* out) {
    if (w.is_packed()) {
      return in_widened_rows<N>(
          w, row, row + 1, [&](const Weight& widened, std::size_t) { load_row(widened, 0, out); });
    }
    with_stored(w.dtype, [&]<DType kStored>() {
      using Elements = ElementsOf<N, kStored>;
      const std::byte* data = w.data + row * w.cols * Elements::kSize;
      for (std::size_t i = 0; i < w.cols; ++i) out[i] = Elements::at(data, i);
    });
  }

  ASSAY_INLINE static Real sum_of_squares(const Real* x, std::size_t n) {
    Lanes sum = Lanes::zero();
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) sum.fma(Lanes::load(x + i), Lanes::load(x + i));
    if (i < n) {
      const Lanes last = load_tail(x + i, n - i);
      sum.fma(last, last);
    }
    return tree_of(sum);
  }

  static void rms_norm(const Real* x, const Weight& w, Real eps, NormForm form, std::size_t n,
                       Real* out) {
    const Real r = Real{1} / square_root(sum_of_squares(x, n) / static_cast<Real>(n) + eps);
    with_stored(w.dtype, [&]<DType kStored>() {
      using Elements = ElementsOf<N, kStored>;
      if (form == NormForm::kRoundedTwice) {
        for (std::size_t i = 0; i < n; ++i) {
          out[i] = N::round(Elements::at(w.data, i) * N::round(x[i] * r));
        }
        return;
      }
      const Real base = form == NormForm::kOnePlus ? Real{1} : Real{0};
      for (std::size_t i = 0; i < n; ++i) {
        out[i] = N::round(x[i] * r * (base + Elements::at(w.data, i)));
      }
    });
  }

  static void rope(const Real* x, const Real* cos, const Real* sin, bool rounded_once,
                   std::size_t n, Real* out) {
    constexpr std::size_t kPiece = 32;  // through arrays: `out` may be `x`
    const std::size_t half = n / 2;
    for (std::size_t first = 0; first < half; first += kPiece) {
      const std::size_t count = std::min(kPiece, half - first);
      Real low[kPiece], high[kPiece];
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

  // A NaN may be skipped here: it makes the sum of the exponentials NaN, and with it every result.
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
    return sum(out, count);
  }
  ASSAY_INLINE static Real sum(const Real* x, std::size_t count) {
    Lanes lanes = Lanes::zero();
    std::size_t j = 0;
    for (; j + kLanes <= count; j += kLanes) lanes.add(Lanes::load(x + j));
    if (j < count) lanes.add(load_tail(x + j, count - j));
    return tree_of(lanes);
  }

  static void softmax(const Real* x, std::size_t count, Real* out) {
    const Real total = exponentials(x, count, out);
    for (std::size_t i = 0; i < count; ++i) out[i] = N::round(out[i] / total);
  }

  static void sink_softmax(const Real* x, std::size_t count, Real sink, Real* out) {
    const Real own = max(x, count);
    const Real highest = sink > own ? sink : own;
    for (std::size_t j = 0; j < count; ++j) out[j] = N::round(x[j] - highest);
    Real of_sink = N::round(sink - highest);
    exp(&of_sink, 1, &of_sink);
    exp(out, count, out);
    const Real total = sum(out, count) + of_sink;
    for (std::size_t i = 0; i < count; ++i) out[i] = N::round(out[i] / total);
  }

  static void router_softmax(const Real* x, std::size_t count, Real* out) {
    const Real total = exponentials(x, count, out);
    for (std::size_t i = 0; i < count; ++i) out[i] = out[i] / total;
  }

  static void sigmoid(const Real* x, std::size_t count, Real* out) {
    for (std::size_t i = 0; i < count; ++i) out[i] = -x[i];
    exp(out, count, out);
    for (std::size_t i = 0; i < count; ++i) out[i] = Real{1} / (Real{1} + out[i]);
  }

  static void silu_mul(const Real* gate, const Real* up, std::size_t n, Real* out) {
    constexpr std::size_t kPiece = 64;
    Real e[kPiece];
    for (std::size_t i = 0; i < n; i += kPiece) {
      const std::size_t count = std::min(kPiece, n - i);
      for (std::size_t j = 0; j < count; ++j) e[j] = -gate[i + j];
      exp(e, count, e);
      for (std::size_t j = 0; j < count; ++j) {
        out[i + j] = N::round(N::round(gate[i + j] / (Real{1} + e[j])) * up[i + j]);
      }
    }
  }

  static void mul_silu(const Real* x, const Real* gate, std::size_t n, Real* out) {
    constexpr std::size_t kPiece = 64;
    Real e[kPiece];
    for (std::size_t i = 0; i < n; i += kPiece) {
      const std::size_t count = std::min(kPiece, n - i);
      for (std::size_t j = 0; j < count; ++j) e[j] = -gate[i + j];
      exp(e, count, e);
      for (std::size_t j = 0; j < count; ++j) {
        out[i + j] = N::round(x[i + j] * (gate[i + j] / (Real{1} + e[j])));
      }
    }
  }

  static void causal_conv(const Real* const* rows, const Real* w, std::size_t ldw, std::size_t taps,
                          std::size_t n, Real* out) {
    constexpr std::size_t kPiece = 64;
    Real y[kPiece];
    Real e[kPiece];
    for (std::size_t c = 0; c < n; c += kPiece) {
      const std::size_t count = std::min(kPiece, n - c);
      for (std::size_t j = 0; j < count; ++j) y[j] = w[c + j] * rows[0][c + j];
      for (std::size_t t = 1; t < taps; ++t) {
        const Real* row = rows[t] + c;
        const Real* weights = w + t * ldw + c;
        for (std::size_t j = 0; j < count; ++j) y[j] = y[j] + weights[j] * row[j];
      }
      for (std::size_t j = 0; j < count; ++j) y[j] = N::round(y[j]);
      for (std::size_t j = 0; j < count; ++j) e[j] = -y[j];
      exp(e, count, e);
      for (std::size_t j = 0; j < count; ++j) out[c + j] = N::round(y[j] / (Real{1} + e[j]));
    }
  }

  static void unit(const Real* x, Real eps, Real scale, std::size_t n, Real* out) {
    const Real r = Real{1} / square_root(sum_of_squares(x, n) + eps);
    for (std::size_t i = 0; i < n; ++i) out[i] = x[i] * r * scale;
  }

  // Columns are independent: some at a time, whose sums stay in registers.
  template <std::size_t kColumns>
  ASSAY_INLINE static void delta_columns(const Real* q, const Real* k, const Real* v, Real factor,
                                         Real beta, std::size_t n, std::size_t m, Real* state,
                                         Real* out) {
    Real sum[kColumns] = {};
    for (std::size_t i = 0; i < n; ++i) {
      Real* row = state + i * m;
      for (std::size_t c = 0; c < kColumns; ++c) {
        row[c] = row[c] * factor;
        sum[c] = sum[c] + row[c] * k[i];
      }
    }
    Real d[kColumns];
    for (std::size_t c = 0; c < kColumns; ++c) {
      d[c] = beta * (v[c] - sum[c]);
      sum[c] = 0;
    }
    for (std::size_t i = 0; i < n; ++i) {
      Real* row = state + i * m;
      for (std::size_t c = 0; c < kColumns; ++c) {
        row[c] = row[c] + k[i] * d[c];
        sum[c] = sum[c] + row[c] * q[i];
      }
    }
    for (std::size_t c = 0; c < kColumns; ++c) out[c] = N::round(sum[c]);
  }

  static void delta_rule(const Real* q, const Real* k, const Real* v, Real factor, Real beta,
                         std::size_t n, std::size_t m, Real* state, Real* out) {
    constexpr std::size_t kWide = 32;
    std::size_t c = 0;
    for (; c + kWide <= m; c += kWide) {
      delta_columns<kWide>(q, k, v + c, factor, beta, n, m, state + c, out + c);
    }
    for (; c < m; ++c) delta_columns<1>(q, k, v + c, factor, beta, n, m, state + c, out + c);
  }

  static void gelu_tanh_mul(const Real* gate, const Real* up, std::size_t n, Real* out) {
    constexpr std::size_t kPiece = 64;
    constexpr auto kRoot = static_cast<Real>(0.79788456080286535588);  // sqrt(2 / pi)
    constexpr auto kCubic = static_cast<Real>(0.044715);
    Real t[kPiece];
    for (std::size_t i = 0; i < n; i += kPiece) {
      const std::size_t count = std::min(kPiece, n - i);
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

  static void swish_mul(const Real* gate, const Real* up, const SwishForm<Real>& form,
                        std::size_t n, Real* out) {
    constexpr std::size_t kPiece = 64;
    Real g[kPiece];
    Real e[kPiece];
    const Real limit = form.limit;
    for (std::size_t i = 0; i < n; i += kPiece) {
      const std::size_t count = std::min(kPiece, n - i);
      for (std::size_t j = 0; j < count; ++j) {
        g[j] = gate[i + j] > limit ? limit : gate[i + j];
        e[j] = -N::round(g[j] * form.alpha);
      }
      exp(e, count, e);
      for (std::size_t j = 0; j < count; ++j) {
        const Real most = up[i + j] > limit ? limit : up[i + j];
        const Real u = most < -limit ? -limit : most;
        const Real v = form.up_plus_one ? N::round(u + Real{1}) : u;
        const Real sigmoid_of = N::round(Real{1} / (Real{1} + e[j]));
        out[i + j] = N::round(v * N::round(g[j] * sigmoid_of));
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

  // As many sums as a tile of packed_matmul holds.
  static std::size_t multiply_adds(std::size_t rounds, Real* out) {
    using P = Parts<Lanes>;
    constexpr std::size_t kSums = P::kRows * P::kTokens;
    typename P::Part sum[kSums];
    ASSAY_UNROLL
    for (auto& part : sum) part = P::Part::zero();
    alignas(64) typename P::Stored values[P::kWidth * kSums] = {};
    for (std::size_t i = 0; i < rounds; ++i) {
      asm volatile("" : "+m"(values));  // hides the values from the compiler
      auto factor = P::Operand::load(values);
      ASSAY_UNROLL
      for (std::size_t j = 0; j < kSums; ++j) {
        if constexpr (requires { factor.keep(); }) factor.keep();  // and that the factors are one
        sum[j].fma(factor, factor);
      }
    }
    Real lanes[P::kWidth];
    *out = 0;
    ASSAY_UNROLL
    for (auto& part : sum) {
      part.store(lanes);
      *out += lanes[0];
    }
    return rounds * kSums * P::kWidth * (2 / P::kSteps);
  }

 private:
  ASSAY_INLINE static Lanes load_tail(const Real* x, std::size_t n) {
    Real padded[kLanes] = {};
    std::memcpy(padded, x, n * sizeof(Real));
    return Lanes::load(padded);
  }
  ASSAY_INLINE static Real tree_of(const Lanes& lanes) {
    Real values[kLanes];
    lanes.store(values);
    return Lanes::tree(values);
  }

 public:
  static constexpr Kernels<N> kTable = {.off_grid = nullptr,
                                        .token_tile = static_cast<std::size_t>(Lanes::kPartTokens),
                                        .matmul = matmul,
                                        .pack_tile = DotKernels<N, Lanes>::pack_tile,
                                        .packed_matmul = packed_matmul,
                                        .load_row = load_row,
                                        .rms_norm = rms_norm,
                                        .rope = rope,
                                        .scores = scores,
                                        .softmax = softmax,
                                        .sink_softmax = sink_softmax,
                                        .router_softmax = router_softmax,
                                        .sigmoid = sigmoid,
                                        .weighted_sum = weighted_sum,
                                        .silu_mul = silu_mul,
                                        .mul_silu = mul_silu,
                                        .gelu_tanh_mul = gelu_tanh_mul,
                                        .swish_mul = swish_mul,
                                        .causal_conv = causal_conv,
                                        .unit = unit,
                                        .delta_rule = delta_rule,
                                        .exp = exp,
                                        .softcap = softcap,
                                        .add = add,
                                        .multiply_adds = multiply_adds};
};

}  // namespace
}  // namespace assay
