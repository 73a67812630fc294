// Another engine's arrays for one prompt, by tap. The comparison, the check in a running engine and
// the diagnosis all read candidates here.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "candidate/choose.h"
#include "candidate/expert_slots.h"
#include "candidate/name_map.h"
#include "candidate/reading.h"
#include "candidate/sequence.h"
#include "formats/array_file.h"
#include "models/spec.h"

namespace assay {

// What a candidate's arrays are compared with.
struct KnownPrompt {
  ModelSpec model;                      // the checkpoint's, or model_of_names(the reference)
  const ModuleFlow* modules = nullptr;  // a captured reference's; null: the arrays are taps
  std::vector<std::int64_t> ids = {};   // the prompt's tokens; empty: unknown
  std::vector<std::int64_t> text = {};  // these and what the reference generates; empty: unknown
  bool whole_run = false;  // judge all that the candidate ran, not only the prompt's positions
  // Shape of the tap's array for this many positions; none if the tap is not wanted.
  std::function<std::optional<Shape>(const std::string& tap, std::int64_t positions)> shape;
  // Values of the tap for these tokens, to decide what shapes leave open; an array without axes if
  // there are none.
  std::function<LoadedArray(const std::string& tap, std::span<const std::int64_t> ids)> values;
};

// An array and its tap.
struct CandidateArray {
  std::string tap;
  std::string name;               // in the dump
  std::vector<Reading> readings;  // that its shape allows, likeliest first; empty: see `problem`
  std::string problem;            // why it cannot be read
  bool other_position = false;    // the last position of a longer run; not an error
  // The dump also has what a module returns: this is no step before the tap.
  bool is_result = false;
  bool other_rows = false;        // unreadable because it has more or fewer rows
};

// Tokens before the prompt are padding if the deepest tap is this near without them: one token too
// many makes a larger error, rounding a smaller one.
constexpr double kSurelyPadding = 0.1;

// None if the array cannot be read: that is reported when its values are needed.
std::optional<Shape> shape_if_readable(const ArrayFile& file, const std::string& name);

// The remark about two arrays that claim one tap. Their names decide which is used, or else their
// content.
std::string about_rivals(const std::string& tap, const std::string& first,
                         const std::string& second, const std::string& taken);

class Candidate {
 public:
  // Reads names, tokens and shapes, and values only if these leave something open. Both arguments
  // must outlive it. An unreadable array gets a `problem`; it does not throw.
  Candidate(const ArrayFile& file, const NameMap& map, const KnownPrompt& known);

  // Sorted by tap; without input_ids and generated_ids.
  const std::vector<CandidateArray>& arrays() const { return arrays_; }
  const CandidateArray* find(const std::string& tap) const;
  // Arrays that no rule maps to a wanted tap, or for whose tap another array fits better.
  const std::vector<std::string>& unmatched() const { return unmatched_; }

  // The name of the array with the tokens; empty if there is none.
  const std::string& ids_name() const { return ids_name_; }
  // The tokens that it ran, with padding; none if they are missing or unreadable (see
  // `ids_problem`).
  const std::optional<std::vector<std::int64_t>>& ids() const { return ids_; }
  const std::string& ids_problem() const { return ids_problem_; }
  // Where the prompt is in them; none if it is not, or either is unknown.
  const std::optional<Sequence>& sequence() const { return sequence_; }
  // The tokens whose positions are judged: the prompt's or, with whole_run, the run's without
  // padding. If no prompt is known or it is not in the run, all that it ran.
  const std::vector<std::int64_t>& judged_ids() const { return judged_; }
  // The prompt and what it generated, without padding; none if there is no such array, or it is
  // unreadable (see `generated_problem`).
  const std::optional<std::vector<std::int64_t>>& generated() const { return generated_; }
  const std::string& generated_name() const { return generated_name_; }
  const std::string& generated_problem() const { return generated_problem_; }

  // The reading of a readable array, by its content if values are known; with remarks.
  Reading reading_of(const CandidateArray& array, const ArrayView& loaded) const;

  // For readings of this candidate's arrays and pieces.
  const ReadingHints& hints() const { return hints_; }

  // Remarks on the dump, one per line.
  const std::vector<std::string>& remarks() const { return remarks_; }

  // The array with each token's experts in the order of `reference_ids`, the expert_ids of its
  // layer; none if it has that order already, or the candidate's experts are unknown. array:
  // loaded; reference: the tap's shape.
  std::optional<Array> in_expert_order(const CandidateArray& own, const ArrayView& array,
                                       std::span<const std::int64_t> reference,
                                       const ArrayView& reference_ids) const;

 private:
  using Claims = std::map<std::string, std::vector<std::string>>;  // tap -> arrays

  Claims read_names();
  void say_what_is_not_split();
  void remark_first_of(std::vector<std::string> lines);
  void settle_meanings(Claims& claims);
  void settle_stack(Claims& claims);
  void read_ids_of(const Claims& claims);
  void take(const std::optional<Sequence>& sequence);
  void find_padding(const Claims& claims);
  double deepest_error(const Claims& claims) const;
  std::vector<std::string> deepest_first(const Claims& claims) const;
  void read_arrays(const Claims& claims);
  CandidateArray read_array(const std::string& tap, const std::string& name) const;
  void settle_order();
  std::optional<Choice> choose(const CandidateArray& array) const;
  bool same_content(const std::string& a, const std::string& b) const;
  std::size_t best_of(const std::vector<CandidateArray>& rivals) const;

  const ArrayFile& file_;
  const NameMap& map_;
  const KnownPrompt& known_;
  std::vector<CandidateArray> arrays_;
  std::map<std::string, std::vector<NameClaim>> open_;  // names with several meanings
  std::vector<std::string> unmatched_;
  std::string ids_name_;
  std::optional<std::vector<std::int64_t>> ids_;
  std::string ids_problem_;
  std::optional<Sequence> sequence_;
  std::vector<std::int64_t> judged_;
  std::optional<std::vector<std::int64_t>> generated_;
  std::string generated_name_;
  std::string generated_problem_;
  ReadingHints hints_;
  std::vector<std::string> remarks_;
};

}  // namespace assay
