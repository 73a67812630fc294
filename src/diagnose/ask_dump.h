// Checks the dump before the engine: did the engine compute with these arrays?
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "diagnose/scene.h"

namespace assay {

// The evidence, corrected, and what was found about the dump, in words.
struct AskedDump {
  std::unique_ptr<Scene> scene;
  std::vector<std::string> findings;
};

// Arrays that were taken a step too early or late are converted to their taps (see dump_forms.h).
// Arrays that the engine cannot have computed with are dropped: everything after them is right
// given the model's value, and wrong given theirs. Real mistakes stay, because what follows them
// fits the wrong value. as: see Scene. model and pool must outlive the result.
AskedDump ask_dump(const Model& model, std::vector<Evidence> evidence, ThreadPool& pool,
                   std::optional<Grid> as = {});

}  // namespace assay
