// Fits the numbers of mistakes when no listed value is right.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "diagnose/catalog.h"
#include "diagnose/scene.h"
#include "diagnose/search.h"

namespace assay {

// A mistake of the catalog with an open number.
struct Parameter {
  std::string_view entry;  // id
  std::string place;       // a family tries several places roughly first and keeps the best
  double least = 0;
  double most = 0;
  enum class Scale : std::uint8_t { kLog, kLinear, kWhole } scale = Scale::kLog;
  enum class Part : std::uint8_t { kEmbedding, kLayers, kHead } of = Part::kLayers;
  std::size_t grid = 14;  // points of the first look
  double own = 0;         // the model's own number, or 0 for none
  std::function<void(Hypothesis&, double)> apply = {};
  std::function<std::string(double)> text = {};
};

// The parameters that this model may have wrong.
std::vector<Parameter> open_parameters(const Circumstances& at);

// Fits each parameter in addition to what is known, on one segment. Returns those that cost less
// than `before` bits with their best number, best first.
std::vector<Suspect> fit(const Scene& scene, const Circumstances& at, const Hypothesis& known,
                         std::size_t segment, double before);

}  // namespace assay
