// What the search knows by now, and what a hypothesis would explain of the rest.
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
  std::vector<Suspect> others = {};  // made together with it
  Score score = {};
  double left = 0;  // bits over the segments that ran, with what was known where that is better
};

struct Known {
  const Scene& scene;
  bool tied_head;
  SearchResult result = {};
  std::vector<double> cost = {};  // [segment], with the culprits so far
  std::set<SiteId> targets = {};  // what is to be explained

  SiteState state(const SiteId& id) const {
    return scene.state(id.first, id.second, result.sites[id.first][id.second], result.noise);
  }
  const Site& site(const SiteId& id) const { return scene.evidence()[id.first].sites[id.second]; }

  // What is bad; where nothing is, what is not as it should be.
  void find_targets();
  Circumstances circumstances() const;
  bool improves(const Tried& tried, std::size_t segment) const;
  // Target sites that the hypothesis makes clean, by that noise. Where values are rounded coarsely,
  // few that flip to the neighbour are a large error: there equal bits speak, too.
  std::set<SiteId> fixed_by(const Tried& tried, const Scene::Noise& noise) const;
  // Whether what is left of the errors is no more than noise makes: one place may have more of it
  // by chance, all of them not.
  bool leaves_own_noise(const Tried& tried, const std::set<SiteId>& sites,
                        const Scene::Noise& noise) const;
  // The sites that it explains: nearly all targets of a tap, in the segments where it explains
  // anything. Empty: it is not believed.
  std::set<SiteId> explained_by(const Tried& tried, const std::set<SiteId>& fixed) const;
  // Whether the hypothesis halves what is wrong, or the values that are not equal: then its own
  // noise may be the reason why it is not clean.
  bool is_near(const Tried& t) const;
  // Whether in that segment a tap stays as wrong as it is, which the suspect puts right elsewhere.
  bool is_other_mistake(const Tried& tried, const std::set<SiteId>& sites,
                        std::size_t segment) const;

 private:
  // The first position with an error, where those before it have none.
  std::optional<std::int64_t> first_bad(const Evidence& evidence, std::size_t e, std::size_t i,
                                        const ReplayResult& kept) const;
};

}  // namespace assay
