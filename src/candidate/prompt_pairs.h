// Finds which file of the candidate belongs to which prompt of the reference.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "assay/numerics.h"
#include "candidate/module_flow.h"
#include "candidate/name_map.h"
#include "model/array_noise.h"
#include "models/spec.h"

namespace assay {

struct PromptPair {
  std::string id;
  std::filesystem::path reference;                 // .npz
  std::optional<std::filesystem::path> oracle;     // .npz
  std::optional<std::filesystem::path> candidate;  // none: the candidate has no file for it
  // The reference's distance from the oracle, by array; none if the manifest does not have it.
  std::optional<std::map<std::string, double>> noise = {};
  // An f32 run's distance from the oracle, by tap name; none if the manifest does not have it.
  std::optional<std::map<std::string, ArrayNoise>> noise_f32 = {};
  // The arrays' own data flow, if `assay capture` made the reference; null: that of their taps.
  std::shared_ptr<const ModuleFlow> modules = {};
  // The tokens that end a text; empty if the manifest does not tell.
  std::vector<std::int64_t> end_tokens = {};
};

struct Pairing {
  Numerics numerics = Numerics::kBf16;  // of the reference; a lone .npz does not tell
  std::vector<PromptPair> prompts;
  std::optional<ModelSpec> model;  // from the manifest's config, if it is readable
  // Common mistakes that the reference's prompts do not show, in words, from the manifest.
  std::vector<std::string> blind_spots;
  // If the candidate has one file per prompt: files and directories that belong to none.
  std::vector<std::string> unused_files;
};

// Reads a reference_data directory, or one file (or directory of .npy or .pt files) of arrays,
// without candidates. Throws input errors.
Pairing read_reference(const std::filesystem::path& reference);

// Throws a usage error if there is no prompt with that id.
std::size_t index_of_prompt(const Pairing& pairing, const std::string& id);

// reference: a reference_data directory, or one file (or directory of .npy or .pt files) of arrays.
// candidate: a file or directory of arrays for one prompt, or a directory with one for each prompt
// by its id (ID.npz, ID.safetensors, ID.pt, ID.npy, ID.json, or a directory ID). prompt: an id, or
// empty to find it by the candidate's input_ids, or else by the shapes. Throws usage errors
// (unknown or ambiguous prompt) and input errors.
Pairing pair_prompts(const std::filesystem::path& reference, const std::filesystem::path& candidate,
                     const std::string& prompt, const NameMap& map);

// A candidate without a reference: a file of arrays for each prompt, by the file's name or its
// directory's. A directory of files with one array each is one prompt's. Throws input errors.
std::vector<PromptPair> prompts_of(const std::filesystem::path& candidate);

// Number of the model's layers, from the names of a reference's arrays.
std::int64_t count_layers(const std::vector<std::string>& tap_names);

}  // namespace assay
