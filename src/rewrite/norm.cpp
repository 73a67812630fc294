#include "rewrite/norm.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "rewrite/foreign_of.h"

namespace assay {
namespace {

// Over n elements in place; a shorter list of weights is repeated.
template <class N>
void one_norm(const OddNorm& odd, std::span<const typename N::Real> weights, std::size_t n,
              typename N::Real* x) {
  using Real = typename N::Real;
  const auto held = [&](double value) {
    return odd.rounded_squares ? rounded_to(DType::kBF16, value) : value;
  };
  for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<Real>(held(x[i]));
  double mean = 0;
  if (odd.centred) {
    for (std::size_t i = 0; i < n; ++i) mean += x[i];
    mean /= static_cast<double>(n);
  }
  double squares = 0;
  for (std::size_t i = 0; i < n; ++i) squares += held((x[i] - mean) * (x[i] - mean));
  if (!odd.sum_of_squares) squares /= static_cast<double>(n);
  const double eps = odd.norm.eps;
  const double root =
      odd.eps_outside ? std::sqrt(squares) + eps : std::sqrt(held(held(squares) + eps));
  const auto r = static_cast<Real>(held(1 / root));
  for (std::size_t i = 0; i < n; ++i) {
    const Real weight = weights[i % weights.size()];
    const Real factor = !odd.weighted ? Real{1} : odd.norm.one_plus ? Real{1} + weight : weight;
    const Real scaled = static_cast<Real>(x[i] - mean) * r;
    x[i] = stored<N>(odd.store,
                     factor * (odd.norm.rounded_once ? scaled : stored<N>(odd.store, scaled)));
  }
}

// The kernel has already multiplied by the weight: apply the rounding of x / rms to the product.
template <class N>
void hold_normed(const OddNorm& odd, std::span<const typename N::Real> x,
                 std::span<typename N::Real> values) {
  using Real = typename N::Real;
  const auto width = static_cast<std::size_t>(odd.norm.width);
  std::vector<Real> normed(width);
  std::vector<Real> rounded(width);
  for (std::size_t begin = 0; begin + width <= values.size(); begin += width) {
    double squares = 0;
    for (std::size_t i = 0; i < width; ++i) {
      squares += static_cast<double>(x[begin + i]) * static_cast<double>(x[begin + i]);
    }
    const double rms = std::sqrt(squares / static_cast<double>(width) + odd.norm.eps);
    for (std::size_t i = 0; i < width; ++i) {
      normed[i] = static_cast<Real>(static_cast<double>(x[begin + i]) / rms);
    }
    rounded = normed;
    round_operand(*odd.normed, std::span(rounded), width);
    for (std::size_t i = 0; i < width; ++i) {
      const Real held = N::round(rounded[i]);
      if (normed[i] != 0) values[begin + i] = N::round(values[begin + i] * held / normed[i]);
    }
  }
}

}  // namespace

template <class N>
void OddNorm::compute(ForeignRun<N>& with) const {
  using Real = typename N::Real;
  const std::span<const Real> x = with.reads[0];
  const std::span<Real> out = with.writes[0];
  const Weight* w = with.weights.empty() ? nullptr : with.weights.data();
  OddNorm plain = *this;
  plain.normed.reset();
  const Operation operation = plain.operation();
  if (const auto* own = std::get_if<RmsNorm>(&operation)) {
    with.ops.rms_norm(*own, x, w, out);
  } else {
    std::ranges::copy(x, out.begin());
    std::vector<Real> weights(w == nullptr ? static_cast<std::size_t>(norm.width) : w->cols, 1);
    if (w != nullptr) with.ops.kernels().load_row(*w, 0, weights.data());
    const std::span<const Real> all = weights;
    const std::size_t cols = weights.size();
    const std::size_t n = cols * heads / parts;
    for (std::size_t i = 0; i < x.size(); i += n) {
      const std::size_t part = i / n % parts;
      const auto own_weights = all.subspan(part * (cols / parts), cols / parts);
      for (int time = 0; time < applications; ++time) one_norm<N>(*this, own_weights, n, &out[i]);
    }
  }
  if (normed) hold_normed<N>(*this, x, out);
}

std::optional<OddNorm> OddNorm::of(const Operation& operation) {
  if (const auto* plain = std::get_if<RmsNorm>(&operation)) return OddNorm{*plain};
  if (const auto* odd = foreign_as<OddNorm>(operation)) return *odd;
  return std::nullopt;
}

Operation OddNorm::operation() const {
  // A plain 1 + weight has only one rounding.
  if (*this == OddNorm{norm} && (norm.rounded_once || !norm.one_plus)) return norm;
  return foreign(*this);
}

template void OddNorm::compute(ForeignRun<Bf16>&) const;
template void OddNorm::compute(ForeignRun<F32>&) const;
template void OddNorm::compute(ForeignRun<F64>&) const;

}  // namespace assay
