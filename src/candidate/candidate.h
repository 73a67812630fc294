// What another engine hands in for one prompt, as arrays by tap: the one way in for the comparison,
// the check in a running engine and the diagnosis.
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

// What a candidate's arrays are held against.
struct KnownPrompt {
  ModelSpec model;                      // the checkpoint's, or model_of_names(the reference)
  std::vector<std::int64_t> ids = {};   // the prompt's tokens; empty: not known
  std::vector<std::int64_t> text = {};  // they and what the reference generates; empty: not known
  bool whole_run = false;  // judged is all that the candidate ran, not the prompt's positions alone
  // Shape of the tap's array over so many positions; none where it is not looked for.
  std::function<std::optional<Shape>(const std::string& tap, std::int64_t positions)> shape;
  // Its values, for what shapes leave open, where these tokens are run; an array without axes where
  // there are none.
  std::function<LoadedArray(const std::string& tap, std::span<const std::int64_t> ids)> values;
};

// One array under its tap.
struct CandidateArray {
  std::string tap;
  std::string name;               // in the dump
  std::vector<Reading> readings;  // that its shape allows, the likeliest first; none: see `problem`
  std::string problem;            // why it cannot be read
  bool other_position = false;    // it holds the last position of a run that goes on; no error
};

// What stands before the prompt is padding where the deepest tap lies this near: no token too many
// leaves it there, and rounding does not bring it further.
constexpr double kSurelyPadding = 0.1;

// None where the array cannot be read: said where its values are asked for.
std::optional<Shape> shape_if_readable(const ArrayFile& file, const std::string& name);

// What is said of two arrays that claim one tap.
std::string about_rivals(const std::string& tap, const std::string& first,
                         const std::string& second, const std::string& taken);

class Candidate {
 public:
  // Reads names, tokens and shapes; values only where shapes and names leave something open. Both
  // arguments must outlive it. An array that cannot be read has a `problem`; nothing is thrown for
  // it.
  Candidate(const ArrayFile& file, const NameMap& map, const KnownPrompt& known);

  // By the taps' names; without input_ids and generated_ids.
  const std::vector<CandidateArray>& arrays() const { return arrays_; }
  const CandidateArray* find(const std::string& tap) const;
  // Arrays that no rule maps to a tap that is looked for, or that another fits better than.
  const std::vector<std::string>& unmatched() const { return unmatched_; }

  // The name of the array that holds the tokens; empty without one.
  const std::string& ids_name() const { return ids_name_; }
  // The tokens that it ran, padding and all; none where it does not say, or not readably (then
  // `ids_problem`).
  const std::optional<std::vector<std::int64_t>>& ids() const { return ids_; }
  const std::string& ids_problem() const { return ids_problem_; }
  // Where the prompt stands in them; none where it does not, or either is not known.
  const std::optional<Sequence>& sequence() const { return sequence_; }
  // The tokens whose positions are judged: the prompt's, with whole_run the run's without padding.
  // Of other tokens than the prompt's, or where no prompt is known, all that it ran.
  const std::vector<std::int64_t>& judged_ids() const { return judged_; }
  // The prompt and what it generated, without padding; none without such an array, or where it
  // cannot be read (then `generated_problem`).
  const std::optional<std::vector<std::int64_t>>& generated() const { return generated_; }
  const std::string& generated_name() const { return generated_name_; }
  const std::string& generated_problem() const { return generated_problem_; }

  // The reading of an array that can be read, by its content where values are known; with what is
  // to be said of it.
  Reading reading_of(const CandidateArray& array, const ArrayView& loaded) const;

  // For readings of this candidate's arrays (and pieces).
  const ReadingHints& hints() const { return hints_; }

  // What is to be said of the dump, in a line each.
  const std::vector<std::string>& remarks() const { return remarks_; }

  // The array with each token's experts in the order of `reference_ids`, the expert_ids of its
  // layer; none where it is in that order, or the candidate does not say which experts they are.
  // array: loaded; reference: the shape of the tap.
  std::optional<Array> in_expert_order(const CandidateArray& own, const ArrayView& array,
                                       std::span<const std::int64_t> reference,
                                       const ArrayView& reference_ids) const;

 private:
  using Claims = std::map<std::string, std::vector<std::string>>;  // tap -> arrays

  Claims read_names();
  void say_what_is_not_split();
  void remark_first_of(std::vector<std::string> lines);
  void settle_meanings(Claims& claims);
  void read_ids_of(const Claims& claims);
  void take(const std::optional<Sequence>& sequence);
  void find_padding(const Claims& claims);
  double deepest_error(const Claims& claims) const;
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
  std::map<std::string, std::vector<NameClaim>> open_;  // names of several meanings
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
