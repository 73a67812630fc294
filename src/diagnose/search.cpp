#include "diagnose/search.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <span>

#include "diagnose/fits.h"
#include "diagnose/known.h"
#include "diagnose/read_off.h"

namespace assay {
namespace {

// The most mistakes that are named.
constexpr int kMostCulprits = 4;
// Suspects that are tried in all segments.
constexpr std::size_t kFinalists = 16;
// If no single suspect explains anything, these are paired with every other. If only the end of the
// run is known, all mistakes must be found at once, so a third one is tried too.
constexpr std::size_t kPairLeaders = 6;
constexpr std::size_t kPairLeadersOfWholeRuns = 2;
constexpr std::size_t kTripleLeaders = 1;
// Bits per site by which one explanation is better than another.
constexpr double kTold = 0.15;
constexpr double kSameBits = 1e-3;  // total over all sites
// A layer whose errors grow by this factor does not have the mistake.
constexpr double kWorse = 1.05;

class Search {
 public:
  Search(const Scene& scene, bool tied_head, const std::function<void(double)>& on_progress)
      : scene_(scene), on_progress_(on_progress), known_{scene, tied_head} {}

  SearchResult run() {
    known_.result.best = scene_.right();
    known_.result.before = scene_.evaluate(known_.result.best);
    known_.result.sites = known_.result.before.sites;
    known_.result.noise = scene_.noise();
    known_.cost = known_.result.before.cost;
    while (std::ssize(known_.result.culprits) < kMostCulprits) {
      known_.find_targets();
      if (known_.targets.empty() || !find_culprit()) break;
    }
    return std::move(known_.result);
  }

 private:
  bool is_possible(const Hypothesis& hypothesis) const {
    return assay::is_possible(hypothesis, scene_.spec(), scene_.model().program);
  }

  Hypothesis with(const Suspect& suspect, std::span<const Suspect> others = {}) const {
    Hypothesis hypothesis = known_.result.best;
    suspect.apply(hypothesis);
    for (const Suspect& other : others) other.apply(hypothesis);
    return hypothesis;
  }

  // A few segments for each tap with targets: a suspect that explains nothing there is dropped.
  std::set<std::size_t> probes() const {
    std::map<Tap, std::vector<std::size_t>> of_tap;
    for (const SiteId& id : known_.targets) {
      of_tap[known_.site(id).place.tap].push_back(scene_.segment_of(known_.site(id)));
    }
    std::set<std::size_t> segments;
    for (auto& [tap, all] : of_tap) {
      std::ranges::sort(all);
      segments.insert({all.front(), all[all.size() / 2]});
    }
    return segments;
  }

  // Scores all of them, in these segments (empty: all).
  std::vector<Tried> judge(std::vector<Tried> all, const std::set<std::size_t>& segments) const {
    std::vector<Score> scores = scene_.evaluate_all(
        all.size(), [&](std::size_t i) { return with(all[i].suspect, all[i].others); }, segments,
        [&](std::size_t done) {
          const auto count = static_cast<double>(all.size());
          if (on_progress_) on_progress_(static_cast<double>(done) / count);
        });
    for (std::size_t i = 0; i < all.size(); ++i) {
      Tried& tried = all[i];
      tried.score = std::move(scores[i]);
      tried.left = 0;
      for (std::size_t s = 0; s < known_.cost.size(); ++s) {
        tried.left +=
            tried.score.ran[s] ? std::min(known_.cost[s], tried.score.cost[s]) : known_.cost[s];
      }
    }
    return all;
  }

  // Best explanation first; among equals the more common mistake, then the catalog's order.
  void rank(std::vector<Tried>& all) const {
    const double step =
        kTold * static_cast<double>(std::max<std::size_t>(known_.targets.size(), 1));
    std::ranges::stable_sort(all, {}, [&](const Tried& t) { return t.left; });
    // Ties are measured from the best of them, so that small steps do not chain into one tie.
    std::size_t begin = 0;
    while (begin < all.size()) {
      std::size_t end = begin;
      while (end < all.size() && all[end].left <= all[begin].left + step) ++end;
      std::stable_sort(all.begin() + static_cast<std::ptrdiff_t>(begin),
                       all.begin() + static_cast<std::ptrdiff_t>(end),
                       [&](const Tried& a, const Tried& b) { return standing(a) < standing(b); });
      begin = end;
    }
  }

