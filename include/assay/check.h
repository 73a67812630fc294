// The check from inside a running engine: one tensor at a time. include/assay.h is the same in C.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "assay/array.h"
#include "assay/comparison.h"

namespace assay {

// At least one of `reference` and `record` must be given.
struct CheckerOptions {
  std::filesystem::path reference;  // a reference_data directory, or one file of arrays
  std::string prompt;               // id; empty: the only one, or the one whose input_ids come
  std::filesystem::path record;     // .npz that write_record() makes of all that was checked
  std::string map;                  // as CompareOptions::map
  std::string profile = "noise";    // as CompareOptions::profile
  std::optional<double> tolerance;  // relative L2 for every tap, instead of a profile
  std::string as;                   // the type to expect: f32, bf16; empty: what the values show
  // The checkpoint that the engine runs: a reference of another one is refused. Empty: not looked
  // at.
  std::filesystem::path model;
};

// One run of the engine over one prompt. All functions may be called from several threads; they
// take turns.
class Checker {
 public:
  // Opens the reference. Throws usage errors (neither a reference nor a record, no such prompt or
  // type) and input errors (files that cannot be used, another checkpoint's reference).
  explicit Checker(CheckerOptions options);
  ~Checker();
  Checker(const Checker&) = delete;
  Checker& operator=(const Checker&) = delete;

  // Whether a tensor of that name would be compared or recorded: ask before copying one from a
  // device.
  bool wants(std::string_view name) const;

  // The forward pass that follows computes positions [first, first + count) of the sequence; until
  // the first call each tensor is taken for the whole prompt's. Throws a usage error for positions
  // that no sequence has.
  void set_positions(std::int64_t first, std::int64_t count);

  // Compares and records one tensor, whose elements are read before the call returns. Its name is
  // a tap's, or any that the map knows. Batch axes of 1 may be missing, heads split or joined.
  // "input_ids" (any integer type) chooses the prompt of a reference with several, and comes first
  // then. "generated_ids" is the prompt and its greedy continuation.
  //
  // The verdict is of this tensor, or of the positions in it; where it is kNotCompared, `reason`
  // says why. Throws input errors for what cannot be compared or recorded at all (a shape that is
  // no number of elements, a name that no record can hold), and a usage error while it is open
  // which prompt is run.
  TensorResult check(const ArrayView& tensor);

  // What compare() would say of everything that was checked so far. A tap of which positions are
  // missing counts as not compared, unless it failed already or only its last position came.
  // Without a reference the report has no prompts.
  CompareReport report() const;

  // Writes the record, BF16 and FP8 as F32; does nothing where none was asked for. Throws what
  // write_npz throws, and an input error when all others are written and pieces of an array cannot
  // be joined.
  void write_record() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace assay
