// A prompt's reference: the arrays that candidates are held against, and their oracle.
#pragma once

#include <optional>
#include <string>

#include "assay/array_file.h"
#include "candidate/prompt_pairs.h"

namespace assay {

// Throws an input error unless every tap and rotary table has elements and an axis of positions,
// and scores as many keys as queries. oracle, null for none: its arrays have the reference's
// shapes.
void expect_shapes_of_taps(const ArrayFile& reference, const ArrayFile* oracle);

class ReferenceFiles {
 public:
  // Opens the pair's reference and oracle. Throws input errors: a file that cannot be read, or
  // whose arrays have not the shapes of their taps.
  explicit ReferenceFiles(const PromptPair& pair);

  const ArrayFile& arrays() const { return arrays_; }
  // Null where there is none.
  const ArrayFile* oracle() const { return oracle_ ? &*oracle_ : nullptr; }
  // The oracle's values of a tap; an array without axes where it has none.
  LoadedArray exact(const std::string& tap) const;

 private:
  ArrayFile arrays_;
  std::optional<ArrayFile> oracle_;
};

}  // namespace assay
