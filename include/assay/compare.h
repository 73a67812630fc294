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
  std::string prompt;  // id; empty: the candidate's ids or layout say which
  // From the candidate's names to taps: engines ("llama.cpp") and .json files of rules, separated
  // by commas (docs/names.md); empty: all engines that are known.
  std::string map;
  std::string profile = "noise";    // "noise", "table", or a .json file
  std::optional<double> tolerance;  // relative L2 for every tap, instead of a profile
  // To replay the candidate's text, and to measure what its type allows where the reference does
  // not say; none when empty.
  std::filesystem::path model;
  int threads = 0;       // 0: all cores; the result does not depend on it
  bool details = false;  // TensorDetail for every tensor: about as long again
  std::string as;        // the type to expect: f32, f16, bf16, q8; empty: what the values show.
                         // f16 and q8 need `model`
};

// Of the options reference, candidate, prompt and map are looked at: names that the map knows get
// no rule. Throws as compare, and a usage error where it is open which prompt the dump is of.
MapDraft draft_map(const CompareOptions& options);

// Compares what both have, prompt by prompt; CompareReport::passed is the verdict. on_progress
// hears what is being done and how much of it is done (0 to 1), from one thread. Throws an input
// error for files that cannot be read, when the prompt cannot be told, and when nothing at all
// could be compared, and a usage error for options that name nothing (a map, a profile, a type).
CompareReport compare(
    const CompareOptions& options,
    const std::function<void(std::string_view what, double fraction)>& on_progress = {});

}  // namespace assay
