#include "model/variant_ops.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/half.h"
#include "numerics/operand_rounding.h"

// sleef.h declares its FMA functions only where this is defined, which not every compiler does.
#ifndef FP_FAST_FMA
#define FP_FAST_FMA
#endif
#include <sleef.h>

namespace assay {
namespace {

double exponential(double x) { return Sleef_finz_expd1_u10purecfma(x); }
double tangent(double x) { return Sleef_finz_tanhd1_u10purecfma(x); }
double error_function(double x) { return Sleef_finz_erfd1_u10purecfma(x); }

float truncated_to_bf16(float x) {
  auto bits = std::bit_cast<std::uint32_t>(x) & 0xFFFF0000u;
  asm("" : "+r"(bits));  // or gcc 12 at -O3 takes the masked value for x itself
  return std::bit_cast<float>(bits);
}

double activation(Activation kind, double x) {
  switch (kind) {
    case Activation::kSilu:
      return x / (1 + exponential(-x));
    case Activation::kGelu:
      return x * 0.5 * (1 + error_function(x * 0.70710678118654752440));
    case Activation::kGeluTanh: {
      constexpr double kRoot = 0.79788456080286535588;  // sqrt(2 / pi)
      return 0.5 * x * (1 + tangent(kRoot * (x + 0.044715 * x * x * x)));
    }
    case Activation::kQuickGelu:
      return x / (1 + exponential(-1.702 * x));
    case Activation::kRelu:
      return std::max(x, 0.0);
    case Activation::kRelu2:
      return std::max(x, 0.0) * std::max(x, 0.0);
    case Activation::kSigmoid:
      return 1 / (1 + exponential(-x));
    case Activation::kTanh:
      return tangent(x);
    case Activation::kHardSwish:
      return x * std::clamp(x / 6 + 0.5, 0.0, 1.0);
    case Activation::kNone:
      return x;
  }
  return x;
}

// One softmax of `count` scores, `stride` apart.
template <class N>
void one_softmax(const AttentionSpec& attention, Store store, std::size_t count, std::size_t stride,
                 typename N::Real* x) {
  using Real = typename N::Real;
  double highest = attention.sink ? 0.0 : static_cast<double>(N::kMasked);
  for (std::size_t j = 0; j < count; ++j) {
    highest = std::max(highest, static_cast<double>(x[j * stride]));
  }
  const auto held = [&](double value) {
    return rounded_to(attention.softmax, static_cast<double>(static_cast<Real>(value)));
  };
  double sum = attention.sink ? held(exponential(held(-highest))) : 0.0;
  std::vector<double> e(count);
  for (std::size_t j = 0; j < count; ++j) {
    e[j] = held(exponential(held(static_cast<double>(x[j * stride]) - highest)));
    sum += e[j];
  }
  sum = held(sum);
  for (std::size_t j = 0; j < count; ++j) {
    x[j * stride] = stored<N>(store, static_cast<Real>(held(e[j] / sum)));
  }
}

}  // namespace

bool is_plain(const NormSpec& norm) {
  NormSpec plain;
  plain.one_plus = norm.one_plus;
  plain.rounded_once = norm.rounded_once;
  return norm == plain && (norm.rounded_once || !norm.one_plus);
}

bool is_plain(const RopeSpec& rope) {
  RopeSpec plain;
  plain.dims = rope.dims;
  plain.rounded_once = rope.rounded_once;
  return rope == plain;
}

bool is_plain(const AttentionSpec& attention) {
  AttentionSpec plain;
  plain.scale = attention.scale;
  plain.window = attention.window;
  plain.softcap = attention.softcap;
  return attention == plain;
}

bool needs_layer_input(const BlockSpec& block) {
  return block.parallel || block.mlp == Residual::kLayerInput;
}

template <class Real>
Real sigmoid(Real x) {
  return static_cast<Real>(1 / (1 + exponential(-static_cast<double>(x))));
}
template float sigmoid(float);
template double sigmoid(double);

template <class N>
typename N::Real stored(Store store, typename N::Real x) {
  using Real = typename N::Real;
  switch (store) {
    case Store::kOwn:
      break;
    case Store::kTruncated:
      return truncated_to_bf16(static_cast<float>(x));
    case Store::kF16:
      return static_cast<Real>(rounded_to(DType::kF16, x));
  }
  return N::round(x);
}

template <class N>
void variant_rms_norm(const NormSpec& norm, Store store, double eps,
                      std::span<const typename N::Real> weights, const typename N::Real* x,
                      std::size_t n, typename N::Real* out) {
  using Real = typename N::Real;
  std::copy_n(x, n, out);
  for (int time = 0; time < norm.times; ++time) {
    const auto held = [&](double value) {
      return norm.rounded_squares ? rounded_to(DType::kBF16, value) : value;
    };
    for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<Real>(held(out[i]));
    double mean = 0;
    if (norm.centred) {
      for (std::size_t i = 0; i < n; ++i) mean += out[i];
      mean /= static_cast<double>(n);
    }
    double squares = 0;
    for (std::size_t i = 0; i < n; ++i) squares += held((out[i] - mean) * (out[i] - mean));
    if (!norm.sum_of_squares) squares /= static_cast<double>(n);
    const double e = norm.eps.value_or(eps);
    const double root =
        norm.eps_outside ? std::sqrt(squares) + e : std::sqrt(held(held(squares) + e));
    const auto r = static_cast<Real>(held(1 / root));
    for (std::size_t i = 0; i < n; ++i) {
      const Real weight = weights[i % weights.size()];
      const Real factor = !norm.weighted ? Real{1} : norm.one_plus ? Real{1} + weight : weight;
      const Real scaled = static_cast<Real>(out[i] - mean) * r;
      out[i] = stored<N>(store, factor * (norm.rounded_once ? scaled : stored<N>(store, scaled)));
    }
  }
}

template <class Real>
void variant_rope_row(const RopeSpec& rope, const RopeFrequencies<Real>& frequencies,
                      std::size_t position, Real* cos, Real* sin) {
  const auto p =
      static_cast<Real>(static_cast<double>(static_cast<std::int64_t>(position) + rope.offset));
  const auto scaled =
      static_cast<Real>(rounded_to(rope.angles, p / static_cast<Real>(rope.factor)));
  for (std::size_t i = 0; i < frequencies.inv_freq.size(); ++i) {
    const auto frequency = static_cast<Real>(rounded_to(rope.frequencies, frequencies.inv_freq[i]));
    const double angle = rounded_to(rope.angles, scaled * frequency);
    const auto factor = frequencies.attention_factor;
    const auto c = static_cast<Real>(Sleef_finz_cosd1_u10purecfma(angle)) * factor;
    const auto s = static_cast<Real>(Sleef_finz_sind1_u10purecfma(angle)) * factor;
    cos[i] = static_cast<Real>(rounded_to(rope.table, c));
    sin[i] = static_cast<Real>(rounded_to(rope.table, s));
    if (rope.backwards) sin[i] = -sin[i];
    if (rope.exchanged) std::swap(cos[i], sin[i]);
  }
}

template <class N>
void variant_rope(const RopeSpec& rope, Store store, const typename N::Real* cos,
                  const typename N::Real* sin, std::size_t n, typename N::Real* x) {
  using Real = typename N::Real;
  const std::size_t half = n / 2;
  for (int time = 0; time < rope.times; ++time) {
    for (std::size_t i = 0; i < half; ++i) {
      const std::size_t a = rope.interleaved ? 2 * i : i;
      const std::size_t b = rope.interleaved ? 2 * i + 1 : i + half;
      const Real low = x[a];
      const Real high = x[b];
      const auto product = [&](Real value, Real factor) {
        return rope.rounded_once ? value * factor : stored<N>(store, value * factor);
      };
      x[a] = stored<N>(store, product(low, cos[i]) + product(-high, sin[i]));
      x[b] = stored<N>(store, product(high, cos[i]) + product(low, sin[i]));
    }
  }
}

template <class N>
void variant_activation(const MlpSpec& mlp, Store store, const typename N::Real* gate,
                        const typename N::Real* up, std::size_t n, typename N::Real* out) {
  using Real = typename N::Real;
  const auto act = [&](Real x) {
    return stored<N>(store, static_cast<Real>(activation(mlp.activation, x)));
  };
  for (std::size_t i = 0; i < n; ++i) {
    switch (mlp.on) {
      case MlpSpec::On::kGate:
        out[i] = stored<N>(store, act(gate[i]) * up[i]);
        break;
      case MlpSpec::On::kUp:
        out[i] = stored<N>(store, act(up[i]) * gate[i]);
        break;
      case MlpSpec::On::kProduct:
        out[i] = act(stored<N>(store, gate[i] * up[i]));
        break;
    }
  }
}

template <class N>
void softcap(double cap, Store store, std::span<typename N::Real> x) {
  using Real = typename N::Real;
  for (Real& value : x) {
    const Real ratio = stored<N>(store, static_cast<Real>(static_cast<double>(value) / cap));
    const Real bent = stored<N>(store, static_cast<Real>(tangent(ratio)));
    value = stored<N>(store, static_cast<Real>(static_cast<double>(bent) * cap));
  }
}

template <class N>
void variant_softmax(const AttentionSpec& attention, Store store, const Kernels<N>& kernels,
                     std::span<const std::size_t> firsts, std::size_t count, typename N::Real* x) {
  const std::size_t rows = firsts.size();
  if (attention.over_queries) {
    for (std::size_t j = 0; j < count; ++j) {
      one_softmax<N>(attention, store, rows, count, x + j);
    }
    return;
  }
  const bool plain = attention.softmax == DType::kF32 && !attention.sink && store == Store::kOwn;
  for (std::size_t i = 0; i < rows; ++i) {
    typename N::Real* row = x + i * count;
    const std::size_t first = firsts[i];
    if (plain) {
      kernels.softmax(row + first, count - first, row + first);
    } else {
      one_softmax<N>(attention, store, count - first, 1, row + first);
    }
    std::fill_n(row, first, typename N::Real{0});
  }
}

template <class N>
void through_cache(DType dtype, std::span<typename N::Real> row) {
  double largest = 0;
  for (const auto x : row) largest = std::max(largest, std::abs(static_cast<double>(x)));
  const double step = dtype == DType::kI8 ? largest / 127 : 1;
  if (step == 0) return;
  for (auto& value : row) {
    const auto x = static_cast<double>(value);
    const double y = dtype == DType::kI8 ? std::nearbyint(x / step) * step : rounded_to(dtype, x);
    value = N::round(static_cast<typename N::Real>(y));
  }
}

#define ASSAY_INSTANTIATE(N)                                                                  \
  template N::Real stored<N>(Store, N::Real);                                                 \
  template void variant_rms_norm<N>(const NormSpec&, Store, double, std::span<const N::Real>, \
                                    const N::Real*, std::size_t, N::Real*);                   \
  template void variant_rope<N>(const RopeSpec&, Store, const N::Real*, const N::Real*,       \
                                std::size_t, N::Real*);                                       \
  template void variant_activation<N>(const MlpSpec&, Store, const N::Real*, const N::Real*,  \
                                      std::size_t, N::Real*);                                 \
  template void softcap<N>(double, Store, std::span<N::Real>);                                \
  template void variant_softmax<N>(const AttentionSpec&, Store, const Kernels<N>&,            \
                                   std::span<const std::size_t>, std::size_t, N::Real*);      \
  template void through_cache<N>(DType, std::span<N::Real>)
ASSAY_INSTANTIATE(Bf16);
ASSAY_INSTANTIATE(F32);
ASSAY_INSTANTIATE(F64);
#undef ASSAY_INSTANTIATE
template void variant_rope_row(const RopeSpec&, const RopeFrequencies<float>&, std::size_t, float*,
                               float*);
template void variant_rope_row(const RopeSpec&, const RopeFrequencies<double>&, std::size_t,
                               double*, double*);

}  // namespace assay
