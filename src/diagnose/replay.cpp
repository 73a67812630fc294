#include "diagnose/replay.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cmath>
#include <functional>
#include <mutex>
#include <numeric>
#include <optional>

#include "candidate/near_choice.h"
#include "diagnose/carried_out.h"
#include "model/executor.h"
#include "numerics/noise.h"

namespace assay {
namespace {

// If two router logits differ by no more than this, as a fraction of the greatest (at least 1), an
// engine with this rounding may choose either.
double same_logits(Rounding rounding) {
  return rounding == Rounding::kBf16 ? 0x1p-8 : rounding == Rounding::kF16 ? 0x1p-11 : 0x1p-20;
}

// Whether a token's experts are as good as the computed ones: equal logits, in any order.
template <class Real>
bool is_same_choice(std::span<const float> ids, std::span<const Real> computed,
                    std::span<const Real> logits, double step) {
  std::vector<Real> ours;
  std::vector<Real> theirs;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const bool in_range = ids[i] >= 0 && ids[i] < static_cast<float>(logits.size());
    const bool is_new = std::ranges::count(ids, ids[i]) == 1;
    if (!in_range || !is_new || std::trunc(ids[i]) != ids[i]) return false;
    theirs.push_back(logits[static_cast<std::size_t>(ids[i])]);
    ours.push_back(logits[static_cast<std::size_t>(computed[i])]);
  }
  std::ranges::sort(ours);
  std::ranges::sort(theirs);
  double greatest = 1;
  for (const Real logit : logits) {
    greatest = std::max(greatest, std::abs(static_cast<double>(logit)));
  }
  return std::ranges::equal(ours, theirs, [&](Real a, Real b) {
    return std::abs(static_cast<double>(a) - static_cast<double>(b)) <= step * greatest;
  });
}

// The same for the best of other groups with nearly equal sums.
template <class Real>
bool is_of_other_groups(std::span<const float> ids, std::span<const Real> scores,
                        const ExpertGroups& groups, double step) {
  if (groups.count < 2) return false;
  std::vector<std::size_t> theirs;
  for (const float id : ids) {
    const bool in_range = id >= 0 && id < static_cast<float>(scores.size());
    if (!in_range || std::ranges::count(ids, id) != 1 || std::trunc(id) != id) return false;
    theirs.push_back(static_cast<std::size_t>(id));
  }
  const std::vector<double> wide(scores.begin(), scores.end());
  const double greatest =
      std::abs(*std::ranges::max_element(wide, {}, [](double score) { return std::abs(score); }));
  return is_near_choice(wide, groups, theirs, step * std::max(greatest, 1.0));
}

template <class Real>
double root_mean_square(std::span<const Real> values) {
  double squares = 0;
  for (const Real x : values) squares += static_cast<double>(x) * static_cast<double>(x);
  return std::sqrt(squares / static_cast<double>(values.size()));
}

// The scores come after the logits, and only where they decide.
constexpr bool decides_on_experts(Tap tap) {
  return tap == Tap::kRouterLogits || tap == Tap::kRouterScores;
}

// Sets the residual stream that enters a layer when the one before was not run. The number of
// layers stands for the head.
template <class Real>
using Stream = std::function<void(std::int64_t layer, std::span<Real> stream)>;

// Compares each value with the candidate's, and replaces it by that.
template <class Real>
class Forcing : public Observer<Real> {
 public:
  // unrounded: taps whose values `round` must not round.
  Forcing(const Evidence& evidence, const ReplayOptions& options, Rounding rounding,
          Real (*round)(Real), std::vector<Tap> unrounded, const ExpertGroups& groups)
      : evidence_(evidence),
        options_(options),
        same_logits_(same_logits(rounding)),
        round_(round),
        unrounded_(std::move(unrounded)),
        groups_(groups) {
    result_.sites.resize(evidence.sites.size());
    result_.row_errors.resize(evidence.sites.size());
    equal_.resize(evidence.sites.size());
    if (options.keep) result_.computed.resize(evidence.sites.size());
    for (std::size_t i = 0; i < evidence.sites.size(); ++i) {
      const Site& site = evidence.sites[i];
      result_.row_errors[i].resize(site.rows);
      equal_[i].resize(site.rows);
      if (options.keep) result_.computed[i].resize(site.values.size());
    }
    const Site* logits = evidence.find(Tap::kLogits, 0);
    if (logits != nullptr) logits_.resize(logits->values.size());
  }

  bool wants(Tap tap, std::int64_t layer) const override {
    return decides_on_experts(tap) || evidence_.index_of(tap, layer) >= 0;
  }

