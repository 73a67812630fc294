#include "metrics/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/mapped_file.h"
#include "base/widen.h"
#include "metrics/pair_sums.h"
#include "metrics/scaled_sums.h"

namespace assay {
namespace {

// Rows are divided into parts independently of the thread count: each part has its own sums, which
// are added in order. There are enough parts that no thread waits long for the others, but they are
// large enough that releasing pages, which stops all threads for a moment, is rare. There are fewer
// parts when a part's channels need much memory.
std::size_t part_count(const Rows& rows, std::size_t count) {
  constexpr std::size_t kElements = std::size_t{4} << 20;
  const std::size_t most = rows.width <= (std::size_t{1} << 14) ? 64 : 8;
  const std::size_t wanted = std::clamp<std::size_t>(count * rows.width / kElements, 8, most);
  return std::clamp<std::size_t>(count, 1, wanted);
}
// Wider than any model. Above this, the sums of every channel would take more memory than the
// arrays.
constexpr std::size_t kMostChannels = std::size_t{1} << 20;

bool fits_float(DType dtype) {
  return dtype != DType::kF64 && !(is_integer(dtype) && dtype_size(dtype) > 2);
}

// Follows a pass over mapped bytes and releases what was already read, so that memory does not grow
// with the file.
class PageReleaser {
 public:
  explicit PageReleaser(bool mapped) : mapped_(mapped) {}
  ~PageReleaser() { flush(); }
  PageReleaser(const PageReleaser&) = delete;
  PageReleaser& operator=(const PageReleaser&) = delete;
  void passed(const std::byte* from, std::size_t count) {
    if (!mapped_) return;
    if (from != end_) {
      flush();
      begin_ = from;
    }
    end_ = from + count;
    if (end_ - begin_ >= kMost) flush();
  }

 private:
  static constexpr std::ptrdiff_t kMost = 8 << 20;
  void flush() {
    if (begin_ != end_) give_back({begin_, end_});
    begin_ = end_;
  }

  bool mapped_;
  const std::byte* begin_ = nullptr;
  const std::byte* end_ = nullptr;
};

struct Part {
  PairSums total;
  ScaledSums scaled;  // of `total`
  std::vector<ScaledSum> row_error2;
  std::vector<ScaledSum> row_reference2;
  std::vector<double> channel_error2;  // empty if there are more than kMostChannels
};

template <class Real>
class Measurement {
 public:
  Measurement(const ArrayView& reference, const Rows& rows, const ArrayView& candidate,
              const Layout& layout)
      : reference_(reference),
        rows_(rows),
        candidate_(candidate, layout, rows.width),
        last_only_(layout.last_position),
        reference_dtype_(reference.dtype),
        candidate_as_is_(candidate.dtype == kAsIs),
        table_(pair_sums_table()) {}

  // The number of candidate rows.
  std::size_t count() const { return last_only_ ? rows_.lead : rows_.count(); }
  std::size_t reference_row(std::size_t r) const {
    return last_only_ ? r * rows_.positions + rows_.positions - 1 : r;
  }

