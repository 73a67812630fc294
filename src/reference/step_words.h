// A step in the words of papers: what assay explain prints of it.
#pragma once

#include <string>
#include <vector>

#include "models/program.h"
#include "models/spec.h"

namespace assay {

// What a step does, where it rounds in a BF16 run, and which part of it depends on the position.
struct StepWords {
  std::string formula;
  std::string rounding = "once, when it is written";
  std::string position;
};

// reads, writes: the names of the values that the step reads and writes.
StepWords words_of(const ModelSpec& spec, const Block& block, const Step& step,
                   std::vector<std::string> reads, std::vector<std::string> writes);

}  // namespace assay
