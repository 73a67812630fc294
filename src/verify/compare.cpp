#include "assay/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "assay/array_file.h"
#include "assay/error.h"
#include "base/thread_pool.h"
#include "verify/data_flow.h"
#include "verify/dump_checks.h"
#include "verify/logits.h"
#include "verify/metrics.h"
#include "verify/name_map.h"
#include "verify/profile.h"
#include "verify/prompt_pairs.h"
#include "verify/tokens.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

// Larger arrays are shared out over the threads; of smaller ones each thread takes another.
constexpr std::size_t kLarge = std::size_t{64} << 20;
// A reading that lies this far off is doubted: another may fit by content.
constexpr double kDoubtful = 0.2;

// What one rounding alone makes: the root mean square of a relative rounding error (measured; see
// docs/validating-your-engine.md). No tap's noise is taken for less.
double rounding_floor(std::string_view numerics) {
  constexpr double kBf16 = 1.66e-3;
  if (numerics == "f32") return kBf16 * 0x1p-16;
  return numerics == "f64" ? kBf16 * 0x1p-45 : kBf16;
}

double root_mean_square(const std::vector<double>& values) {
  double sum = 0;
  for (const double x : values) sum += x * x;
  return std::sqrt(sum / static_cast<double>(std::max<std::size_t>(values.size(), 1)));
}

// The operation that makes a tap, for the sentence about the first divergence.
std::string operation(const TapPlace& place) {
  switch (place.tap) {
    case Tap::kEmbeddingOutput:
      return "the embedding lookup";
    case Tap::kInputNorm:
      return "the RMSNorm before attention";
    case Tap::kQProj:
    case Tap::kKProj:
    case Tap::kVProj:
    case Tap::kGateProj:
    case Tap::kUpProj:
      return fmt::format("the {} projection", tap_base_name(place.tap));
    case Tap::kQNorm:
      return "the RMSNorm of each query head";
    case Tap::kKNorm:
      return "the RMSNorm of each key head";
    case Tap::kQRope:
      return "the rotary embedding of the queries";
    case Tap::kKRope:
      return "the rotary embedding of the keys";
    case Tap::kAttnScores:
      return "the attention scores (scale, head mapping, mask)";
    case Tap::kAttnProbs:
      return "the softmax over the scores";
    case Tap::kAttnContext:
      return "the probabilities times the values (head mapping, joining of heads)";
    case Tap::kAttnOutput:
      return "the o_proj projection";
    case Tap::kAttnResidual:
      return "the residual add after attention";
    case Tap::kMlpNorm:
      return "the RMSNorm before the MLP";
    case Tap::kMlpAct:
      return "silu(gate) times up";
    case Tap::kMlpOutput:
      return "the down_proj projection";
    case Tap::kLayerOutput:
      return "the residual add after the MLP";
    case Tap::kFinalNormOutput:
      return "the final RMSNorm";
    case Tap::kLogits:
      return "the lm_head";
  }
  return "?";
}

class PromptComparison {
 public:
  PromptComparison(const CompareOptions& options, const PromptPair& pair,
                   const std::string& numerics, const NameMap& map, const Profile& profile,
                   ThreadPool& pool, std::function<void(double)> on_progress)
      : options_(options),
        pair_(pair),
        numerics_(numerics),
        profile_(profile),
        pool_(pool),
        on_progress_(std::move(on_progress)),
        reference_(pair.reference),
        candidate_(*pair.candidate),
        layers_(count_layers(reference_.names())) {
    if (pair.oracle) oracle_.emplace(*pair.oracle);
    result_.id = pair.id;
    for (const std::string& name : candidate_.names()) {
      const std::optional<std::string> tap = map.tap_of(name, layers_);
      if (!tap) {
        result_.unmatched.push_back(name);
        continue;
      }
      const auto [known, is_new] = names_.emplace(*tap, name);
      if (!is_new) {
        throw input_error(candidate_.path().string(),
                          fmt::format("'{}' and '{}' both mean {}", known->second, name, *tap),
                          "one array for each tap (see --map)");
      }
    }
  }