  Part run(std::size_t begin, std::size_t end) const {
    const bool by_channel = rows_.width <= kMostChannels;
    Part part;
    part.row_error2.reserve(end - begin);
    part.row_reference2.reserve(end - begin);
    part.channel_error2.resize(by_channel ? rows_.width : 0);
    std::vector<Real> x(std::min(rows_.width, PairSumsTable::kMostPairs));
    std::vector<Real> y(x.size());
    PageReleaser release_reference(reference_.mapped);
    PageReleaser release_candidate(candidate_.mapped());
    std::vector<double> unused(by_channel ? 0 : x.size());
    for (std::size_t r = begin; r < end; ++r) {
      const std::size_t row = reference_row(r);
      PairSums row_sums;
      row_sums.max_error = part.total.max_error;
      const std::byte* in_place = candidate_as_is_ ? candidate_.in_place(r) : nullptr;
      for (std::size_t i = 0; i < rows_.width; i += PairSumsTable::kMostPairs) {
        const std::size_t n = std::min(rows_.width - i, PairSumsTable::kMostPairs);
        const std::size_t first = row * rows_.width + i;
        const auto* a = reinterpret_cast<const Unaligned<Real>*>(x.data());
        if (reference_dtype_ == kAsIs) {
          a = reinterpret_cast<const Unaligned<Real>*>(reference_.bytes.data()) + first;
        } else {
          const std::size_t item = dtype_size(reference_dtype_);
          widen(reference_dtype_, reference_.bytes.data() + first * item,
                static_cast<std::ptrdiff_t>(item), std::span(x).first(n));
        }
        const auto* b = reinterpret_cast<const Unaligned<Real>*>(y.data());
        if (in_place != nullptr) {
          b = reinterpret_cast<const Unaligned<Real>*>(in_place) + i;
        } else {
          candidate_.read(r, i, std::span(y).first(n));
        }
        sums(a, b, n, first, by_channel ? &part.channel_error2[i] : unused.data(), row_sums);
        const std::size_t item = dtype_size(reference_dtype_);
        release_reference.passed(reference_.bytes.data() + first * item, n * item);
        if (in_place != nullptr) {
          release_candidate.passed(in_place + i * sizeof(Real), n * sizeof(Real));
        }
      }
      const ScaledSums scaled = scaled_row(r, row_sums);
      part.row_error2.push_back(scaled.error2);
      part.row_reference2.push_back(scaled.reference2);
      part.scaled.add(scaled);
      part.total.add(row_sums);
    }
    return part;
  }

 private:
  // Only F64 can hold numbers whose squares are not representable.
  ScaledSums scaled_row(std::size_t r, const PairSums& sums) const {
    if (sizeof(Real) == 4 || !may_have_lost_squares(sums)) {
      return {{sums.error2}, {sums.reference2}, {sums.candidate2}, {sums.product}};
    }
    std::vector<double> x(rows_.width);
    std::vector<double> y(rows_.width);
    const std::size_t item = dtype_size(reference_dtype_);
    widen(reference_dtype_, reference_.bytes.data() + reference_row(r) * rows_.width * item,
          static_cast<std::ptrdiff_t>(item), std::span(x));
    candidate_.read(r, 0, std::span(y));
    return scaled_sums(x, y);
  }

  static constexpr DType kAsIs = sizeof(Real) == 4 ? DType::kF32 : DType::kF64;

  void sums(const Unaligned<float>* x, const Unaligned<float>* y, std::size_t n, std::size_t first,
            double* error2, PairSums& into) const {
    table_.f32(x, y, n, first, error2, into);
  }
  void sums(const Unaligned<double>* x, const Unaligned<double>* y, std::size_t n,
            std::size_t first, double* error2, PairSums& into) const {
    table_.f64(x, y, n, first, error2, into);
  }

