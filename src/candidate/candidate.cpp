#include "candidate/candidate.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "assay/error.h"
#include "base/text.h"
#include "candidate/data_flow.h"
#include "candidate/dump_forms.h"
#include "candidate/fused_file.h"
#include "candidate/ids.h"
#include "candidate/stacked_layers.h"
#include "formats/dump_names.h"

namespace assay {
namespace {

// The number of arrays that are asked for the order of dimensions, the smallest first.
constexpr std::size_t kAsked = 3;

}  // namespace

std::optional<Shape> shape_if_readable(const ArrayFile& file, const std::string& name) {
  try {
    return file.form_of(name).shape;
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::string about_rivals(const std::string& tap, const std::string& first,
                         const std::string& second, const std::string& taken) {
  const std::string& other = taken == first ? second : first;
  return fmt::format("'{}' and '{}' both mean {}: '{}' is used, because {}", shown(first),
                     shown(second), tap, shown(taken),
                     kind_of_name(other) < kind_of_name(taken)
                         ? fmt::format("what '{}' returns may be a step before it", shown(other))
                         : "its content is nearer");
}

Candidate::Candidate(const ArrayFile& file, const NameMap& map, const KnownPrompt& known)
    : file_(file), map_(map), known_(known) {
  Claims claims = read_names();
  read_ids_of(claims);
  const bool both = ids_ && !known_.ids.empty();
  take(both ? find_prompt(known_.ids, *ids_, known_.text) : std::nullopt);
  if (sequence_ && !sequence_->sure && !(deepest_error(claims) <= kSurelyPadding)) {
    take(std::nullopt);
  }
  if (known_.ids.empty() && known_.whole_run) find_padding(claims);
  settle_meanings(claims);
  settle_stack(claims);
  read_arrays(claims);
  say_what_is_not_split();
}

const CandidateArray* Candidate::find(const std::string& tap) const {
  const auto found = std::ranges::find(arrays_, tap, &CandidateArray::tap);
  return found == arrays_.end() ? nullptr : &*found;
}

Candidate::Claims Candidate::read_names() {
  Claims claims;
  for (const std::string& name : file_.names()) {
    const NameMeaning meaning = map_.meaning(name, known_.model.num_hidden_layers);
    if (meaning.known && meaning.claims.empty()) continue;  // a rule says to ignore it
    std::vector<NameClaim> singles = meaning.singles();
    const std::optional<std::string> tap = meaning.sure_tap();
    if (tap) claims[*tap].push_back(name);
    const bool is_open = singles.size() > 1 || (singles.size() == 1 && !tap);
    if (is_open) {
      open_.emplace(name, std::move(singles));
    } else if (!tap) {
      unmatched_.push_back(name);
    }
  }
  return claims;
}

void Candidate::say_what_is_not_split() {
  const WidthOfTap width = [&](const std::string& tap) -> std::optional<std::int64_t> {
    const std::optional<TapPlace> place = parse_tap_name(tap);
    const std::optional<Shape> shape = known_.shape(tap, 1);
    return place && shape ? width_in(place->tap, *shape) : std::nullopt;
  };
  std::vector<std::string> lines;
  for (const std::string& name : unmatched_) {
    const std::optional<Shape> shape = shape_if_readable(file_, name);
    if (!shape) continue;
    std::string line = why_not_split(name, *shape, map_, known_.model.num_hidden_layers, width);
    if (!line.empty()) lines.push_back(std::move(line));
  }
  remark_first_of(std::move(lines));
}

void Candidate::remark_first_of(std::vector<std::string> lines) {
  if (lines.empty()) return;
  if (lines.size() > 1) lines[0] += fmt::format(" (and {} more)", lines.size() - 1);
  remarks_.push_back(std::move(lines[0]));
}

// A name with several meanings gets the one that its content shows, or else the one that is sure.
void Candidate::settle_meanings(Claims& claims) {
  for (const auto& [name, meanings] : open_) {
    const std::string* shows = nullptr;
    const std::string* sure = nullptr;
    for (const NameClaim& claim : meanings) {
      const std::string& tap = claim.taps.front();
      if (claim.sure && sure == nullptr) sure = &tap;
      if (shows != nullptr || !known_.shape(tap, std::ssize(judged_))) continue;
      const std::optional<Choice> choice = choose(read_array(tap, name));
      if (choice && choice->fits) shows = &tap;
    }
    if (shows == nullptr || shows == sure) continue;
    if (sure != nullptr) std::erase(claims[*sure], name);
    claims[*shows].push_back(name);
  }
  std::erase_if(claims, [](const auto& claim) { return claim.second.empty(); });
}

// A stack of all states needs no look at the values. Of others, the values tell the layers; a wrong
// engine's are then compared with the layers that they are nearest to.
void Candidate::settle_stack(Claims& claims) {
  std::vector<std::string> stack;
  for (const std::string& name : unmatched_) {
    if (index_in_stack(name)) stack.push_back(name);
  }
  if (stack.empty()) return;
  std::ranges::sort(stack, {}, [](const std::string& name) { return *index_in_stack(name); });
  std::vector<std::string> taps = {"embedding_output"};
  for (std::int64_t layer = 0; layer < known_.model.num_hidden_layers; ++layer) {
    taps.push_back(tap_name(Tap::kLayerOutput, layer, known_.model));
  }
  std::vector<std::size_t> states(stack.size());
  std::iota(states.begin(), states.end(), std::size_t{0});
  if (stack.size() != taps.size()) {
    std::vector<std::vector<double>> errors;
    for (const std::string& name : stack) {
      errors.emplace_back();
      for (const std::string& tap : taps) {
        std::optional<Choice> choice;
        if (known_.shape(tap, std::ssize(judged_))) choice = choose(read_array(tap, name));
        if (!choice) {
          remarks_.push_back(fmt::format(
              "'{}': the dump does not say which layers' outputs these are, and without all layer "
              "outputs of the reference their values do not tell",
              shown(name)));
          return;
        }
        errors.back().push_back(choice->metrics.relative_l2);
      }
    }
    const std::optional<std::vector<std::size_t>> found = assign_layers(errors);
    if (!found) {
      remarks_.push_back(fmt::format("{} stacked layer outputs, of a model with {} layers",
                                     stack.size(), known_.model.num_hidden_layers));
      return;
    }
    states = *found;
    std::vector<std::string> words;
    for (const std::size_t state : states) words.push_back(std::to_string(state));
    remarks_.push_back(fmt::format(
        "the dump does not say which layers' outputs it stacked: by their values those after {} "
        "layers",
        fmt::join(words, ", ")));
  }
  for (std::size_t i = 0; i < stack.size(); ++i) {
    claims[taps[states[i]]].push_back(stack[i]);
    std::erase(unmatched_, stack[i]);
  }
}

// Of several arrays of ids, takes the one with the prompt's, or else the first that has any.
void Candidate::read_ids_of(const Claims& claims) {
  const auto read = [&](const char* tap, std::string& used, std::string& problem) {
    std::optional<std::vector<std::int64_t>> found;
    const auto names = claims.find(tap);
    if (names == claims.end()) return found;
    for (const std::string& name : names->second) {
      try {
        std::vector<std::int64_t> ids = read_ids(file_, name);
        const bool is_it = !known_.ids.empty() && find_prompt(known_.ids, ids).has_value();
        if (found && !is_it) continue;
        found = std::move(ids);
        used = name;
        if (is_it) break;
      } catch (const Error& error) {
        if (used.empty()) used = name;
        problem = error.what();
      }
    }
    if (found) problem.clear();
    return found;
  };
  ids_ = read("input_ids", ids_name_, ids_problem_);
  generated_ = read("generated_ids", generated_name_, generated_problem_);
  if (generated_ && !known_.ids.empty()) {
    const std::optional<Sequence> text = find_prompt(known_.ids, *generated_);
    if (text && text->sure)
      generated_->erase(generated_->begin(), generated_->begin() + text->front);
  }
}

void Candidate::take(const std::optional<Sequence>& sequence) {
  sequence_ = sequence;
  hints_.decoded = 0;
  if (sequence_) {
    hints_.window = sequence_->window();
    judged_ = known_.whole_run ? without_padding(*sequence_, *ids_) : known_.ids;
    hints_.decoded = known_.whole_run ? sequence_->decoded : 0;
  } else {
    judged_ = ids_ ? *ids_ : known_.ids;
    hints_.window = {0, std::ssize(judged_)};
  }
}

// With no known prompt, a token repeated at either end is padding if the deepest tap was computed
// without it.
void Candidate::find_padding(const Claims& claims) {
  if (!ids_) return;
  double least = std::numeric_limits<double>::infinity();
  std::optional<Sequence> best;
  for (const Sequence& sequence : possible_paddings(*ids_)) {
    take(sequence);
    // Try without padding first.
    const double error = deepest_error(claims);
    if (sequence.plain() && error <= kSurelyPadding) {
      best.reset();
      break;
    }
    if (error < least / 2 || (sequence.plain() && error < least)) {
      least = error;
      best = sequence;
    }
  }
  take(best && !best->plain() ? best : std::nullopt);
}

// The error of the deepest tap tells which of a run's tokens are padding, because it is computed
// from all of them. Infinite if there is nothing to compare it with.
double Candidate::deepest_error(const Claims& claims) const {
  for (const std::string& tap : deepest_first(claims)) {
    const auto names = claims.find(tap);
    if (names == claims.end()) continue;
    for (const std::string& name : names->second) {
      if (!known_.shape(tap, std::ssize(judged_))) continue;
      const std::optional<Choice> choice = choose(read_array(tap, name));
      if (choice) return choice->metrics.relative_l2;
    }
  }
  return std::numeric_limits<double>::infinity();
}

std::vector<std::string> Candidate::deepest_first(const Claims& claims) const {
  std::vector<std::string> taps;
  if (known_.modules != nullptr) {
    for (const ModuleArray& array : known_.modules->arrays()) {
      if (array.counts_tokens && !array.is_lookup && claims.contains(array.name)) {
        taps.push_back(array.name);
      }
    }
    std::ranges::reverse(taps);
    return taps;
  }
  std::vector<TapPlace> places;
  for (const auto& [tap, names] : claims) {
    const std::optional<TapPlace> place = parse_tap_name(tap);
    if (place && place->tap != Tap::kEmbeddingOutput) places.push_back(*place);
  }
  std::ranges::sort(places, std::greater<>());
  for (const TapPlace& place : places) {
    taps.push_back(tap_name(place.tap, place.layer, known_.model));
  }
  return taps;
}

void Candidate::read_arrays(const Claims& claims) {
  std::vector<std::vector<CandidateArray>> by_tap;
  for (const auto& [tap, names] : claims) {
    if (tap == "input_ids" || tap == "generated_ids") continue;
    std::vector<CandidateArray> rivals;
    for (const std::string& name : names) {
      if (known_.shape(tap, std::ssize(judged_))) {
        rivals.push_back(read_array(tap, name));
        if (!is_any_output(name) || !rivals.back().readings.empty()) continue;
        rivals.pop_back();
      }
      unmatched_.push_back(name);
    }
    if (!rivals.empty()) by_tap.push_back(std::move(rivals));
  }
  std::vector<std::string> rival_lines;
  for (std::vector<CandidateArray>& rivals : by_tap) {
    const std::size_t best = best_of(rivals);
    for (std::size_t i = 0; i < rivals.size(); ++i) {
      if (i == best || same_content(rivals[i].name, rivals[best].name)) continue;
      // Only one of the orders of a fused array's parts is right, so the others are not rivals.
      if (array_of_part(rivals[i].name) == array_of_part(rivals[best].name)) continue;
      rival_lines.push_back(about_rivals(rivals[best].tap, rivals[0].name,
                                         rivals[i == 0 ? best : i].name, rivals[best].name));
    }
    rivals[best].is_result = std::ranges::any_of(rivals, [&](const CandidateArray& rival) {
      return kind_of_name(rival.name) < kind_of_name(rivals[best].name);
    });
    arrays_.push_back(std::move(rivals[best]));
  }
  remark_first_of(std::move(rival_lines));
  settle_order();
  if (sequence_) {
    for (std::string& line : about_sequence(*sequence_, *ids_, known_.whole_run, known_.text)) {
      remarks_.push_back(std::move(line));
    }
  }
}

CandidateArray Candidate::read_array(const std::string& tap, const std::string& name) const {
  CandidateArray array;
  array.tap = tap;
  array.name = name;
  const Shape wanted = *known_.shape(tap, std::ssize(judged_));
  try {
    const Shape shape = file_.form_of(name).shape;
    const std::size_t axis = position_axis_of(tap, known_.modules);
    array.readings =
        readings_of(tap, wanted, axis, shape, hints_of_array(hints_, tap, known_.modules));
    if (array.readings.empty()) {
      array.problem = fmt::format("shape {} cannot be read as the reference's {}",
                                  shape_text(shape), shape_text(wanted));
      array.other_rows = differs_in_rows(shape, wanted, axis);
      if (sequence_ && !sequence_->plain()) {
        // It may be the last position of a run with another length.
        const std::vector<Reading> last = readings_of(tap, wanted, axis, shape, {});
        array.other_position = !last.empty() && last.front().last_position;
        if (array.other_position) {
          array.problem = fmt::format("only the last of {} positions, which is not the prompt's",
                                      sequence_->total());
        }
      }
    }
  } catch (const Error& error) {
    array.problem = error.what();
  }
  return array;
}

// The reading whose content fits; none if there are no values to compare with.
std::optional<Choice> Candidate::choose(const CandidateArray& array) const {
  if (array.readings.empty() || !known_.values) return std::nullopt;
  try {
    const LoadedArray right = known_.values(array.tap, judged_);
    if (right.view.shape.empty()) return std::nullopt;
    const LoadedArray own = file_.load(array.name);
    return choose_reading_of(array.tap, position_axis_of(array.tap, known_.modules), right.view,
                             own.view, array.readings, known_.model);
  } catch (const Error&) {
    return std::nullopt;  // reported when the array itself is read
  }
}

// transformers' self_attn and self_attn.o_proj return the same array.
bool Candidate::same_content(const std::string& a, const std::string& b) const {
  try {
    const LoadedArray x = file_.load(a);
    const LoadedArray y = file_.load(b);
    return x.view.dtype == y.view.dtype && std::ranges::equal(x.view.bytes, y.view.bytes);
  } catch (const Error&) {
    return false;
  }
}

Reading Candidate::reading_of(const CandidateArray& array, const ArrayView& loaded) const {
  std::size_t index = 0;
  if (array.readings.size() > 1) {
    if (const std::optional<Choice> choice = choose(array)) index = choice->index;
  }
  Reading reading = array.readings[index];
  reading.text += about_left_out_keys(array.tap, *known_.shape(array.tap, std::ssize(judged_)),
                                      loaded, reading);
  return reading;
}

// The best of several arrays that claim one tap: a wrong engine's logits may be further off than
// what its lm_head returns.
std::size_t Candidate::best_of(const std::vector<CandidateArray>& rivals) const {
  if (rivals.size() == 1) return 0;
  NameKind kind = NameKind::kModule;
  for (const CandidateArray& rival : rivals) {
    if (!rival.readings.empty()) kind = std::max(kind, kind_of_name(rival.name));
  }
  std::size_t best = rivals.size();
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < rivals.size(); ++i) {
    if (rivals[i].readings.empty() || kind_of_name(rivals[i].name) < kind) continue;
    if (best == rivals.size()) best = i;
    const std::optional<Choice> choice = choose(rivals[i]);
    const double error = choice ? choice->metrics.relative_l2 : least;
    // Among orders of one array's parts, keep the usual one unless another fits: otherwise chance
    // decides.
    const bool other_order =
        i != best && array_of_part(rivals[i].name) == array_of_part(rivals[best].name);
    if (other_order && error > kFits) continue;
    if (error < least) {
      least = error;
      best = i;
    }
  }
  return best == rivals.size() ? 0 : best;
}

// A dump writes all its shapes in the same order: arrays whose content shows it decide for those
// that are too wrong to show it.
void Candidate::settle_order() {
  std::vector<const CandidateArray*> open;
  for (const CandidateArray& array : arrays_) {
    const bool other_order =
        !array.readings.empty() && array.readings.front().order == AxisOrder::kPermuted;
    if (other_order && std::ranges::any_of(array.readings, [](const Reading& r) {
          return r.order == AxisOrder::kReversed;
        })) {
      open.push_back(&array);
    }
  }
  if (open.empty()) return;
  std::ranges::stable_sort(open, {},
                           [&](const CandidateArray* a) { return file_.size_of(a->name); });
  for (std::size_t i = 0; i < std::min(open.size(), kAsked); ++i) {
    const std::optional<Choice> choice = choose(*open[i]);
    if (!choice || !choice->fits) continue;
    hints_.reversed = open[i]->readings[choice->index].order == AxisOrder::kReversed;
    break;
  }
  if (!hints_.reversed) return;
  for (CandidateArray& array : arrays_) prefer_reversed(array.readings);
}

std::optional<Array> Candidate::in_expert_order(const CandidateArray& own, const ArrayView& array,
                                                std::span<const std::int64_t> reference,
                                                const ArrayView& reference_ids) const {
  const std::optional<TapPlace> place = parse_tap_name(own.tap);
  if (!place || place->layer < 0 || own.readings.empty()) return std::nullopt;
  if (!has_expert_slots(place->tap, true)) return std::nullopt;
  const CandidateArray* ids = find(tap_name(Tap::kExpertIds, place->layer, known_.model));
  if (ids == nullptr || ids->readings.empty()) return std::nullopt;
  const LoadedArray theirs = file_.load(ids->name);
  const Reading ids_reading = reading_of(*ids, theirs.view);
  const Array laid = laid_out(reference_ids.shape, 1, theirs.view, ids_reading);
  const std::optional<ExpertSlots> slots = match_experts(reference_ids, laid.view());
  if (!slots) return std::nullopt;
  return in_order_of(*slots, laid_out(reference, 1, array, reading_of(own, array)).view());
}

}  // namespace assay