  static std::string key(const Suspect& suspect) {
    return std::string(suspect.entry->id) + '/' + suspect.variant.detail;
  }

  // Sorts smaller for more common mistakes; of several, the first suspect counts first.
  std::vector<std::pair<std::int64_t, std::int64_t>> standing(const Tried& t) const {
    std::vector<std::pair<std::int64_t, std::int64_t>> all;
    const auto add = [&](const Suspect& suspect) {
      all.emplace_back(-suspect.entry->frequency, order_.at(key(suspect)));
    };
    add(t.suspect);
    for (const Suspect& other : t.others) add(other);
    return all;
  }

  std::vector<Suspect> suspects() {
    const Circumstances at = known_.circumstances();
    std::vector<Suspect> all;
    order_.clear();
    for (const Entry& entry : catalog()) {
      for (Variant& variant : variants_of(entry, at)) {
        order_.emplace(std::string(entry.id) + '/' + variant.detail, order_.size());
        Suspect suspect{&entry, std::move(variant)};
        if (is_possible(with(suspect))) all.push_back(std::move(suspect));
      }
    }
    return all;
  }

  // Suspects whose numbers are fitted: inside the layers where errors begin, and outside them.
  std::vector<Suspect> fitted_suspects() {
    const Circumstances at = known_.circumstances();
    std::vector<Suspect> all;
    std::set<int> kinds;
    for (const SiteId& id : known_.targets) {
      const std::size_t segment = scene_.segment_of(known_.site(id));
      const Segment& of = scene_.segments()[segment];
      if (!kinds.insert(of.layers.empty() ? of.head ? 2 : 1 : 0).second) continue;
      for (Suspect& s : fit(scene_, at, known_.result.best, segment, known_.cost[segment])) {
        all.push_back(std::move(s));
      }
    }
    for (Suspect& s : read_off(scene_, at, known_.result.best)) all.push_back(std::move(s));
    std::erase_if(all, [&](const Suspect& suspect) { return !is_possible(with(suspect)); });
    for (const Suspect& suspect : all) {
      order_.emplace(std::string(suspect.entry->id) + '/' + suspect.variant.detail, order_.size());
    }
    return all;
  }

  bool find_culprit() {
    const std::vector<Suspect> all = suspects();
    const std::set<std::size_t> segments = probes();
    std::vector<Tried> tried;
    for (const Suspect& suspect : all) tried.push_back({.suspect = suspect});
    tried = judge(std::move(tried), segments);
    rank(tried);
    if (convict(tried)) return true;
    // Errors within noise are too coarse for a fit.
    const auto is_odd = [this](const SiteId& id) { return known_.state(id) == SiteState::kOdd; };
    if (!std::ranges::all_of(known_.targets, is_odd)) {
      std::vector<Tried> fitted;
      for (Suspect& suspect : fitted_suspects()) fitted.push_back({.suspect = std::move(suspect)});
      if (!fitted.empty() && convict(fitted)) return true;
    }
    // Without arrays between the layers, only one kind of layer may have the mistake.
    std::vector<Suspect> of_kinds = in_one_kind_of_layers(all);
    std::vector<Tried> tried_in_kinds;
    for (const Suspect& suspect : of_kinds) tried_in_kinds.push_back({.suspect = suspect});
    tried_in_kinds = judge(std::move(tried_in_kinds), segments);
    tried.insert(tried.end(), tried_in_kinds.begin(), tried_in_kinds.end());
    rank(tried);
    if (!of_kinds.empty() && convict(tried)) return true;
    of_kinds.insert(of_kinds.begin(), all.begin(), all.end());
    return convict_several(of_kinds, tried, segments);
  }

