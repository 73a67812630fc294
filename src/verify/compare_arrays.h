// Compares one tensor: finds its layout, measures its metrics, and judges it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "assay/array.h"
#include "assay/comparison.h"
#include "assay/numerics.h"
#include "base/thread_pool.h"
#include "candidate/reading.h"
#include "candidate/reference_files.h"
#include "verify/expert_choices.h"
#include "verify/profile.h"

namespace assay {

// What a tensor is compared with.
struct Truth {
  const ArrayView& reference;
  const ArrayView* oracle = nullptr;    // has the reference's shape; null: none
  std::size_t position_axis = 1;        // of the reference
  Numerics numerics = Numerics::kBf16;  // of the reference: how large one rounding is
  // A lower bound of the noise. That of a single position varies by chance, so a few positions are
  // compared with the noisiest of all.
  double least_noise = 0;
  // Whether positions are judged one by one: by chance, one of few values may be nearly right in
  // the reference.
  bool judges_positions = true;
  ReadingHints hints = {};  // of the dump
  // Only positions before this one are compared (see ExpertChoices).
  std::int64_t same_until = ExpertChoices::kAll;
  // Checks that the oracle belongs to the reference; null: not checked.
  const ReferenceFiles* files = nullptr;
  bool is_whole = false;  // `reference` is the file's whole array, not a part of it
};

// Fills in `tensor` except its names and layer. Returns the reading under which the candidate was
// compared, or none if no reading fits its shape (the verdict is then kError). pool: null to stay
// in this thread.
std::optional<Reading> compare_arrays(TensorResult& tensor, const Truth& truth,
                                      const ArrayView& candidate, const Profile& profile,
                                      ThreadPool* pool);

// Compares token ids: if they differ, the verdict is kFail and the reason has the first position.
void compare_input_ids(TensorResult& tensor, std::span<const std::int64_t> reference,
                       std::span<const std::int64_t> candidate);

}  // namespace assay
