// Numbers that a mistake leaves open and no list has, found by a search along each.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "diagnose/catalog.h"
#include "diagnose/scene.h"
#include "diagnose/search.h"

namespace assay {

// A mistake of the catalog with its number left open.
struct Parameter {
  std::string_view entry;  // id
  std::string place;       // of a family in which one alone is true: tried roughly first
  double least = 0;
  double most = 0;
  enum class Scale : std::uint8_t { kLog, kLinear, kWhole } scale = Scale::kLog;
  enum class Part : std::uint8_t { kEmbedding, kLayers, kHead } of = Part::kLayers;
  std::size_t grid = 14;  // points of the first look
  double own = 0;         // the model's own number; 0: it has none
  std::function<void(Hypothesis&, double)> apply = {};
  std::function<std::string(double)> text = {};
};

// Those that a mistake in this model may have.
std::vector<Parameter> open_parameters(const Circumstances& at);

// On top of what is known already, by how well they explain one segment: each with the number that
// does best there, those that do better than `before` bits, best first.
std::vector<Suspect> fit(const Scene& scene, const Circumstances& at, const Hypothesis& known,
                         std::size_t segment, double before);

}  // namespace assay
