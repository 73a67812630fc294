#include "verify/prompt_comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "assay/error.h"
#include "assay/numerics.h"
#include "candidate/candidate.h"
#include "candidate/data_flow.h"
#include "candidate/expert_slots.h"
#include "candidate/fused_file.h"
#include "candidate/ids.h"
#include "candidate/reference_files.h"
#include "candidate/sequence.h"
#include "formats/array_file.h"
#include "verify/compare_arrays.h"
#include "verify/details.h"
#include "verify/divergence.h"
#include "verify/dump_checks.h"
#include "verify/dump_questions.h"
#include "verify/expert_choices.h"
#include "verify/precision.h"
#include "verify/rope_rows.h"
#include "verify/run_noise.h"
#include "verify/tokens.h"
#include "verify/unsteady.h"

namespace assay {
namespace {

// Larger arrays are split over all threads; smaller ones are compared by one thread each.
constexpr std::size_t kLarge = std::size_t{64} << 20;

class PromptComparison {
 public:
  PromptComparison(const PromptPair& pair, const ComparisonSetup& setup,
                   std::function<void(double)> on_progress)
      : setup_(setup),
        pair_(pair),
        numerics_(setup.pairing.numerics),
        profile_(setup.profile),
        pool_(setup.pool),
        on_progress_(std::move(on_progress)),
        files_(pair),
        reference_(files_.arrays()),
        candidate_(*pair.candidate),
        layers_(count_layers(reference_.names())),
        model_(setup.pairing.model ? *setup.pairing.model : model_of_names(reference_.names())),
        own_map_(setup.map),
        rope_rows_(candidate_, own_map_, layers_, known_),
        questions_(files_, model_, numerics_, profile_) {
    result_.id = pair.id;
    own_map_.adapt_to(model_);
    own_map_.adapt_to(pair.modules);
    own_map_.adapt_to(candidate_.names());
    know_prompt();
    candidate_ = with_parts(std::move(candidate_), own_map_, layers_, model_.head_dim,
                            widths_of(reference_, model_));
    dump_.emplace(candidate_, own_map_, known_);
    result_.unmatched = dump_->unmatched();
    result_.remarks = dump_->remarks();
  }

