#include "verify/checker.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>

#include "assay/error.h"
#include "candidate/candidate.h"
#include "candidate/choose.h"
#include "candidate/data_flow.h"
#include "candidate/fused_file.h"
#include "candidate/ids.h"
#include "metrics/metrics.h"
#include "model/checkpoint_files.h"
#include "verify/compare_arrays.h"
#include "verify/divergence.h"
#include "verify/dump_questions.h"
#include "verify/precision.h"
#include "verify/tokens.h"

namespace assay {
namespace {

std::string list_of(const std::vector<std::int64_t>& positions) {
  constexpr std::size_t kMost = 8;
  const std::vector<std::int64_t> some(
      positions.begin(),
      positions.begin() + static_cast<std::ptrdiff_t>(std::min(kMost, positions.size())));
  return fmt::format("{}{}", fmt::join(some, ", "), positions.size() > kMost ? ", ..." : "");
}

// An array this near to the reference's is read rightly.
constexpr double kFits = 0.2;

// To which experts tokens go, as the engine said last.
struct Experts {
  Positions positions;
  ExpertSlots slots;
};

// How a tensor was read, and what became of it where its experts were put in another order.
struct Ordered {
  std::optional<Reading> reading;
  std::optional<Array> moved;
};

// A tap that comes in pieces: the reference's arrays are kept until it is complete.
struct OpenTap {
  LoadedArray reference;
  LoadedArray oracle;
  double least_noise = 0;  // see Truth
  Pieces pieces;
  TensorResult worst;  // of the pieces so far
};

}  // namespace

// The prompt's reference and what was found so far.
struct Checker::Prompt {
  Prompt(const PromptPair& pair, const Pairing& pairing, const Profile& profile)
      : reference(pair.reference),
        oracle(pair.oracle ? std::optional<ArrayFile>(*pair.oracle) : std::nullopt),
        layers(count_layers(reference.names())),
        model(pairing.model ? *pairing.model : model_of_names(reference.names())),
        numerics(pairing.numerics),
        questions(reference, oracle ? &*oracle : nullptr, model, numerics, profile),
        twins(reference) {
    if (pair.noise_f32) precision.f32 = std::make_shared<TypeNoise>(*pair.noise_f32);
    result.id = pair.id;
    if (reference.contains("input_ids")) ids = read_ids(reference, "input_ids");
    result.input_ids = ids;
    if (reference.contains("generated_ids")) text = read_ids(reference, "generated_ids");
    result.tensors = list_tensors(reference);
  }

  // None: it is no tap of the reference.
  TensorResult* find(std::string_view tap) {
    const auto found = std::ranges::find(result.tensors, tap, &TensorResult::name);
    return found == result.tensors.end() ? nullptr : &*found;
  }

  LoadedArray load_oracle(const TensorResult& tensor) const {
    return oracle && parse_tap_name(tensor.name) ? oracle->load(tensor.name) : LoadedArray{};
  }

  void compare_whole(TensorResult& tensor, const ArrayView& candidate, const Profile& profile) {
    LoadedArray own = reference.load(tensor.name);
    if (is_rope_table(tensor.name, own.view.shape)) {
      cut_rows(own.view, common_rope_rows(own.view.shape, candidate.shape, std::ssize(ids)));
    }
    const LoadedArray exact = load_oracle(tensor);
    compare_ordered(tensor, own.view, exact.view, candidate, profile, {0, -1}, 0);
    const auto i = static_cast<std::size_t>(&tensor - result.tensors.data());
    judge_precision(tensor, types_of(result.tensors, precision.as)[i], precision, profile);
    proposals.erase(tensor.name);
    if (auto proposal = questions.ask(tensor, candidate, hints, precision)) {
      proposals.emplace(tensor.name, std::move(*proposal));
    }
    note_findings(tensor, candidate);
  }

