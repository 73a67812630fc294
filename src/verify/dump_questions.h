// Checks the dump before the engine: what a failed array contains, if everything after it is right.
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
  TensorResult judged;  // in that form; of the tap that it contains
  bool known_trap;      // is_known_trap, of an array that is not known to be the engine's result
};
using DumpProposals = std::map<std::string, DumpProposal>;  // by the failed tensor's name

// Checks arrays of one prompt. Thread-safe.
class DumpQuestions {
 public:
  // spec: the model's own if the reference has its config, otherwise what its names tell (then
  // scales and caps are unknown). All arguments must outlive it.
  DumpQuestions(const ReferenceFiles& files, const ModelSpec& spec, Numerics numerics,
                const Profile& profile);

  // The first form in which the failed or coarse tensor would pass; none if there is none.
  // precision: what the candidate is judged by, if that is less strict than the profile.
  // is_result: the engine also showed what a module returns, so that its name is no excuse.
  std::optional<DumpProposal> ask(const TensorResult& failed, const ArrayView& candidate,
                                  const ReadingHints& hints, const Precision& precision,
                                  bool is_result) const;

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

// Accepts proposals if nothing after them fails (or is coarse after a coarse one) and something
// passes (or nothing follows and the trap is a known one): the tensor passes in that form, or is
// not compared if it contains another tap's values, which are compared as that tap's if it has no
// others. Without a proposal for a gross failure, if everything that is computed only from the
// array passes, the engine did not compute with the array: it is not compared. Findings report
// this, one line per kind, unless `result` already has a more specific one for the tensor. paired:
// another prompt of the same engine has shown that q and k are in pairs; then they are here too,
// whatever follows. Returns whether they are.
bool answer_dump_questions(PromptResult& result, const DumpProposals& proposals,
                           const ModelSpec& spec, bool paired = false);

}  // namespace assay
