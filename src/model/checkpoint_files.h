// The files of a checkpoint, as a reference's manifest keeps them: contents, not places.
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

// Throws an input error when the file cannot be read.
FileRecord record_file(const std::filesystem::path& file, std::string name);

// Of a HuggingFace directory, what is read beside weights and tokenizer, as far as it is there:
// config.json, generation_config.json and, where a chat template was applied, the files that it and
// its special tokens stand in. Nothing of a GGUF file. Relative to the directory.
std::vector<std::string> settings_files(const std::filesystem::path& checkpoint, bool with_chat);

// Holds a checkpoint against the manifest of a reference: a reference_data directory, or a .npz of
// it. Nothing is said where there is no manifest, nor of what an older one does not keep. Throws an
// input error that names the file, what was found and what was expected.
void expect_checkpoint_of(const std::filesystem::path& reference,
                          const std::filesystem::path& checkpoint);

}  // namespace assay
