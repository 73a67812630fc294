// What the search knows so far, and what a hypothesis would explain of the rest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "diagnose/catalog.h"
#include "diagnose/scene.h"
#include "diagnose/search.h"

namespace assay {

using SiteId = std::pair<std::size_t, std::size_t>;  // evidence, site

struct Tried {
  Suspect suspect = {};
  std::vector<Suspect> others = {};  // applied together with it
  Score score = {};
  double left = 0;  // bits over the segments that ran; where what was known is better, its bits
};

struct Known {
  const Scene& scene;
  bool tied_head;
  SearchResult result = {};
  std::vector<double> cost = {};  // [segment], with the culprits so far
  std::set<SiteId> targets = {};  // sites that are not explained yet

  SiteState state(const SiteId& id) const {
    return scene.state(id.first, id.second, result.sites[id.first][id.second], result.noise);
  }
  const Site& site(const SiteId& id) const { return scene.evidence()[id.first].sites[id.second]; }

  // Targets are the bad sites; if there are none, the suspicious ones.
  void find_targets();
  Circumstances circumstances() const;
  bool improves(const Tried& tried, std::size_t segment) const;
  // Targets that the hypothesis makes clean by that noise. With coarse rounding a few values that
  // flip to the neighbour are a large error, so equal bits count too.
  std::set<SiteId> fixed_by(const Tried& tried, const Scene::Noise& noise) const;
  // Whether the remaining errors are noise: a single place may have more by chance, all of them
  // together not.
  bool leaves_own_noise(const Tried& tried, const std::set<SiteId>& sites,
                        const Scene::Noise& noise) const;
  // The sites that it explains: nearly all targets of a tap, in the segments where it improves
  // anything. Empty: it is not accepted.
  std::set<SiteId> explained_by(const Tried& tried, const std::set<SiteId>& fixed) const;
  // Whether the hypothesis halves the error, or the number of unequal values: its own noise may
  // then be why it is not clean.
  bool is_near(const Tried& t) const;
  // Whether a tap stays equally wrong in that segment, although the suspect explains it elsewhere.
  bool is_other_mistake(const Tried& tried, const std::set<SiteId>& sites,
                        std::size_t segment) const;

 private:
  // The first position with an error, if the ones before it have none.
  std::optional<std::int64_t> first_bad(const Evidence& evidence, std::size_t e, std::size_t i,
                                        const ReplayResult& kept) const;
};

}  // namespace assay
