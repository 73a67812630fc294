#include "verify/dump_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/sha256.h"
#include "base/widen.h"
#include "candidate/data_flow.h"
#include "candidate/dump_forms.h"
#include "candidate/reading.h"
#include "metrics/metrics.h"

namespace assay {
namespace {

// Below this distance, and much closer than to its own tap, an array is taken for another tap's.
constexpr double kAlike = 0.1;
constexpr double kMuchCloser = 0.3;
// Tensors with a larger error are compared with other taps.
constexpr double kUnlike = 0.2;

// Of a tap or of a captured module.
bool is_activation(const TensorResult& tensor) {
  return parse_tap_name(tensor.name) || !tensor.module.empty();
}

bool only_last_position(const TensorMetrics& m) {
  const std::vector<double>& errors = m.position_error;
  return errors.size() > 1 && errors.back() < 0.5 &&
         std::all_of(errors.begin(), errors.end() - 1, [](double e) { return e == 1; });
}

class Checks {
 public:
  Checks(const ArrayFile& reference, std::int64_t layers, const TensorResult& tensor,
         const ArrayView& candidate)
      : reference_(reference), layers_(layers), tensor_(tensor), candidate_(candidate) {}

  std::optional<std::string> run() const {
    if (auto text = check_values()) return text;
    if (tensor_.metrics.relative_l2 > kUnlike && parse_tap_name(tensor_.name)) {
      return check_content();
    }
    return std::nullopt;
  }

 private:
  std::optional<std::string> check_values() const {
    const TensorMetrics& m = tensor_.metrics;
    if (m.nan_candidate > 0) {
      return fmt::format("{} of {} elements are NaN", m.nan_candidate,
                         element_count(candidate_.shape, candidate_.name));
    }
    if (m.cosine == 0 && m.relative_l2 == 1) {
      return "all zeros: was it dumped before it was computed?";
    }
    if (only_last_position(m)) {
      return "only the last position is filled, the others are zero: dump the whole prompt, or the "
             "last position alone";
    }
    return std::nullopt;
  }

  // Taps whose content is often dumped under this one's name: more than forms_of() has, because
  // without the model's sizes only the arrays' own shapes tell which are possible.
  std::vector<TapPlace> suspects(const TapPlace& place) const {
    const std::int64_t l = place.layer;
    std::vector<TapPlace> all;
    if (place.tap == Tap::kLayerOutput) {
      all.push_back({Tap::kFinalNormOutput, -1});
      all.push_back(stream_into(l));
      if (l + 1 < layers_) all.push_back({Tap::kLayerOutput, l + 1});
    }
    if (l >= 0) {
      for (int t = 0; t < kTapCount; ++t) {
        const Tap tap = static_cast<Tap>(t);
        if (is_layer_tap(tap) && tap != place.tap) all.push_back({tap, l});
      }
    }
    if (place.tap == Tap::kFinalNormOutput) all.push_back({Tap::kLayerOutput, layers_ - 1});
    return all;
  }

  std::optional<std::string> check_content() const {
    const TapPlace place = *parse_tap_name(tensor_.name);
    ModelSpec spec;
    spec.num_hidden_layers = layers_;
    double closest = std::min(kAlike, kMuchCloser * tensor_.metrics.relative_l2);
    std::optional<TapPlace> whose;
    for (const TapPlace& other : suspects(place)) {
      const std::string name = tap_name(other.tap, other.layer, spec);
      if (!reference_.contains(name)) continue;
      const double distance = distance_from(reference_.load(name).view, other.tap);
      if (distance < closest) {
        closest = distance;
        whose = other;
      }
    }
    if (whose) {
      const std::string name = tap_name(whose->tap, whose->layer, spec);
      if (auto text = known_mix_up(place, *whose, name, layers_)) return text;
      return fmt::format("holds the reference's {}", name);
    }
    if (place.tap == Tap::kLayerOutput) return check_without_residual(place, spec);
    return std::nullopt;
  }

