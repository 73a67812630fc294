#include "diagnose/scene.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <map>
#include <mutex>

#include "rewrite/ggml_operands.h"

namespace assay {
namespace {

// Half the error of one rounding. An exact operation has no noise, but distances are divided by it.
constexpr double kLeastNoise = kBf16Rounding / 2;
// Smaller fractions of the noise are not distinguished.
constexpr std::int64_t kLongPrompt = 256;
constexpr double kFinest = 1.0 / 32;

// An FP32 engine may add in any order, in the worst case one element after the other; our own sums
// are among the most accurate.
constexpr double kLeastF32Noise = 5e-7;
constexpr double kOrderOfSums = 4;

// How many of a site's values may flip to the neighbour when they are rounded, and how much this
// may add to the noise, as a fraction of the rounding's own effect.
constexpr double kFlips = 4;
constexpr double kMostOfEffect = 1.0 / 8;

// Kernels that round their exponentials compute them by a short polynomial, so some are rounded to
// the neighbour: PyTorch's fexp_u20 (ATen/cpu/vec) is off by at most 1.07e-4.
constexpr double kFastExponential = 1e-4;

double least_noise(Grid grid) {
  return grid == Grid::kF32 ? kLeastF32Noise : one_rounding(grid) / 2;
}

}  // namespace

Scene::Scene(const Model& model, std::vector<Evidence> evidence, ThreadPool& pool,
             std::optional<Grid> grid)
    : model_(model),
      evidence_(std::move(evidence)),
      pool_(pool),
      grid_(grid ? *grid : grid_of(evidence_, model.program)),
      rounding_(grid_ == Grid::kBf16  ? Rounding::kBf16
                : grid_ == Grid::kF16 ? Rounding::kF16
                                      : Rounding::kF32),
      ggml_operands_(assay::ggml_operands(model)) {
  find_segments();
  find_coarse_taps();
  noise_ = measure_noise(right(), rounding_);
  coarse_noise_ = grid_ == Grid::kBf16 ? noise_ : measure_noise(right(), Rounding::kBf16);
}

void Scene::find_segments() {
  const auto given = [this](Tap tap, std::int64_t layer) {
    return std::ranges::all_of(evidence_, [&](const Evidence& e) {
      const Site* site = e.find(tap, layer);
      return site != nullptr && site->taken && !site->last_only;
    });
  };
  segments_.push_back({});  // the embedding
  if (given(Tap::kEmbeddingOutput, 0)) segments_.push_back({});
  for (std::int64_t l = 0; l < spec().num_hidden_layers; ++l) {
    if (l > 0 && given(Tap::kLayerOutput, l - 1)) segments_.push_back({});
    segments_.back().layers.push_back(l);
    segment_of_layer_.push_back(segments_.size() - 1);
  }
  if (given(Tap::kLayerOutput, spec().num_hidden_layers - 1)) segments_.push_back({});
  segments_.back().head = true;
}

void Scene::find_coarse_taps() {
  if (grid_ != Grid::kF32) return;
  std::set<Tap> taps;
  for (const Evidence& evidence : evidence_) {
    for (const Site& site : evidence.sites) taps.insert(site.place.tap);
  }
  // Weights have their own grid, and expert ids lie on any.
  taps.erase(Tap::kEmbeddingOutput);
  taps.erase(Tap::kExpertIds);
  for (const Tap tap : unrounded_taps(model_.program)) taps.erase(tap);
  for (const Tap tap : taps) {
    const Grid grid = grid_of(evidence_, tap);
    if (grid == Grid::kF32) continue;
    HeldValues held;
    held.what = HeldValues::What::kResult;
    held.result = tap;
    held.type = grid == Grid::kBf16 ? OperandType::kBf16 : OperandType::kF16;
    coarse_taps_.push_back(std::move(held));
  }
}

double Scene::noise_in(OperandType type, std::size_t evidence, std::size_t site) const {
  // F16 has three more mantissa bits than BF16.
  return coarse_noise_[evidence][site] / (type == OperandType::kF16 ? 8 : 1);
}

std::size_t Scene::segment_of(const Site& site) const {
  if (site.place.tap == Tap::kEmbeddingOutput) return 0;
  if (site.place.layer < 0) return segments_.size() - 1;
  return segment_of_layer_[static_cast<std::size_t>(site.place.layer)];
}

Score Scene::evaluate(const Hypothesis& hypothesis, const std::set<std::size_t>& segments) const {
  return evaluate(hypothesis, segments, pool_);
}

std::vector<Score> Scene::evaluate_all(std::size_t count,
                                       const std::function<Hypothesis(std::size_t)>& hypothesis,
                                       const std::set<std::size_t>& segments,
                                       const std::function<void(std::size_t)>& done) const {
  std::vector<Score> scores(count);
  std::mutex mutex;
  std::size_t finished = 0;
  std::exception_ptr error;
  // One thread per item: most operations are too small to be split.
  pool_.for_each_item(count, [&](std::size_t i) {
    try {
      ThreadPool alone(1);
      scores[i] = evaluate(hypothesis(i), segments, alone);
      const std::lock_guard lock(mutex);
      if (done) done(++finished);
    } catch (...) {
      const std::lock_guard lock(mutex);
      error = std::current_exception();
    }
  });
  if (error) std::rethrow_exception(error);
  return scores;
}

Score Scene::evaluate(const Hypothesis& hypothesis, const std::set<std::size_t>& segments,
                      ThreadPool& pool) const {
  Score score;
  score.cost.resize(segments_.size());
  score.ran.resize(segments_.size());
  ReplayOptions options;
  options.head = false;
  for (std::size_t s = 0; s < segments_.size(); ++s) {
    // The embedding is always computed.
    if (!segments.empty() && !segments.contains(s) && s != 0) continue;
    score.ran[s] = true;
    options.head = options.head || segments_[s].head;
  }
  // Other segments run too if a layer reads their keys and values.
  std::vector<bool> runs = score.ran;
  for (std::size_t s = segments_.size(); s-- > 0;) {
    if (!runs[s]) continue;
    for (const std::int64_t l : segments_[s].layers) {
      for (const Import& import : hypothesis.program.layers[static_cast<std::size_t>(l)].imports) {
        if (import.from.layer < 0) continue;
        runs[segment_of_layer_[static_cast<std::size_t>(import.from.layer)]] = true;
      }
    }
  }
  for (std::size_t s = 0; s < segments_.size(); ++s) {
    if (!runs[s]) continue;
    options.layers.insert(options.layers.end(), segments_[s].layers.begin(),
                          segments_[s].layers.end());
  }
  for (std::size_t e = 0; e < evidence_.size(); ++e) {
    score.sites.push_back(replay(model_, hypothesis, evidence_[e], rounding_, options, pool).sites);
    for (std::size_t i = 0; i < score.sites[e].size(); ++i) {
      const std::size_t segment = segment_of(evidence_[e].sites[i]);
      if (!score.ran[segment]) continue;
      // A tap that the candidate has but the hypothesis does not compute counts as wrong.
      const Distance wrong{.seen = true, .error = 1, .exact = 0};
      const Distance& distance = score.sites[e][i];
      score.cost[segment] += cost(e, i, distance.seen ? distance : wrong);
    }
  }
  ++runs_;
  return score;
}

ReplayResult Scene::look(const Hypothesis& hypothesis, std::size_t evidence) const {
  ReplayOptions options = all_layers(spec());
  options.keep = true;
  return replay(model_, hypothesis, evidence_[evidence], rounding_, options, pool_);
}

Scene::Noise Scene::measure_noise(const Hypothesis& hypothesis, Rounding rounding) const {
  Noise noise;
  for (const Evidence& evidence : evidence_) {
    ReplayOptions options = all_layers(spec());
    options.keep = true;
    const ReplayResult rounded = replay(model_, hypothesis, evidence, rounding, options, pool_);
    options.keep = false;
    options.against = &rounded.computed;
    const ReplayResult exact = replay(model_, hypothesis, evidence, Rounding::kF64, options, pool_);
    std::vector<double>& own = noise.emplace_back();
    for (const Distance& distance : exact.sites) {
      const double orders = grid_ == Grid::kF32 && rounding == Rounding::kF32 ? kOrderOfSums : 1;
      own.push_back(std::max(orders * distance.error, least_noise(grid_)));
    }
  }
  return noise;
}

// Where such engines may round in either way, both are right. Some values are so near a border that
// they flip to the neighbour: one step, which is sqrt(12) times the average rounding error of a
// value.
void Scene::add_coarse_roundings(const Hypothesis& hypothesis, Noise& noise) const {
  Hypothesis without = hypothesis;
  without.held.clear();
  Hypothesis other = hypothesis;
  for (HeldValues& held : other.held) {
    held.type = held.other.value_or(held.type);
    if (held.before_division) held.exponential_error = kFastExponential;
  }
  for (std::size_t e = 0; e < evidence_.size(); ++e) {
    ReplayOptions options = all_layers(spec());
    options.keep = true;
    const ReplayResult one = replay(model_, hypothesis, evidence_[e], rounding_, options, pool_);
    options.keep = false;
    options.against = &one.computed;
    const auto add = [&](const Hypothesis& changed, const auto& part_of) {
      const ReplayResult two = replay(model_, changed, evidence_[e], rounding_, options, pool_);
      for (std::size_t i = 0; i < noise[e].size(); ++i) {
        noise[e][i] = std::hypot(noise[e][i], two.sites[i].error * part_of(evidence_[e].sites[i]));
      }
    };
    add(without, [](const Site& site) {
      const auto values = static_cast<double>(site.values.size());
      return std::min(std::sqrt(12 * kFlips / values), kMostOfEffect);
    });
    if (other != hypothesis) add(other, [](const Site&) { return 1.0; });
  }
}

// Few values are near enough to a border to flip: none in one layer, some in the next.
void Scene::share_over_layers(Noise& noise) const {
  struct Sum {
    double squares = 0;
    double count = 0;
  };
  std::map<Tap, Sum> sums;
  for (std::size_t e = 0; e < noise.size(); ++e) {
    for (std::size_t i = 0; i < noise[e].size(); ++i) {
      Sum& sum = sums[evidence_[e].sites[i].place.tap];
      sum.squares += noise[e][i] * noise[e][i];
      ++sum.count;
    }
  }
  for (std::size_t e = 0; e < noise.size(); ++e) {
    for (std::size_t i = 0; i < noise[e].size(); ++i) {
      const Sum& sum = sums[evidence_[e].sites[i].place.tap];
      noise[e][i] = std::max(noise[e][i], std::sqrt(sum.squares / sum.count));
    }
  }
}

Scene::Noise Scene::noise_of(const Hypothesis& hypothesis) const {
  Noise noise = measure_noise(hypothesis, rounding_);
  if (hypothesis.held.empty()) return noise;
  add_coarse_roundings(hypothesis, noise);
  share_over_layers(noise);
  return noise;
}

std::string Scene::separate(const Hypothesis& a, const Hypothesis& b, std::int64_t layer) const {
  // Includes the layer's input.
  const auto of_layer = [&](Tap tap, std::int64_t l) {
    return !is_layer_tap(tap) || l == layer || (tap == Tap::kLayerOutput && l == layer - 1);
  };
  // The first tap at which the two differ, given the same inputs.
  const auto first_difference = [&](const std::vector<std::int64_t>& ids) -> std::string {
    const Evidence own = own_run(model_, a, ids, of_layer, pool_);
    ReplayOptions options = all_layers(spec());
    const ReplayResult other = replay(model_, b, own, Rounding::kBf16, options, pool_);
    for (std::size_t i = 0; i < own.sites.size(); ++i) {
      if (own.sites[i].place.layer == layer - 1 && layer > 0) continue;
      if (other.sites[i].seen && other.sites[i].error > kBeyondNoise * 2 * kLeastNoise) {
        return own.sites[i].name;
      }
    }
    return {};
  };
  const Evidence& longest =
      *std::ranges::max_element(evidence_, {}, [](const Evidence& e) { return e.ids.size(); });
  const std::string tap = first_difference(longest.ids);
  if (!tap.empty()) return fmt::format("dump {} to tell them apart", tap);
  std::vector<std::int64_t> ids;
  const auto most = static_cast<std::size_t>(std::min(spec().max_position_embeddings, kLongPrompt));
  while (ids.size() < most) ids.push_back(longest.ids[ids.size() % longest.ids.size()]);
  const std::string later = first_difference(ids);
  if (later.empty()) return "they compute the same: no dump tells them apart";
  return fmt::format("a prompt of {} tokens tells them apart, at {}", most, later);
}

SiteState Scene::state(std::size_t evidence, std::size_t site, const Distance& distance,
                       const Noise& of) const {
  if (!distance.seen) return SiteState::kUnseen;
  const double noise = of[evidence][site];
  if (distance.error > kBeyondNoise * noise) {
    const double coarse = coarse_noise_[evidence][site];
    return grid_ != Grid::kBf16 && distance.error <= kBeyondRunNoise * coarse ? SiteState::kLoose
                                                                              : SiteState::kBad;
  }
  const bool odd = distance.error > noise / 16 && distance.exact < 0.999 && grid_ != Grid::kF32;
  return odd ? SiteState::kOdd : SiteState::kClean;
}

double Scene::cost(std::size_t evidence, std::size_t site, const Distance& distance) const {
  const double finest = noise_[evidence][site] * kFinest;
  return std::log2(std::max(distance.error, finest) / finest);
}

}  // namespace assay
