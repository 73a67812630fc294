// Which file of the candidate belongs to which prompt of the reference.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "assay/numerics.h"
#include "candidate/name_map.h"
#include "model/array_noise.h"
#include "models/spec.h"

namespace assay {

struct PromptPair {
  std::string id;
  std::filesystem::path reference;                 // .npz
  std::optional<std::filesystem::path> oracle;     // .npz
  std::optional<std::filesystem::path> candidate;  // none: the candidate has nothing for it
  // How far the reference lies from the oracle, by array; none where the manifest does not say.
  std::optional<std::map<std::string, double>> noise = {};
  // How far an f32 run lies from the oracle, by tap name; none where the manifest does not say.
  std::optional<std::map<std::string, ArrayNoise>> noise_f32 = {};
};

struct Pairing {
  Numerics numerics = Numerics::kBf16;  // of the reference; a lone .npz does not say
  std::vector<PromptPair> prompts;
  std::optional<ModelSpec> model;  // of the manifest's config, where it has one that is known
  // Common mistakes that the reference's prompts do not show, in words; as the manifest says.
  std::vector<std::string> blind_spots;
  // In a candidate that has a place for each prompt: files and directories that are no prompt's.
  std::vector<std::string> unused_files;
};

// What a reference_data directory, or one file (or directory of .npy or .pt files) of arrays,
// offers: no candidates yet. Throws input errors.
Pairing read_reference(const std::filesystem::path& reference);

// Throws a usage error when there is no prompt of that id.
std::size_t index_of_prompt(const Pairing& pairing, const std::string& id);

// reference: a reference_data directory, or one file (or directory of .npy or .pt files) of arrays.
// candidate: a file or directory of arrays for one prompt, or a directory with one for each prompt
// by its id (ID.npz, ID.safetensors, ID.pt, ID.npy, ID.json, or a directory ID). prompt: an id, or
// empty to find it by the candidate's input_ids, or else by the one whose shapes fit. Throws usage
// errors (prompt unknown or in doubt) and input errors.
Pairing pair_prompts(const std::filesystem::path& reference, const std::filesystem::path& candidate,
                     const std::string& prompt, const NameMap& map);

// A candidate without a reference: a file of arrays for each prompt, by the file's name or its
// directory's. A directory whose files are arrays each is one prompt's. Throws input errors.
std::vector<PromptPair> prompts_of(const std::filesystem::path& candidate);

// Layers of the model that a reference's arrays speak of.
std::int64_t count_layers(const std::vector<std::string>& tap_names);

}  // namespace assay