  PromptResult run() {
    list_tensors();
    compare_ids();
    std::vector<std::size_t> small;
    std::vector<std::size_t> large;
    for (std::size_t i = 0; i < result_.tensors.size(); ++i) {
      TensorResult& tensor = result_.tensors[i];
      if (tensor.name == "input_ids" || tensor.candidate_name.empty()) continue;
      total_ += reference_.size_of(tensor.name);
      if (is_large(tensor)) {
        large.push_back(i);
      } else {
        small.push_back(i);
      }
    }
    for (const std::size_t i : large) compare_tensor(result_.tensors[i], &pool_);
    pool_.for_each_item(small.size(),
                        [&](std::size_t i) { compare_tensor(result_.tensors[small[i]], nullptr); });
    for (std::string& tap : not_in_reference()) result_.unmatched.push_back(std::move(tap));
    find_first_divergence();
    for (DumpFinding& finding : check_dump({reference_, candidate_, layers_}, result_.tensors)) {
      result_.findings.push_back(std::move(finding));
    }
    compare_texts();
    return std::move(result_);
  }

 private:
  // In data-flow order; tables after the taps.
  void list_tensors() {
    std::vector<std::pair<TapPlace, std::string>> taps;
    std::vector<std::string> tables;
    for (const std::string& name : reference_.names()) {
      if (const auto place = parse_tap_name(name)) {
        taps.emplace_back(*place, name);
      } else if (name.starts_with("rope_")) {
        tables.push_back(name);
      }
    }
    std::ranges::stable_sort(taps, [](const auto& a, const auto& b) { return a.first < b.first; });
    if (reference_.contains("input_ids")) add("input_ids", std::nullopt);
    for (const auto& [place, name] : taps) {
      add(name, place.layer >= 0 ? std::optional(place.layer) : std::nullopt);
    }
    for (const std::string& name : tables) add(name, std::nullopt);
  }

  void add(const std::string& name, std::optional<std::int64_t> layer) {
    TensorResult tensor;
    tensor.name = name;
    tensor.layer = layer;
    if (const auto found = names_.find(name); found != names_.end()) {
      tensor.candidate_name = found->second;
    }
    result_.tensors.push_back(std::move(tensor));
  }

  std::vector<std::string> not_in_reference() const {
    std::vector<std::string> names;
    for (const auto& [tap, name] : names_) {
      if (!reference_.contains(tap)) names.push_back(name);
    }
    return names;
  }

  bool is_large(const TensorResult& tensor) const {
    return reference_.size_of(tensor.name) >= kLarge;
  }

  // Other tokens make every other difference meaningless.
  void compare_ids() {
    if (result_.tensors.empty() || result_.tensors[0].name != "input_ids") return;
    TensorResult& tensor = result_.tensors[0];
    if (tensor.candidate_name.empty()) return;
    const std::vector<std::int64_t> own = read_ids(reference_, "input_ids");
    const std::vector<std::int64_t> other = read_ids(candidate_, tensor.candidate_name);
    tensor.verdict = own == other ? Verdict::kPass : Verdict::kFail;
    tensor.metrics.compared = static_cast<std::int64_t>(own.size());
    if (own == other) {
      tensor.metrics.exact_share = 1;
      return;
    }
    const auto [a, b] = std::ranges::mismatch(own, other);
    tensor.reason =
        fmt::format("the candidate ran other tokens: {} against {}, different from position {} on",
                    other.size(), own.size(), a - own.begin());
  }

  void compare_tensor(TensorResult& tensor, ThreadPool* pool) {
    measure_and_judge(tensor, pool);
    const std::lock_guard lock(progress_mutex_);
    done_ += reference_.size_of(tensor.name);
    if (on_progress_) on_progress_(static_cast<double>(done_) / static_cast<double>(total_));
  }

  void measure_and_judge(TensorResult& tensor, ThreadPool* pool) const {
    try {
      const std::optional<TapPlace> place = parse_tap_name(tensor.name);
      const std::size_t axis = place ? position_axis(place->tap) : 1;
      // Deflated arrays take longer to inflate than to compare.
      LoadedArray reference;
      LoadedArray candidate;
      LoadedArray oracle;
      const auto load = [&](std::size_t which) {
        if (which == 0) reference = reference_.load(tensor.name);
        if (which == 1) candidate = candidate_.load(tensor.candidate_name);
        if (which == 2 && oracle_ && place) oracle = oracle_->load(tensor.name);
      };
      if (pool != nullptr) {
        pool->for_each_item(3, load);
      } else {
        for (std::size_t which = 0; which < 3; ++which) load(which);
      }
      const std::optional<Reading> reading =
          choose_reading(tensor, reference.view, axis, candidate.view, pool);
      if (!reading) return;
      tensor.reading = reading->text;
      if (oracle_ && place) {
        measure_noise(tensor, reference.view, axis, candidate.view, *reading, oracle.view, pool);
      }
      if (tensor.name == "logits") {
        tensor.logits = measure_logits(reference.view, candidate.view, *reading, pool);
      }
      judge(tensor, profile_);
    } catch (const Error& error) {
      tensor.verdict = Verdict::kError;
      tensor.reason = error.what();
    }
  }