  // What is said of a tensor at once: one that may have been taken a step too early is not failed
  // before what follows it has been seen.
  TensorResult for_now(const TensorResult& tensor) const {
    TensorResult now = tensor;
    const auto found = proposals.find(tensor.name);
    if (now.verdict != Verdict::kFail || found == proposals.end()) return now;
    const std::optional<TapPlace> place = parse_tap_name(tensor.name);
    const DumpForm& form = found->second.form;
    if (form.holds && !is_known_trap(*place, tensor.candidate_name, form)) return now;
    now.verdict = Verdict::kNotCompared;
    now.reason = fmt::format("{}? What follows will tell", form.text);
    return now;
  }

  // Of the whole prompt (count -1) or of those positions, whose part `own` and `exact` are (an
  // array without axes: there is no oracle). Each token's experts are put in the reference's order
  // once the engine has said which they are.
  Ordered compare_ordered(TensorResult& tensor, const ArrayView& own, const ArrayView& exact,
                          const ArrayView& candidate, const Profile& profile, Positions positions,
                          double least_noise) {
    ReadingHints own_hints = hints;
    if (positions.count >= 0) own_hints.window = {};  // the engine says which positions these are
    const std::optional<TapPlace> place = parse_tap_name(tensor.name);
    const bool has_slots = place && place->layer >= 0 && has_expert_slots(place->tap, true);
    const bool is_ids = place && place->tap == Tap::kExpertIds;
    Ordered result_of;
    std::optional<Array>& moved = result_of.moved;
    std::optional<Array> exact_moved;
    if (has_slots && !is_ids) {
      moved = in_expert_order(place->layer, positions, own, candidate);
      if (!exact.shape.empty()) exact_moved = oracle_in_order(place->layer, positions, exact);
    }
    const ArrayView moved_view = moved ? moved->view() : candidate;
    const ArrayView exact_view = exact_moved ? exact_moved->view() : exact;
    std::int64_t same_until = place ? choices.same_until(*place) : ExpertChoices::kAll;
    if (positions.count >= 0 && same_until != ExpertChoices::kAll) {
      same_until = std::max<std::int64_t>(same_until - positions.first, 0);
    }
    std::optional<Reading>& reading = result_of.reading;
    reading = compare_arrays(tensor,
                             {.reference = own,
                              .oracle = exact.shape.empty() ? nullptr : &exact_view,
                              .position_axis = place ? position_axis(place->tap) : 1,
                              .numerics = numerics,
                              .least_noise = least_noise,
                              .hints = own_hints,
                              .same_until = same_until},
                             moved_view, profile, nullptr);
    if (reading && moved && tensor.reading.empty()) {
      tensor.reading = "each token's experts put in the reference's order";
    }
    // Shapes are written in one way by one engine.
    if (reading && !moved && tensor.metrics.relative_l2 < kFits) {
      if (reading->order == AxisOrder::kReversed) hints.reversed = true;
    }
    if (!reading || !is_ids) return result_of;
    const std::string logits = tap_name(Tap::kRouterLogits, place->layer, model);
    Array routed;
    if (reference.contains(logits)) routed = part_of(reference.load(logits).view, positions);
    const ArrayView routed_view = routed.view();
    if (reading->last_position) return result_of;
    const Array laid = laid_out(own.shape, 1, candidate, *reading);
    const ArrayView laid_view = laid.view();
    choices.judge(tensor, place->layer,
                  {.reference = own,
                   .oracle = exact.shape.empty() ? nullptr : &exact,
                   .router_logits = routed.shape.empty() ? nullptr : &routed_view,
                   .candidate = laid_view,
                   .first = positions.count < 0 ? 0 : positions.first});
    if (const auto slots = match_experts(own, laid_view)) {
      experts[place->layer] = {positions, *slots};
    }
    return result_of;
  }

