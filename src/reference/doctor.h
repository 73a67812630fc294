// Checks machine and checkpoint before anything long runs.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace assay {

enum class CheckStatus { kOk, kWarning, kFailed };

struct Check {
  std::string name;  // "config", "tensors", "free memory", ...
  CheckStatus status = CheckStatus::kOk;
  std::string detail;  // what was found
  std::string remedy;  // what to do about it; empty when all is well
};

// CPU, memory, and disk space for `out` (a directory that need not exist yet).
std::vector<Check> check_machine(const std::filesystem::path& out);

// Files, config, every tensor's name, dtype and shape, tokenizer, and whether weights and disk fit
// what the machine has. Never throws for what is wrong with the checkpoint: that is its result.
std::vector<Check> check_checkpoint(const std::filesystem::path& directory);

}  // namespace assay
