// What a reference's manifest tells about its origin and its prompts' tokens.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "assay/comparison.h"

namespace assay {

struct ReferenceNotes {
  ReferenceSource source;
  std::map<std::string, std::vector<std::string>> tokens;  // texts of the input_ids, by prompt
};

// Missing or malformed fields stay empty, since nothing depends on them. Empty for a file of
// arrays.
ReferenceNotes read_reference_notes(const std::filesystem::path& reference);

// Sets date, program and reference in the report.
void sign(CompareReport& report, const ReferenceNotes& notes);

}  // namespace assay
