// Operations on single elements of a row, on rows of the embedding, on heads.
#include <algorithm>
#include <cassert>
#include <limits>

#include "numerics/rope_table.h"
#include "ops/cpu/ops.h"

namespace assay {

template <class N>
void Ops<N>::lookup(const Lookup& lookup, const Weight& table, std::span<const std::int64_t> ids,
                    std::span<Real> out) {
  Weight parts = table;
  parts.rows *= static_cast<std::size_t>(lookup.parts);
  parts.cols /= static_cast<std::size_t>(lookup.parts);
  for (std::size_t t = 0; t < ids.size(); ++t) {
    const std::int64_t row = ids[t] * lookup.parts + lookup.part;
    kernels_.load_row(parts, static_cast<std::size_t>(row), &out[t * parts.cols]);
  }
  if (lookup.scale == 1) return;
  const Real scale = N::round(static_cast<Real>(lookup.scale));
  for (Real& x : out) x = N::round(x * scale);
}

template <class N>
void Ops<N>::rms_norm(const RmsNorm& norm, std::span<const Real> x, const Weight* weight,
                      std::span<Real> out) {
  const auto width = static_cast<std::size_t>(norm.width);
  if (weight == nullptr && ones_.size() < width) ones_.assign(width, 1.0F);
  const Weight ones{std::as_bytes(std::span(ones_)).data(), DType::kF32, 1, width};
  const Weight& w = weight == nullptr ? ones : *weight;
  const NormForm form = norm.one_plus       ? NormForm::kOnePlus
                        : norm.rounded_once ? NormForm::kRoundedOnce
                                            : NormForm::kRoundedTwice;
  const auto eps = static_cast<Real>(norm.eps);
  pool_.parallel_for(x.size() / w.cols, kGrain / w.cols + 1,
                     [&](std::size_t begin, std::size_t end) {
                       for (std::size_t i = begin * w.cols; i < end * w.cols; i += w.cols) {
                         kernels_.rms_norm(&x[i], w, eps, form, w.cols, &out[i]);
                       }
                     });
}

template <class N>
void Ops<N>::rotate(const Rotate& rotate, std::span<const Real> cos, std::span<const Real> sin,
                    std::size_t head_dim, std::span<Real> x) {
  const auto dims = static_cast<std::size_t>(rotate.dims);
  const std::size_t half = dims / 2;
  const std::size_t tokens = cos.size() / half;
  const std::size_t width = x.size() / tokens;
  pool_.parallel_for(tokens, kGrain / width + 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      for (std::size_t i = t * width; i < (t + 1) * width; i += head_dim) {
        kernels_.rope(&x[i], &cos[t * half], &sin[t * half], rotate.rounded_once, dims, &x[i]);
      }
    }
  });
}

template <class N>
void Ops<N>::scale_by_position(const ScaleByPosition& scale, std::span<const Stretch<N>> stretches,
                               std::span<const Real> x, std::span<Real> out) {
  std::size_t tokens = 0;
  for (const Stretch<N>& stretch : stretches) tokens += stretch.count;
  const std::size_t width = x.size() / tokens;
  std::size_t i = 0;
  for (const Stretch<N>& stretch : stretches) {
    for (std::size_t t = 0; t < stretch.count; ++t) {
      const auto position = static_cast<double>(stretch.position + t);
      const double exact = position_factor(scale.growth, scale.length, position);
      const Real factor = N::round(static_cast<Real>(exact));
      for (const std::size_t end = i + width; i < end; ++i) out[i] = N::round(x[i] * factor);
    }
  }
}

template <class N>
void Ops<N>::add(std::span<const Real> a, std::span<const Real> b, std::span<Real> out) {
  pool_.parallel_for(out.size(), kGrain, [&](std::size_t begin, std::size_t end) {
    kernels_.add(&a[begin], &b[begin], end - begin, &out[begin]);
  });
}

