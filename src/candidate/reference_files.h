// A prompt's reference: the arrays that candidates are compared with, and their oracle.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "assay/error.h"
#include "candidate/prompt_pairs.h"
#include "formats/array_file.h"
#include "metrics/metrics.h"

namespace assay {

// Throws an input error unless every tap and rotary table has elements and an axis of positions,
// and scores have as many keys as queries. oracle, or null: its arrays must have the reference's
// shapes.
// modules: a captured reference's, whose arrays must all be there; null: there are only taps.
void expect_shapes_of_taps(const ArrayFile& reference, const ArrayFile* oracle,
                           const ModuleFlow* modules = nullptr);

// An error that is not the candidate's fault.
struct WrongReference : Error {
  WrongReference(std::string_view where, std::string_view found, std::string_view expected)
      : Error(ErrorKind::kInput, where, found, expected) {}
};

class ReferenceFiles {
 public:
  // Opens the pair's reference and oracle. Throws input errors: an unreadable file, or arrays that
  // do not have the shapes of their taps.
  explicit ReferenceFiles(const PromptPair& pair);

  const ArrayFile& arrays() const { return arrays_; }
  // The arrays' own data flow; null if they are taps.
  const ModuleFlow* modules() const { return modules_.get(); }
  // Null if there is none.
  const ArrayFile* oracle() const { return oracle_ ? &*oracle_ : nullptr; }
  // The oracle's values of a tap; an array without axes if it has none.
  LoadedArray exact(const std::string& tap) const;
  // The oracle's own text, prompt and continuation; empty if it has none.
  std::vector<std::int64_t> exact_text() const;
  // The tokens that end a text; empty if unknown.
  const std::vector<std::int64_t>& end_tokens() const { return end_tokens_; }
  // A lower bound of the noise of a captured array: one of few values may be right by chance, so
  // its noise is at least that of the arrays that it is computed from. 0 for any other.
  double least_noise(const std::string& name) const;
  // Whether each position of an array has enough values to be judged by itself. True for taps.
  bool judges_positions(const std::string& name) const;
  // own: the reference's error from the oracle, of the whole array or of some positions. Throws
  // WrongReference if the two cannot be from one run: values that are finite in only one of them,
  // or another error than in the manifest.
  void expect_own_oracle(const std::string& tap, const TensorMetrics& own, bool whole) const;

 private:
  ArrayFile arrays_;
  std::optional<ArrayFile> oracle_;
  std::map<std::string, double> noise_;  // by tap, from the manifest
  std::shared_ptr<const ModuleFlow> modules_;
  std::vector<std::int64_t> end_tokens_;
};

}  // namespace assay
