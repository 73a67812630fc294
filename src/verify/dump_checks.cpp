#include "verify/dump_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/sha256.h"
#include "base/widen.h"
#include "verify/data_flow.h"
#include "verify/metrics.h"
#include "verify/reading.h"

namespace assay {
namespace {

// Below this distance, and far below the one from its own tap, an array is taken for another's.
constexpr double kAlike = 0.1;
constexpr double kMuchCloser = 0.3;
// Tensors further away than this are worth asking whose they are.
constexpr double kUnlike = 0.2;

bool only_last_position(const TensorMetrics& m) {
  const std::vector<double>& errors = m.position_error;
  return errors.size() > 1 && errors.back() < 0.5 &&
         std::all_of(errors.begin(), errors.end() - 1, [](double e) { return e == 1; });
}

std::string sentence(Tap own, Tap other, std::int64_t layer, const std::string& name,
                     std::int64_t layers) {
  if (other == Tap::kFinalNormOutput && own == Tap::kLayerOutput && layer == layers - 1) {
    return "holds the output of the final norm; the last layer's output is wanted, before it "
           "(transformers' output_hidden_states has this trap)";
  }
  if ((own == Tap::kAttnOutput && other == Tap::kAttnResidual) ||
      (own == Tap::kMlpOutput && other == Tap::kLayerOutput)) {
    return fmt::format("holds {}: the residual is already added", name);
  }
  if ((own == Tap::kAttnResidual && other == Tap::kAttnOutput) ||
      (own == Tap::kLayerOutput && other == Tap::kMlpOutput)) {
    return fmt::format("holds {}: the residual is not yet added", name);
  }
  return fmt::format("holds what the reference has as {}", name);
}

class Checks {
 public:
  Checks(const PromptArrays& arrays, const std::vector<TensorResult>& tensors)
      : arrays_(arrays), tensors_(tensors) {}

  std::vector<DumpFinding> run() {
    for (const TensorResult& tensor : tensors_) {
      if (tensor.verdict != Verdict::kFail || !parse_tap_name(tensor.name)) continue;
      if (!check_values(tensor) && tensor.metrics.relative_l2 > kUnlike) check_content(tensor);
    }
    check_twins();
    return std::move(findings_);
  }

 private:
  void find(const std::string& tensor, std::string text) {
    findings_.push_back({tensor, std::move(text)});
  }

  bool check_values(const TensorResult& tensor) {
    const TensorMetrics& m = tensor.metrics;
    if (m.nan_candidate > 0) {
      find(tensor.name,
           fmt::format("{} of {} elements are NaN", m.nan_candidate, m.compared + m.unlike));
      return true;
    }
    if (m.cosine == 0 && m.relative_l2 == 1) {
      find(tensor.name, "all zeros: was it dumped before it was computed?");
      return true;
    }
    if (only_last_position(m)) {
      find(tensor.name,
           "only the last position is filled, the others are zero: dump the whole prompt, or the "
           "last position alone");
      return true;
    }
    return false;
  }

  // Taps whose content is handed in by mistake for this one.
  std::vector<TapPlace> suspects(const TapPlace& place) const {
    const std::int64_t l = place.layer;
    std::vector<TapPlace> all;
    if (place.tap == Tap::kLayerOutput) {
      all.push_back({Tap::kFinalNormOutput, -1});
      for (const std::int64_t other : {l - 1, l + 1}) {
        if (other == -1) all.push_back({Tap::kEmbeddingOutput, -1});
        if (other >= 0 && other < arrays_.layers) all.push_back({Tap::kLayerOutput, other});
      }
    }
    if (l >= 0) {
      for (int t = 0; t < kTapCount; ++t) {
        const Tap tap = static_cast<Tap>(t);
        if (is_layer_tap(tap) && tap != place.tap) all.push_back({tap, l});
      }
    }
    if (place.tap == Tap::kFinalNormOutput) all.push_back({Tap::kLayerOutput, arrays_.layers - 1});
    return all;
  }

