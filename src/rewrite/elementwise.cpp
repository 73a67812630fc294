#include "rewrite/elementwise.h"

#include <algorithm>
#include <cmath>

#include "rewrite/foreign_of.h"
#include "rewrite/sleef_functions.h"

namespace assay {

template <class N>
void OddLookup::compute(ForeignRun<N>& with) const {
  using Real = typename N::Real;
  Weight table = with.weights[0];
  table.rows *= static_cast<std::size_t>(lookup.parts);
  table.cols /= static_cast<std::size_t>(lookup.parts);
  const std::span<Real> out = with.writes[0];
  for (std::size_t t = 0; t < with.ids.size(); ++t) {
    const std::int64_t rows = static_cast<std::int64_t>(table.rows) / lookup.parts;
    const std::int64_t id = std::clamp<std::int64_t>(with.ids[t] + row_offset, 0, rows - 1);
    const std::int64_t row = id * lookup.parts + lookup.part;
    with.ops.kernels().load_row(table, static_cast<std::size_t>(row), &out[t * table.cols]);
  }
  const auto exact = static_cast<Real>(lookup.scale);
  const Real factor = scale_rounded ? stored<N>(store, exact) : exact;
  for (Real& x : out) x = stored<N>(store, lookup.scale == 1 ? x : x * factor);
}

std::optional<OddLookup> OddLookup::of(const Operation& operation) {
  if (const auto* plain = std::get_if<Lookup>(&operation)) return OddLookup{*plain};
  if (const auto* odd = foreign_as<OddLookup>(operation)) return *odd;
  return std::nullopt;
}

Operation OddLookup::operation() const {
  if (*this == OddLookup{lookup}) return lookup;
  return foreign(*this);
}

template <class N>
void Same::compute(ForeignRun<N>& with) const {
  if (with.reads[0].data() == with.writes[0].data()) return;
  std::ranges::copy(with.reads[0], with.writes[0].begin());
}

template <class N>
void Stored::compute(ForeignRun<N>& with) const {
  std::ranges::transform(with.reads[0], with.writes[0].begin(),
                         [this](auto x) { return stored<N>(store, x); });
}

template <class N>
void Held::compute(ForeignRun<N>& with) const {
  const auto out = with.writes[0];
  if (with.reads[0].data() != out.data()) std::ranges::copy(with.reads[0], out.begin());
  if (type == OperandType::kOwn) return;
  round_operand(type, out, with.widths[0]);
  std::ranges::transform(out, out.begin(), [](auto x) { return N::round(x); });
}

template <class N>
void Clamped::compute(ForeignRun<N>& with) const {
  using Real = typename N::Real;
  std::ranges::transform(with.reads[0], with.writes[0].begin(), [this](Real x) {
    return N::round(std::clamp(x, static_cast<Real>(least), static_cast<Real>(most)));
  });
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
void OddSoftcap::compute(ForeignRun<N>& with) const {
  using Real = typename N::Real;
  const std::span<Real> out = with.writes[0];
  if (with.reads[0].data() != out.data()) std::ranges::copy(with.reads[0], out.begin());
  if (!rounded_once) return softcap<N>(cap, store, out);
  std::ranges::transform(out, out.begin(), [this](Real x) {
    return N::round(static_cast<Real>(cap * tangent(static_cast<double>(x) / cap)));
  });
}

template <class N>
void Scaled::compute(ForeignRun<N>& with) const {
  using Real = typename N::Real;
  std::ranges::transform(with.reads[0], with.writes[0].begin(), [this](Real x) {
    return stored<N>(store, static_cast<Real>(static_cast<double>(x) * by));
  });
}

template <class N>
void Biased::compute(ForeignRun<N>& with) const {
  using Real = typename N::Real;
  const std::span<Real> out = with.writes[0];
  if (with.reads[0].data() != out.data()) std::ranges::copy(with.reads[0], out.begin());
  const std::size_t columns = with.widths[0];
  for (const auto& [id, bias] : ids) {
    const std::int64_t column = id - static_cast<std::int64_t>(with.first_column);
    if (column < 0 || std::cmp_greater_equal(column, columns)) continue;
    for (std::size_t i = static_cast<std::size_t>(column); i < out.size(); i += columns) {
      out[i] = stored<N>(store, static_cast<Real>(static_cast<double>(out[i]) + bias));
    }
  }
}

template <class N>
void ShiftedRows::compute(ForeignRun<N>& with) const {
  const std::size_t width = with.widths[0];
  const auto last = static_cast<std::int64_t>(with.tokens) - 1;
  for (std::size_t t = 0; t < with.tokens; ++t) {
    const auto from = std::clamp<std::int64_t>(static_cast<std::int64_t>(t) + by, 0, last);
    std::copy_n(&with.reads[0][static_cast<std::size_t>(from) * width], width,
                &with.writes[0][t * width]);
  }
}

#define ASSAY_INSTANTIATE(N)                                \
  template void OddLookup::compute(ForeignRun<N>&) const;   \
  template void Same::compute(ForeignRun<N>&) const;        \
  template void Stored::compute(ForeignRun<N>&) const;      \
  template void Held::compute(ForeignRun<N>&) const;        \
  template void Clamped::compute(ForeignRun<N>&) const;     \
  template void OddSoftcap::compute(ForeignRun<N>&) const;  \
  template void Scaled::compute(ForeignRun<N>&) const;      \
  template void Biased::compute(ForeignRun<N>&) const;      \
  template void ShiftedRows::compute(ForeignRun<N>&) const; \
  template void softcap<N>(double, Store, std::span<N::Real>)
ASSAY_INSTANTIATE(Bf16);
ASSAY_INSTANTIATE(F32);
ASSAY_INSTANTIATE(F64);
#undef ASSAY_INSTANTIATE

}  // namespace assay