  MeasuredPrompt run() {
    result_.tensors = list_tensors(reference_, pair_.modules.get());
    for (TensorResult& tensor : result_.tensors) {
      const CandidateArray* own = dump_->find(tensor.name);
      if (own == nullptr) continue;
      tensor.candidate_name = own->name;
      if (own->problem.empty()) continue;
      tensor.verdict = own->other_position ? Verdict::kNotCompared : Verdict::kError;
      tensor.reason = own->problem;
      tensor.other_rows = own->other_rows;
    }
    compare_ids();
    judge_experts();
    std::vector<std::size_t> small;
    std::vector<std::size_t> large;
    for (std::size_t i = 0; i < result_.tensors.size(); ++i) {
      TensorResult& tensor = result_.tensors[i];
      if (tensor.name == "input_ids" || tensor.candidate_name.empty()) continue;
      if (!tensor.reason.empty()) continue;  // it cannot be read
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
    Precision precision = measured_precision();
    judge_precision(result_.tensors, precision, profile_);
    result_.findings = check_dump(reference_, candidate_, layers_, result_.tensors);
    DumpProposals proposals = ask_dump(precision);
    compare_texts();
    return {std::move(result_), std::move(proposals), std::move(precision), model_, layers_,
            pair_.modules};
  }

 private:
  void know_prompt() {
    known_.model = model_;
    known_.modules = pair_.modules.get();
    if (reference_.contains("input_ids")) known_.ids = read_ids(reference_, "input_ids");
    if (reference_.contains("generated_ids")) known_.text = read_ids(reference_, "generated_ids");
    known_.shape = [this](const std::string& tap, std::int64_t) -> std::optional<Shape> {
      if (!reference_.contains(tap)) return std::nullopt;
      Shape shape = reference_.form_of(tap).shape;
      if (is_rope_table(tap, shape)) shape[1] = rope_rows_.count(tap, shape);
      return shape;
    };
    known_.values = [this](const std::string& tap, std::span<const std::int64_t>) {
      LoadedArray values = reference_.load(tap);
      rope_rows_.cut(tap, values.view);
      return values;
    };
  }

  bool is_large(const TensorResult& tensor) const {
    return reference_.size_of(tensor.name) >= kLarge;
  }

  // Noise that the manifest does not have is measured if there is a model.
  Precision measured_precision() const {
    Precision precision{setup_.as};
    precision.modules = pair_.modules;
    if (pair_.noise_f32) precision.f32 = std::make_shared<TypeNoise>(*pair_.noise_f32);
    if (setup_.model == nullptr || files_.oracle() == nullptr || known_.ids.empty()) {
      return precision;
    }
    const std::vector<std::optional<Grid>> types = types_of(result_.tensors, precision);
    const auto is_wanted = [&](Grid type) {
      return std::ranges::find(types, std::optional(type)) != types.end();
    };
    TapSet taps(setup_.model->spec);
    for (const TensorResult& tensor : result_.tensors) {
      if (tensor.oracle_error) taps.add(tensor.name);
    }
    const auto measured = [&](ExpectedType type) {
      return std::make_shared<TypeNoise>(run_noise(
          *setup_.model, type, known_.ids, taps,
          [&](const std::string& name) { return files_.exact(name); }, pool_));
    };
    if (precision.as == ExpectedType::kQ8) {
      precision.q8 = measured(ExpectedType::kQ8);
    } else if (!precision.f32 && is_wanted(Grid::kF32)) {
      precision.f32 = measured(ExpectedType::kF32);
    }
    if (is_wanted(Grid::kF16)) precision.f16 = measured(ExpectedType::kF16);
    return precision;
  }

  // If the tokens differ, all other differences are meaningless.
  void compare_ids() {
    if (result_.tensors.empty() || result_.tensors[0].name != "input_ids") return;
    result_.input_ids = read_ids(reference_, "input_ids");
    TensorResult& tensor = result_.tensors[0];
    tensor.candidate_name = dump_->ids_name();
    if (tensor.candidate_name.empty()) return;
    if (!dump_->ids()) {
      tensor.verdict = Verdict::kError;
      tensor.reason = dump_->ids_problem();
      return;
    }
    compare_input_ids(tensor, known_.ids, dump_->sequence() ? known_.ids : *dump_->ids());
  }

  // Judged layer by layer, before everything that is computed from them.
  void judge_experts() {
    for (std::int64_t layer = 0; layer < layers_; ++layer) {
      const std::string name = tap_name(Tap::kExpertIds, layer, model_);
      const CandidateArray* own = dump_->find(name);
      if (own == nullptr || own->readings.empty() || !reference_.contains(name)) continue;
      try {
        const LoadedArray reference = reference_.load(name);
        const LoadedArray array = candidate_.load(own->name);
        const Reading reading = dump_->reading_of(*own, array.view);
        const Array ids = laid_out(reference.view.shape, 1, array.view, reading);
        const ArrayView ids_view = ids.view();
        const LoadedArray exact = files_.exact(name);
        LoadedArray recorded;
        for (const std::string& scores : decided_by(layer, model_)) {
          if (recorded.view.shape.empty() && reference_.contains(scores)) {
            recorded = reference_.load(scores);
          }
        }
        experts_.judge(routed_[name], layer,
                       {.reference = reference.view,
                        .oracle = exact.view.shape.empty() ? nullptr : &exact.view,
                        .router_scores = recorded.view.shape.empty() ? nullptr : &recorded.view,
                        .candidate = ids_view});
      } catch (const Error&) {
        // Reported where the array itself is compared.
      }
    }
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
      const std::size_t axis = position_axis_of(tensor.name, pair_.modules.get());
      // Deflated arrays take longer to inflate than to compare.
      LoadedArray reference;
      LoadedArray candidate;
      LoadedArray oracle;
      const auto load = [&](std::size_t which) {
        if (which == 0) reference = reference_.load(tensor.name);
        if (which == 1) candidate = candidate_.load(tensor.candidate_name);
        if (which == 2) oracle = files_.exact(tensor.name);
      };
      if (pool != nullptr) {
        pool->for_each_item(3, load);
      } else {
        for (std::size_t which = 0; which < 3; ++which) load(which);
      }
      rope_rows_.cut(tensor.name, reference.view);
      const bool has_oracle = !oracle.view.shape.empty();
      const bool reordered = put_experts_in_order(tensor, place, reference.view, candidate);
      if (has_oracle) put_oracle_in_order(place, oracle);
      const std::optional<Reading> reading =
          compare_arrays(tensor,
                         {.reference = reference.view,
                          .oracle = has_oracle ? &oracle.view : nullptr,
                          .position_axis = axis,
                          .numerics = numerics_,
                          .least_noise = files_.least_noise(tensor.name),
                          .judges_positions = files_.judges_positions(tensor.name),
                          .hints = hints_of_array(dump_->hints(), tensor.name, pair_.modules.get()),
                          .same_until = place ? experts_.same_until(*place) : ExpertChoices::kAll,
                          .files = &files_,
                          .is_whole = !slots_of(place)},
                         candidate.view, profile_, pool);
      if (reading && reordered && tensor.reading.empty()) {
        tensor.reading = "each token's experts put in the reference's order";
      }
      if (const auto routed = routed_.find(tensor.name); reading && routed != routed_.end()) {
        tensor.verdict = routed->second.verdict;
        tensor.reason = routed->second.reason;
      }
      if (reading && setup_.details) {
        tensor.detail = measure_details(reference.view, axis, candidate.view, *reading);
      }
    } catch (const WrongReference&) {
      throw;
    } catch (const Error& error) {
      tensor.verdict = Verdict::kError;
      tensor.reason = error.what();
    }
  }

