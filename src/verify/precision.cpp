#include "verify/precision.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <set>
#include <span>
#include <utility>

#include "assay/error.h"
#include "base/widen.h"
#include "candidate/data_flow.h"
#include "metrics/grid_count.h"
#include "metrics/metrics.h"

namespace assay {
namespace {

// Samples runs of elements spread over the array, to read few pages of a mapped file.
constexpr std::size_t kRuns = 64;
constexpr std::size_t kRun = 64;
constexpr std::size_t kFewest = 24;

// The same for all layers: "q_proj"; of a captured array "model.layers.*.mlp".
std::string base_name(const std::string& name) {
  const std::optional<TapPlace> place = parse_tap_name(name);
  if (place) return std::string(tap_base_name(place->tap));
  std::string base;
  for (const char c : name) {
    const bool is_digit = c >= '0' && c <= '9';
    if (!is_digit) {
      base += c;
    } else if (base.ends_with('.')) {
      base += '*';
    } else if (!base.ends_with('*')) {
      base += c;
    }
  }
  return base;
}

bool is_measured(const TensorResult& tensor) {
  return tensor.oracle_error && tensor.noise_ratio && tensor.limits && tensor.limits->noise_ratio &&
         !tensor.oracle_error->positions.empty() && tensor.verdict != Verdict::kError &&
         tensor.verdict != Verdict::kNotCompared;
}

// Of arrays with one value for each position. Where that value has nearly cancelled, its relative
// error tells nothing, so only the whole array is judged, unless it has very few positions.
bool is_single(const TensorResult& tensor) {
  return tensor.metrics.compared == std::ssize(tensor.oracle_error->positions);
}
constexpr std::size_t kFewestSingles = 4;

// An engine with this rounding may be further off than the reference.
void widen_noise(TensorResult& tensor, const TypeNoise& noise, const Profile& profile) {
  const std::optional<TypeNoise::Levels> levels = noise.levels(tensor);
  if (!levels) return;
  const std::vector<double>& error = tensor.oracle_error->positions;
  const double whole = levels->last_only ? levels->positions : levels->whole;
  if (whole > *tensor.noise) {
    tensor.noise_ratio = *tensor.noise_ratio * *tensor.noise / whole;
    tensor.noise = whole;
  }
  tensor.position_ratio =
      levels->last_only || is_single(tensor)
          ? *tensor.noise_ratio
          : std::min(*tensor.position_ratio, root_mean_square(error) / levels->positions);
  judge(tensor, profile);
}

}  // namespace

TypeNoise::TypeNoise(NoiseByTap noise) : noise_(std::move(noise)) {
  struct All {
    std::vector<double> whole;
    std::vector<double> positions;
  };
  std::map<std::string, All> taps;
  for (const auto& [name, own] : noise_) {
    All& all = taps[base_name(name)];
    all.whole.push_back(own.whole);
    all.positions.push_back(root_mean_square(own.positions));
  }
  for (const auto& [tap, all] : taps) {
    of_tap_[tap] = {root_mean_square(all.whole), root_mean_square(all.positions)};
  }
}

std::optional<TypeNoise::Levels> TypeNoise::levels(const TensorResult& tensor) const {
  const auto found = noise_.find(tensor.name);
  if (found == noise_.end() || !tensor.oracle_error) return std::nullopt;
  const std::size_t positions = found->second.positions.size();
  const std::size_t compared = tensor.oracle_error->positions.size();
  const bool is_cut =
      tensor.same_until && std::cmp_equal(*tensor.same_until, compared) && compared <= positions;
  if (compared != positions && compared != 1 && !is_cut) return std::nullopt;
  const Levels& tap = of_tap_.at(base_name(tensor.name));
  return Levels{std::max(found->second.whole, tap.whole),
                std::max(root_mean_square(found->second.positions), tap.positions),
                compared != positions && !is_cut, &found->second};
}

std::optional<double> TypeNoise::ratio(const TensorResult& tensor) const {
  const std::optional<Levels> own = levels(tensor);
  if (!own) return std::nullopt;
  const std::vector<double>& noise = own->noise->positions;
  const OracleError& error = *tensor.oracle_error;
  if (is_single(tensor)) {
    if (error.positions.size() < kFewestSingles || tensor.same_until) return std::nullopt;
    return error.whole / own->whole;
  }
  if (own->last_only) {
    if (tensor.same_until) return std::nullopt;
    return error.positions.back() / std::max(noise.back(), own->positions);
  }
  const std::span<const double> judged =
      std::span(error.positions)
          .first(tensor.same_until ? static_cast<std::size_t>(*tensor.same_until) : noise.size());
  if (judged.empty()) return std::nullopt;
  double most = root_mean_square(judged) / own->positions;
  if (judged.size() == noise.size()) most = std::max(most, error.whole / own->whole);
  for (std::size_t p = 0; p < judged.size(); ++p) {
    most = std::max(most, error.positions[p] / std::max(noise[p], own->positions) / kOnePosition);
  }
  return most;
}

std::optional<Grid> grid_of(const ArrayView& array) {
  const std::size_t item = dtype_size(array.dtype);
  const std::size_t size = array.bytes.size() / item;
  const std::size_t step = std::max(size / kRuns, kRun);
  GridCount values;
  std::array<float, kRun> buffer;
  for (std::size_t first = 0; first < size; first += step) {
    const std::span<float> run = std::span(buffer).first(std::min(kRun, size - first));
    widen(array.dtype, array.bytes.data() + first * item, static_cast<std::ptrdiff_t>(item), run);
    for (const float x : run) {
      // Values that every type can represent tell nothing: zeros, ones, a mask.
      const auto bits = std::bit_cast<std::uint32_t>(x);
      if ((bits & 0x007FFFFFu) == 0 || !std::isfinite(x) || x < static_cast<float>(kHiddenScore)) {
        continue;
      }
      values.add(x);
    }
  }
  if (values.count() < kFewest) return std::nullopt;
  return values.grid();
}

Grid grid_of(ExpectedType as) {
  return as == ExpectedType::kBf16  ? Grid::kBf16
         : as == ExpectedType::kF16 ? Grid::kF16
                                    : Grid::kF32;
}

std::optional<ExpectedType> parse_expected(const std::string& text) {
  if (text.empty()) return std::nullopt;
  if (text == "f32") return ExpectedType::kF32;
  if (text == "f16") return ExpectedType::kF16;
  if (text == "bf16") return ExpectedType::kBf16;
  if (text == "q8") return ExpectedType::kQ8;
  throw usage_error("--as", "'" + text + "'", "f32, f16, bf16 or q8");
}

namespace {

// In some models.
bool is_never_rounded(Tap tap) {
  return tap == Tap::kRouterLogits || tap == Tap::kRouterScores || tap == Tap::kExpertWeights ||
         tap == Tap::kGdnDecay;
}

}  // namespace

std::vector<std::optional<Grid>> types_of(std::span<const TensorResult> tensors,
                                          const Precision& precision) {
  std::vector<std::optional<Grid>> types(tensors.size());
  std::optional<Grid> coarsest;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorResult& tensor = tensors[i];
    const std::optional<TapPlace> place = parse_tap_name(tensor.name);
    const ModuleArray* module = precision.modules ? precision.modules->find(tensor.name) : nullptr;
    if (module != nullptr ? module->is_integer : !place || place->tap == Tap::kExpertIds) continue;
    const bool is_lookup =
        module != nullptr ? module->is_lookup : place->tap == Tap::kEmbeddingOutput;
    if (precision.as) {
      types[i] = grid_of(*precision.as);
    } else if (place && is_never_rounded(place->tap)) {
      types[i] = coarsest;
    } else if (is_lookup) {
      types[i] = tensor.grid;  // the weights' own, no evidence about later values
    } else {
      if (tensor.grid) coarsest = std::min(coarsest.value_or(Grid::kF32), *tensor.grid);
      types[i] = coarsest;
    }
  }
  return types;
}