  void check_content(const TensorResult& tensor) {
    const TapPlace place = *parse_tap_name(tensor.name);
    const LoadedArray candidate = arrays_.candidate.load(tensor.candidate_name);
    ModelSpec spec;
    spec.num_hidden_layers = arrays_.layers;
    double closest = std::min(kAlike, kMuchCloser * tensor.metrics.relative_l2);
    std::optional<TapPlace> whose;
    for (const TapPlace& other : suspects(place)) {
      const std::string name = tap_name(other.tap, other.layer, spec);
      if (!arrays_.reference.contains(name)) continue;
      const double distance =
          distance_from(arrays_.reference.load(name).view, other.tap, candidate);
      if (distance < closest) {
        closest = distance;
        whose = other;
      }
    }
    if (whose) {
      const std::string name = tap_name(whose->tap, whose->layer, spec);
      find(tensor.name, sentence(place.tap, whose->tap, place.layer, name, arrays_.layers));
    } else if (place.tap == Tap::kLayerOutput) {
      check_without_residual(tensor, place, candidate, spec);
    }
  }

  static double distance_from(const ArrayView& reference, Tap tap, const LoadedArray& candidate) {
    const std::size_t axis = position_axis(tap);
    double least = INFINITY;
    for (const Reading& reading : readings(reference.shape, axis, candidate.view.shape)) {
      if (reading.strangeness > 0) break;
      least =
          std::min(least, measure(reference, axis, candidate.view, reading, nullptr).relative_l2);
    }
    return least;
  }

  // With layer outputs only: is it what the layer adds, and not the sum?
  void check_without_residual(const TensorResult& tensor, const TapPlace& place,
                              const LoadedArray& candidate, const ModelSpec& spec) {
    const TapPlace before = computed_from({Tap::kInputNorm, place.layer}, arrays_.layers, true)[0];
    const std::string name = tap_name(before.tap, before.layer, spec);
    if (!arrays_.reference.contains(name)) return;
    const LoadedArray sum = arrays_.reference.load(tensor.name);
    const LoadedArray residual = arrays_.reference.load(name);
    if (sum.view.shape != residual.view.shape) return;
    const auto size = static_cast<std::size_t>(element_count(sum.view.shape, name));
    std::vector<double> x(size);
    std::vector<double> y(size);
    widen_all(sum.view, x);
    widen_all(residual.view, y);
    Array difference{tensor.name, DType::kF64, sum.view.shape, {}};
    difference.bytes.resize(size * sizeof(double));
    std::ranges::transform(x, y, difference.as<double>().begin(), std::minus<>());
    if (distance_from(difference.view(), place.tap, candidate) < kAlike) {
      find(tensor.name,
           fmt::format("holds what the layer adds to {}: the residual is not yet added", name));
    }
  }

  static void widen_all(const ArrayView& array, std::vector<double>& out) {
    widen(array.dtype, array.bytes.data(), static_cast<std::ptrdiff_t>(dtype_size(array.dtype)),
          std::span(out));
  }

  // The same bytes under two names, where the reference's differ.
  void check_twins() {
    std::map<std::string, std::string> first_of;
    for (const TensorResult& tensor : tensors_) {
      if (tensor.verdict == Verdict::kNotCompared || tensor.verdict == Verdict::kError) continue;
      if (!parse_tap_name(tensor.name) || tensor.metrics.compared < 2) continue;
      if (std::ranges::any_of(findings_, [&](const auto& f) { return f.tensor == tensor.name; })) {
        continue;
      }
      const LoadedArray array = arrays_.candidate.load(tensor.candidate_name);
      const std::string key = sha256_hex(array.view.bytes) + shape_text(array.view.shape);
      const auto [twin, is_new] = first_of.emplace(key, tensor.name);
      if (is_new || same_in_reference(twin->second, tensor.name)) continue;
      find(tensor.name,
           fmt::format("has the same content as {}: was one buffer dumped twice?", twin->second));
    }
  }

  bool same_in_reference(const std::string& a, const std::string& b) const {
    return std::ranges::equal(arrays_.reference.load(a).view.bytes,
                              arrays_.reference.load(b).view.bytes);
  }

  const PromptArrays& arrays_;
  const std::vector<TensorResult>& tensors_;
  std::vector<DumpFinding> findings_;
};

}  // namespace

std::vector<DumpFinding> check_dump(const PromptArrays& arrays,
                                    const std::vector<TensorResult>& tensors) {
  if (std::ranges::none_of(tensors, [](const auto& t) { return t.verdict == Verdict::kFail; })) {
    return {};
  }
  return Checks(arrays, tensors).run();
}

}  // namespace assay
