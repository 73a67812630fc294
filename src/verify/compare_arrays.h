// One tensor: its layout read, its metrics measured, its verdict given.
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

// What a tensor is held against.
struct Truth {
  const ArrayView& reference;
  const ArrayView* oracle = nullptr;    // of the reference's shape; null: none
  std::size_t position_axis = 1;        // of the reference
  Numerics numerics = Numerics::kBf16;  // of the reference: how large one rounding is
  // The noise is not taken for less. That of a single position is a matter of luck: few positions
  // are held against the noisiest of all.
  double least_noise = 0;
  ReadingHints hints = {};  // of the dump
  // What is compared of the candidate's positions: those before this one (see ExpertChoices).
  std::int64_t same_until = ExpertChoices::kAll;
  // Where the oracle is from, to say that it is none of the reference's; null: it is believed.
  const ReferenceFiles* files = nullptr;
  bool is_whole = false;  // the reference here is the array of the file, no part of it
};

// Sets all of `tensor` but its names and layer. The result is the reading by which the candidate
// was compared; none when its shape fits none (then the verdict is kError). pool: null to stay in
// this thread.
std::optional<Reading> compare_arrays(TensorResult& tensor, const Truth& truth,
                                      const ArrayView& candidate, const Profile& profile,
                                      ThreadPool* pool);

// Token ids: equal, or the verdict is kFail and says from where on they differ.
void compare_input_ids(TensorResult& tensor, std::span<const std::int64_t> reference,
                       std::span<const std::int64_t> candidate);

}  // namespace assay