  // Sets the metrics under the reading that it returns: the least strange one, unless its content
  // is far off and another's is not.
  std::optional<Reading> choose_reading(TensorResult& tensor, const ArrayView& reference,
                                        std::size_t axis, const ArrayView& candidate,
                                        ThreadPool* pool) const {
    std::vector<Reading> all = readings(reference.shape, axis, candidate.shape);
    if (all.empty()) {
      tensor.verdict = Verdict::kError;
      tensor.reason = fmt::format("shape {} cannot be read as the reference's {}",
                                  shape_text(candidate.shape), shape_text(reference.shape));
      return std::nullopt;
    }
    std::size_t best = 0;
    tensor.metrics = measure(reference, axis, candidate, all[0], pool);
    for (std::size_t i = 1; i < all.size() && !(tensor.metrics.relative_l2 <= kDoubtful); ++i) {
      TensorMetrics metrics = measure(reference, axis, candidate, all[i], pool);
      if (metrics.relative_l2 < tensor.metrics.relative_l2 / 2) {
        tensor.metrics = std::move(metrics);
        best = i;
      }
    }
    if (best > 0 && !all[best].text.empty()) {
      all[best].text += fmt::format(" (of {} readings the one whose content fits)", all.size());
    }
    return std::move(all[best]);
  }

  // The candidate's error from the oracle over the reference's own.
  void measure_noise(TensorResult& tensor, const ArrayView& reference, std::size_t axis,
                     const ArrayView& candidate, const Reading& reading, const ArrayView& oracle,
                     ThreadPool* pool) const {
    const TensorMetrics own = measure(oracle, axis, reference, same_layout(reference.shape), pool);
    const TensorMetrics other = measure(oracle, axis, candidate, reading, pool);
    const double floor = rounding_floor(numerics_);
    if (reading.last_position) {
      const double last = std::max(own.position_error.back(), floor);
      tensor.noise_ratio = tensor.position_ratio = other.position_error.back() / last;
      return;
    }
    tensor.noise_ratio = other.relative_l2 / std::max(own.relative_l2, floor);
    tensor.position_ratio = root_mean_square(other.position_error) /
                            std::max(root_mean_square(own.position_error), floor);
  }

  // The earliest tap that fails: all that it is computed from, as far as it was compared, passes.
  void find_first_divergence() {
    const auto bad = [](const TensorResult& t) {
      return t.verdict == Verdict::kFail || t.verdict == Verdict::kError;
    };
    const auto first = std::ranges::find_if(result_.tensors, bad);
    if (first == result_.tensors.end()) return;
    result_.first_divergence = static_cast<std::size_t>(first - result_.tensors.begin());
    result_.divergence_text = describe(*first);
  }

  std::string describe(const TensorResult& tensor) const {
    const std::optional<TapPlace> place = parse_tap_name(tensor.name);
    if (tensor.verdict == Verdict::kError || !place) return tensor.reason;
    bool gap = false;
    const std::vector<std::string> good = compared_before(*place, gap);
    if (good.empty()) {
      return place->tap == Tap::kEmbeddingOutput
                 ? "the first tap of all: look at the embedding lookup and the token ids"
                 : fmt::format("nothing before {} was compared", tensor.name);
    }
    const std::string before = fmt::format("{}", fmt::join(good, ", "));
    const char* verb = good.size() == 1 ? "passes" : "pass";
    if (!gap) return fmt::format("{} {}: look at {}", before, verb, operation(*place));
    std::string text = fmt::format("{} {}: the fault lies between", before, verb);
    if (place->layer >= 0) {
      text += fmt::format(
          "; extract with --taps 'layer_{:02}_*' and dump the same to see which "
          "operation it is",
          place->layer);
    }
    return text;
  }

