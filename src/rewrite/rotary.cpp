#include "rewrite/rotary.h"

#include <algorithm>
#include <utility>

#include "numerics/rope_table.h"
#include "rewrite/foreign_of.h"
#include "rewrite/operand_rounding.h"
#include "rewrite/sleef_functions.h"

namespace assay {

namespace {

std::int64_t position_of(const OddRotate& odd, std::size_t token) {
  const auto own = static_cast<std::int64_t>(token);
  if (token < odd.position_of.size()) return odd.position_of[token];
  if (!odd.decoded || own < odd.decoded->from) return own;
  const DecodedPositions& decoded = *odd.decoded;
  const std::int64_t first = decoded.restart ? 0 : decoded.from;
  const std::int64_t after = decoded.stuck ? 0 : own - decoded.from;
  return std::max<std::int64_t>(first + after + decoded.by, 0);
}

}  // namespace

template <class N>
OddRotation<N>::OddRotation(const OddRotate& odd, std::size_t tokens) : odd_(odd) {
  const auto dims = static_cast<std::size_t>(odd.rotate.dims);
  const std::size_t half = dims / 2;
  RopeFrequencies<Real> frequencies = rope_frequencies<Real>(odd.parameters, dims, tokens);
  for (std::size_t i = 0; i < odd.inv_freq.size() && i < half; ++i) {
    frequencies.inv_freq[i] = static_cast<Real>(odd.inv_freq[i]);
  }
  const auto rounded = [](DType to, Real x) { return static_cast<Real>(rounded_to(to, x)); };
  for (std::size_t t = 0; t < tokens; ++t) {
    const std::int64_t at = position_of(odd, t) + odd.offset;
    const Real position = rounded(odd.types.positions, static_cast<Real>(static_cast<double>(at)) /
                                                           static_cast<Real>(odd.factor));
    for (std::size_t i = 0; i < half; ++i) {
      const Real frequency = rounded(odd.types.frequencies, frequencies.inv_freq[i]);
      const auto angle = static_cast<double>(rounded(odd.types.angles, position * frequency));
      const auto held = [&](double value) {
        const Real x =
            rounded(odd.types.table, static_cast<Real>(value) * frequencies.attention_factor);
        return odd.rotate.rounded_once ? x : stored<N>(odd.store, x);
      };
      Real cos = held(cosine_of(angle));
      Real sin = held(sine_of(angle));
      if (odd.backwards) sin = -sin;
      if (odd.exchanged) std::swap(cos, sin);
      cos_.push_back(cos);
      sin_.push_back(sin);
    }
  }
}

template <class N>
void OddRotation<N>::rotate(std::size_t token, Real* x) const {
  const std::size_t half = static_cast<std::size_t>(odd_.rotate.dims) / 2;
  const Real* cos = &cos_[token * half];
  const Real* sin = &sin_[token * half];
  const DType type = odd_.types.products;
  for (int time = 0; time < odd_.applications; ++time) {
    for (std::size_t i = 0; i < half; ++i) {
      const std::size_t a = odd_.interleaved ? 2 * i : i;
      const std::size_t b = odd_.interleaved ? 2 * i + 1 : i + half;
      if (type != DType::kF32) {
        const auto held = [&](Real value) { return static_cast<Real>(rounded_to(type, value)); };
        const Real low = held(x[a]);
        const Real high = held(x[b]);
        x[a] = held(held(low * cos[i]) + held(-high * sin[i]));
        x[b] = held(held(high * cos[i]) + held(low * sin[i]));
        continue;
      }
      const Real low = x[a];
      const Real high = x[b];
      const auto product = [&](Real value, Real factor) {
        return odd_.rotate.rounded_once ? value * factor : stored<N>(odd_.store, value * factor);
      };
      x[a] = stored<N>(odd_.store, product(low, cos[i]) + product(-high, sin[i]));
      x[b] = stored<N>(odd_.store, product(high, cos[i]) + product(low, sin[i]));
    }
  }
}

template <class N>
void OddRotate::compute(ForeignRun<N>& with) const {
  const auto out = with.writes[0];
  std::ranges::copy(with.reads[0], out.begin());
  if (applications == 0) return;
  const OddRotation<N> rotation(*this, with.tokens);
  const std::size_t width = with.widths[0];
  const std::size_t head_dim = with.head_dim;
  with.ops.pool().parallel_for(
      with.tokens, kGrain / width + 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t t = begin; t < end; ++t) {
          for (std::size_t i = t * width; i < (t + 1) * width; i += head_dim) {
            rotation.rotate(t, &out[i]);
          }
        }
      });
}

std::optional<OddRotate> OddRotate::of(const Operation& operation) {
  if (const auto* plain = std::get_if<Rotate>(&operation)) return OddRotate{*plain};
  if (const auto* odd = foreign_as<OddRotate>(operation)) return *odd;
  return std::nullopt;
}

Operation OddRotate::operation() const {
  OddRotate plain{rotate};
  plain.parameters = parameters;
  if (*this == plain) return rotate;
  return foreign(*this);
}

#define ASSAY_INSTANTIATE(N)     \
  template class OddRotation<N>; \
  template void OddRotate::compute(ForeignRun<N>&) const
ASSAY_INSTANTIATE(Bf16);
ASSAY_INSTANTIATE(F32);
ASSAY_INSTANTIATE(F64);
#undef ASSAY_INSTANTIATE

}  // namespace assay
