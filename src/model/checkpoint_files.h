// A checkpoint's files as a reference's manifest records them: contents, not places.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace assay {

struct FileRecord {
  std::string file;  // relative to the checkpoint directory
  std::uint64_t bytes = 0;
  std::string sha256;
};

// Throws an input error if the file cannot be read.
FileRecord record_file(const std::filesystem::path& file, std::string name);

// The files of a HuggingFace directory that are read in addition to weights and tokenizer, if they
// exist: config.json, generation_config.json and, if a chat template was applied, the files of the
// template and its special tokens. Empty for a GGUF file. Relative to the directory.
std::vector<std::string> settings_files(const std::filesystem::path& checkpoint, bool with_chat);

// Compares a checkpoint with the manifest of a reference: a reference_data directory, or one of its
// .npz files. Accepts anything if there is no manifest, and ignores what an older one does not
// record. Throws an input error that names the file, what was found and what was expected.
void expect_checkpoint_of(const std::filesystem::path& reference,
                          const std::filesystem::path& checkpoint);

}  // namespace assay
