// manifest.json: what made a reference set, and what is in it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "assay/array.h"
#include "assay/extract.h"
#include "model/array_noise.h"
#include "model/checkpoint_files.h"
#include "reference/statistics.h"

namespace assay {

constexpr const char* kManifestSchema = "assay.reference/1";

// What the manifest records about one array of reference.npz.
struct ArrayRecord {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::string sha256;                        // of the elements' bytes, little-endian, row-major
  std::optional<Statistics> stats;           // of float arrays
  std::optional<double> noise;               // relative L2 distance from the f64 oracle
  std::optional<ArrayNoise> noise_f32 = {};  // the same for an f32 run
};

struct PromptRecord {
  ExtractedPrompt extracted;
  std::optional<std::vector<std::string>> tokens;  // texts of its input_ids, one by one
  std::vector<ArrayRecord> arrays;
};

struct Manifest {
  std::vector<Numerics> numerics;
  std::filesystem::path model;  // checkpoint directory
  std::vector<FileRecord> weights;
  std::optional<FileRecord> tokenizer;
  std::vector<FileRecord> files;  // the other files that were read
  std::int64_t max_new_tokens = 0;
  std::vector<std::int64_t> eos_token_ids;
  std::optional<std::vector<UnseenMistake>> blind_spots;
  std::vector<std::string> warnings;  // those of ExtractOptions::on_warning
  std::vector<PromptRecord> prompts;
};

// The manifest as JSON. It contains config.json unchanged, which is read again.
nlohmann::ordered_json to_json(const Manifest& manifest);

}  // namespace assay
