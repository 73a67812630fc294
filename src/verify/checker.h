// The check from inside a running engine: one tensor at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "assay/array.h"
#include "assay/array_file.h"
#include "assay/compare.h"
#include "candidate/name_map.h"
#include "candidate/positions.h"
#include "candidate/prompt_pairs.h"
#include "verify/profile.h"
#include "verify/recording.h"
#include "verify/reference_source.h"

namespace assay {

class CheckedPrompt;

struct CheckerOptions {
  std::filesystem::path reference;  // a reference_data directory, or one file; empty: none
  std::string prompt;               // id; empty: the only one, or the one of the input_ids
  std::filesystem::path record;     // .npz that gets what is handed over; empty: none
  std::string map;                  // as CompareOptions
  std::string profile = "noise";
  std::optional<double> tolerance;
  std::string as;  // "f32", "bf16", or empty: as CompareOptions
  // The checkpoint that the engine runs; empty: not held against the reference's.
  std::filesystem::path model;
};

// One run of the engine over one prompt. Thread-safe.
class Checker {
 public:
  // Throws usage and input errors; also when there is neither a reference nor a record.
  explicit Checker(CheckerOptions options);
  ~Checker();
  Checker(const Checker&) = delete;
  Checker& operator=(const Checker&) = delete;

  // Whether a tensor of that name would be compared or recorded.
  bool wants(std::string_view name) const;

  // The forward pass that follows computes positions [first, first + count) of the sequence. Until
  // the first call each tensor is taken for the whole prompt's. Throws a usage error for none,
  // and for what no sequence has.
  void set_positions(Positions positions);

  // Compares and records one tensor. input_ids chooses the prompt where there are several, and
  // must come first then. The verdict is of this tensor, or of its positions; kNotCompared says in
  // `reason` why. Throws input errors for what cannot be compared or recorded at all.
  TensorResult hand_over(const ArrayView& tensor);

  // What compare would say of all that was handed over so far. A tap of which positions are missing
  // was not compared, unless it failed already or only the last was handed over.
  CompareReport report() const;

  // Writes the record. Throws as write_npz.
  void write_record() const;

 private:
  void choose_prompt(const std::vector<std::int64_t>& ids);
  void open(const PromptPair& pair);
  TensorResult compare(const ArrayView& tensor);
  TensorResult compare_parts(const ArrayView& tensor, const std::vector<Array>& parts);
  std::optional<std::string> tap_by_content(const ArrayView& tensor) const;

  CheckerOptions options_;
  NameMap map_;
  Pairing pairing_;
  std::optional<Profile> profile_;
  ReferenceNotes notes_;
  std::unique_ptr<CheckedPrompt> prompt_;  // none until it is known
  Recording recording_;
  std::optional<Positions> positions_;
  mutable std::mutex mutex_;
};

}  // namespace assay