  // What the failed arrays hold instead of their taps. If the run stays wrong to its end, only the
  // first failures are examined, because the others follow from them.
  DumpProposals ask_dump(const Precision& precision) const {
    constexpr std::size_t kMostOfWrongRun = 48;
    std::vector<std::size_t> failed;
    std::vector<std::size_t> coarse;
    bool ends_well = false;
    for (std::size_t i = 0; i < result_.tensors.size(); ++i) {
      const TensorResult& tensor = result_.tensors[i];
      if (!parse_tap_name(tensor.name) || tensor.verdict == Verdict::kNotCompared) continue;
      ends_well = tensor.verdict == Verdict::kPass;
      if (tensor.verdict == Verdict::kFail) failed.push_back(i);
      if (tensor.verdict == Verdict::kCoarse) coarse.push_back(i);
    }
    if (!ends_well && failed.size() > kMostOfWrongRun) failed.resize(kMostOfWrongRun);
    failed.insert(failed.end(), coarse.begin(), coarse.end());
    std::vector<std::optional<DumpProposal>> found(failed.size());
    pool_.for_each_item(failed.size(), [&](std::size_t f) {
      const TensorResult& tensor = result_.tensors[failed[f]];
      found[f] = questions_.ask(tensor, candidate_.load(tensor.candidate_name).view, dump_->hints(),
                                precision, dump_->find(tensor.name)->is_result);
    });
    DumpProposals proposals;
    for (std::size_t f = 0; f < failed.size(); ++f) {
      if (found[f]) proposals.emplace(result_.tensors[failed[f]].name, std::move(*found[f]));
    }
    return proposals;
  }

  // Puts each token's experts in the reference's order if both runs recorded their ids. Returns
  // whether anything moved.
  bool put_experts_in_order(const TensorResult& tensor, const std::optional<TapPlace>& place,
                            const ArrayView& reference, LoadedArray& array) const {
    const std::optional<std::string> ids = slots_of(place);
    if (!ids) return false;
    std::optional<Array> moved = dump_->in_expert_order(
        *dump_->find(tensor.name), array.view, reference.shape, reference_.load(*ids).view);
    if (!moved) return false;
    own(array, std::move(*moved));
    return true;
  }

  void put_oracle_in_order(const std::optional<TapPlace>& place, LoadedArray& array) const {
    const std::optional<std::string> ids = slots_of(place);
    if (!ids) return;
    const LoadedArray own_ids = reference_.load(*ids);
    const LoadedArray exact_ids = files_.exact(*ids);
    if (exact_ids.view.shape.empty()) return;
    const std::optional<ExpertSlots> slots = match_experts(own_ids.view, exact_ids.view);
    auto moved = slots ? in_order_of(*slots, array.view) : std::nullopt;
    if (moved) own(array, std::move(*moved));
  }

  // The name of the layer's expert_ids if the tap has an entry per expert.
  std::optional<std::string> slots_of(const std::optional<TapPlace>& place) const {
    if (!place || place->layer < 0) return std::nullopt;
    std::string ids = tap_name(Tap::kExpertIds, place->layer, model_);
    const bool has_ids = reference_.contains(ids);
    if (!has_ids || !has_expert_slots(place->tap, has_ids)) return std::nullopt;
    return ids;
  }

