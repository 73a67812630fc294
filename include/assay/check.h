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

// Needs `reference`, `record` or both.
struct CheckerOptions {
  std::filesystem::path reference;  // a reference_data directory, or one file of arrays
  std::string prompt;               // id; empty: the only one, or found by input_ids
  std::filesystem::path record;     // .npz to which write_record() writes every checked tensor
  std::string map;                  // as CompareOptions::map
  std::string profile = "noise";    // as CompareOptions::profile
  std::optional<double> tolerance;  // relative L2 for every tap, instead of a profile
  std::string as;                   // the type to expect: f32, bf16; empty: what the values show
  // The checkpoint that the engine runs: the reference of a different one is refused. Empty: not
  // checked.
  std::filesystem::path model;
};

// One run of the engine over one prompt. All functions may be called from several threads, which
// take turns.
class Checker {
 public:
  // Opens the reference. Throws usage errors (neither a reference nor a record, no such prompt or
  // type) and input errors (files that cannot be used, a different checkpoint's reference).
  explicit Checker(CheckerOptions options);
  ~Checker();
  Checker(const Checker&) = delete;
  Checker& operator=(const Checker&) = delete;

  // Whether a tensor with this name would be compared or recorded. Ask before copying it from a
  // device.
  bool wants(std::string_view name) const;

  // Declares that the next forward pass computes positions [first, first + count) of the sequence.
  // Before the first call every tensor is taken to be the whole prompt's. Throws a usage error for
  // impossible positions.
  void set_positions(std::int64_t first, std::int64_t count);

  // Compares and records one tensor, whose elements are read before the call returns. Its name is
  // a tap's or one that the map knows. Batch axes of size 1 may be missing, heads split or joined.
  // "input_ids" (any integer type) chooses the prompt if the reference has several, and must then
  // come first. "generated_ids" is the prompt with its greedy continuation.
  //
  // The verdict is for this tensor, or for the positions in it; if it is kNotCompared, `reason`
  // says why. Throws input errors for tensors that cannot be compared or recorded (a shape with an
  // impossible number of elements, a name that no record can hold), and a usage error as long as
  // the prompt is not known.
  TensorResult check(const ArrayView& tensor);

  // What compare() would report for everything checked so far. A tap with missing positions counts
  // as not compared, unless it has failed or only its last position was passed. Without a reference
  // the report has no prompts.
  CompareReport report() const;

  // Writes the record, with BF16 and FP8 as F32; without CheckerOptions::record it does nothing.
  // Throws what write_npz throws, and an input error, after writing all other arrays, if the pieces
  // of an array cannot be joined.
  void write_record() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace assay