  // Attention and RoPE suspects in only the full or only the sliding layers, for whole runs.
  std::vector<Suspect> in_one_kind_of_layers(const std::vector<Suspect>& all) const {
    std::vector<std::int64_t> sliding;
    std::vector<std::int64_t> full;
    for (std::int64_t l = 0; l < scene_.spec().num_hidden_layers; ++l) {
      (scene_.spec().is_sliding(l) ? sliding : full).push_back(l);
    }
    std::vector<Suspect> some;
    const bool of_layers = scene_.segments().size() > 2;
    if (of_layers || sliding.empty() || full.empty()) return some;
    for (const Suspect& suspect : all) {
      const std::string_view group = suspect.entry->group;
      if (group != "attention" && group != "RoPE") continue;
      for (const std::vector<std::int64_t>& layers : {sliding, full}) {
        Suspect in_these = suspect;
        in_these.layers = layers;
        const Hypothesis h = with(in_these, {});
        if (h != known_.result.best && h != with(suspect, {})) some.push_back(std::move(in_these));
      }
    }
    return some;
  }

  // Accepts the best suspect that explains something.
  bool convict(std::vector<Tried>& tried) {
    std::vector<Tried> finalists(
        tried.begin(),
        tried.begin() + static_cast<std::ptrdiff_t>(std::min(kFinalists, tried.size())));
    finalists = judge(std::move(finalists), {});
    rank(finalists);
    std::vector<std::set<SiteId>> explained(finalists.size());
    std::vector<Scene::Noise> noise(finalists.size());
    std::optional<std::size_t> best;
    for (std::size_t f = 0; f < finalists.size(); ++f) {
      const Tried& t = finalists[f];
      if (best && t.left > finalists[*best].left + close_to(explained[*best])) break;
      std::set<SiteId> sites = known_.explained_by(t, known_.fixed_by(t, known_.result.noise));
      if (sites.empty() && !known_.is_near(t)) continue;
      noise[f] = scene_.noise_of(with(t.suspect, t.others));
      sites = known_.explained_by(t, known_.fixed_by(t, noise[f]));
      if (sites.empty() || !known_.leaves_own_noise(t, sites, noise[f])) continue;
      explained[f] = std::move(sites);
      if (!best) best = f;
    }
    if (!best) return false;
    const std::size_t b = *best;
    std::vector<const Tried*> others;
    const double close = close_to(explained[b]);
    std::set<std::string_view> ids = {finalists[b].suspect.entry->id};
    for (std::size_t i = 0; i < finalists.size(); ++i) {
      if (explained[i].empty() || finalists[i].left > finalists[b].left + close) continue;
      const Entry& entry = *finalists[i].suspect.entry;
      // Types with the same number of bits round alike. The same suspect with a different second
      // mistake is not an alternative.
      const bool same_bits =
          entry.rounding && finalists[i].left <= finalists[b].left + kSameBits &&
          finalists[i].suspect.variant.detail != finalists[b].suspect.variant.detail;
      if (ids.insert(entry.id).second || same_bits) others.push_back(&finalists[i]);
    }
    accept(finalists[b], explained[b], noise[b], others);
    return true;
  }

  // Bits by which another explanation of these sites may be worse and still be an alternative.
  static double close_to(const std::set<SiteId>& sites) {
    return 0.5 * static_cast<double>(sites.size());
  }

  bool convict_several(const std::vector<Suspect>& all, const std::vector<Tried>& tried,
                       const std::set<std::size_t>& segments) {
    const bool of_whole_run = scene_.segments().size() <= 2;
    std::vector<Tried> pairs = judge(
        with_another(all, tried, of_whole_run ? kPairLeadersOfWholeRuns : kPairLeaders), segments);
    rank(pairs);
    if (convict(pairs)) return true;
    if (!of_whole_run) return false;
    std::vector<Tried> triples = judge(with_another(all, pairs, kTripleLeaders), segments);
    rank(triples);
    return convict(triples);
  }

  // Combines the first `most` of those tried, each with a different entry, with every other
  // suspect.
  std::vector<Tried> with_another(const std::vector<Suspect>& all, const std::vector<Tried>& tried,
                                  std::size_t most) const {
    std::vector<Tried> together;
    std::set<std::set<std::string_view>> leaders;
    double before = 0;
    for (const double bits : known_.cost) before += bits;
    for (const Tried& leader : tried) {
      if (leaders.size() == most || leader.left > before - 1) break;
      std::set<std::string_view> ids = {leader.suspect.entry->id};
      for (const Suspect& other : leader.others) ids.insert(other.entry->id);
      if (!leaders.insert(ids).second) continue;
      for (const Suspect& another : all) {
        if (ids.contains(another.entry->id)) continue;
        std::vector<Suspect> others = leader.others;
        others.push_back(another);
        if (!is_possible(with(leader.suspect, others))) continue;
        together.push_back({.suspect = leader.suspect, .others = std::move(others)});
      }
    }
    return together;
  }