  // Another array that claims the tap: the one that fits stays.
  TensorResult compare_rival(TensorResult& tensor, const ArrayView& candidate,
                             const Profile& profile) {
    TensorResult rival;
    rival.name = tensor.name;
    rival.layer = tensor.layer;
    rival.candidate_name = candidate.name;
    const LoadedArray own = reference.load(tensor.name);
    const LoadedArray exact = load_oracle(tensor);
    const std::optional<Reading> reading =
        compare_ordered(rival, own.view, exact.view, candidate, profile, {0, -1}, 0).reading;
    const bool was_read = tensor.verdict != Verdict::kError;
    const bool better =
        reading && (!was_read || rival.metrics.relative_l2 < tensor.metrics.relative_l2);
    const bool alike = reading && was_read && rival.metrics.mse == tensor.metrics.mse &&
                       rival.metrics.cosine == tensor.metrics.cosine;
    if (!alike) {
      result.remarks.push_back(about_rivals(tensor.name, tensor.candidate_name, candidate.name,
                                            better ? candidate.name : tensor.candidate_name));
    }
    if (better) {
      std::erase_if(result.findings, [&](const DumpFinding& f) { return f.tensor == tensor.name; });
      tensor = rival;
    }
    return tensor;
  }

  // How far a tensor lies from the reference's array of that tap; infinite where it cannot be read
  // as such. positions: which it holds; none: all.
  double distance_from(const std::string& tap, const ArrayView& tensor,
                       const std::optional<Positions>& positions) const {
    constexpr double kFar = std::numeric_limits<double>::infinity();
    if (!reference.contains(tap)) return kFar;
    const std::optional<TapPlace> place = parse_tap_name(tap);
    const std::size_t axis = place ? position_axis(place->tap) : 1;
    const LoadedArray whole = reference.load(tap);
    Array slice;
    ArrayView own = whole.view;
    if (is_rope_table(tap, own.shape)) {
      cut_rows(own, common_rope_rows(own.shape, tensor.shape, std::ssize(ids)));
    }
    if (place && positions) {
      if (positions->first + positions->count > own.shape.at(axis)) return kFar;
      slice = slice_positions(own, axis, *positions);
      own = slice.view();
    }
    ReadingHints own_hints = hints;
    if (positions) own_hints.window = {};
    const std::vector<Reading> all = readings_of(tap, own.shape, axis, tensor.shape, own_hints);
    if (all.empty()) return kFar;
    return choose_reading(own, axis, tensor, all, nullptr).metrics.relative_l2;
  }

  static Array part_of(const ArrayView& array, Positions positions) {
    if (positions.count >= 0) return slice_positions(array, 1, positions);
    return {array.name, array.dtype, array.shape, {array.bytes.begin(), array.bytes.end()}};
  }

  // As far as the engine has said to which experts these positions go.
  std::optional<Array> in_expert_order(std::int64_t layer, Positions positions,
                                       const ArrayView& own, const ArrayView& candidate) const {
    const auto known = experts.find(layer);
    if (known == experts.end() || known->second.slots.in_order) return std::nullopt;
    const Positions& of = known->second.positions;
    if (of.first != positions.first || of.count != positions.count) return std::nullopt;
    const std::vector<Reading> all = readings_of("", own.shape, 1, candidate.shape, hints);
    if (all.empty() || all.front().last_position) return std::nullopt;
    return in_order_of(known->second.slots, laid_out(own.shape, 1, candidate, all.front()).view());
  }

  std::optional<Array> oracle_in_order(std::int64_t layer, Positions positions,
                                       const ArrayView& exact) const {
    const std::string ids_name = tap_name(Tap::kExpertIds, layer, model);
    if (!reference.contains(ids_name) || !oracle->contains(ids_name)) return std::nullopt;
    const Array own_ids = part_of(reference.load(ids_name).view, positions);
    const Array exact_ids = part_of(oracle->load(ids_name).view, positions);
    const std::optional<ExpertSlots> slots = match_experts(own_ids.view(), exact_ids.view());
    if (!slots || slots->in_order) return std::nullopt;
    return in_order_of(*slots, exact);
  }

  // What the tokens before the prompt are shows in what is computed from them.
  static bool is_padding(const PromptResult& all) {
    for (std::size_t i = all.tensors.size(); i-- > 0;) {
      const TensorResult& t = all.tensors[i];
      const std::optional<TapPlace> place = parse_tap_name(t.name);
      const bool compared = t.verdict == Verdict::kPass || t.verdict == Verdict::kFail;
      if (!place || !compared || place->tap == Tap::kEmbeddingOutput) continue;
      return t.metrics.relative_l2 <= kSurelyPadding;
    }
    return false;
  }

