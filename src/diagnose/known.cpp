#include "diagnose/known.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <span>

namespace assay {
namespace {

// Within noise, a mistake must halve a tap's errors in layer after layer: the bits saved in all of
// them together.
constexpr double kOddBits = 6;

}  // namespace

void Known::find_targets() {
  targets.clear();
  for (const bool bad : {true, false}) {
    for (std::size_t e = 0; e < result.sites.size(); ++e) {
      for (std::size_t i = 0; i < result.sites[e].size(); ++i) {
        const SiteState now = state({e, i});
        const bool wanted =
            bad ? now == SiteState::kBad : now == SiteState::kLoose || now == SiteState::kOdd;
        if (wanted) targets.insert({e, i});
      }
    }
    if (!targets.empty()) return;
  }
}

Circumstances Known::circumstances() const {
  Circumstances at{.spec = scene.spec(),
                   .program = scene.model().program,
                   .tied_head = tied_head,
                   .rounds_to_bf16 = scene.grid() == Grid::kBf16,
                   .coarse_taps = scene.coarse_taps(),
                   .ggml_operands = scene.ggml_operands()};
  at.loose = std::ranges::none_of(targets,
                                  [&](const SiteId& id) { return state(id) == SiteState::kBad; }) &&
             scene.grid() != Grid::kBf16;
  std::set<std::int64_t> layers;
  for (const SiteId& id : targets) {
    const Segment& segment = scene.segments()[scene.segment_of(site(id))];
    if (segment.layers.size() == 1) layers.insert(segment.layers.front());
  }
  at.bad_layers.assign(layers.begin(), layers.end());
  std::set<std::size_t> prompts;  // lengths of those with decoded tokens
  for (std::size_t e = 0; e < scene.evidence().size(); ++e) {
    const Evidence& evidence = scene.evidence()[e];
    at.positions = std::max(at.positions, std::ssize(evidence.ids));
    if (evidence.prompt > 0 && evidence.prompt < evidence.ids.size()) {
      prompts.insert(evidence.prompt);
    }
    if (at.first_bad_position) continue;
    if (std::ranges::none_of(targets, [&](const SiteId& id) { return id.first == e; })) continue;
    const ReplayResult kept = scene.look(result.best, e);
    for (std::size_t i = 0; i < evidence.sites.size() && !at.first_bad_position; ++i) {
      if (!targets.contains({e, i}) || evidence.sites[i].last_only) continue;
      at.first_bad_position = first_bad(evidence, e, i, kept);
    }
  }
  at.decodes_after_several = prompts.size() > 1;
  return at;
}

std::optional<std::int64_t> Known::first_bad(const Evidence& evidence, std::size_t e, std::size_t i,
                                             const ReplayResult& kept) const {
  const Site& at = evidence.sites[i];
  const double most = kBeyondNoise * scene.noise(e, i);
  const std::size_t tokens = evidence.ids.size();
  for (std::size_t p = 0; p < tokens; ++p) {
    double error = 0;
    if (at.is_attention()) {
      for (std::size_t h = 0; h < at.rows; ++h) {
        const std::size_t begin = h * at.width + p * tokens;
        std::size_t equal = 0;
        error = std::max(error, row_error(std::span(&at.values[begin], p + 1),
                                          std::span(&kept.computed[i][begin], p + 1), equal));
      }
    } else {
      error = kept.row_errors[i][p];
    }
    if (error > most) return p > 0 ? std::optional<std::int64_t>(p) : std::nullopt;
  }
  return std::nullopt;
}

bool Known::improves(const Tried& tried, std::size_t segment) const {
  return tried.score.ran[segment] && tried.score.cost[segment] < cost[segment] - 1;
}

std::set<SiteId> Known::fixed_by(const Tried& tried, const Scene::Noise& noise) const {
  std::set<SiteId> fixed;
  for (const SiteId& id : targets) {
    if (!improves(tried, scene.segment_of(site(id)))) continue;
    const auto& [e, i] = id;
    const Distance& before = result.sites[e][i];
    const Distance& after = tried.score.sites[e][i];
    const bool has_equal_bits =
        tried.suspect.entry->rounding && 1 - after.exact <= (1 - before.exact) / 3;
    const bool fits = state(id) == SiteState::kOdd
                          ? after.error <= before.error / 2 && after.error <= scene.noise(e, i) / 2
                          : after.error <= kBeyondNoise * noise[e][i] &&
                                (after.error <= before.error / 3 || has_equal_bits);
    if (fits) fixed.insert(id);
  }
  return fixed;
}

bool Known::leaves_own_noise(const Tried& tried, const std::set<SiteId>& sites,
                             const Scene::Noise& noise) const {
  double squares = 0;
  for (const auto& [e, i] : sites) {
    squares += std::pow(tried.score.sites[e][i].error / noise[e][i], 2);
  }
  return std::sqrt(squares / static_cast<double>(sites.size())) <= kOwnNoise;
}

std::set<SiteId> Known::explained_by(const Tried& tried, const std::set<SiteId>& fixed) const {
  struct Count {
    std::size_t fixed = 0;
    std::size_t targets = 0;
    double bits = 0;  // saved by the sites that were fixed
  };
  std::map<Tap, Count> counts;
  for (const SiteId& id : targets) {
    if (!improves(tried, scene.segment_of(site(id)))) continue;
    const auto& [e, i] = id;
    Count& count = counts[site(id).place.tap];
    ++count.targets;
    if (!fixed.contains(id)) continue;
    ++count.fixed;
    count.bits += scene.cost(e, i, result.sites[e][i]) - scene.cost(e, i, tried.score.sites[e][i]);
  }
  std::set<SiteId> explained;
  for (const SiteId& id : fixed) {
    const Count& count = counts[site(id).place.tap];
    const bool enough = state(id) != SiteState::kOdd || count.bits >= kOddBits;
    if (count.fixed * 10 >= count.targets * 9 && enough) explained.insert(id);
  }
  return explained;
}

bool Known::is_near(const Tried& t) const {
  double before = 0;
  for (const double bits : cost) before += bits;
  if (t.left < before / 2 || targets.size() <= 3) return true;
  double unequal_before = 0;
  double unequal_after = 0;
  for (const auto& [e, i] : targets) {
    unequal_before += 1 - result.sites[e][i].exact;
    unequal_after += 1 - t.score.sites[e][i].exact;
  }
  return t.suspect.entry->rounding && unequal_after < unequal_before / 2;
}

bool Known::is_other_mistake(const Tried& tried, const std::set<SiteId>& sites,
                             std::size_t segment) const {
  constexpr double kAsWrong = 0.7;
  std::set<Tap> taps;
  for (const SiteId& id : sites) taps.insert(site(id).place.tap);
  return std::ranges::any_of(targets, [&](const SiteId& id) {
    const auto& [e, i] = id;
    return scene.segment_of(site(id)) == segment && taps.contains(site(id).place.tap) &&
           !sites.contains(id) && state(id) == SiteState::kBad &&
           tried.score.sites[e][i].error >= kAsWrong * result.sites[e][i].error;
  });
}

}  // namespace assay
