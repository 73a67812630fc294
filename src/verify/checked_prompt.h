// The state of one prompt while a running engine passes in its tensors.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "assay/array.h"
#include "assay/comparison.h"
#include "assay/numerics.h"
#include "candidate/expert_slots.h"
#include "candidate/module_flow.h"
#include "candidate/positions.h"
#include "candidate/prompt_pairs.h"
#include "candidate/reading.h"
#include "candidate/reference_files.h"
#include "formats/array_file.h"
#include "models/spec.h"
#include "verify/compare_arrays.h"
#include "verify/dump_checks.h"
#include "verify/dump_questions.h"
#include "verify/expert_choices.h"
#include "verify/precision.h"
#include "verify/profile.h"

namespace assay {

// The prompt's positions in a tensor of some positions of the engine's run.
struct HeldPositions {
  Positions prompt;  // count 0: none
  Window rows = {};  // where they are among the tensor's; total 0: they are all of it
  Window keys = {};  // the same for the keys of scores and probabilities
};

class CheckedPrompt {
 public:
  // profile must outlive it. as: the expected type; none: that of the values.
  CheckedPrompt(const PromptPair& pair, const Pairing& pairing, const Profile& profile,
                std::optional<ExpectedType> as);

  const ArrayFile& reference() const { return reference_; }
  std::int64_t layers() const { return layers_; }
  const ModelSpec& model() const { return model_; }

  // The result of a tap; null if the reference does not have the tap.
  TensorResult* find(std::string_view tap);
  bool is_open(const std::string& tap) const { return open_taps_.contains(tap); }

  // Whether an array has an axis of the prompt's positions: every tap, and captured ones that do.
  bool counts_positions(std::string_view tap) const;
  // How many of them the reference has.
  std::int64_t positions_of(const std::string& tap) const;
  // Which of the prompt's positions a tensor of that tap has, given these positions of the engine's
  // run. They count the padding before the prompt, unless the content shows that they do not.
  HeldPositions held_of(const std::string& tap, const ArrayView& tensor, Positions positions);

  // A tensor of the whole run. of_pieces: joined from the pieces of several passes.
  void compare_whole(TensorResult& tensor, const ArrayView& candidate, bool of_pieces = false);
  // Whether a piece of that name counts. What a module returns does not once the engine has shown
  // what it goes on with, and then what was begun with the module's pieces is dropped.
  bool takes_piece(const TensorResult& tensor, const ArrayView& piece, Positions positions);
  // A tensor of some positions; the returned verdict is theirs. `tensor` is judged once all are
  // there.
  TensorResult compare_piece(TensorResult& tensor, const HeldPositions& held,
                             const ArrayView& candidate);
  // Another array that claims the tap: the one whose name tells more stays, or else the one that
  // fits better. None if it was tried before.
  std::optional<TensorResult> compare_rival(TensorResult& tensor, const ArrayView& candidate);
  // The tokens that the engine runs: they tell where its arrays have the prompt's positions.
  void compare_tokens_of_run(TensorResult& tensor, const std::vector<std::int64_t>& run);
  // The tokens of one pass of several; false if they may also be the whole run's.
  bool compare_tokens_of_pass(TensorResult& tensor, const std::vector<std::int64_t>& tokens,
                              Positions positions);
  // The prompt and what the engine generated.
  const TokenResult& compare_text(const std::string& name, std::vector<std::int64_t> text);

  // Distance of a tensor from the reference's array of that tap; infinite if it cannot be read as
  // such. positions: of the engine's run that it has; none: all.
  double distance_from(const std::string& tap, const ArrayView& tensor,
                       const std::optional<Positions>& positions);

  void add_unmatched(const std::string& name);

  // The result to report at once: a tensor that may have been taken a step too early does not fail
  // before the ones after it have been seen.
  TensorResult for_now(const TensorResult& tensor) const;

  // The results, including incomplete ones.
  PromptResult so_far() const;

 private:
  // The experts of tokens, as the engine told last.
  struct Experts {
    Positions positions;
    ExpertSlots slots;  // of all of them, or of the last one only
  };

  // How a tensor was read, and the tensor itself if its experts were reordered.
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

  const ModuleArray* module_of(std::string_view tap) const;
  std::size_t axis_of(const std::string& tap) const;
  ReadingHints hints_of(const HeldPositions* held, const std::string& tap) const;
  double distance(const std::string& tap, const ArrayView& tensor, const HeldPositions* held) const;
  Ordered compare_ordered(TensorResult& tensor, const ArrayView& own, const ArrayView& exact,
                          const ArrayView& candidate, const HeldPositions* held, double least_noise,
                          bool of_pieces);
  void judge_experts(TensorResult& tensor, std::int64_t layer, const ArrayView& own,
                     const ArrayView& exact, const ArrayView& ids, Positions positions);
  std::optional<Array> in_expert_order(std::int64_t layer, Positions positions,
                                       const ArrayView& own, const ArrayView& candidate,
                                       const ReadingHints& hints) const;
  std::optional<Array> oracle_in_order(std::int64_t layer, Positions positions,
                                       const ArrayView& exact) const;
  void conclude(TensorResult& tensor, const ArrayView& candidate);
  void note_findings(const TensorResult& tensor, const ArrayView& candidate);
  OpenTap& open(const TensorResult& tensor, std::size_t axis);
  bool may_be_before(const std::string& tap, std::string_view name) const;

  ReferenceFiles files_;
  const ArrayFile& reference_;
  const Profile& profile_;
  std::int64_t layers_;
  ModelSpec model_;  // from the reference's config, or as far as its names tell
  Numerics numerics_;
  DumpQuestions questions_;
  DumpProposals proposals_;
  Precision precision_;
  std::vector<std::int64_t> ids_;   // of the prompt
  std::vector<std::int64_t> text_;  // prompt and what the reference generates
  ReadingHints hints_;
  std::optional<bool> counts_padding_;       // whether positions do, once the content has shown it
  std::vector<std::int64_t> doubtful_run_;   // see Sequence::sure
  std::map<std::int64_t, Experts> experts_;  // by layer
  ExpertChoices choices_;
  Twins twins_;
  std::set<std::pair<std::string, std::string>>
      rivals_;                                   // taps and arrays that were compared with them
  std::set<std::string> results_;                // taps of which what a module returns was seen too
  std::map<std::string, NameKind> piece_kinds_;  // by tap, of the pieces that count
  std::map<std::string, OpenTap> open_taps_;
  PromptResult result_;
};

}  // namespace assay
