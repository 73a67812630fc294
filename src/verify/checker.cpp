#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <vector>

#include "assay/check.h"
#include "assay/error.h"
#include "base/float_mode.h"
#include "base/sizes.h"
#include "candidate/choose.h"
#include "candidate/data_flow.h"
#include "candidate/dump_forms.h"
#include "candidate/fused_file.h"
#include "candidate/ids.h"
#include "candidate/name_map.h"
#include "candidate/positions.h"
#include "candidate/prompt_pairs.h"
#include "candidate/sequence.h"
#include "formats/array_file.h"
#include "model/checkpoint_files.h"
#include "verify/checked_prompt.h"
#include "verify/compare_arrays.h"
#include "verify/divergence.h"
#include "verify/precision.h"
#include "verify/profile.h"
#include "verify/recording.h"
#include "verify/reference_source.h"

namespace assay {

class Checker::Impl {
 public:
  explicit Impl(CheckerOptions options);

  bool wants(std::string_view name) const;
  void set_positions(Positions positions);
  TensorResult check(const ArrayView& tensor);
  CompareReport report() const;
  void write_record() const;

 private:
  void choose_prompt(const std::vector<std::int64_t>& ids);
  void open(const PromptPair& pair);
  TensorResult compare(const ArrayView& tensor);
  TensorResult compare_parts(const ArrayView& tensor, const std::vector<Array>& parts);
  std::optional<std::string> tap_by_content(const ArrayView& tensor) const;

