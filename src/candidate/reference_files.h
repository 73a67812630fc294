// A prompt's reference: the arrays that candidates are compared with, and their oracle.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "assay/error.h"
#include "candidate/prompt_pairs.h"
#include "formats/array_file.h"
#include "metrics/metrics.h"

namespace assay {

// Throws an input error unless every tap and rotary table has elements and an axis of positions,
// and scores have as many keys as queries. oracle, or null: its arrays must have the reference's
// shapes.
void expect_shapes_of_taps(const ArrayFile& reference, const ArrayFile* oracle);

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
  // Null if there is none.
  const ArrayFile* oracle() const { return oracle_ ? &*oracle_ : nullptr; }
  // The oracle's values of a tap; an array without axes if it has none.
  LoadedArray exact(const std::string& tap) const;
  // own: the reference's error from the oracle, of the whole array or of some positions. Throws
  // WrongReference if the two cannot be from one run: values that are finite in only one of them,
  // or another error than in the manifest.
  void expect_own_oracle(const std::string& tap, const TensorMetrics& own, bool whole) const;

 private:
  ArrayFile arrays_;
  std::optional<ArrayFile> oracle_;
  std::map<std::string, double> noise_;  // by tap, from the manifest
};

}  // namespace assay
