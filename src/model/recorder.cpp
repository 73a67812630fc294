#include "model/recorder.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace assay {
namespace {

// The CPU chooses which NaN an operation makes, so always write the same: 0x7FC00000 or
// 0x7FF8000000000000.
template <class Real>
Real with_one_nan(Real x) {
  return x == x ? x : std::numeric_limits<Real>::quiet_NaN();
}

// The f64 run's masked scores must not become infinite when stored as FP32.
float to_stored(double value) {
  constexpr double kMax = std::numeric_limits<float>::max();
  const bool finite = value - value == 0.0;
  return with_one_nan(static_cast<float>(finite ? std::clamp(value, -kMax, kMax) : value));
}

template <class Real>
void store(const Real* from, std::int64_t count, Array& to, std::int64_t offset) {
  const auto begin = static_cast<std::size_t>(offset);
  const auto n = static_cast<std::size_t>(count);
  if (to.dtype == DType::kF64) {
    std::transform(from, from + n, to.as<double>().subspan(begin).begin(),
                   [](Real x) { return with_one_nan(static_cast<double>(x)); });
  } else if (to.dtype == DType::kI64) {
    std::transform(from, from + n, to.as<std::int64_t>().subspan(begin).begin(),
                   [](Real id) { return static_cast<std::int64_t>(id); });
  } else if constexpr (sizeof(Real) == sizeof(float)) {
    std::transform(from, from + n, to.as<float>().subspan(begin).begin(), with_one_nan<float>);
  } else {
    std::transform(from, from + n, to.as<float>().subspan(begin).begin(), to_stored);
  }
}

}  // namespace

template <class Real>
Recorder<Real>::Recorder(const ModelSpec& spec, TapSet taps, std::int64_t tokens, DType store,
                         Sink sink)
    : spec_(spec), taps_(std::move(taps)), tokens_(tokens), store_(store), sink_(std::move(sink)) {
  slots_.resize(static_cast<std::size_t>(spec.num_hidden_layers) * kTapCount);
}

template <class Real>
typename Recorder<Real>::Slot& Recorder<Real>::slot(Tap tap, std::int64_t layer) {
  return slots_[static_cast<std::size_t>(layer * kTapCount + static_cast<int>(tap))];
}

template <class Real>
Array& Recorder<Real>::array(Tap tap, std::int64_t layer) {
  Array& a = slot(tap, layer).array;
  if (a.bytes.empty()) {
    a.name = tap_name(tap, layer, spec_);
    a.dtype = tap == Tap::kExpertIds ? DType::kI64 : store_;
    a.shape = tap_shape(tap, layer, spec_, tokens_);
    a.bytes.resize(static_cast<std::size_t>(element_count(a.shape, a.name)) * dtype_size(a.dtype));
  }
  return a;
}

template <class Real>
void Recorder<Real>::rows(Tap tap, std::int64_t layer, std::int64_t first, std::int64_t count,
                          std::size_t width, Real* values) {
  const auto n = static_cast<std::int64_t>(width);
  store(values, count * n, array(tap, layer), first * n);
  add_positions(tap, layer, count);
}

template <class Real>
void Recorder<Real>::columns(std::int64_t position, std::int64_t column, std::int64_t count,
                             Real* values) {
  Array& a = array(Tap::kLogits, 0);
  const std::int64_t width = a.shape.back();
  store(values, count, a, position * width + column);
  if (column + count == width) add_positions(Tap::kLogits, 0, 1);
}

template <class Real>
void Recorder<Real>::begin_attention(Tap tap, std::int64_t layer, Real masked) {
  if (!slot(tap, layer).array.bytes.empty()) return;  // an earlier chunk of the prompt made it
  Array& a = array(tap, layer);
  if (a.dtype == DType::kF64) {
    std::ranges::fill(a.template as<double>(), static_cast<double>(masked));
  } else {
    std::ranges::fill(a.template as<float>(), to_stored(masked));
  }
}

template <class Real>
void Recorder<Real>::attention(Tap tap, std::int64_t layer, const AttentionRows<Real>& rows) {
  for (std::int64_t i = 0; i < rows.queries; ++i) {
    const std::int64_t row = rows.head * tokens_ + rows.first_query + i;
    store(rows.values + static_cast<std::size_t>(i) * rows.stride, rows.keys, array(tap, layer),
          row * tokens_ + rows.first_key);
  }
}

template <class Real>
void Recorder<Real>::add_positions(Tap tap, std::int64_t layer, std::int64_t count) {
  Slot& s = slot(tap, layer);
  s.positions += count;
  if (sink_ && s.positions == tokens_) sink_(std::exchange(s.array, {}));
}

template <class Real>
std::vector<Array> Recorder<Real>::take() {
  std::vector<Array> taken;
  const auto move_out = [&](Tap tap, std::int64_t layer) {
    Array& a = slot(tap, layer).array;
    if (!a.bytes.empty()) taken.push_back(std::move(a));
  };
  move_out(Tap::kEmbeddingOutput, 0);
  for (std::int64_t layer = 0; layer < spec_.num_hidden_layers; ++layer) {
    for (int t = 0; t < kTapCount; ++t) {
      if (is_layer_tap(static_cast<Tap>(t))) move_out(static_cast<Tap>(t), layer);
    }
  }
  move_out(Tap::kFinalNormOutput, 0);
  move_out(Tap::kLogits, 0);
  slots_.clear();
  slots_.resize(static_cast<std::size_t>(spec_.num_hidden_layers) * kTapCount);
  return taken;
}

template class Recorder<float>;
template class Recorder<double>;

}  // namespace assay
