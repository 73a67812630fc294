#include "verify/dump_questions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/widen.h"
#include "candidate/data_flow.h"
#include "metrics/rows.h"
#include "verify/compare_arrays.h"

namespace assay {
namespace {

// An error shows in a follower if it is this many times the error allowed there: a projection may
// reduce it by this factor.
constexpr double kShows = 10;

// A form must change an array by more than this.
constexpr double kLeastDifference = 0.01;

// Larger arrays are skipped, because two copies of them would be in memory.
constexpr std::int64_t kMostElements = std::int64_t{1} << 27;

bool is_good(const TensorResult& t) {
  return t.verdict != Verdict::kFail && t.verdict != Verdict::kError &&
         t.verdict != Verdict::kNotCompared;
}
bool is_wrong(const TensorResult& t) { return t.verdict == Verdict::kFail; }

// Whether rows, of `channels` or of the whole width, have a mean square of 1, as after a norm
// before its weight. The norm's epsilon makes that of small values less.
bool is_normalised(std::span<const float> values, std::size_t channels, std::size_t width) {
  constexpr double kMost = 1.03;
  constexpr double kLeast = 0.97;
  for (const std::size_t n : {channels, width}) {
    std::size_t in_range = 0;
    bool none_above = true;
    for (std::size_t begin = 0; begin + n <= values.size(); begin += n) {
      double squares = 0;
      for (const float x : values.subspan(begin, n)) squares += static_cast<double>(x) * x;
      const double mean = squares / static_cast<double>(n);
      none_above = none_above && mean <= kMost;
      in_range += mean >= kLeast ? 1 : 0;
    }
    if (none_above && in_range * n * 2 > values.size()) return true;
  }
  return false;
}

// Each channel's factor between the two, by least squares over the rows: a norm's weight. Empty for
// a single row, which would fit anything.
std::vector<float> fitted_weight(const Array& from, const ArrayView& to, std::size_t channels) {
  const auto x = from.as<float>();
  const std::vector<double> y = widened(to);
  if (x.size() < 2 * channels || x.size() != y.size()) return {};
  std::vector<double> both(channels);
  std::vector<double> own(channels);
  for (std::size_t i = 0; i < x.size(); ++i) {
    both[i % channels] += static_cast<double>(x[i]) * y[i];
    own[i % channels] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  std::vector<float> weight(channels);
  for (std::size_t c = 0; c < channels; ++c) {
    weight[c] = own[c] > 0 ? static_cast<float>(both[c] / own[c]) : 1.0F;
  }
  return weight;
}

// The results by tap, and how they depend on each other.
class Flow {
 public:
  Flow(PromptResult& result, const ModelSpec& spec) : result_(result), spec_(spec) {
    for (TensorResult& tensor : result.tensors) {
      const std::optional<TapPlace> place = parse_tap_name(tensor.name);
      if (place && tensor.verdict != Verdict::kNotCompared) compared_[*place] = &tensor;
    }
  }

  TensorResult* find(const TapPlace& place) const {
    const auto found = compared_.find(place);
    return found == compared_.end() ? nullptr : found->second;
  }

  // The nearest compared taps that `place` is computed from.
  const std::set<TapPlace>& before(const TapPlace& place) const {
    const auto known = before_.find(place);
    if (known != before_.end()) return known->second;
    std::set<TapPlace> all;
    for (const TapPlace& from : computed_from(place, spec_)) {
      if (compared_.contains(from)) {
        all.insert(from);
      } else {
        all.insert(before(from).begin(), before(from).end());
      }
    }
    return before_.emplace(place, std::move(all)).first->second;
  }

  std::vector<TapPlace> after(const TapPlace& place) const {
    std::vector<TapPlace> all;
    for (const auto& [other, tensor] : compared_) {
      if (other != place && before(other).contains(place)) all.push_back(other);
    }
    return all;
  }

  const std::map<TapPlace, TensorResult*>& compared() const { return compared_; }
  PromptResult& result() const { return result_; }

 private:
  PromptResult& result_;
  const ModelSpec& spec_;
  std::map<TapPlace, TensorResult*> compared_;
  // Visits each place once: the paths through the residual stream double with every layer.
  mutable std::map<TapPlace, std::set<TapPlace>> before_;
};

// Whether the follower depends on the tensor at all: attention over one position does not depend on
// queries and keys.
bool depends_on(const TapPlace& follower, const TapPlace& place, const TensorResult& tensor) {
  const auto before_softmax = [](Tap tap) {
    return has_rotary_pairs(tap) || tap == Tap::kAttnScores;
  };
  return tensor.metrics.position_error.size() > 1 || !before_softmax(place.tap) ||
         before_softmax(follower.tap);
}

// Whether an error of the tensor's size would show in the follower.
bool would_show(const TensorResult& tensor, const TapPlace& follower, const TensorResult& f) {
  const double allowed = f.noise.value_or(0) * f.limits.value_or(Limits{}).noise_ratio.value_or(0);
  const TensorMetrics& m = tensor.metrics;
  if (allowed == 0 || m.unlike > 0) return false;
  // The first token's softmax is 1 for any score.
  if (follower.tap == Tap::kAttnProbs) return false;
  if (follower.tap == Tap::kAttnResidual || follower.tap == Tap::kLayerOutput) {
    const double size = f.metrics.relative_l2 > 0 ? f.metrics.rmse / f.metrics.relative_l2 : 0;
    return size > 0 && m.rmse >= kShows * allowed * size;
  }
  // A norm removes any factor.
  const double error =
      is_norm(follower.tap) ? std::sqrt(std::max(0.0, 1 - m.cosine * m.cosine)) : m.relative_l2;
  return error >= kShows * allowed;
}

void find_unused(const Flow& flow, const ModelSpec& spec) {
  std::vector<TapPlace> unused;
  for (const auto& compared : flow.compared()) {
    const TapPlace& place = compared.first;
    const TensorResult* tensor = compared.second;
    // Invalid expert ids were not taken elsewhere.
    if (!is_wrong(*tensor) || place.tap == Tap::kExpertIds) continue;
    bool shows = false;
    bool right = true;
    for (const TapPlace& f : flow.after(place)) {
      const TensorResult& follower = *flow.find(f);
      right = right && is_good(follower);
      const std::set<TapPlace> sources = flow.before(f);
      const bool alone = std::ranges::all_of(sources, [&](const TapPlace& source) {
        return source == place || is_good(*flow.find(source));
      });
      shows = shows || (alone && depends_on(f, place, *tensor) && would_show(*tensor, f, follower));
    }
    if (right && shows) unused.push_back(place);
  }
  std::map<Tap, std::vector<TapPlace>> taps;
  for (const TapPlace& place : unused) {
    TensorResult& tensor = *flow.find(place);
    tensor.verdict = Verdict::kNotCompared;
    const auto said = std::ranges::find(flow.result().findings, tensor.name, &DumpFinding::tensor);
    if (said != flow.result().findings.end()) {
      tensor.reason = said->text;
      continue;
    }
    tensor.reason = not_gone_on_with();
    taps[place.tap].push_back(place);
  }
  for (const auto& [tap, places] : taps) {
    flow.result().findings.push_back({places_text(places, spec), std::string(not_gone_on_with())});
  }
}

}  // namespace

DumpQuestions::DumpQuestions(const ReferenceFiles& files, const ModelSpec& spec, Numerics numerics,
                             const Profile& profile)
    : files_(files), spec_(spec), numerics_(numerics), profile_(profile) {}

std::optional<DumpProposal> DumpQuestions::ask(const TensorResult& failed,
                                               const ArrayView& candidate,
                                               const ReadingHints& hints,
                                               const Precision& precision, bool is_result) const {
  const std::optional<TapPlace> place = parse_tap_name(failed.name);
  const bool coarse = failed.verdict == Verdict::kCoarse;
  const bool wrong = is_wrong(failed) && failed.metrics.relative_l2 >= kLeastDifference;
  if (!place || !(wrong || coarse) || failed.metrics.nan_candidate > 0) return std::nullopt;
  const Shape shape = files_.arrays().form_of(failed.name).shape;
  if (element_count(shape, failed.name) > kMostElements) return std::nullopt;
  const LoadedArray own = files_.arrays().load(failed.name);
  const std::vector<Reading> found =
      readings_of(failed.name, own.view.shape, position_axis(place->tap), candidate.shape, hints);
  if (found.empty() || own.view.dtype != DType::kF32) return std::nullopt;
  const bool last_only = found.front().last_position;
  const Array plain =
      in_reference_order(own.view, position_axis(place->tap), candidate, found.front());
  std::vector<DumpForm> forms = forms_of(*place, spec_);
  if (has_rotary_pairs(place->tap)) forms.insert(forms.begin(), paired_channels());
  for (const DumpForm& form : forms) {
    // If the error is within BF16's noise, accept only what the array's own name makes likely.
    const bool by_value = !form.holds && !form.pairs && !form.lacks_weight;
    if (last_only && (!by_value || form.masks)) continue;
    const bool known_trap =
        !(is_result && by_value) && is_known_trap(*place, failed.candidate_name, form);
    if (coarse && !(by_value && known_trap)) continue;
    const std::string name =
        form.holds ? tap_name(form.holds->tap, std::max<std::int64_t>(form.holds->layer, 0), spec_)
                   : failed.name;
    if (!files_.arrays().contains(name) || files_.arrays().form_of(name).shape != own.view.shape)
      continue;
    Array turned = plain;
    if (!form.holds) {
      if (form.pairs && spec_.head_dim == 0) continue;
      std::vector<float> weight;
      if (form.lacks_weight) {
        const auto channels = static_cast<std::size_t>(own.view.shape.back());
        const Rows rows = rows_of(own.view.shape, position_axis(place->tap));
        if (!is_normalised(plain.as<float>(), channels, rows.width)) continue;
        // Fit to the oracle: an FP32 engine must not be measured by BF16's rounding.
        const LoadedArray exact = files_.exact(failed.name);
        weight = fitted_weight(plain, exact.view.shape.empty() ? own.view : exact.view, channels);
        if (weight.empty()) continue;
      }
      apply_form(form, spec_, *place, weight, static_cast<std::size_t>(own.view.shape.back()),
                 turned.as<float>());
    }
    std::optional<TensorResult> judged = judge_as(failed, name, turned.view(), precision);
    if (judged) return DumpProposal{form, std::move(*judged), known_trap};
  }
  return std::nullopt;
}

// F32; for a reading of the last position, only that.
Array DumpQuestions::in_reference_order(const ArrayView& reference, std::size_t axis,
                                        const ArrayView& candidate, const Reading& reading) const {
  Array plain{candidate.name, DType::kF32, reference.shape, {}};
  if (reading.last_position) plain.shape[axis] = 1;
  const Rows rows = rows_of(plain.shape, axis);
  plain.bytes.resize(rows.count() * rows.width * sizeof(float));
  const CandidateRows source(candidate, reading, rows.width);
  for (std::size_t r = 0; r < rows.count(); ++r) {
    source.read(r, 0, plain.as<float>().subspan(r * rows.width, rows.width));
  }
  return plain;
}

// None if it does not pass.
std::optional<TensorResult> DumpQuestions::judge_as(const TensorResult& failed,
                                                    const std::string& name,
                                                    const ArrayView& values,
                                                    const Precision& precision) const {
  const TapPlace place = *parse_tap_name(name);
  TensorResult judged;
  judged.name = name;
  if (place.layer >= 0) judged.layer = place.layer;
  judged.candidate_name = failed.candidate_name;
  const LoadedArray reference = files_.arrays().load(name);
  const LoadedArray oracle = files_.exact(name);
  compare_arrays(judged,
                 {.reference = reference.view,
                  .oracle = oracle.view.shape.empty() ? nullptr : &oracle.view,
                  .position_axis = position_axis(place.tap),
                  .numerics = numerics_},
                 values, profile_, nullptr);
  const bool coarse = failed.verdict == Verdict::kCoarse;
  if (precision.as) {
    judge_precision(judged, grid_of(*precision.as), precision, profile_);
  } else if (coarse) {
    judge_precision(judged, failed.type, precision, profile_);
  }
  if (!is_good(judged) || (coarse && judged.verdict == Verdict::kCoarse)) return std::nullopt;
  return judged;
}

bool answer_dump_questions(PromptResult& result, const DumpProposals& proposals,
                           const ModelSpec& spec, bool paired) {
  const Flow flow(result, spec);
  bool are_paired = false;
  // Forms with the same text, of one tap (of q and k together), are accepted or rejected together.
  std::map<std::pair<int, std::string>, std::vector<TapPlace>> groups;
  for (const auto& [name, proposal] : proposals) {
    const TapPlace place = *parse_tap_name(name);
    const TensorResult* tensor = flow.find(place);
    if (tensor == nullptr) continue;
    if (!is_wrong(*tensor) && tensor->verdict != Verdict::kCoarse) continue;
    groups[{family_of(place.tap, proposal.form), proposal.form.text}].push_back(place);
  }
  for (auto& group : groups) {
    std::vector<TapPlace>& places = group.second;
    std::ranges::sort(places);
    bool fails = false;
    bool passes = false;
    for (const TapPlace& place : places) {
      for (const TapPlace& f : flow.after(place)) {
        const TensorResult& follower = *flow.find(f);
        if (proposals.contains(follower.name)) continue;
        // An error in a follower is no evidence if it has another cause.
        const std::set<TapPlace> sources = flow.before(f);
        const bool has_other_cause = std::ranges::any_of(sources, [&](const TapPlace& source) {
          const TensorResult& other = *flow.find(source);
          return source != place && is_wrong(other) && !proposals.contains(other.name);
        });
        if (has_other_cause) continue;
        // A small error that goes on is the engine's own, not the dump's.
        const bool goes_on =
            flow.find(place)->verdict == Verdict::kCoarse && follower.verdict == Verdict::kCoarse;
        fails = fails || is_wrong(follower) || goes_on;
        passes = passes || (is_good(follower) && depends_on(f, place, *flow.find(place)));
      }
    }
    const bool known = std::ranges::all_of(places, [&](const TapPlace& place) {
      return proposals.at(flow.find(place)->name).known_trap;
    });
    const bool exchanged = std::ranges::all_of(places, [&](const TapPlace& place) {
      const DumpForm& form = proposals.at(flow.find(place)->name).form;
      return !form.exchanged || std::ranges::find(places, *form.holds) != places.end();
    });
    const bool of_pairs = proposals.at(flow.find(places.front())->name).form.pairs;
    const bool shown = !fails && exchanged && (passes || known);
    if (!shown && !(of_pairs && paired)) continue;
    are_paired = are_paired || of_pairs;
    std::vector<TensorResult> moved;
    for (const TapPlace& place : places) {
      TensorResult& tensor = *flow.find(place);
      const DumpProposal& proposal = proposals.at(tensor.name);
      std::erase_if(result.findings,
                    [&](const DumpFinding& said) { return said.tensor == tensor.name; });
      if (!proposal.form.holds) {
        std::string read = std::move(tensor.reading);
        tensor = proposal.judged;
        tensor.reading = std::move(read);
        continue;
      }
      tensor.verdict = Verdict::kNotCompared;
      tensor.reason = proposal.form.text;
      moved.push_back(proposal.judged);
    }
    for (TensorResult& judged : moved) {
      const auto own = std::ranges::find(result.tensors, judged.name, &TensorResult::name);
      if (own == result.tensors.end() || own->verdict != Verdict::kNotCompared) continue;
      judged.reading = fmt::format("of '{}'", judged.candidate_name);
      *own = std::move(judged);
    }
    result.findings.push_back({places_text(places, spec), group.first.second});
  }
  find_unused(Flow(result, spec), spec);
  return are_paired;
}

}  // namespace assay