  // The nearest taps before it that were compared; gap: others lie in between.
  std::vector<std::string> compared_before(const TapPlace& place, bool& gap) const {
    const bool qk_norm = std::ranges::any_of(
        reference_.names(), [](const std::string& n) { return n.ends_with("_q_norm"); });
    ModelSpec spec;
    spec.num_hidden_layers = layers_;
    std::set<std::string> found;
    std::vector<TapPlace> open = computed_from(place, layers_, qk_norm);
    std::set<std::int64_t> seen;
    while (!open.empty()) {
      const TapPlace at = open.back();
      open.pop_back();
      if (!seen.insert(at.order()).second) continue;
      const std::string name = tap_name(at.tap, at.layer, spec);
      const auto tensor = std::ranges::find(result_.tensors, name, &TensorResult::name);
      if (tensor != result_.tensors.end() && tensor->verdict != Verdict::kNotCompared) {
        found.insert(name);
        continue;
      }
      gap = true;
      for (const TapPlace& before : computed_from(at, layers_, qk_norm)) open.push_back(before);
    }
    return {found.begin(), found.end()};
  }

  void compare_texts() {
    const auto name = names_.find("generated_ids");
    if (name == names_.end() || !reference_.contains("generated_ids")) return;
    const std::vector<std::int64_t> own = read_ids(reference_, "generated_ids");
    const std::vector<std::int64_t> other = read_ids(candidate_, name->second);
    const std::size_t prompt = read_ids(reference_, "input_ids").size();
    if (other.size() < prompt ||
        !std::equal(own.begin(), own.begin() + static_cast<std::ptrdiff_t>(prompt),
                    other.begin())) {
      throw input_error(fmt::format("{}: array '{}'", candidate_.path().string(), name->second),
                        "does not begin with the prompt's tokens",
                        "prompt and continuation, as transformers' generate returns them");
    }
    result_.tokens = options_.model.empty()
                         ? compare_tokens(own, other, prompt)
                         : replay_tokens(options_.model, numerics_, own, other, prompt, pool_);
  }

  const CompareOptions& options_;
  const PromptPair& pair_;
  const std::string& numerics_;
  const Profile& profile_;
  ThreadPool& pool_;
  std::function<void(double)> on_progress_;
  ArrayFile reference_;
  ArrayFile candidate_;
  std::optional<ArrayFile> oracle_;
  std::int64_t layers_;
  std::map<std::string, std::string> names_;  // tap -> the candidate's name
  std::mutex progress_mutex_;
  std::uint64_t done_ = 0;  // bytes of the reference
  std::uint64_t total_ = 0;
  PromptResult result_;
};

// Fails closed: what is missing does not count, and one failure is enough.
bool passed(const PromptResult& prompt) {
  const bool bad = std::ranges::any_of(prompt.tensors, [](const TensorResult& t) {
    return t.verdict == Verdict::kFail || t.verdict == Verdict::kError;
  });
  const bool diverged = std::ranges::any_of(
      prompt.tokens.steps, [](const TokenStep& s) { return s.verdict == StepVerdict::kDiverged; });
  const bool other_text = prompt.tokens.compared && !prompt.tokens.replayed &&
                          prompt.tokens.first_difference.has_value();
  return !bad && !diverged && !other_text;
}

bool compared_anything(const PromptResult& prompt) {
  return prompt.tokens.compared || std::ranges::any_of(prompt.tensors, [](const TensorResult& t) {
           return t.name != "input_ids" && t.verdict != Verdict::kNotCompared;
         });
}

}  // namespace

CompareReport compare(const CompareOptions& options,
                      const std::function<void(std::string_view, double)>& on_progress) {
  const NameMap map(options.map);
  const Pairing pairing = pair_prompts(options.reference, options.candidate, options.prompt, map);
  const bool has_oracle = std::ranges::all_of(
      pairing.prompts, [](const PromptPair& p) { return p.oracle.has_value(); });
  const Profile profile =
      options.tolerance ? Profile(*options.tolerance) : Profile(options.profile, has_oracle);
  ThreadPool pool(options.threads);
  CompareReport report;
  report.profile = profile.name();
  report.statement = profile.statement();
  report.passed = true;
  bool any = false;
  for (std::size_t p = 0; p < pairing.prompts.size(); ++p) {
    const PromptPair& pair = pairing.prompts[p];
    if (!pair.candidate) continue;
    const auto progress = [&](double fraction) {
      if (!on_progress) return;
      on_progress("comparing " + pair.id, (static_cast<double>(p) + fraction) /
                                              static_cast<double>(pairing.prompts.size()));
    };
    report.prompts.push_back(
        PromptComparison(options, pair, pairing.numerics, map, profile, pool, progress).run());
    report.passed = report.passed && passed(report.prompts.back());
    any = any || compared_anything(report.prompts.back());
  }
  if (!any) {
    throw input_error(options.candidate.string(), "none of its arrays is one of the reference's",
                      "arrays named as taps, or a --map from their names");
  }
  return report;
}

}  // namespace assay
