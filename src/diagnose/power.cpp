#include <algorithm>

#include "assay/diagnose.h"
#include "assay/error.h"
#include "base/float_mode.h"
#include "diagnose/catalog.h"
#include "diagnose/evidence.h"
#include "diagnose/replay.h"
#include "diagnose/scene.h"
#include "model/checkpoint.h"
#include "model/generate.h"
#include "tokenizer/tokenizer.h"

namespace assay {
namespace {

class Survey {
 public:
  Survey(const Model& model, std::vector<Evidence> evidence, ThreadPool& pool)
      : model_(model),
        evidence_(std::move(evidence)),
        pool_(pool),
        options_(all_layers(model.spec)) {
    options_.forced = false;
    for (const Evidence& e : evidence_) {
      noise_.push_back(replay(model_, {model_.program}, e, Rounding::kF64, options_, pool_).sites);
    }
  }

  // Counts the entry's variants and those that show, and lists the prompts that show any.
  BlindSpot look_at(const Entry& entry, const std::vector<std::string>& ids) const {
    BlindSpot spot;
    spot.id = entry.id;
    spot.group = entry.group;
    spot.name = entry.name;
    spot.common = entry.frequency >= 3;
    for (std::size_t e = 0; e < evidence_.size(); ++e) {
      const auto positions = std::ssize(evidence_[e].ids);
      const bool tied = is_tied(model_);
      const Circumstances at{.spec = model_.spec,
                             .program = model_.program,
                             .tied_head = tied,
                             .positions = positions,
                             .bad_layers = {0, 1, 2},
                             .survey = true};
      bool seen = false;
      for (const Variant& variant : variants_of(entry, at)) {
        ++spot.variants;
        Hypothesis hypothesis{model_.program};
        variant.apply(hypothesis);
        if (!is_seen(hypothesis, e)) continue;
        ++spot.seen_variants;
        seen = true;
      }
      if (seen) spot.seen_by.push_back(ids[e]);
    }
    return spot;
  }

 private:
  bool is_seen(const Hypothesis& hypothesis, std::size_t e) const {
    const ReplayResult result =
        replay(model_, hypothesis, evidence_[e], Rounding::kBf16, options_, pool_);
    for (std::size_t i = 0; i < result.sites.size(); ++i) {
      const double noise = std::max(noise_[e][i].error, kBf16Rounding);
      if (result.sites[i].error > kBeyondNoise * noise) return true;
    }
    return false;
  }

  const Model& model_;
  std::vector<Evidence> evidence_;
  ThreadPool& pool_;
  ReplayOptions options_;
  std::vector<std::vector<Distance>> noise_;  // [prompt][site]
};

}  // namespace

std::vector<BlindSpot> find_blind_spots(const std::filesystem::path& model_directory,
                                        std::vector<Prompt> prompts, int threads,
                                        const OnDiagnoseProgress& on_progress) {
  const DefaultFloatMode mode;
  Model model = load_model(model_directory);
  model.stream.reset();
  ThreadPool pool(threads);
  std::optional<Tokenizer> tokenizer;
  std::vector<Evidence> evidence;
  std::vector<std::string> ids;
  for (Prompt& prompt : prompts) {
    if (prompt.conversation) {
      throw input_error(prompt.conversation->where, "a conversation",
                        "a text: render_chats makes one of it");
    }
    if (prompt.input_ids.empty()) {
      if (!tokenizer) tokenizer = load_tokenizer(model_directory);
      prompt.input_ids = tokenizer->encode(prompt.text.value_or(""), prompt.id, true);
    }
    check_token_ids(prompt.input_ids, model.spec, prompt.id);
    const TapSet classic = TapSet::classic(model.spec);
    evidence.push_back(own_run(
        model, {model.program}, prompt.input_ids,
        [&](Tap tap, std::int64_t layer) { return classic.wants(tap, layer); }, pool));
    ids.push_back(prompt.id);
  }
  const Survey survey(model, std::move(evidence), pool);
  std::vector<BlindSpot> spots;
  const std::vector<Entry>& entries = catalog();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (on_progress) {
      on_progress("trying mistakes", static_cast<double>(i) / static_cast<double>(entries.size()));
    }
    BlindSpot spot = survey.look_at(entries[i], ids);
    if (spot.variants > 0) spots.push_back(std::move(spot));
  }
  return spots;
}

}  // namespace assay