  void rows(Tap tap, std::int64_t layer, std::int64_t /*first*/, std::int64_t count,
            std::size_t width, Real* values) override {
    const auto tokens = static_cast<std::size_t>(count);
    if (decides_on_experts(tap)) experts_ = width;
    const std::ptrdiff_t at = evidence_.index_of(tap, layer);
    if (at >= 0) {
      const auto i = static_cast<std::size_t>(at);
      const Site& site = evidence_.sites[i];
      // If the number of experts differs from the candidate's, so do the shapes.
      if (site.width != width) return;
      const std::size_t first = site.last_only ? tokens - 1 : 0;
      // A token's single value may have cancelled: its error is relative to those of all tokens.
      const bool single = width == 1 && tap != Tap::kExpertIds;
      const double typical = single ? root_mean_square<Real>(std::span(values, tokens)) : 0;
      for (std::size_t r = 0; r < site.rows; ++r) {
        row(i, r, std::span<const Real>(values + (first + r) * width, width), typical);
        if (tap == Tap::kExpertIds) {
          choice(i, r, first + r, std::span<const Real>(values + (first + r) * width, width));
        }
      }
      // With only the last position, only its experts replace ours: they tell what later arrays
      // contain.
      const bool forced = !site.last_only || tap == Tap::kExpertIds;
      if (options_.forced && site.taken && forced) {
        put(site, 0, site.values.size(), values + first * width);
      }
    }
    if (decides_on_experts(tap)) router_scores_.assign(values, values + tokens * width);
  }

  void attention(Tap tap, std::int64_t layer, const AttentionRows<Real>& rows) override {
    const auto i = static_cast<std::size_t>(evidence_.index_of(tap, layer));
    const Site& site = evidence_.sites[i];
    const auto head = static_cast<std::size_t>(rows.head);
    const auto size = static_cast<std::size_t>(rows.queries * rows.keys);
    if (site.last_only) return;
    row(i, head, std::span<const Real>(rows.values, size));
    if (options_.forced && site.taken) put(site, head * size, size, rows.values);
  }

  void columns(std::int64_t position, std::int64_t column, std::int64_t count,
               Real* values) override {
    const Site* site = evidence_.find(Tap::kLogits, 0);
    const std::int64_t skipped = site->last_only ? std::ssize(evidence_.ids) - 1 : 0;
    if (position < skipped) return;
    std::copy_n(values, count,
                &logits_[static_cast<std::size_t>(position - skipped) * site->width +
                         static_cast<std::size_t>(column)]);
    seen_logits_ = true;
  }

  void fill_stream(std::int64_t layer, std::span<Real> stream) const {
    const Site* site = layer == 0 ? evidence_.find(Tap::kEmbeddingOutput, 0)
                                  : evidence_.find(Tap::kLayerOutput, layer - 1);
    assert(site != nullptr && !site->last_only);
    put(*site, 0, site->values.size(), stream.data());
  }

  ReplayResult finish() {
    const std::ptrdiff_t at = evidence_.index_of(Tap::kLogits, 0);
    if (at >= 0 && seen_logits_) {
      const Site& site = evidence_.sites[static_cast<std::size_t>(at)];
      for (std::size_t r = 0; r < site.rows; ++r) {
        row(static_cast<std::size_t>(at), r,
            std::span<const Real>(&logits_[r * site.width], site.width));
      }
    }
    for (std::size_t i = 0; i < result_.sites.size(); ++i) {
      Distance& distance = result_.sites[i];
      if (!distance.seen) continue;
      double squares = 0;
      std::size_t equal = 0;
      for (const double error : result_.row_errors[i]) squares += error * error;
      for (const std::size_t count : equal_[i]) equal += count;
      const Site& site = evidence_.sites[i];
      distance.error = std::sqrt(squares / static_cast<double>(site.rows));
      distance.exact = static_cast<double>(equal) / static_cast<double>(site.values.size());
    }
    if (!options_.keep) result_.row_errors.clear();
    return std::move(result_);
  }

 private:
  const std::vector<float>& compared_with(std::size_t i) const {
    return options_.against != nullptr ? (*options_.against)[i] : evidence_.sites[i].values;
  }

  // Choosing any of equal experts is right.
  void choice(std::size_t i, std::size_t r, std::size_t token, std::span<const Real> values) {
    const std::vector<float>& other = compared_with(i);
    const std::size_t width = values.size();
    if (other.empty()) return;
    const std::span<const Real> logits(&router_scores_[token * experts_], experts_);
    const std::span<const float> theirs(&other[r * width], width);
    if (!is_same_choice(theirs, values, logits, same_logits_) &&
        !is_of_other_groups(theirs, logits, groups_, same_logits_)) {
      return;
    }
    result_.row_errors[i][r] = 0;
    equal_[i][r] = width;
  }

