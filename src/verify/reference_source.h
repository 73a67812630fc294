// What a reference's manifest says of its making and of its prompts' tokens.
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

// Fields that are missing or of another kind stay empty: none of them decides anything. Empty for a
// file of arrays.
ReferenceNotes read_reference_notes(const std::filesystem::path& reference);

// Says in the report when, by which program, and of which reference it is.
void sign(CompareReport& report, const ReferenceNotes& notes);

}  // namespace assay
