// Searches for the mistakes that explain the evidence.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "diagnose/catalog.h"
#include "diagnose/scene.h"

namespace assay {

// One variant of a mistake of the catalog.
struct Suspect {
  const Entry* entry = nullptr;
  Variant variant;
  std::vector<std::int64_t> layers = {};  // that have it; empty: all

  void apply(Hypothesis& hypothesis) const { apply_in(layers, variant.apply, hypothesis); }
};

// A mistake that was accepted.
struct Culprit {
  Suspect suspect;
  // Sites that it explains, as (evidence, site).
  std::vector<std::pair<std::size_t, std::size_t>> sites;
  std::vector<Suspect> alternatives;  // equally good, best first
  std::vector<double> alternative_errors;
  double error_before = 0;
  double error_after = 0;
  double noise = 0;
  double exact_after = 0;
};

struct SearchResult {
  std::vector<Culprit> culprits;
  Hypothesis best;                           // with all culprits
  std::vector<std::vector<Distance>> sites;  // what remains, [evidence][site]
  Scene::Noise noise;                        // with the culprits
  Score before;                              // without any culprit
};

SearchResult search(const Scene& scene, bool tied_head,
                    const std::function<void(double)>& on_progress);

}  // namespace assay