  // typical: the size of such a row's value, if it has only one; 0: the row's own size counts.
  void row(std::size_t i, std::size_t r, std::span<const Real> values, double typical = 0) {
    const Site& site = evidence_.sites[i];
    const std::vector<float>& other = compared_with(i);
    if (other.empty()) return;
    const std::size_t begin = r * site.width;
    double& error = result_.row_errors[i][r];
    error = row_error(std::span(&other[begin], site.width), values, equal_[i][r]);
    const double apart = std::abs(static_cast<double>(other[begin]) - values[0]);
    if (typical > 0 && std::isfinite(apart)) error = std::min(apart / typical, kFar);
    // Heads come from several threads, and all write the same value.
    std::atomic_ref(result_.sites[i].seen).store(true, std::memory_order_relaxed);
    if (!options_.keep) return;
    std::ranges::transform(values, &result_.computed[i][begin],
                           [](Real x) { return static_cast<float>(x); });
  }

  void put(const Site& site, std::size_t first, std::size_t count, Real* to) const {
    const bool rounds = std::ranges::count(unrounded_, site.place.tap) == 0;
    std::transform(&site.values[first], &site.values[first] + count, to, [&](float x) {
      return rounds ? round_(static_cast<Real>(x)) : static_cast<Real>(x);
    });
  }

  const Evidence& evidence_;
  const ReplayOptions& options_;
  double same_logits_;
  Real (*round_)(Real);
  std::vector<Tap> unrounded_;
  ExpertGroups groups_;
  // What decides on the experts of the layer being run, [tokens, experts_]: the router's logits, or
  // its corrected scores.
  std::vector<Real> router_scores_;
  std::size_t experts_ = 0;
  ReplayResult result_;
  std::vector<std::vector<std::size_t>> equal_;
  std::vector<Real> logits_;
  bool seen_logits_ = false;
};

// Records values as evidence.
class Recording : public Observer<float> {
 public:
  Recording(std::vector<std::int64_t> ids, const ModelSpec& spec,
            const std::function<bool(Tap, std::int64_t)>& wanted) {
    evidence_.ids = std::move(ids);
    for (std::int64_t l = -1; l <= spec.num_hidden_layers; ++l) {
      for (int t = 0; t < kTapCount; ++t) {
        const Tap tap = static_cast<Tap>(t);
        const bool here = is_layer_tap(tap)              ? l >= 0 && l < spec.num_hidden_layers
                          : tap == Tap::kEmbeddingOutput ? l < 0
                                                         : l == spec.num_hidden_layers;
        const std::int64_t layer = is_layer_tap(tap) ? l : 0;
        if (!here || !has_tap(tap, layer, spec) || !wanted(tap, layer)) continue;
        evidence_.sites.push_back(
            site_of({tap, is_layer_tap(tap) ? l : -1}, spec, evidence_.ids.size()));
      }
    }
  }

  bool wants(Tap tap, std::int64_t layer) const override {
    return evidence_.find(tap, layer) != nullptr;
  }
  void rows(Tap tap, std::int64_t layer, std::int64_t /*first*/, std::int64_t count,
            std::size_t width, float* values) override {
    Site& site = *find(tap, layer);
    // If the number of experts differs, the shapes do not fit the model's taps.
    if (site.width != width) return;
    site.values.assign(values, values + static_cast<std::size_t>(count) * width);
  }
  void attention(Tap tap, std::int64_t layer, const AttentionRows<float>& rows) override {
    Site& site = *find(tap, layer);
    const auto size = static_cast<std::size_t>(rows.queries * rows.keys);
    const std::lock_guard lock(mutex_);
    site.values.resize(site.rows * site.width);
    std::copy_n(rows.values, size, &site.values[static_cast<std::size_t>(rows.head) * size]);
  }
  void columns(std::int64_t position, std::int64_t column, std::int64_t count,
               float* values) override {
    Site& site = *find(Tap::kLogits, 0);
    site.values.resize(site.rows * site.width);
    std::copy_n(values, count,
                &site.values[static_cast<std::size_t>(position) * site.width +
                             static_cast<std::size_t>(column)]);
  }

  // Without the taps of layers that did not run.
  Evidence take() {
    std::erase_if(evidence_.sites, [](const Site& site) { return site.values.empty(); });
    return std::move(evidence_);
  }

 private:
  Site* find(Tap tap, std::int64_t layer) { return const_cast<Site*>(evidence_.find(tap, layer)); }