  CheckerOptions options_;
  NameMap map_;
  Pairing pairing_;
  std::optional<Profile> profile_;
  ReferenceNotes notes_;
  std::unique_ptr<CheckedPrompt> prompt_;  // none until it is known
  Recording recording_;
  std::optional<Positions> positions_;
  mutable std::mutex mutex_;
};

Checker::Impl::Impl(CheckerOptions options) : options_(std::move(options)), map_(options_.map) {
  if (options_.reference.empty()) {
    if (options_.record.empty()) {
      throw usage_error("check", "neither a reference nor a record", "one of them");
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

void Checker::Impl::open(const PromptPair& pair) {
  prompt_ = std::make_unique<CheckedPrompt>(pair, pairing_, *profile_, parse_expected(options_.as));
  map_.adapt_to(prompt_->model());
  map_.adapt_to(pair.modules);
}

void Checker::Impl::choose_prompt(const std::vector<std::int64_t>& ids) {
  for (const PromptPair& pair : pairing_.prompts) {
    const ArrayFile arrays(pair.reference);
    if (arrays.contains("input_ids") && read_ids(arrays, "input_ids") == ids) return open(pair);
  }
  // The longest of the prompts that it contains.
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
  throw input_error("input_ids", fmt::format("{} tokens that belong to no prompt", ids.size()),
                    fmt::format("a prompt of {}", options_.reference.string()));
}

bool Checker::Impl::wants(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  if (!options_.record.empty()) return true;
  if (!prompt_) return true;
  const NameMeaning meaning = map_.meaning(name, prompt_->layers());
  return std::ranges::any_of(meaning.claims, [&](const NameClaim& claim) {
    return std::ranges::any_of(
        claim.taps, [&](const std::string& tap) { return prompt_->reference().contains(tap); });
  });
}

void Checker::Impl::set_positions(Positions positions) {
  const bool is_range =
      positions.first >= 0 && positions.count > 0 && sum_of(positions.first, positions.count);
  if (!is_range) {
    throw usage_error("set_positions",
                      fmt::format("first {}, count {}", positions.first, positions.count),
                      "positions of a sequence, one or more, counted from 0");
  }
  const std::lock_guard lock(mutex_);
  positions_ = positions;
}

TensorResult Checker::Impl::check(const ArrayView& tensor) {
  const std::lock_guard lock(mutex_);
  if (!options_.record.empty()) {
    // The tokens may be those of one pass or of the whole run.
    const bool is_ids = tensor.name == "input_ids" || tensor.name == "generated_ids";
    const bool of_pass = positions_ && !tensor.shape.empty() &&
                         element_count(tensor.shape, tensor.name) == positions_->count;
    recording_.add(tensor, is_ids && !of_pass ? std::nullopt : positions_);
  }
  if (profile_) return compare(tensor);
  TensorResult recorded;
  recorded.name = recorded.candidate_name = tensor.name;
  recorded.reason = "recorded only";
  return recorded;
}

TensorResult Checker::Impl::compare(const ArrayView& tensor) {
  TensorResult not_compared;
  not_compared.name = not_compared.candidate_name = tensor.name;
  const auto because = [&](std::string reason) {
    not_compared.reason = std::move(reason);
    return not_compared;
  };
  if (!prompt_ && tensor.name == "input_ids") choose_prompt(read_ids(tensor, "input_ids"));
  if (!prompt_) {
    throw usage_error(tensor.name,
                      fmt::format("passed before it is known which of {} prompts is run",
                                  pairing_.prompts.size()),
                      "a prompt's id when opening, or input_ids first");
  }
  CheckedPrompt& prompt = *prompt_;
  if (map_.ignores(tensor.name, prompt.layers())) return because("the map ignores it");
  const std::vector<Array> parts =
      parts_of(tensor, map_, prompt.layers(), prompt.model().head_dim,
               widths_of(prompt.reference(), prompt.model()), [&](const ArrayView& part) {
                 const auto of = map_.tap_of(part.name, prompt.layers());
                 return of ? prompt.distance_from(*of, part, positions_) : 0;
               });
  if (!parts.empty()) return compare_parts(tensor, parts);
  const std::optional<std::string> tap = tap_by_content(tensor);
  if (tap == "generated_ids" && prompt.reference().contains(*tap)) {
    const TokenResult& text = prompt.compare_text(tensor.name, read_ids(tensor, tensor.name));
    not_compared.verdict = text.verdict;
    return because(text.reason);
  }
  TensorResult* result = tap ? prompt.find(*tap) : nullptr;
  if (result == nullptr) {
    prompt.add_unmatched(tensor.name);
    if (tap) return because("the reference does not hold it");
    std::string split = why_not_split(tensor.name, tensor.shape, map_, prompt.layers(),
                                      widths_of(prompt.reference(), prompt.model()));
    return because(split.empty() ? "no tap has that name (see the map)" : std::move(split));
  }
  if (is_any_output(tensor.name) && std::isinf(prompt.distance_from(*tap, tensor, positions_))) {
    prompt.add_unmatched(tensor.name);
    return because(fmt::format("what the model returns cannot be read as {}", *tap));
  }
  if (positions_ && tap->starts_with("rope_") && tensor.shape.size() > 1) {
    const std::int64_t width = std::max<std::int64_t>(tensor.shape.back(), 1);
    const std::int64_t rows = element_count(tensor.shape, tensor.name) / width;
    const Shape whole = prompt.reference().form_of(*tap).shape;
    if (whole.size() == 3 && rows < whole[1]) return because("rotary tables are compared whole");
  }
  const bool has_positions = prompt.counts_positions(*tap);
  if (has_positions && tap != "input_ids" && positions_) {
    const std::int64_t size = prompt.positions_of(*tap);
    const HeldPositions held = prompt.held_of(*tap, tensor, *positions_);
    if (held.prompt.count == 0) {
      return because(held.prompt.first == 0
                         ? std::string("padding before the prompt only")
                         : fmt::format("positions from {} on lie after the reference's {}",
                                       positions_->first, size));
    }
    const bool is_open = prompt.is_open(*tap);
    if (is_open || held.rows.total > 0 || held.prompt.count != size) {
      if (!is_open && result->verdict != Verdict::kNotCompared) {
        return because("its positions were handed over before");
      }
      if (!prompt.takes_piece(*result, tensor, *positions_)) {
        return because("another array shows what the engine goes on with");
      }
      result->candidate_name = tensor.name;
      return prompt.compare_piece(*result, held, tensor);
    }
  }
  if (tap == "input_ids" && positions_) {
    const bool is_new = result->verdict == Verdict::kNotCompared;
    if (is_new) result->candidate_name = tensor.name;
    const std::vector<std::int64_t> ids = read_ids(tensor, tensor.name);
    if (prompt.compare_tokens_of_pass(*result, ids, *positions_)) return *result;
  }
  if (result->verdict != Verdict::kNotCompared) {
    // Two names may map to the same tap.
    if (result->candidate_name != tensor.name && has_positions && tap != "input_ids") {
      if (std::optional<TensorResult> own = prompt.compare_rival(*result, tensor)) return *own;
    }
    return because(
        "handed over before: only the first counts until set_positions says which positions "
        "a forward pass computes");
  }
  result->candidate_name = tensor.name;
  if (tap == "input_ids") {
    prompt.compare_tokens_of_run(*result, read_ids(tensor, tensor.name));
  } else {
    prompt.compare_whole(*result, tensor);
  }
  return prompt.for_now(*result);
}

// The verdict for an array of several taps is the worst of its parts' verdicts.
TensorResult Checker::Impl::compare_parts(const ArrayView& tensor,
                                          const std::vector<Array>& parts) {
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

// The tap that the name maps to. If there are several, the tensor's content decides.
std::optional<std::string> Checker::Impl::tap_by_content(const ArrayView& tensor) const {
  const NameMeaning meaning = map_.meaning(tensor.name, prompt_->layers());
  const std::vector<NameClaim> singles = meaning.singles();
  std::optional<std::string> sure = meaning.sure_tap();
  if (singles.size() == 1 && sure) return sure;
  for (const NameClaim& claim : singles) {
    const std::string& tap = claim.taps.front();
    if (prompt_->distance_from(tap, tensor, positions_) <= kFits) return tap;
  }
  return sure;
}

CompareReport Checker::Impl::report() const {
  const std::lock_guard lock(mutex_);
  CompareReport report;
  if (!profile_) return report;
  sign(report, notes_);
  report.reference = options_.reference.string();
  report.candidate = "from a running engine";
  report.profile = profile_->name();
  report.statement = profile_->statement();
  if (!prompt_) return report;
  report.prompts.push_back(prompt_->so_far());
  if (const auto texts = notes_.tokens.find(report.prompts[0].id); texts != notes_.tokens.end()) {
    report.prompts[0].tokens_text = texts->second;
  }
  report.passed = compared_anything(report.prompts[0]) && passed(report.prompts[0]);
  report.prompts[0].passed = report.passed;
  report.coarse = is_coarse(report.prompts[0]);
  report.precision = about_precision(report.prompts);
  return report;
}

void Checker::Impl::write_record() const {
  const std::lock_guard lock(mutex_);
  if (!options_.record.empty()) recording_.write(options_.record);
}

Checker::Checker(CheckerOptions options) {
  const DefaultFloatMode mode;
  impl_ = std::make_unique<Impl>(std::move(options));
}
Checker::~Checker() = default;
bool Checker::wants(std::string_view name) const { return impl_->wants(name); }
void Checker::set_positions(std::int64_t first, std::int64_t count) {
  impl_->set_positions({first, count});
}
TensorResult Checker::check(const ArrayView& tensor) {
  const DefaultFloatMode mode;
  return impl_->check(tensor);
}
CompareReport Checker::report() const {
  const DefaultFloatMode mode;
  return impl_->report();
}
void Checker::write_record() const {
  const DefaultFloatMode mode;
  impl_->write_record();
}

}  // namespace assay