  // The tokens that the engine runs: they say where its arrays have the prompt's positions.
  void compare_tokens_of_run(TensorResult& tensor, const std::vector<std::int64_t>& run) {
    std::optional<Sequence> sequence = find_prompt(ids, run, text);
    compare_input_ids(tensor, ids, sequence ? ids : run);
    if (!sequence) return;
    if (!sequence->sure) doubtful_run = run;
    hints.window = sequence->window();
    for (std::string& line : about_sequence(*sequence, run, false, text)) {
      result.remarks.push_back(std::move(line));
    }
  }

  void note_findings(const TensorResult& tensor, const ArrayView& candidate) {
    std::optional<DumpFinding> finding = check_tensor(reference, layers, tensor, candidate);
    std::optional<DumpFinding> twin = twins.add(tensor, candidate);
    if (!finding) finding = std::move(twin);
    if (finding) result.findings.push_back(std::move(*finding));
  }

  OpenTap& open(const TensorResult& tensor, std::size_t axis) {
    const auto known = open_taps.find(tensor.name);
    if (known != open_taps.end()) return known->second;
    LoadedArray own = reference.load(tensor.name);
    LoadedArray exact = load_oracle(tensor);
    Pieces pieces(own.view, axis);
    OpenTap tap{std::move(own), std::move(exact), 0, std::move(pieces), {}};
    if (!tap.oracle.view.shape.empty()) {
      const TensorMetrics noise = measure(tap.oracle.view, axis, tap.reference.view,
                                          same_layout(tap.reference.view.shape), nullptr);
      tap.least_noise = largest(noise.position_error);
    }
    return open_taps.emplace(tensor.name, std::move(tap)).first->second;
  }

  TensorResult compare_piece(TensorResult& tensor, Positions positions, const ArrayView& candidate,
                             const Profile& profile) {
    const std::size_t axis = position_axis(parse_tap_name(tensor.name)->tap);
    OpenTap& tap = open(tensor, axis);
    const Array own = slice_positions(tap.reference.view, axis, positions);
    const bool has_oracle = !tap.oracle.view.shape.empty();
    const Array exact = has_oracle ? slice_positions(tap.oracle.view, axis, positions) : Array();
    const ArrayView own_view = own.view();
    const ArrayView exact_view = exact.view();
    TensorResult piece;
    piece.name = tensor.name;
    piece.layer = tensor.layer;
    piece.candidate_name = candidate.name;
    const Ordered ordered = compare_ordered(piece, own_view, exact_view, candidate, profile,
                                            positions, tap.least_noise);
    if (piece.verdict != Verdict::kPass) {
      piece.reason = fmt::format(
          "position {}: {}",
          positions.count == 1
              ? std::to_string(positions.first)
              : fmt::format("{} to {}", positions.first, positions.first + positions.count - 1),
          piece.reason);
    }
    if (tap.worst.name.empty() || tap.worst.verdict == Verdict::kPass) tap.worst = piece;
    if (ordered.reading) {
      tap.pieces.put(positions, ordered.moved ? ordered.moved->view() : candidate,
                     *ordered.reading);
    }
    if (tap.pieces.complete()) {
      // One bad position is enough, also where the whole array's error hides it.
      if (tap.worst.verdict != Verdict::kError) {
        compare_whole(tensor, tap.pieces.whole(), profile);
      }
      if (tensor.verdict != Verdict::kFail && tap.worst.verdict != Verdict::kPass) {
        tensor = tap.worst;
      }
      open_taps.erase(tensor.name);
    }
    return piece;
  }

