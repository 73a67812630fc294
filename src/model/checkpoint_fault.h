// Why a directory is not a checkpoint that can be run, and what to do about it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace assay {

struct CheckpointFault {
  std::string where;   // file, or file and field
  std::string found;   // "quant_method \"gptq\""
  std::string advice;  // what to do
};

// A file that is not what its name says: a Git LFS pointer, a web page. None for any other, or a
// missing one.
std::optional<CheckpointFault> find_file_fault(const std::filesystem::path& file);

// Explains why a checkpoint cannot be read: quantised weights, an adapter alone, another format,
// missing files. Call it only after something has failed: a config may mention a quantisation that
// the weights no longer have.
std::optional<CheckpointFault> find_checkpoint_fault(const std::filesystem::path& checkpoint);

}  // namespace assay
