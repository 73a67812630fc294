// How a candidate's layouts were read, in one line for each kind.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "assay/compare.h"

namespace assay {

// Readings whose texts differ in shapes and sizes only.
struct LayoutKind {
  std::string example;     // the text of the first
  std::size_t texts = 0;   // different ones
  std::size_t arrays = 0;  // that were read so
};

// In the order of their first arrays.
std::vector<LayoutKind> layout_kinds(const PromptResult& prompt);

}  // namespace assay