  // The results with what is open.
  PromptResult so_far(const Profile& profile) const {
    PromptResult all = result;
    for (TensorResult& tensor : all.tensors) {
      const auto found = open_taps.find(tensor.name);
      if (found == open_taps.end()) continue;
      const OpenTap& tap = found->second;
      tensor = tap.worst;
      if (tensor.verdict != Verdict::kPass) continue;
      const std::vector<std::int64_t> missing = tap.pieces.missing();
      if (tap.pieces.last_only()) {
        tensor.reading = "the last position only";
      } else {
        tensor.verdict = Verdict::kNotCompared;
        tensor.reason = fmt::format("positions {} were not handed over", list_of(missing));
      }
    }
    const bool any_failed = std::ranges::any_of(
        all.tensors, [](const TensorResult& t) { return t.verdict == Verdict::kFail; });
    if (!any_failed) all.findings.clear();
    answer_dump_questions(all, proposals, model);
    judge_precision(all.tensors, precision, profile);
    if (!doubtful_run.empty() && !is_padding(all)) {
      compare_input_ids(all.tensors[0], ids, doubtful_run);
      all.remarks.clear();
    }
    find_first_divergence(all, layers);
    return all;
  }

  ArrayFile reference;
  std::optional<ArrayFile> oracle;
  std::int64_t layers;
  ModelSpec model;  // as the reference's config has it, or what its names tell of it
  std::string numerics;
  DumpQuestions questions;
  DumpProposals proposals;
  Precision precision;
  std::vector<std::int64_t> ids;   // of the prompt
  std::vector<std::int64_t> text;  // they and what the reference generates
  ReadingHints hints;
  std::vector<std::int64_t> doubtful_run;   // see Sequence::sure
  std::map<std::int64_t, Experts> experts;  // by layer
  ExpertChoices choices;
  Twins twins;
  std::map<std::string, OpenTap> open_taps;
  std::set<std::string> again;  // taps handed over whole a second time
  PromptResult result;
};

Checker::Checker(CheckerOptions options) : options_(std::move(options)), map_(options_.map) {
  if (options_.reference.empty()) {
    if (options_.record.empty()) {
      throw usage_error("assay_open", "neither a reference nor a record", "one of them");
    }
    return;
  }
  const std::optional<ExpectedType> as = parse_expected(options_.as);
  if (as == ExpectedType::kF16 || as == ExpectedType::kQ8) {
    throw usage_error("as", "'" + options_.as + "'",
                      "f32 or bf16: a running engine is not measured against a model (compare a "
                      "record with --as and --model)");
  }
  if (!options_.model.empty()) expect_checkpoint_of(options_.reference, options_.model);
  pairing_ = read_reference(options_.reference);
  notes_ = read_reference_notes(options_.reference);
  const bool has_oracle = std::ranges::all_of(
      pairing_.prompts, [](const PromptPair& p) { return p.oracle.has_value(); });
  profile_ =
      options_.tolerance ? Profile(*options_.tolerance) : Profile(options_.profile, has_oracle);
  if (!options_.prompt.empty()) {
    open(pairing_.prompts[index_of_prompt(pairing_, options_.prompt)]);
  } else if (pairing_.prompts.size() == 1) {
    open(pairing_.prompts[0]);
  }
}

Checker::~Checker() = default;

void Checker::open(const PromptPair& pair) {
  prompt_ = std::make_unique<Prompt>(pair, pairing_, *profile_);
  prompt_->precision.as = parse_expected(options_.as);
  map_.suit(model_of_names(prompt_->reference.names()));
}

void Checker::choose_prompt(const std::vector<std::int64_t>& ids) {
  for (const PromptPair& pair : pairing_.prompts) {
    const ArrayFile arrays(pair.reference);
    if (arrays.contains("input_ids") && read_ids(arrays, "input_ids") == ids) return open(pair);
  }
  // Of prompts that stand in it the longest.
  const PromptPair* inside = nullptr;
  std::int64_t longest = 0;
  for (const PromptPair& pair : pairing_.prompts) {
    const ArrayFile arrays(pair.reference);
    if (!arrays.contains("input_ids")) continue;
    const std::optional<Sequence> found = find_prompt(read_ids(arrays, "input_ids"), ids);
    if (!found || found->prompt <= longest) continue;
    inside = &pair;
    longest = found->prompt;
  }
  if (inside != nullptr) return open(*inside);
  throw input_error("input_ids", fmt::format("{} tokens that are no prompt's", ids.size()),
                    fmt::format("a prompt of {}", options_.reference.string()));
}

bool Checker::wants(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  if (!options_.record.empty()) return true;
  if (!prompt_) return true;
  const NameMeaning meaning = map_.meaning(name, prompt_->layers);
  return std::ranges::any_of(meaning.claims, [&](const NameClaim& claim) {
    return std::ranges::any_of(
        claim.taps, [&](const std::string& tap) { return prompt_->reference.contains(tap); });
  });
}

void Checker::set_positions(Positions positions) {
  if (positions.first < 0 || positions.count < 0) {
    throw usage_error("assay_set_positions",
                      fmt::format("first {}, count {}", positions.first, positions.count),
                      "numbers not below 0");
  }
  if (positions.first > std::numeric_limits<std::int64_t>::max() - positions.count) {
    throw usage_error("assay_set_positions",
                      fmt::format("first {}, count {}", positions.first, positions.count),
                      "positions of a sequence");
  }
  const std::lock_guard lock(mutex_);
  positions_ = positions;
}

TensorResult Checker::hand_over(const ArrayView& tensor) {
  const std::lock_guard lock(mutex_);
  if (!options_.record.empty()) {
    const bool is_ids = tensor.name == "input_ids" || tensor.name == "generated_ids";
    recording_.add(tensor, is_ids ? std::nullopt : positions_);
  }
  if (profile_) return compare(tensor);
  TensorResult recorded;
  recorded.name = recorded.candidate_name = tensor.name;
  recorded.reason = "recorded only";
  return recorded;
}

TensorResult Checker::compare(const ArrayView& tensor) {
  TensorResult not_compared;
  not_compared.name = not_compared.candidate_name = tensor.name;
  const auto because = [&](std::string reason) {
    not_compared.reason = std::move(reason);
    return not_compared;
  };
  if (!prompt_ && tensor.name == "input_ids") choose_prompt(read_ids(tensor, "input_ids"));
  if (!prompt_) {
    throw usage_error(tensor.name,
                      fmt::format("handed over while it is open which of {} prompts is run",
                                  pairing_.prompts.size()),
                      "a prompt's id when opening, or input_ids first");
  }
  Prompt& prompt = *prompt_;
  if (map_.ignores(tensor.name, prompt.layers)) return because("the map ignores it");
  const std::vector<Array> parts =
      parts_of(tensor, map_, prompt.layers, prompt.model.head_dim,
               widths_of(prompt.reference, prompt.model), [&](const ArrayView& part) {
                 const auto of = map_.tap_of(part.name, prompt.layers);
                 return of ? prompt.distance_from(*of, part, positions_) : 0;
               });
  if (!parts.empty()) return compare_parts(tensor, parts);
  const std::optional<std::string> tap = tap_by_content(tensor);
  if (tap == "generated_ids" && prompt.reference.contains(*tap)) {
    std::optional<LoadedArray> logits;
    if (prompt.reference.contains("logits")) logits = prompt.reference.load("logits");
    std::vector<std::int64_t> other = read_ids(tensor, tensor.name);
    const std::optional<Sequence> padded = find_prompt(prompt.ids, other);
    if (padded && padded->sure) other.erase(other.begin(), other.begin() + padded->front);
    prompt.result.tokens = judge_text(prompt.ids, read_ids(prompt.reference, *tap), other,
                                      logits ? &logits->view : nullptr, nullptr, tensor.name);
    TensorResult text = not_compared;
    text.verdict = prompt.result.tokens.verdict;
    text.reason = prompt.result.tokens.reason;
    return text;
  }
  TensorResult* result = tap ? prompt.find(*tap) : nullptr;
  if (result == nullptr) {
    std::vector<std::string>& unmatched = prompt.result.unmatched;
    if (std::ranges::find(unmatched, tensor.name) == unmatched.end()) {
      unmatched.push_back(tensor.name);
    }
    return because(tap ? "the reference does not hold it" : "no tap has that name (see the map)");
  }
  if (positions_ && tap->starts_with("rope_") && tensor.shape.size() > 1) {
    const std::int64_t width = std::max<std::int64_t>(tensor.shape.back(), 1);
    const std::int64_t rows = element_count(tensor.shape, tensor.name) / width;
    const Shape whole = prompt.reference.form_of(*tap).shape;
    if (whole.size() == 3 && rows < whole[1]) return because("rotary tables are compared whole");
  }
  const std::optional<TapPlace> place = parse_tap_name(*tap);
  const bool is_open = prompt.open_taps.contains(*tap);
  if (place && positions_) {
    const Shape shape = prompt.reference.form_of(*tap).shape;
    const std::size_t axis = position_axis(place->tap);
    if (positions_->first + positions_->count > shape.at(axis)) {
      return because(fmt::format("positions from {} on lie behind the reference's {}",
                                 positions_->first, shape[axis]));
    }
    if (is_open || positions_->first != 0 || positions_->count != shape[axis]) {
      if (!is_open && result->verdict != Verdict::kNotCompared) {
        return because("its positions were handed over before");
      }
      result->candidate_name = tensor.name;
      return prompt.compare_piece(*result, *positions_, tensor, *profile_);
    }
  }
  if (result->verdict != Verdict::kNotCompared) {
    // Two names may stand for one tap: the better one counts.
    if (result->candidate_name != tensor.name && place) {
      return prompt.compare_rival(*result, tensor, *profile_);
    }
    return because(
        "handed over before: only the first counts until assay_set_positions says which positions "
        "a forward pass computes");
  }
  result->candidate_name = tensor.name;
  if (tap == "input_ids") {
    prompt.compare_tokens_of_run(*result, read_ids(tensor, tensor.name));
  } else {
    prompt.compare_whole(*result, tensor, *profile_);
  }
  return prompt.for_now(*result);
}

// Of an array of several taps the verdict is the worst of its parts'.
TensorResult Checker::compare_parts(const ArrayView& tensor, const std::vector<Array>& parts) {
  const auto badness = [](Verdict verdict) {
    switch (verdict) {
      case Verdict::kError:
        return 4;
      case Verdict::kFail:
        return 3;
      case Verdict::kCoarse:
        return 2;
      case Verdict::kPass:
        return 1;
      default:
        return 0;
    }
  };
  std::optional<TensorResult> worst;
  for (const Array& part : parts) {
    TensorResult own = compare(part.view());
    if (!worst || badness(own.verdict) > badness(worst->verdict)) worst = std::move(own);
  }
  worst->candidate_name = tensor.name;
  return *worst;
}

// The tap that the name means; of several the one whose content the tensor has.
std::optional<std::string> Checker::tap_by_content(const ArrayView& tensor) const {
  const NameMeaning meaning = map_.meaning(tensor.name, prompt_->layers);
  const std::vector<NameClaim> singles = meaning.singles();
  std::optional<std::string> sure = meaning.sure_tap();
  if (singles.size() == 1 && sure) return sure;
  for (const NameClaim& claim : singles) {
    const std::string& tap = claim.taps.front();
    if (prompt_->distance_from(tap, tensor, positions_) <= kFits) return tap;
  }
  return sure;
}

CompareReport Checker::report() const {
  const std::lock_guard lock(mutex_);
  CompareReport report;
  if (!profile_) return report;
  sign(report, notes_);
  report.reference = options_.reference.string();
  report.candidate = "from a running engine";
  report.profile = profile_->name();
  report.statement = profile_->statement();
  if (!prompt_) return report;
  report.prompts.push_back(prompt_->so_far(*profile_));
  if (const auto texts = notes_.tokens.find(report.prompts[0].id); texts != notes_.tokens.end()) {
    report.prompts[0].tokens_text = texts->second;
  }
  report.passed = compared_anything(report.prompts[0]) && passed(report.prompts[0]);
  report.prompts[0].passed = report.passed;
  report.coarse = is_coarse(report.prompts[0]);
  report.precision = about_precision(report.prompts);
  return report;
}

void Checker::write_record() const {
  const std::lock_guard lock(mutex_);
  if (!options_.record.empty()) recording_.write(options_.record);
}

}  // namespace assay