  std::mutex mutex_;  // heads come from several threads
  Evidence evidence_;
};

// prompt: the tokens before the decoded ones; 0: not known.
template <class N>
void pass(const Model& model, const Hypothesis& hypothesis, Store store,
          std::span<const std::int64_t> ids, std::size_t prompt, const ReplayOptions& options,
          const Stream<typename N::Real>& stream, Observer<typename N::Real>& observer,
          ThreadPool& pool) {
  CarriedOut carried_out(model, hypothesis, store,
                         static_cast<std::int64_t>(prompt > 0 ? prompt : ids.size() / 2));
  Executor<N> executor(
      carried_out.program(),
      [&](std::int64_t which) -> const BlockWeights& { return carried_out.weights(which); }, pool);
  SequenceState<N> sequence(carried_out.program(), ids.size());
  const Chunk<N> chunk{ids, &sequence, &observer};
  executor.start({&chunk, 1});
  std::int64_t next = 0;  // the layer that the stream enters
  for (const std::int64_t l : options.layers) {
    if (l != next) stream(l, executor.stream());
    executor.layer(l);
    next = l + 1;
  }
  if (!options.head) return;
  const std::int64_t layers = model.spec.num_hidden_layers;
  if (next != layers) stream(layers, executor.stream());
  executor.head();
}

template <class N>
ReplayResult run(const Model& model, const Hypothesis& hypothesis, Store store,
                 const Evidence& evidence, Rounding rounding, const ReplayOptions& options,
                 ThreadPool& pool) {
  using Real = typename N::Real;
  Forcing<Real> forcing(
      evidence, options, rounding, [](Real x) { return N::round(x); },
      unrounded_taps(model.program), groups_of(model.spec));
  const auto stream = [&](std::int64_t l, std::span<Real> to) { forcing.fill_stream(l, to); };
  pass<N>(model, hypothesis, store, evidence.ids, evidence.prompt, options, stream, forcing, pool);
  return forcing.finish();
}

}  // namespace

ReplayOptions all_layers(const ModelSpec& spec) {
  ReplayOptions options;
  options.layers.resize(static_cast<std::size_t>(spec.num_hidden_layers));
  std::iota(options.layers.begin(), options.layers.end(), 0);
  return options;
}

Evidence own_run(const Model& model, const Hypothesis& hypothesis,
                 const std::vector<std::int64_t>& ids,
                 const std::function<bool(Tap, std::int64_t)>& wanted, ThreadPool& pool,
                 Rounding rounding) {
  const ReplayOptions options = all_layers(model.spec);
  const Store store = hypothesis.store;
  const bool by_hand = store == Store::kTruncated;  // see replay()
  Recording recording(ids, model.spec, wanted);
  const Stream<float> none;  // unused, since all layers run
  if (by_hand || rounding == Rounding::kF32) {
    pass<F32>(model, hypothesis, store, ids, 0, options, none, recording, pool);
  } else {
    pass<Bf16>(model, hypothesis, store, ids, 0, options, none, recording, pool);
  }
  return recording.take();
}

template <class Real>
double row_error(std::span<const float> a, std::span<const Real> b, std::size_t& equal) {
  double difference = 0;
  double size = 0;
  bool unlike = false;
  equal = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto x = static_cast<double>(a[i]);
    const auto y = static_cast<double>(b[i]);
    const bool hidden_x = x < kHiddenScore;
    const bool hidden_y = y < kHiddenScore;
    if (hidden_x || hidden_y) {
      equal += hidden_x == hidden_y ? 1 : 0;
      unlike = unlike || hidden_x != hidden_y;
      continue;
    }
    if (!(std::abs(x) <= 3.5e38 && std::abs(y) <= 3.5e38)) {
      const bool same = (x != x && y != y) || x == y;
      equal += same ? 1 : 0;
      unlike = unlike || !same;
      continue;
    }
    equal += static_cast<float>(y) == a[i] ? 1 : 0;
    difference += (x - y) * (x - y);
    size += y * y;
  }
  if (unlike) return kFar;
  if (difference == 0) return 0;
  return size == 0 ? kFar : std::min(std::sqrt(difference / size), kFar);
}

template double row_error(std::span<const float>, std::span<const float>, std::size_t&);
template double row_error(std::span<const float>, std::span<const double>, std::size_t&);

ReplayResult replay(const Model& model, const Hypothesis& hypothesis, const Evidence& evidence,
                    Rounding rounding, const ReplayOptions& options, ThreadPool& pool) {
  const Store own = hypothesis.store;
  switch (rounding) {
    case Rounding::kBf16:
      // Truncation is applied explicitly: Bf16 itself would round first.
      return own == Store::kTruncated
                 ? run<F32>(model, hypothesis, own, evidence, rounding, options, pool)
                 : run<Bf16>(model, hypothesis, own, evidence, rounding, options, pool);
    case Rounding::kF16:
      return run<F32>(model, hypothesis, Store::kF16, evidence, rounding, options, pool);
    case Rounding::kF32:
      return run<F32>(model, hypothesis, Store::kOwn, evidence, rounding, options, pool);
    case Rounding::kF64:
      return run<F64>(model, hypothesis, Store::kOwn, evidence, rounding, options, pool);
  }
  return {};
}

}  // namespace assay