void judge_precision(TensorResult& tensor, std::optional<Grid> type, const Precision& precision,
                     const Profile& profile) {
  if (!type || !is_measured(tensor)) return;
  if (tensor.verdict == Verdict::kCoarse) {  // judged before other tensors were known
    tensor.verdict = Verdict::kPass;
    tensor.reason.clear();
  }
  tensor.precision_ratio.reset();
  tensor.limits->precision_ratio.reset();
  if (precision.as == ExpectedType::kQ8 && precision.q8)
    widen_noise(tensor, *precision.q8, profile);
  if (precision.as == ExpectedType::kF16 && precision.f16)
    widen_noise(tensor, *precision.f16, profile);
  // For 8-bit activations the widened noise is the only limit.
  if (precision.as == ExpectedType::kQ8) return;
  tensor.type = type;
  if (type == Grid::kBf16) return;
  const std::shared_ptr<const TypeNoise>& noise =
      type == Grid::kF16 ? precision.f16 : precision.f32;
  if (noise) tensor.precision_ratio = noise->ratio(tensor);
  if (!tensor.precision_ratio) return;
  const double limit = type == Grid::kF16 ? kBeyondF16 : kBeyondF32;
  tensor.limits->precision_ratio = limit;
  if (tensor.verdict != Verdict::kPass || *tensor.precision_ratio <= limit) return;
  tensor.verdict = Verdict::kCoarse;
  tensor.reason = fmt::format("within BF16's noise, but {:.3g} times {}'s, limit {:g}",
                              *tensor.precision_ratio, grid_name(*type), limit);
}

void judge_precision(std::span<TensorResult> tensors, const Precision& precision,
                     const Profile& profile) {
  const std::vector<std::optional<Grid>> types = types_of(tensors, precision);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    judge_precision(tensors[i], types[i], precision, profile);
  }
}

std::string about_precision(std::span<const PromptResult> prompts) {
  std::set<Grid> judged;
  std::set<Grid> open;
  for (const PromptResult& prompt : prompts) {
    for (const TensorResult& tensor : prompt.tensors) {
      if (!tensor.type || *tensor.type == Grid::kBf16) continue;
      (tensor.precision_ratio ? judged : open).insert(*tensor.type);
    }
  }
  const auto names = [](const std::set<Grid>& grids) {
    std::vector<std::string_view> all;
    for (const Grid grid : grids) all.push_back(grid_name(grid));
    return fmt::format("{}", fmt::join(all, " and "));
  };
  std::string text;
  if (!judged.empty()) {
    text = fmt::format("the values are {}, and are also compared with its noise", names(judged));
  }
  if (!open.empty()) {
    if (!text.empty()) text += "; ";
    text += fmt::format(
        "the values are {}, but only compared with BF16's noise: the reference does not have {}'s "
        "(give --model to measure it)",
        names(open), names(open));
  }
  return text;
}

}  // namespace assay
