#include "model/variant_ops.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "base/half.h"

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

// FP8 E4M3: 3 bits of mantissa, exponents from -6 to 8, at most 448.
double rounded_to_f8(double x) {
  const double magnitude = std::min(std::abs(x), 448.0);
  const int exponent = std::max(magnitude > 0 ? std::ilogb(magnitude) : -6, -6);
  const double step = std::ldexp(1.0, exponent - 3);
  return std::copysign(std::nearbyint(magnitude / step) * step, x);
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

double rounded_to(DType dtype, double x) {
  if (dtype == DType::kBF16) return bf16_to_f32(f32_to_bf16(static_cast<float>(x)));
  if (dtype == DType::kF16) return f16_to_f32(f32_to_f16(static_cast<float>(x)));
  if (dtype == DType::kF8E4M3) return rounded_to_f8(x);
  return x;
}

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
      const Real weight = norm.weighted ? weights[i % weights.size()] : Real{1};
      const Real factor = norm.one_plus ? Real{1} + weight : weight;
      const Real scaled = static_cast<Real>(out[i] - mean) * r;
      out[i] = stored<N>(store, factor * (norm.rounded_once ? scaled : stored<N>(store, scaled)));
    }
  }
}

template <class Real>
RopeTable<Real> variant_rope_table(const ModelSpec& spec, std::size_t positions) {
  const RopeSpec& rope = spec.rope;
  const auto head_dim = static_cast<std::size_t>(spec.head_dim);
  const auto dims = rope.dims > 0 ? static_cast<std::size_t>(rope.dims) : head_dim;
  RopeTable<Real> table{head_dim, std::vector<Real>(positions * head_dim),
                        std::vector<Real>(positions * head_dim)};
  // One row of frequencies: angles at position 1 would be rounded twice.
  const std::size_t half = dims / 2;
  for (std::size_t p = 0; p < positions; ++p) {
    const auto position =
        static_cast<Real>(static_cast<double>(static_cast<std::int64_t>(p) + rope.offset));
    for (std::size_t i = 0; i < half; ++i) {
      const Real exponent = static_cast<Real>(2 * i) / static_cast<Real>(dims);
      Real power = 0;
      if constexpr (std::is_same_v<Real, float>) {
        power = Sleef_finz_powf1_u10purecfma(static_cast<float>(spec.rope_theta), exponent);
      } else {
        power = Sleef_finz_powd1_u10purecfma(spec.rope_theta, exponent);
      }
      const auto frequency = static_cast<Real>(rounded_to(rope.frequencies, Real{1} / power));
      const auto scaled = static_cast<Real>(position / static_cast<Real>(rope.factor));
      const double angle =
          rounded_to(rope.angles, static_cast<Real>(rounded_to(rope.angles, scaled)) * frequency);
      double cos = rounded_to(rope.table, Sleef_finz_cosd1_u10purecfma(angle));
      double sin = rounded_to(rope.table, Sleef_finz_sind1_u10purecfma(angle));
      if (rope.backwards) sin = -sin;
      if (rope.exchanged) std::swap(cos, sin);
      const std::size_t at = p * head_dim + i;
      table.cos[at] = table.cos[at + half] = static_cast<Real>(cos);
      table.sin[at] = table.sin[at + half] = static_cast<Real>(sin);
    }
  }
  return table;
}

template <class N>
void variant_rope(const RopeSpec& rope, Store store, const typename N::Real* cos,
                  const typename N::Real* sin, std::size_t n, typename N::Real* x) {
  using Real = typename N::Real;
  const std::size_t dims = rope.dims > 0 ? static_cast<std::size_t>(rope.dims) : n;
  const std::size_t half = dims / 2;
  for (int time = 0; time < rope.times; ++time) {
    for (std::size_t i = 0; i < half; ++i) {
      const std::size_t a = rope.interleaved ? 2 * i : i;
      const std::size_t b = rope.interleaved ? 2 * i + 1 : i + half;
      const Real low = x[a];
      const Real high = x[b];
      x[a] = stored<N>(store, stored<N>(store, low * cos[i]) + stored<N>(store, -high * sin[i]));
      x[b] = stored<N>(store, stored<N>(store, high * cos[i]) + stored<N>(store, low * sin[i]));
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
                     std::size_t rows, std::size_t count, typename N::Real* x) {
  if (attention.over_queries) {
    for (std::size_t j = 0; j < count; ++j) {
      one_softmax<N>(attention, store, rows, count, x + j);
    }
    return;
  }
  const bool plain = attention.softmax == DType::kF32 && !attention.sink && store == Store::kOwn;
  for (std::size_t i = 0; i < rows; ++i) {
    if (plain) {
      kernels.softmax(x + i * count, count, x + i * count);
    } else {
      one_softmax<N>(attention, store, count, 1, x + i * count);
    }
  }
}

template <class N>
void through_cache(DType dtype, std::span<typename N::Cached> row) {
  using Cached = typename N::Cached;
  const auto value = [](Cached cached) -> double {
    if constexpr (std::is_same_v<Cached, std::uint16_t>) return bf16_to_f32(cached);
    return static_cast<double>(cached);
  };
  double largest = 0;
  for (const Cached cached : row) largest = std::max(largest, std::abs(value(cached)));
  const double step = dtype == DType::kI8 ? largest / 127 : 1;
  if (step == 0) return;
  for (Cached& cached : row) {
    const double x = value(cached);
    const double y = dtype == DType::kI8 ? std::nearbyint(x / step) * step : rounded_to(dtype, x);
    cached = N::cached(N::round(static_cast<typename N::Real>(y)));
  }
}

#define ASSAY_INSTANTIATE(N)                                                                    \
  template N::Real stored<N>(Store, N::Real);                                                   \
  template void variant_rms_norm<N>(const NormSpec&, Store, double, std::span<const N::Real>,   \
                                    const N::Real*, std::size_t, N::Real*);                     \
  template void variant_rope<N>(const RopeSpec&, Store, const N::Real*, const N::Real*,         \
                                std::size_t, N::Real*);                                         \
  template void variant_activation<N>(const MlpSpec&, Store, const N::Real*, const N::Real*,    \
                                      std::size_t, N::Real*);                                   \
  template void softcap<N>(double, Store, std::span<N::Real>);                                  \
  template void variant_softmax<N>(const AttentionSpec&, Store, const Kernels<N>&, std::size_t, \
                                   std::size_t, N::Real*);                                      \
  template void through_cache<N>(DType, std::span<N::Cached>)
ASSAY_INSTANTIATE(Bf16);
ASSAY_INSTANTIATE(F32);
ASSAY_INSTANTIATE(F64);
#undef ASSAY_INSTANTIATE
template RopeTable<float> variant_rope_table(const ModelSpec&, std::size_t);
template RopeTable<double> variant_rope_table(const ModelSpec&, std::size_t);

}  // namespace assay