  const ArrayView& reference_;
  Rows rows_;
  CandidateRows candidate_;
  bool last_only_;
  DType reference_dtype_;
  bool candidate_as_is_;
  PairSumsTable table_;
};

TensorMetrics metrics_of(const PairSums& s, const ScaledSums& scaled) {
  TensorMetrics m;
  m.compared = s.compared;
  const auto n = static_cast<double>(std::max<std::int64_t>(s.compared, 1));
  const ScaledSum mse{scaled.error2.value / n, scaled.error2.exponent};
  m.mse = mse.as_double();
  m.rmse = mse.root();
  m.relative_l2 = relative(scaled.error2, scaled.reference2);
  const ScaledSum& reference2 = scaled.reference2;
  const ScaledSum& candidate2 = scaled.candidate2;
  if (reference2.value > 0 && candidate2.value > 0) {
    const double norms = std::sqrt(reference2.value) * std::sqrt(candidate2.value);
    m.cosine =
        std::ldexp(scaled.product.value / norms,
                   scaled.product.exponent - (reference2.exponent + candidate2.exponent) / 2);
  } else {
    m.cosine = reference2.value == candidate2.value ? 1 : 0;
  }
  // The same as 1 - 2<x, y> / (|x|^2 + |y|^2), without its cancellation.
  ScaledSum norms = reference2;
  norms.add(candidate2);
  const double share = norms.value == 0 ? 0 : scaled.error2.value / norms.value;
  m.scale_difference = std::ldexp(share, scaled.error2.exponent - norms.exponent);
  m.max_abs = std::max(s.max_error, 0.0);
  m.max_ulp = s.ulp_max;
  m.mean_ulp = static_cast<double>(s.ulp_sum) / n;
  m.exact_share = static_cast<double>(s.equal) / n;
  m.nan_reference = s.nan_reference;
  m.nan_candidate = s.nan_candidate;
  m.inf_reference = s.inf_reference;
  m.inf_candidate = s.inf_candidate;
  m.unlike = s.unlike;
  m.not_hidden = s.not_hidden;
  return m;
}

template <class Real>
TensorMetrics measure_as(const ArrayView& reference, const Rows& rows, const ArrayView& candidate,
                         const Layout& layout, ThreadPool* pool) {
  const Measurement<Real> measurement(reference, rows, candidate, layout);
  const std::size_t count = measurement.count();
  std::vector<Part> parts(part_count(rows, count));
  const auto run = [&](std::size_t p) {
    parts[p] = measurement.run(count * p / parts.size(), count * (p + 1) / parts.size());
  };
  if (pool != nullptr) {
    pool->for_each_item(parts.size(), run);
  } else {
    for (std::size_t p = 0; p < parts.size(); ++p) run(p);
  }

  PairSums total;
  ScaledSums scaled;
  std::vector<ScaledSum> error2(rows.positions);
  std::vector<ScaledSum> reference2(rows.positions);
  std::vector<double> channels(parts[0].channel_error2.size());
  std::size_t r = 0;
  for (const Part& part : parts) {
    total.add(part.total);
    scaled.add(part.scaled);
    for (std::size_t i = 0; i < part.row_error2.size(); ++i) {
      const std::size_t position = measurement.reference_row(r++) % rows.positions;
      error2[position].add(part.row_error2[i]);
      reference2[position].add(part.row_reference2[i]);
    }
    for (std::size_t c = 0; c < part.channel_error2.size(); ++c) {
      channels[c] += part.channel_error2[c];
    }
  }
  TensorMetrics m = metrics_of(total, scaled);
  if (total.max_error >= 0) {
    m.max_index = index_in(reference.shape, total.max_index);
    const std::size_t row = total.max_index / rows.width;
    const std::size_t column = total.max_index % rows.width;
    std::vector<double> value(1);
    const std::size_t item = dtype_size(reference.dtype);
    widen(reference.dtype, reference.bytes.data() + total.max_index * item, 0, std::span(value));
    m.max_reference = value[0];
    const std::size_t candidate_row = layout.last_position ? row / rows.positions : row;
    CandidateRows(candidate, layout, rows.width).read(candidate_row, column, std::span(value));
    m.max_candidate = value[0];
  }
  for (std::size_t p = layout.last_position ? rows.positions - 1 : 0; p < rows.positions; ++p) {
    m.position_error.push_back(relative(error2[p], reference2[p]));
  }
  for (const double sum : channels) {
    m.channel_rmse.push_back(std::sqrt(sum / static_cast<double>(std::max<std::size_t>(count, 1))));
  }
  return m;
}

}  // namespace

TensorMetrics measure(const ArrayView& reference, std::size_t position_axis,
                      const ArrayView& candidate, const Layout& layout, ThreadPool* pool) {
  const Rows rows = rows_of(reference.shape, position_axis);
  if (rows.count() * rows.width == 0) return {};
  if (fits_float(reference.dtype) && fits_float(candidate.dtype)) {
    return measure_as<float>(reference, rows, candidate, layout, pool);
  }
  return measure_as<double>(reference, rows, candidate, layout, pool);
}

double root_mean_square(std::span<const double> errors) {
  double sum = 0;
  for (const double x : errors) sum += x * x;
  return std::sqrt(sum / static_cast<double>(std::max<std::size_t>(errors.size(), 1)));
}

double largest(std::span<const double> errors) {
  double most = 0;
  for (const double x : errors) most = std::max(most, x);
  return most;
}

}  // namespace assay
