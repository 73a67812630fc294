// The dump is asked before the engine: what a failed array holds, if what follows it is right.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "assay/comparison.h"
#include "assay/numerics.h"
#include "candidate/dump_forms.h"
#include "candidate/reading.h"
#include "candidate/reference_files.h"
#include "models/spec.h"
#include "verify/precision.h"
#include "verify/profile.h"

namespace assay {

// A form in which a failed array would pass.
struct DumpProposal {
  DumpForm form;
  TensorResult judged;  // in that form; of the tap that it holds
};
using DumpProposals = std::map<std::string, DumpProposal>;  // by the failed tensor's name

// One prompt's reference, for such questions. Thread-safe.
class DumpQuestions {
 public:
  // spec: the model's own where the reference tells its config, else what its names tell (then
  // scales and caps are not known). All must outlive it.
  DumpQuestions(const ReferenceFiles& files, const ModelSpec& spec, Numerics numerics,
                const Profile& profile);

  // The first form in which the tensor, which failed or is coarse, would pass; none where there is
  // none.
  // precision: what is expected of the candidate, where that is less than the profile asks.
  std::optional<DumpProposal> ask(const TensorResult& failed, const ArrayView& candidate,
                                  const ReadingHints& hints, const Precision& precision) const;

 private:
  Array in_reference_order(const ArrayView& reference, std::size_t axis, const ArrayView& candidate,
                           const Reading& reading) const;
  std::optional<TensorResult> judge_as(const TensorResult& failed, const std::string& name,
                                       const ArrayView& values, const Precision& precision) const;

  const ReferenceFiles& files_;
  const ModelSpec& spec_;
  Numerics numerics_;
  const Profile& profile_;
};

// Accepts proposals where nothing that follows fails, and something that follows passes (or the
// trap is a known one that nothing follows): the tensor passes in that form, or is not compared
// where it holds another tap's values, which are compared as that tap's if there are no others.
// Where nothing is proposed for a gross failure, and what is computed from it alone passes, the
// array is not what the engine went on with: not compared. Findings say so, a line a kind, unless
// `result` has one that says more of the tensor already. paired: another prompt of the same engine
// has shown that q and k are in pairs; then they are here, too, whatever follows. Returns whether
// they are.
bool answer_dump_questions(PromptResult& result, const DumpProposals& proposals,
                           const ModelSpec& spec, bool paired = false);

}  // namespace assay