  double distance_from(const ArrayView& reference, Tap tap) const {
    const std::size_t axis = position_axis(tap);
    double least = INFINITY;
    for (const Reading& reading : readings(reference.shape, axis, candidate_.shape)) {
      if (reading.rank > 0) break;
      least = std::min(least, measure(reference, axis, candidate_, reading, nullptr).relative_l2);
    }
    return least;
  }

  // With only layer outputs: whether it is what the layer adds, not the sum.
  std::optional<std::string> check_without_residual(const TapPlace& place,
                                                    const ModelSpec& spec) const {
    const TapPlace before = stream_into(place.layer);
    const std::string name = tap_name(before.tap, before.layer, spec);
    if (!reference_.contains(name)) return std::nullopt;
    const LoadedArray sum = reference_.load(tensor_.name);
    const LoadedArray residual = reference_.load(name);
    if (sum.view.shape != residual.view.shape) return std::nullopt;
    const auto size = static_cast<std::size_t>(element_count(sum.view.shape, name));
    std::vector<double> x(size);
    std::vector<double> y(size);
    widen_all(sum.view, x);
    widen_all(residual.view, y);
    Array difference{tensor_.name, DType::kF64, sum.view.shape, {}};
    difference.bytes.resize(size * sizeof(double));
    std::ranges::transform(x, y, difference.as<double>().begin(), std::minus<>());
    if (distance_from(difference.view(), place.tap) >= kAlike) return std::nullopt;
    return fmt::format("holds what the layer adds to {}: {}", name, residual_not_added());
  }

  static void widen_all(const ArrayView& array, std::vector<double>& out) {
    widen(array.dtype, array.bytes.data(), static_cast<std::ptrdiff_t>(dtype_size(array.dtype)),
          std::span(out));
  }

  const ArrayFile& reference_;
  std::int64_t layers_;
  const TensorResult& tensor_;
  const ArrayView& candidate_;
};

}  // namespace

std::optional<DumpFinding> check_tensor(const ArrayFile& reference, std::int64_t layers,
                                        const TensorResult& tensor, const ArrayView& candidate) {
  if (tensor.verdict != Verdict::kFail || !is_activation(tensor)) return std::nullopt;
  std::optional<std::string> text = Checks(reference, layers, tensor, candidate).run();
  if (!text) return std::nullopt;
  return DumpFinding{tensor.name, std::move(*text)};
}

std::optional<DumpFinding> Twins::add(const TensorResult& tensor, const ArrayView& candidate) {
  if (!is_activation(tensor) || tensor.metrics.compared < 2) return std::nullopt;
  const std::string key = sha256_hex(candidate.bytes) + shape_text(candidate.shape);
  const auto [twin, is_new] = first_of_.emplace(key, tensor.name);
  if (is_new || twin->second == tensor.name) return std::nullopt;
  if (std::ranges::equal(reference_.load(twin->second).view.bytes,
                         reference_.load(tensor.name).view.bytes)) {
    return std::nullopt;
  }
  return DumpFinding{tensor.name, fmt::format("has the same content as {}: was one buffer dumped "
                                              "twice?",
                                              twin->second)};
}

std::vector<DumpFinding> check_dump(const ArrayFile& reference, const ArrayFile& candidate,
                                    std::int64_t layers, const std::vector<TensorResult>& tensors) {
  std::vector<DumpFinding> findings;
  if (std::ranges::none_of(tensors, [](const auto& t) { return t.verdict == Verdict::kFail; })) {
    return findings;
  }
  Twins twins(reference);
  for (const TensorResult& tensor : tensors) {
    if (tensor.verdict == Verdict::kError || tensor.verdict == Verdict::kNotCompared) continue;
    const LoadedArray array = candidate.load(tensor.candidate_name);
    std::optional<DumpFinding> finding = check_tensor(reference, layers, tensor, array.view);
    if (!finding) finding = twins.add(tensor, array.view);
    if (finding) findings.push_back(std::move(*finding));
  }
  return findings;
}

}  // namespace assay
