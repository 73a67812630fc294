// The dump is asked before the engine: is an array what the engine went on with?
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "diagnose/scene.h"

namespace assay {

// The evidence as it is to be understood, and what was found out about the dump, in words.
struct AskedDump {
  std::unique_ptr<Scene> scene;
  std::vector<std::string> findings;
};

// Arrays that were taken a step too early or late are turned into their taps where they say how
// (see dump_forms.h); those that the engine cannot have gone on with are left out: all that follows
// is right with the value that the model computes, and wrong with theirs. Real mistakes stay: what
// follows them fits the wrong value. as: see Scene. model and pool must outlive the result.
AskedDump ask_dump(const Model& model, std::vector<Evidence> evidence, ThreadPool& pool,
                   std::optional<Grid> as = {});

}  // namespace assay
