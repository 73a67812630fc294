// How a candidate's layouts were read, in one line for each kind.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "assay/comparison.h"

namespace assay {

// Readings whose texts differ only in shapes and sizes.
struct LayoutKind {
  std::string example;     // the text of the first reading
  std::size_t texts = 0;   // number of different texts
  std::size_t arrays = 0;  // number of arrays that were read in this way
};

// The kinds, in the order of their first arrays.
std::vector<LayoutKind> layout_kinds(const PromptResult& prompt);

}  // namespace assay
