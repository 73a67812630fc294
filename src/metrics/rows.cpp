#include "metrics/rows.h"

#include <algorithm>

#include "base/widen.h"

namespace assay {

Rows rows_of(std::span<const std::int64_t> shape, std::size_t position_axis) {
  Rows rows;
  for (std::size_t a = 0; a < shape.size(); ++a) {
    const auto size = static_cast<std::size_t>(shape[a]);
    if (a < position_axis) rows.lead *= size;
    if (a == position_axis) rows.positions = size;
    if (a > position_axis) rows.width *= size;
  }
  return rows;
}

CandidateRows::CandidateRows(const ArrayView& candidate, const Layout& layout, std::size_t width)
    : view_(candidate), offset_(layout.offset) {
  std::size_t inner = 1;
  std::size_t split = layout.axes.size();
  while (split > 0 && inner < width) {
    inner *= static_cast<std::size_t>(layout.axes[--split].extent);
  }
  const auto at = layout.axes.begin() + static_cast<std::ptrdiff_t>(split);
  outer_.assign(layout.axes.begin(), at);
  inner_.assign(at, layout.axes.end());
  consecutive_ = true;
  std::ptrdiff_t stride = 1;
  for (std::size_t a = inner_.size(); a-- > 0;) {
    consecutive_ = consecutive_ && (inner_[a].extent == 1 || inner_[a].stride == stride);
    stride *= inner_[a].extent;
  }
}

const std::byte* CandidateRows::in_place(std::size_t r) const {
  if (!consecutive_) return nullptr;
  std::ptrdiff_t at = offset_;
  for (std::size_t a = outer_.size(); a-- > 0;) {
    const auto extent = static_cast<std::size_t>(outer_[a].extent);
    at += static_cast<std::ptrdiff_t>(r % extent) * outer_[a].stride;
    r /= extent;
  }
  return view_.bytes.data() + at * static_cast<std::ptrdiff_t>(dtype_size(view_.dtype));
}

template <class Real>
void CandidateRows::read(std::size_t r, std::size_t begin, std::span<Real> out) const {
  const auto item = static_cast<std::ptrdiff_t>(dtype_size(view_.dtype));
  std::ptrdiff_t row = offset_;
  for (std::size_t a = outer_.size(); a-- > 0;) {
    const auto extent = static_cast<std::size_t>(outer_[a].extent);
    row += static_cast<std::ptrdiff_t>(r % extent) * outer_[a].stride;
    r /= extent;
  }
  // Runs along the innermost axis.
  const Axis last = inner_.empty() ? Axis{1, 1} : inner_.back();
  const auto run = static_cast<std::size_t>(last.extent);
  for (std::size_t i = 0; i < out.size();) {
    std::size_t rest = (begin + i) / run;
    const std::size_t within = (begin + i) % run;
    std::ptrdiff_t at = row + static_cast<std::ptrdiff_t>(within) * last.stride;
    for (std::size_t a = inner_.size(); a-- > 1;) {
      const auto extent = static_cast<std::size_t>(inner_[a - 1].extent);
      at += static_cast<std::ptrdiff_t>(rest % extent) * inner_[a - 1].stride;
      rest /= extent;
    }
    const std::size_t n = std::min(run - within, out.size() - i);
    widen(view_.dtype, view_.bytes.data() + at * item, last.stride * item, out.subspan(i, n));
    i += n;
  }
}
template void CandidateRows::read(std::size_t, std::size_t, std::span<float>) const;
template void CandidateRows::read(std::size_t, std::size_t, std::span<double>) const;

std::vector<std::int64_t> index_in(std::span<const std::int64_t> shape, std::size_t flat) {
  std::vector<std::int64_t> index(shape.size());
  for (std::size_t a = shape.size(); a-- > 0;) {
    index[a] = static_cast<std::int64_t>(flat % static_cast<std::size_t>(shape[a]));
    flat /= static_cast<std::size_t>(shape[a]);
  }
  return index;
}

}  // namespace assay