  static void own(LoadedArray& array, Array moved) {
    array.owned = std::move(moved.bytes);
    array.view = {moved.name, moved.dtype, moved.shape, array.owned, false};
  }

  void compare_texts() {
    if (!dump_->generated_problem().empty()) {
      TensorResult& tensor = result_.tensors.emplace_back();
      tensor.name = "generated_ids";
      tensor.candidate_name = dump_->generated_name();
      tensor.verdict = Verdict::kError;
      tensor.reason = dump_->generated_problem();
    }
    if (!dump_->generated() || !reference_.contains("generated_ids") || known_.ids.empty()) return;
    const std::vector<std::int64_t>& own = known_.text;
    const std::vector<std::int64_t>& other = *dump_->generated();
    if (!setup_.model_directory.empty()) {
      if (const auto whole = whole_text(known_.ids, other, own)) {
        result_.tokens =
            replay_tokens(setup_.model_directory, numerics_, own, *whole, known_.ids.size(), pool_);
        return;
      }
    }
    std::optional<LoadedArray> logits;
    if (reference_.contains("logits")) logits = reference_.load("logits");
    const std::optional<LoadedArray> own_logits = logits_as_computed();
    const std::vector<std::int64_t> exact = files_.exact_text();
    result_.tokens = judge_text(
        {known_.ids, own, exact, files_.end_tokens()}, other, logits ? &logits->view : nullptr,
        own_logits ? &own_logits->view : nullptr,
        fmt::format("{}: array '{}'", candidate_.path().string(), dump_->generated_name()));
  }

  // The candidate's logits if their layout is the reference's. They include the positions after the
  // prompt, which are the ones of interest.
  std::optional<LoadedArray> logits_as_computed() const {
    const auto own = std::ranges::find(result_.tensors, "logits", &TensorResult::name);
    const CandidateArray* array = dump_->find("logits");
    if (array == nullptr || array->readings.empty() || own->verdict == Verdict::kError) return {};
    const Reading& reading = array->readings.front();
    if (reading.order != AxisOrder::kSame || reading.offset != 0) return {};
    LoadedArray logits = candidate_.load(array->name);
    if (logits.view.shape.back() != reference_.form_of("logits").shape.back()) return {};
    return logits;
  }

  const ComparisonSetup& setup_;
  const PromptPair& pair_;
  Numerics numerics_;
  const Profile& profile_;
  ThreadPool& pool_;
  std::function<void(double)> on_progress_;
  ReferenceFiles files_;
  const ArrayFile& reference_;
  ArrayFile candidate_;
  std::int64_t layers_;
  ModelSpec model_;  // from the reference's config, or deduced from its names
  NameMap own_map_;
  KnownPrompt known_;
  RopeRowsInCommon rope_rows_;
  DumpQuestions questions_;
  std::optional<Candidate> dump_;
  ExpertChoices experts_;
  std::map<std::string, TensorResult> routed_;  // expert_ids, judged
  std::mutex progress_mutex_;
  std::uint64_t done_ = 0;  // bytes of the reference
  std::uint64_t total_ = 0;
  PromptResult result_;
};

}  // namespace

MeasuredPrompt measure_prompt(const PromptPair& pair, const ComparisonSetup& setup,
                              std::function<void(double)> on_progress) {
  return PromptComparison(pair, setup, std::move(on_progress)).run();
}

bool shows_pairs(const MeasuredPrompt& prompt) {
  const bool any = std::ranges::any_of(
      prompt.proposals, [](const auto& proposal) { return proposal.second.form.pairs; });
  if (!any) return false;
  PromptResult tentative = prompt.result;
  return answer_dump_questions(tentative, prompt.proposals, prompt.model);
}

PromptResult conclude(MeasuredPrompt prompt, bool paired, const Profile& profile) {
  answer_dump_questions(prompt.result, prompt.proposals, prompt.model, paired);
  judge_precision(prompt.result.tensors, prompt.precision, profile);
  if (prompt.modules) settle_choices(prompt.result.tensors, *prompt.modules);
  find_first_divergence(prompt.result, prompt.layers, prompt.modules.get());
  prompt.result.passed = passed(prompt.result);
  return std::move(prompt.result);
}

}  // namespace assay
