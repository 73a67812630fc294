// Why a directory that people give is no checkpoint that can be run, and what they do about it.
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

// A file that is not what its name says: a Git LFS pointer, a web page. None for another, or for
// one that is not there.
std::optional<CheckpointFault> find_file_fault(const std::filesystem::path& file);

// What in the checkpoint explains that it cannot be read: quantised weights, an adapter alone,
// another format, files that did not come. To be asked once something has failed: a config may
// speak of a quantisation that the weights no longer have.
std::optional<CheckpointFault> find_checkpoint_fault(const std::filesystem::path& checkpoint);

}  // namespace assay
