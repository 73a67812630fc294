#include "diagnose/coarse_operations.h"

#include <cmath>
#include <set>

#include "diagnose/error_order.h"

namespace assay {
namespace {

bool is_in_order(const Scene& scene, const Site& site, const std::vector<float>& computed) {
  ErrorOrder order{.right = computed, .candidate = site.values, .rows = site.rows};
  const bool has_heads = site.place.tap >= Tap::kQProj && site.place.tap <= Tap::kAttnContext;
  if (site.is_attention()) {
    order.rows_are_positions = false;
  } else if (has_heads) {
    order.parts =
        site.width / static_cast<std::size_t>(scene.spec().heads(site.place.layer).head_dim);
  }
  return !order.text().empty();
}

}  // namespace

std::vector<CoarseOperation> coarse_operations(const Scene& scene, const SearchResult& result) {
  std::vector<CoarseOperation> all;
  for (const HeldValues& held : scene.coarse_taps()) {
    CoarseOperation found{.tap = held.result, .type = held.type};
    std::set<std::int64_t> layers;
    double count = 0;
    bool explained = true;
    for (std::size_t e = 0; e < scene.evidence().size() && explained; ++e) {
      const Evidence& evidence = scene.evidence()[e];
      std::vector<std::vector<float>> computed;
      for (std::size_t i = 0; i < evidence.sites.size() && explained; ++i) {
        const Site& site = evidence.sites[i];
        const Distance& distance = result.sites[e][i];
        if (site.place.tap != held.result) continue;
        if (scene.state(e, i, distance, result.noise) != SiteState::kLoose) continue;
        const double noise = scene.noise_in(held.type, e, i);
        if (computed.empty()) computed = scene.look(result.best, e).computed;
        explained =
            distance.error <= kBeyondNoise * noise && !is_in_order(scene, site, computed[i]);
        found.error += distance.error * distance.error;
        found.noise += noise * noise;
        ++count;
        if (site.place.layer >= 0) layers.insert(site.place.layer);
      }
    }
    if (!explained || count == 0) continue;
    found.layers.assign(layers.begin(), layers.end());
    found.error = std::sqrt(found.error / count);
    found.noise = std::sqrt(found.noise / count);
    all.push_back(std::move(found));
  }
  return all;
}

}  // namespace assay