  // The layers that have the mistake, if the evidence in others is against it; empty: all. sites:
  // those that it explains.
  std::vector<std::int64_t> layers_of(const Tried& tried, const std::set<SiteId>& sites) const {
    Hypothesis own = scene_.right();
    tried.suspect.variant.apply(own);
    for (const Suspect& other : tried.others) other.variant.apply(own);
    Hypothesis inside = scene_.right();
    inside.program.ropes = own.program.ropes;
    inside.program.layers = own.program.layers;
    inside.weights = own.weights;
    if (own != inside) return {};
    std::vector<std::int64_t> layers;
    for (std::size_t s = 0; s < known_.cost.size(); ++s) {
      const double most = std::max(known_.cost[s] + 1, known_.cost[s] * kWorse);
      if (tried.score.ran[s] &&
          (tried.score.cost[s] > most || known_.is_other_mistake(tried, sites, s))) {
        continue;
      }
      const std::vector<std::int64_t>& all = scene_.segments()[s].layers;
      layers.insert(layers.end(), all.begin(), all.end());
    }
    const bool everywhere = std::ssize(layers) == scene_.spec().num_hidden_layers;
    return everywhere ? std::vector<std::int64_t>{} : layers;
  }

  void accept(Tried best, const std::set<SiteId>& sites, const Scene::Noise& noise,
              const std::vector<const Tried*>& others) {
    const auto is_in_all = [](const Suspect& suspect) { return suspect.layers.empty(); };
    if (is_in_all(best.suspect) && std::ranges::all_of(best.others, is_in_all)) {
      best.suspect.layers = layers_of(best, sites);
      for (Suspect& other : best.others) other.layers = best.suspect.layers;
    }
    const auto make = [&](const Suspect& suspect) {
      Culprit culprit;
      culprit.suspect = suspect;
      culprit.sites.assign(sites.begin(), sites.end());
      double before = 0;
      double after = 0;
      for (const SiteId& id : sites) {
        const auto& [e, i] = id;
        before += std::pow(known_.result.sites[e][i].error, 2);
        after += std::pow(best.score.sites[e][i].error, 2);
        culprit.noise += std::pow(noise[e][i], 2);
        culprit.exact_after += best.score.sites[e][i].exact;
      }
      const auto count = static_cast<double>(sites.size());
      culprit.error_before = std::sqrt(before / count);
      culprit.error_after = std::sqrt(after / count);
      culprit.noise = std::sqrt(culprit.noise / count);
      culprit.exact_after /= count;
      return culprit;
    };
    Culprit culprit = make(best.suspect);
    for (const Tried* other : others) {
      double after = 0;
      for (const auto& [e, i] : sites) after += std::pow(other->score.sites[e][i].error, 2);
      culprit.alternatives.push_back(other->suspect);
      culprit.alternative_errors.push_back(std::sqrt(after / static_cast<double>(sites.size())));
    }
    known_.result.culprits.push_back(std::move(culprit));
    for (const Suspect& other : best.others) known_.result.culprits.push_back(make(other));
    known_.result.best = with(best.suspect, best.others);
    for (std::size_t e = 0; e < known_.result.sites.size(); ++e) {
      for (std::size_t i = 0; i < known_.result.sites[e].size(); ++i) {
        const std::size_t segment = scene_.segment_of(known_.site({e, i}));
        if (!known_.improves(best, segment)) continue;
        known_.result.sites[e][i] = best.score.sites[e][i];
        known_.result.noise[e][i] = std::max(noise[e][i], scene_.noise(e, i));
      }
    }
    for (std::size_t s = 0; s < known_.cost.size(); ++s) {
      if (known_.improves(best, s)) known_.cost[s] = best.score.cost[s];
    }
  }

  const Scene& scene_;
  const std::function<void(double)>& on_progress_;
  Known known_;
  std::map<std::string, std::size_t> order_;  // of entries in the catalog
};

}  // namespace

SearchResult search(const Scene& scene, bool tied_head,
                    const std::function<void(double)>& on_progress) {
  return Search(scene, tied_head, on_progress).run();
}

}  // namespace assay
