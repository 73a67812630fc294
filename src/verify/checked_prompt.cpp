#include "verify/checked_prompt.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "candidate/candidate.h"
#include "candidate/choose.h"
#include "candidate/data_flow.h"
#include "candidate/dump_forms.h"
#include "candidate/ids.h"
#include "metrics/metrics.h"
#include "verify/compare_arrays.h"
#include "verify/divergence.h"
#include "verify/rope_rows.h"
#include "verify/tokens.h"
#include "verify/unsteady.h"

namespace assay {
namespace {

std::string list_of(const std::vector<std::int64_t>& positions) {
  constexpr std::size_t kMost = 8;
  const std::vector<std::int64_t> some(
      positions.begin(),
      positions.begin() + static_cast<std::ptrdiff_t>(std::min(kMost, positions.size())));
  return fmt::format("{}{}", fmt::join(some, ", "), positions.size() > kMost ? ", ..." : "");
}

// positions: count -1 for the whole prompt.
Array part_of(const ArrayView& array, Positions positions) {
  if (positions.count >= 0) return slice_positions(array, 1, positions);
  return {array.name, array.dtype, array.shape, {array.bytes.begin(), array.bytes.end()}};
}

// Whether the tokens before the prompt are padding: then the last compared tensor is nearly right.
bool is_padding(const PromptResult& all) {
  for (std::size_t i = all.tensors.size(); i-- > 0;) {
    const TensorResult& t = all.tensors[i];
    const std::optional<TapPlace> place = parse_tap_name(t.name);
    const bool compared =
        t.verdict == Verdict::kPass || t.verdict == Verdict::kCoarse || t.verdict == Verdict::kFail;
    if (!compared || (!place && t.module.empty())) continue;
    if (place && place->tap == Tap::kEmbeddingOutput) continue;
    return t.metrics.relative_l2 <= kSurelyPadding;
  }
  return false;
}

}  // namespace

CheckedPrompt::CheckedPrompt(const PromptPair& pair, const Pairing& pairing, const Profile& profile,
                             std::optional<ExpectedType> as)
    : files_(pair),
      reference_(files_.arrays()),
      profile_(profile),
      layers_(count_layers(reference_.names())),
      model_(pairing.model ? *pairing.model : model_of_names(reference_.names())),
      numerics_(pairing.numerics),
      questions_(files_, model_, numerics_, profile),
      twins_(reference_) {
  precision_.as = as;
  precision_.modules = pair.modules;
  if (pair.noise_f32) precision_.f32 = std::make_shared<TypeNoise>(*pair.noise_f32);
  result_.id = pair.id;
  if (reference_.contains("input_ids")) ids_ = read_ids(reference_, "input_ids");
  result_.input_ids = ids_;
  if (reference_.contains("generated_ids")) text_ = read_ids(reference_, "generated_ids");
  result_.tensors = list_tensors(reference_, pair.modules.get());
}

std::size_t CheckedPrompt::axis_of(const std::string& tap) const {
  return position_axis_of(tap, files_.modules());
}

const ModuleArray* CheckedPrompt::module_of(std::string_view tap) const {
  return files_.modules() != nullptr ? files_.modules()->find(tap) : nullptr;
}

bool CheckedPrompt::counts_positions(std::string_view tap) const {
  const ModuleArray* module = module_of(tap);
  return module != nullptr ? module->counts_tokens : parse_tap_name(tap).has_value();
}

TensorResult* CheckedPrompt::find(std::string_view tap) {
  const auto found = std::ranges::find(result_.tensors, tap, &TensorResult::name);
  return found == result_.tensors.end() ? nullptr : &*found;
}

void CheckedPrompt::add_unmatched(const std::string& name) {
  std::vector<std::string>& unmatched = result_.unmatched;
  if (std::ranges::find(unmatched, name) == unmatched.end()) unmatched.push_back(name);
}

std::int64_t CheckedPrompt::positions_of(const std::string& tap) const {
  return reference_.form_of(tap).shape.at(axis_of(tap));
}

HeldPositions CheckedPrompt::held_of(const std::string& tap, const ArrayView& tensor,
                                     Positions positions) {
  const std::int64_t size = positions_of(tap);
  const auto held_after = [&](std::int64_t front) {
    const std::int64_t end = positions.first + positions.count;
    const std::int64_t first = std::clamp(positions.first - front, std::int64_t{0}, size);
    const std::int64_t last = std::clamp(end - front, first, size);
    HeldPositions held{{first, last - first}};
    if (front == 0 && held.prompt.count == positions.count) return held;
    held.rows = {first + front - positions.first, positions.count};
    held.keys = {front, end};
    return held;
  };
  const std::int64_t front = hints_.window.front;
  const HeldPositions counted = held_after(front);
  if (front == 0) return counted;
  const HeldPositions relative = held_after(0);
  // The first position always attends to itself, and there are few experts: these tell nothing.
  const std::optional<TapPlace> place = parse_tap_name(tap);
  const ModuleArray* module = module_of(tap);
  const bool tells = module != nullptr
                         ? module->counts_tokens && module->axis == 1
                         : place && axis_of(tap) == 1 && !has_expert_slots(place->tap, true);
  if (!counts_padding_ && tells) {
    const double if_counted = distance(tap, tensor, &counted);
    const double if_relative = distance(tap, tensor, &relative);
    if (std::min(if_counted, if_relative) <= kFits) counts_padding_ = if_counted <= if_relative;
  }
  return counts_padding_.value_or(true) ? counted : relative;
}

// For a tensor of the whole run, or of the positions that the engine says it has.
ReadingHints CheckedPrompt::hints_of(const HeldPositions* held, const std::string& tap) const {
  ReadingHints hints = hints_of_array(hints_, tap, files_.modules());
  if (held == nullptr) return hints;
  hints.window = held->rows;
  if (held->rows.total > 0) hints.keys = held->keys;
  return hints;
}

void CheckedPrompt::compare_whole(TensorResult& tensor, const ArrayView& candidate,
                                  bool of_pieces) {
  LoadedArray own = reference_.load(tensor.name);
  if (is_rope_table(tensor.name, own.view.shape)) {
    cut_rows(own.view, common_rope_rows(own.view.shape, candidate.shape, std::ssize(ids_),
                                        hints_.window.front));
  }
  const LoadedArray exact = files_.exact(tensor.name);
  compare_ordered(tensor, own.view, exact.view, candidate, nullptr, files_.least_noise(tensor.name),
                  of_pieces);
  conclude(tensor, candidate);
}

// Adds reading and remarks to a measured tensor of the whole run.
void CheckedPrompt::conclude(TensorResult& tensor, const ArrayView& candidate) {
  const auto i = static_cast<std::size_t>(&tensor - result_.tensors.data());
  judge_precision(tensor, types_of(result_.tensors, precision_)[i], precision_, profile_);
  proposals_.erase(tensor.name);
  std::erase_if(result_.findings, [&](const DumpFinding& f) { return f.tensor == tensor.name; });
  if (auto proposal =
          questions_.ask(tensor, candidate, hints_, precision_, results_.contains(tensor.name))) {
    proposals_.emplace(tensor.name, std::move(*proposal));
  }
  note_findings(tensor, candidate);
}

TensorResult CheckedPrompt::for_now(const TensorResult& tensor) const {
  TensorResult now = tensor;
  if (now.verdict == Verdict::kFail && files_.modules() != nullptr) {
    std::vector<TensorResult> settled = result_.tensors;
    settle_choices(settled, *files_.modules());
    return settled[static_cast<std::size_t>(&tensor - result_.tensors.data())];
  }
  const auto found = proposals_.find(tensor.name);
  if (now.verdict != Verdict::kFail || found == proposals_.end()) return now;
  const std::optional<TapPlace> place = parse_tap_name(tensor.name);
  const DumpForm& form = found->second.form;
  // Nothing is computed from the logits.
  const bool is_settled = form.holds || place->tap == Tap::kLogits;
  if (is_settled && !found->second.known_trap) return now;
  now.verdict = Verdict::kNotCompared;
  now.reason = fmt::format("{}? Later tensors will tell", form.text);
  return now;
}

// held: none for the whole prompt; own and exact are those positions' (exact without axes: no
// oracle). Each token's experts are put in the reference's order once the engine has told which
// they are; joined pieces are in that order already.
CheckedPrompt::Ordered CheckedPrompt::compare_ordered(TensorResult& tensor, const ArrayView& own,
                                                      const ArrayView& exact,
                                                      const ArrayView& candidate,
                                                      const HeldPositions* held, double least_noise,
                                                      bool of_pieces) {
  const Positions positions = held != nullptr ? held->prompt : Positions{0, -1};
  const ReadingHints hints = hints_of(held, tensor.name);
  const std::optional<TapPlace> place = parse_tap_name(tensor.name);
  const bool has_slots = place && place->layer >= 0 && has_expert_slots(place->tap, true);
  const bool is_ids = place && place->tap == Tap::kExpertIds;
  Ordered result;
  std::optional<Array>& moved = result.moved;
  std::optional<Array> exact_moved;
  if (has_slots && !is_ids) {
    if (!of_pieces) moved = in_expert_order(place->layer, positions, own, candidate, hints);
    if (!exact.shape.empty()) exact_moved = oracle_in_order(place->layer, positions, exact);
  }
  const ArrayView moved_view = moved ? moved->view() : candidate;
  const ArrayView exact_view = exact_moved ? exact_moved->view() : exact;
  std::int64_t same_until = place ? choices_.same_until(*place) : ExpertChoices::kAll;
  if (positions.count >= 0 && same_until != ExpertChoices::kAll) {
    same_until = std::max<std::int64_t>(same_until - positions.first, 0);
  }
  std::optional<Reading>& reading = result.reading;
  reading = compare_arrays(tensor,
                           {.reference = own,
                            .oracle = exact.shape.empty() ? nullptr : &exact_view,
                            .position_axis = axis_of(tensor.name),
                            .numerics = numerics_,
                            .least_noise = least_noise,
                            .judges_positions = files_.judges_positions(tensor.name),
                            .hints = moved ? ReadingHints{} : hints,
                            .same_until = same_until,
                            .files = &files_,
                            .is_whole = held == nullptr && !exact_moved},
                           moved_view, profile_, nullptr);
  if (reading && moved && tensor.reading.empty()) {
    tensor.reading = "each token's experts put in the reference's order";
  }
  // One engine writes all its shapes in the same order.
  if (reading && !moved && tensor.metrics.relative_l2 < kFits) {
    if (reading->order == AxisOrder::kReversed) hints_.reversed = true;
  }
  if (reading && is_ids) {
    const Array laid = laid_out(own.shape, 1, candidate, *reading);
    const ArrayView ids = laid.view();
    judge_experts(tensor, place->layer, own, exact, ids, positions);
    const auto slots = of_pieces ? std::nullopt : match_experts(own, ids);
    if (slots) experts_[place->layer] = {positions, *slots};
  }
  return result;
}

// ids: the candidate's, in the reference's layout.
void CheckedPrompt::judge_experts(TensorResult& tensor, std::int64_t layer, const ArrayView& own,
                                  const ArrayView& exact, const ArrayView& ids,
                                  Positions positions) {
  Array routed;
  for (const std::string& scores : decided_by(layer, model_)) {
    if (routed.shape.empty() && reference_.contains(scores)) {
      routed = part_of(reference_.load(scores).view, positions);
    }
  }
  const ArrayView routed_view = routed.view();
  choices_.judge(tensor, layer,
                 {.reference = own,
                  .oracle = exact.shape.empty() ? nullptr : &exact,
                  .router_scores = routed.shape.empty() ? nullptr : &routed_view,
                  .candidate = ids,
                  .first = positions.count < 0 ? 0 : positions.first});
}

std::optional<TensorResult> CheckedPrompt::compare_rival(TensorResult& tensor,
                                                         const ArrayView& candidate) {
  if (!rivals_.emplace(tensor.name, candidate.name).second) return std::nullopt;
  rivals_.emplace(tensor.name, tensor.candidate_name);
  TensorResult rival;
  rival.name = tensor.name;
  rival.layer = tensor.layer;
  rival.block = tensor.block;
  rival.module = tensor.module;
  rival.candidate_name = candidate.name;
  const LoadedArray own = reference_.load(tensor.name);
  const LoadedArray exact = files_.exact(tensor.name);
  const std::optional<Reading> reading =
      compare_ordered(rival, own.view, exact.view, candidate, nullptr,
                      files_.least_noise(tensor.name), false)
          .reading;
  const bool was_read = tensor.verdict != Verdict::kError;
  const NameKind own_kind = kind_of_name(tensor.candidate_name);
  const NameKind kind = kind_of_name(candidate.name);
  const bool nearer = kind == own_kind && rival.metrics.relative_l2 < tensor.metrics.relative_l2;
  const bool better = reading && (!was_read || kind > own_kind || nearer);
  if (reading && was_read && kind != own_kind) {
    results_.insert(tensor.name);
    const auto proposal = proposals_.find(tensor.name);
    if (proposal != proposals_.end() && !proposal->second.form.holds) {
      proposal->second.known_trap = false;
    }
  }
  const bool alike = reading && was_read && rival.metrics.mse == tensor.metrics.mse &&
                     rival.metrics.cosine == tensor.metrics.cosine;
  if (!alike) {
    result_.remarks.push_back(about_rivals(tensor.name, tensor.candidate_name, candidate.name,
                                           better ? candidate.name : tensor.candidate_name));
  }
  if (better) {
    tensor = rival;
    conclude(tensor, candidate);
  }
  return for_now(tensor);
}

double CheckedPrompt::distance_from(const std::string& tap, const ArrayView& tensor,
                                    const std::optional<Positions>& positions) {
  if (!reference_.contains(tap)) return std::numeric_limits<double>::infinity();
  if (!positions || !counts_positions(tap)) return distance(tap, tensor, nullptr);
  const HeldPositions held = held_of(tap, tensor, *positions);
  return distance(tap, tensor, &held);
}

// held: none for the whole prompt.
double CheckedPrompt::distance(const std::string& tap, const ArrayView& tensor,
                               const HeldPositions* held) const {
  constexpr double kFar = std::numeric_limits<double>::infinity();
  if (held != nullptr && held->prompt.count == 0) return kFar;
  const std::size_t axis = axis_of(tap);
  const LoadedArray whole = reference_.load(tap);
  Array slice;
  ArrayView own = whole.view;
  if (is_rope_table(tap, own.shape)) {
    cut_rows(own, common_rope_rows(own.shape, tensor.shape, std::ssize(ids_), hints_.window.front));
  }
  if (held != nullptr) {
    slice = slice_positions(own, axis, held->prompt);
    own = slice.view();
  }
  const std::vector<Reading> all =
      readings_of(tap, own.shape, axis, tensor.shape, hints_of(held, tap));
  if (all.empty()) return kFar;
  return choose_reading_of(tap, axis, own, tensor, all, model_).metrics.relative_l2;
}

// None until the engine has told the experts of these positions.
std::optional<Array> CheckedPrompt::in_expert_order(std::int64_t layer, Positions positions,
                                                    const ArrayView& own,
                                                    const ArrayView& candidate,
                                                    const ReadingHints& hints) const {
  const auto known = experts_.find(layer);
  if (known == experts_.end()) return std::nullopt;
  const Positions& of = known->second.positions;
  if (of.first != positions.first || of.count != positions.count) return std::nullopt;
  const std::vector<Reading> all = readings_of("", own.shape, 1, candidate.shape, hints);
  if (all.empty()) return std::nullopt;
  return in_order_of(known->second.slots, laid_out(own.shape, 1, candidate, all.front()).view());
}

std::optional<Array> CheckedPrompt::oracle_in_order(std::int64_t layer, Positions positions,
                                                    const ArrayView& exact) const {
  const std::string name = tap_name(Tap::kExpertIds, layer, model_);
  const LoadedArray exact_ids = files_.exact(name);
  if (!reference_.contains(name) || exact_ids.view.shape.empty()) return std::nullopt;
  const Array own = part_of(reference_.load(name).view, positions);
  const Array theirs = part_of(exact_ids.view, positions);
  const std::optional<ExpertSlots> slots = match_experts(own.view(), theirs.view());
  return slots ? in_order_of(*slots, exact) : std::nullopt;
}

void CheckedPrompt::compare_tokens_of_run(TensorResult& tensor,
                                          const std::vector<std::int64_t>& run) {
  std::optional<Sequence> sequence = find_prompt(ids_, run, text_);
  compare_input_ids(tensor, ids_, sequence ? ids_ : run);
  if (!sequence) return;
  if (!sequence->sure) doubtful_run_ = run;
  hints_.window = sequence->window();
  for (std::string& line : about_sequence(*sequence, run, false, text_)) {
    result_.remarks.push_back(std::move(line));
  }
}

bool CheckedPrompt::compare_tokens_of_pass(TensorResult& tensor,
                                           const std::vector<std::int64_t>& tokens,
                                           Positions positions) {
  const std::int64_t end = std::min(positions.first + positions.count, std::ssize(ids_));
  const bool is_pass = std::ssize(tokens) == positions.count && positions.count < std::ssize(ids_);
  if (!is_pass) return false;
  for (std::int64_t p = positions.first; p < end; ++p) {
    const std::int64_t own = ids_[static_cast<std::size_t>(p)];
    const std::int64_t theirs = tokens[static_cast<std::size_t>(p - positions.first)];
    if (own == theirs || tensor.verdict == Verdict::kFail) continue;
    tensor.verdict = Verdict::kFail;
    tensor.reason = fmt::format(
        "the candidate ran different tokens: {} instead of {} at position {}", theirs, own, p);
  }
  if (tensor.verdict == Verdict::kNotCompared && positions.first < end) {
    tensor.verdict = Verdict::kPass;
  }
  tensor.metrics.compared += std::max<std::int64_t>(end - positions.first, 0);
  return true;
}

const TokenResult& CheckedPrompt::compare_text(const std::string& name,
                                               std::vector<std::int64_t> text) {
  std::optional<LoadedArray> logits;
  if (reference_.contains("logits")) logits = reference_.load("logits");
  const std::optional<Sequence> padded = find_prompt(ids_, text);
  if (padded && padded->sure) text.erase(text.begin(), text.begin() + padded->front);
  const std::vector<std::int64_t> own = read_ids(reference_, "generated_ids");
  const std::vector<std::int64_t> exact = files_.exact_text();
  result_.tokens = judge_text({ids_, own, exact, files_.end_tokens()}, text,
                              logits ? &logits->view : nullptr, nullptr, name);
  return result_.tokens;
}

void CheckedPrompt::note_findings(const TensorResult& tensor, const ArrayView& candidate) {
  std::optional<DumpFinding> finding = check_tensor(reference_, layers_, tensor, candidate);
  std::optional<DumpFinding> twin = twins_.add(tensor, candidate);
  if (!finding) finding = std::move(twin);
  if (finding) result_.findings.push_back(std::move(*finding));
}

CheckedPrompt::OpenTap& CheckedPrompt::open(const TensorResult& tensor, std::size_t axis) {
  const auto known = open_taps_.find(tensor.name);
  if (known != open_taps_.end()) return known->second;
  LoadedArray own = reference_.load(tensor.name);
  LoadedArray exact = files_.exact(tensor.name);
  Pieces pieces(own.view, axis);
  OpenTap tap{std::move(own), std::move(exact), 0, std::move(pieces), {}};
  if (!tap.oracle.view.shape.empty()) {
    const TensorMetrics noise = measure(tap.oracle.view, axis, tap.reference.view,
                                        same_layout(tap.reference.view.shape), nullptr);
    files_.expect_own_oracle(tensor.name, noise, true);
    tap.least_noise = largest(noise.position_error);
  }
  return open_taps_.emplace(tensor.name, std::move(tap)).first->second;
}

bool CheckedPrompt::takes_piece(const TensorResult& tensor, const ArrayView& piece,
                                Positions positions) {
  const NameKind kind = kind_of_name(piece.name);
  const auto [known, is_new] = piece_kinds_.emplace(tensor.name, kind);
  if (is_new || known->second == kind) return true;
  if (std::isinf(distance_from(tensor.name, piece, positions))) return false;  // the token, perhaps
  results_.insert(tensor.name);
  if (kind < known->second) return false;
  known->second = kind;
  open_taps_.erase(tensor.name);
  return true;
}

// Whether an array of that name may have been taken before a scale or a cap of this model.
bool CheckedPrompt::may_be_before(const std::string& tap, std::string_view name) const {
  const std::optional<TapPlace> place = parse_tap_name(tap);
  if (!place || results_.contains(tap) || kind_of_name(name) == NameKind::kValue) return false;
  return std::ranges::any_of(forms_of(*place, model_), [](const DumpForm& form) {
    return !form.holds && !form.pairs && !form.lacks_weight;
  });
}

TensorResult CheckedPrompt::compare_piece(TensorResult& tensor, const HeldPositions& held,
                                          const ArrayView& candidate) {
  const Positions positions = held.prompt;
  const std::size_t axis = axis_of(tensor.name);
  OpenTap& tap = open(tensor, axis);
  const Array own = slice_positions(tap.reference.view, axis, positions);
  const bool has_oracle = !tap.oracle.view.shape.empty();
  const Array exact = has_oracle ? slice_positions(tap.oracle.view, axis, positions) : Array();
  TensorResult piece;
  piece.name = tensor.name;
  piece.layer = tensor.layer;
  piece.block = tensor.block;
  piece.module = tensor.module;
  piece.candidate_name = candidate.name;
  const Ordered ordered =
      compare_ordered(piece, own.view(), exact.view(), candidate, &held, tap.least_noise, false);
  if (piece.verdict != Verdict::kPass) {
    piece.reason = fmt::format(
        "position {}: {}",
        positions.count == 1
            ? std::to_string(positions.first)
            : fmt::format("{} to {}", positions.first, positions.first + positions.count - 1),
        piece.reason);
  }
  const bool is_early =
      piece.verdict == Verdict::kFail && may_be_before(tensor.name, candidate.name);
  if (is_early) {
    piece.verdict = Verdict::kNotCompared;
    piece.reason += "; taken a step before the tap? The whole run will tell";
  }
  const bool is_worse = tap.worst.verdict == Verdict::kPass ||
                        (tap.worst.verdict == Verdict::kNotCompared &&
                         (piece.verdict == Verdict::kFail || piece.verdict == Verdict::kError));
  if (tap.worst.name.empty() || is_worse) tap.worst = piece;
  if (ordered.reading) {
    tap.pieces.put(positions, ordered.moved ? ordered.moved->view() : candidate, *ordered.reading);
  }
  if (tap.pieces.complete()) {
    // One bad position is enough, even if the whole array's error hides it.
    if (tap.worst.verdict != Verdict::kError) compare_whole(tensor, tap.pieces.whole(), true);
    const bool is_judged =
        tap.worst.verdict == Verdict::kPass || may_be_before(tensor.name, candidate.name);
    if (tensor.verdict != Verdict::kFail && !is_judged) tensor = tap.worst;
    open_taps_.erase(tensor.name);
  }
  return piece;
}

PromptResult CheckedPrompt::so_far() const {
  PromptResult all = result_;
  for (TensorResult& tensor : all.tensors) {
    const auto found = open_taps_.find(tensor.name);
    if (found == open_taps_.end()) continue;
    const OpenTap& tap = found->second;
    tensor = tap.worst;
    if (tensor.verdict != Verdict::kPass) continue;
    const std::vector<std::int64_t> missing = tap.pieces.missing();
    if (tap.pieces.last_only()) {
      tensor.reading = "only the last position";
    } else {
      tensor.verdict = Verdict::kNotCompared;
      tensor.reason = fmt::format("positions {} are missing", list_of(missing));
    }
  }
  const bool any_failed = std::ranges::any_of(
      all.tensors, [](const TensorResult& t) { return t.verdict == Verdict::kFail; });
  if (!any_failed) all.findings.clear();
  answer_dump_questions(all, proposals_, model_);
  judge_precision(all.tensors, precision_, profile_);
  if (!doubtful_run_.empty() && !is_padding(all)) {
    compare_input_ids(all.tensors[0], ids_, doubtful_run_);
    all.remarks.clear();
  }
  if (files_.modules() != nullptr) settle_choices(all.tensors, *files_.modules());
  find_first_divergence(all, layers_, files_.modules());
  return all;
}

}  // namespace assay