template <class N>
void Ops<N>::multiply(const Multiply& multiply, std::span<const Real> x, const Weight* w,
                      std::span<Real> out) {
  std::vector<Real> factors(w == nullptr ? 1 : w->cols, static_cast<Real>(multiply.factor));
  if (w != nullptr) kernels_.load_row(*w, 0, factors.data());
  pool_.parallel_for(out.size(), kGrain, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      out[i] = N::round(x[i] * factors[factors.size() == 1 ? 0 : i % factors.size()]);
    }
  });
}

template <class N>
void Ops<N>::gate(const Gate& gate, std::span<const Real> g, std::span<const Real> up,
                  std::span<Real> out) {
  if (gate.activation == Activation::kSwish) {
    SwishForm<Real> form{static_cast<Real>(gate.alpha), {}, gate.up_plus_one};
    // transformers clamps to the limit as the run's type holds it.
    form.limit = gate.limit > 0 ? N::round(static_cast<Real>(gate.limit))
                                : std::numeric_limits<Real>::infinity();
    return pool_.parallel_for(out.size(), kGrain / 8, [&](std::size_t begin, std::size_t end) {
      kernels_.swish_mul(&g[begin], &up[begin], form, end - begin, &out[begin]);
    });
  }
  const auto kernel =
      gate.activation == Activation::kSilu ? kernels_.silu_mul : kernels_.gelu_tanh_mul;
  pool_.parallel_for(out.size(), kGrain / 8, [&](std::size_t begin, std::size_t end) {
    kernel(&g[begin], &up[begin], end - begin, &out[begin]);
  });
}

template <class N>
void Ops<N>::sigmoid_gate(std::span<const Real> x, std::span<const Real> gate, std::size_t share,
                          std::span<Real> out) {
  pool_.parallel_for(gate.size(), kGrain / 8 / share + 1, [&](std::size_t begin, std::size_t end) {
    std::vector<Real> factors(end - begin);
    kernels_.sigmoid(&gate[begin], factors.size(), factors.data());
    for (std::size_t g = begin; g < end; ++g) {
      const Real factor = N::round(factors[g - begin]);
      for (std::size_t i = g * share; i < (g + 1) * share; ++i) out[i] = N::round(x[i] * factor);
    }
  });
}

template <class N>
void Ops<N>::softcap(const Softcap& softcap, std::span<Real> x) {
  const auto cap = static_cast<Real>(softcap.cap);
  pool_.parallel_for(x.size(), kGrain / 8, [&](std::size_t begin, std::size_t end) {
    kernels_.softcap(&x[begin], cap, end - begin, &x[begin]);
  });
}

#define ASSAY_INSTANTIATE(N)                                                                      \
  template void Ops<N>::lookup(const Lookup&, const Weight&, std::span<const std::int64_t>,       \
                               std::span<N::Real>);                                               \
  template void Ops<N>::rms_norm(const RmsNorm&, std::span<const N::Real>, const Weight*,         \
                                 std::span<N::Real>);                                             \
  template void Ops<N>::rotate(const Rotate&, std::span<const N::Real>, std::span<const N::Real>, \
                               std::size_t, std::span<N::Real>);                                  \
  template void Ops<N>::scale_by_position(const ScaleByPosition&, std::span<const Stretch<N>>,    \
                                          std::span<const N::Real>, std::span<N::Real>);          \
  template void Ops<N>::add(std::span<const N::Real>, std::span<const N::Real>,                   \
                            std::span<N::Real>);                                                  \
  template void Ops<N>::multiply(const Multiply&, std::span<const N::Real>, const Weight*,        \
                                 std::span<N::Real>);                                             \
  template void Ops<N>::gate(const Gate&, std::span<const N::Real>, std::span<const N::Real>,     \
                             std::span<N::Real>);                                                 \
  template void Ops<N>::sigmoid_gate(std::span<const N::Real>, std::span<const N::Real>,          \
                                     std::size_t, std::span<N::Real>);                            \
  template void Ops<N>::softcap(const Softcap&, std::span<N::Real>)
ASSAY_INSTANTIATE(Bf16);
ASSAY_INSTANTIATE(F32);
ASSAY_INSTANTIATE(F64);
#undef ASSAY_INSTANTIATE

}  // namespace assay
