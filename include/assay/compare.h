// Comparison: is another engine's dump right, and where does it first go wrong?
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "assay/comparison.h"
#include "assay/map_draft.h"

namespace assay {

struct CompareOptions {
  std::filesystem::path reference;  // a reference_data directory, or one file of arrays
  // The engine's dump: .npz, .npy, .safetensors, .pt, .gguf, the .json sidecar of raw files, a
  // directory of .npy or .pt files, or a directory with one of these for each prompt.
  std::filesystem::path candidate;
  std::string prompt;  // id; empty: found by the candidate's ids or layout
  // How the candidate's names map to taps: engines ("llama.cpp") and .json files of rules,
  // separated by commas (docs/names.md); empty: all known engines.
  std::string map;
  std::string profile = "noise";    // "noise", "table", or a .json file
  std::optional<double> tolerance;  // relative L2 for every tap, instead of a profile
  // Checkpoint, to replay the candidate's text and to measure the noise of its type where the
  // reference does not have it; empty: none.
  std::filesystem::path model;
  int threads = 0;       // 0: all cores; the result does not depend on it
  bool details = false;  // TensorDetail for every tensor; takes about twice as long
  // The precision to expect: f32, f16, bf16, q8; empty: what the values show. f16 and q8 need
  // `model`.
  std::string as;
};

// Drafts rules for the names of a dump by comparing its arrays' values with the reference's. Uses
// the options reference, candidate, prompt and map; names that the map knows get no rule. Throws
// what compare throws, and a usage error if it is not clear which prompt the dump is of.
MapDraft draft_map(const CompareOptions& options);

// Compares the arrays that both have, prompt by prompt; CompareReport::passed is the verdict.
// on_progress is called from one thread at a time, not always the caller's, with what is being done
// and the fraction done (0 to 1).
// Throws an input error for files that cannot be read, if the prompt cannot be determined, and if
// nothing could be compared; a usage error for an unknown map, profile or type.
CompareReport compare(
    const CompareOptions& options,
    const std::function<void(std::string_view what, double fraction)>& on_progress = {});

}  // namespace assay
