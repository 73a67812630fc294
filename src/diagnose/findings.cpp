#include "diagnose/findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "diagnose/coarse_operations.h"
#include "diagnose/relations.h"
#include "verify/divergence.h"

namespace assay {
namespace {

class Case {
 public:
  Case(const Scene& scene, const SearchResult& result) : scene_(scene), result_(result) {}

  std::vector<Finding> findings() const {
    std::vector<Finding> all;
    for (const Culprit& culprit : result_.culprits) all.push_back(finding(culprit));
    return all;
  }

  Finding finding(const CoarseOperation& operation) const {
    Finding finding;
    finding.mistake = mistake_of(
        *std::ranges::find(catalog(), std::string_view("computed-coarsely"), &Entry::id));
    finding.detail = fmt::format("{} {} computed in {}", tap_base_name(operation.tap),
                                 operation.tap == Tap::kLogits ? "are" : "is",
                                 operand_type_text(operation.type));
    finding.layers = operation.layers;
    finding.where = where(operation.layers, true);
    finding.taps = {std::string(tap_base_name(operation.tap))};
    finding.error_before = operation.error;
    finding.error_after = operation.error;
    finding.built_in = false;
    finding.noise = operation.noise;
    return finding;
  }

  // The first site in data-flow order whose state is wanted.
  std::optional<std::pair<std::size_t, std::size_t>> first(
      const std::vector<std::vector<Distance>>& sites, const Scene::Noise& noise,
      const std::function<bool(SiteState, std::size_t, std::size_t)>& wanted) const {
    std::optional<std::pair<std::size_t, std::size_t>> found;
    for (std::size_t e = 0; e < sites.size(); ++e) {
      for (std::size_t i = 0; i < sites[e].size(); ++i) {
        if (!wanted(scene_.state(e, i, sites[e][i], noise), e, i)) continue;
        const TapPlace& place = site(e, i).place;
        if (!found || place < site(found->first, found->second).place) found = {e, i};
        break;
      }
    }
    return found;
  }

  Place place(std::size_t e, std::size_t i, const std::vector<std::vector<Distance>>& sites,
              const Scene::Noise& noise, const Hypothesis& hypothesis) const {
    const Site& at = site(e, i);
    Place place;
    place.prompt = scene_.evidence()[e].id;
    place.tap = at.name;
    const Evidence& evidence = scene_.evidence()[e];
    const Upstream before = upstream_of(at.place, scene_.spec(), [&](const TapPlace& other) {
      const Site* found = evidence.find(other.tap, other.layer);
      return found != nullptr && !found->last_only;
    });
    place.operation = operation_of(at.place, before, scene_.spec());
    place.is_one_operation = !before.gap;
    place.error = sites[e][i].error;
    place.noise = noise[e][i];
    const SiteState state = scene_.state(e, i, sites[e][i], noise);
    std::set<std::int64_t> bad;
    std::set<std::int64_t> seen;
    for (std::size_t f = 0; f < sites.size(); ++f) {
      for (std::size_t j = 0; j < sites[f].size(); ++j) {
        const TapPlace& other = site(f, j).place;
        if (other.tap != at.place.tap || other.layer < 0 || !sites[f][j].seen) continue;
        seen.insert(other.layer);
        if (scene_.state(f, j, sites[f][j], noise) == state) bad.insert(other.layer);
      }
    }
    place.layers.assign(bad.begin(), bad.end());
    place.layer_count = std::ssize(seen);
    describe(place, e, i, hypothesis);
    return place;
  }

 private:
  const Site& site(std::size_t e, std::size_t i) const { return scene_.evidence()[e].sites[i]; }

  Finding finding(const Culprit& culprit) const {
    Finding finding;
    finding.mistake = mistake_of(*culprit.suspect.entry);
    finding.detail = culprit.suspect.variant.detail;
    std::set<std::int64_t> layers;
    std::set<std::string> taps;
    for (const auto& [e, i] : culprit.sites) {
      taps.insert(std::string(tap_base_name(site(e, i).place.tap)));
      if (site(e, i).place.layer >= 0) layers.insert(site(e, i).place.layer);
    }
    finding.layers.assign(layers.begin(), layers.end());
    finding.taps.assign(taps.begin(), taps.end());
    finding.where = where(finding.layers, finding.mistake.rounding);
    const std::vector<std::int64_t>& made_in = culprit.suspect.layers;
    if (scene_.segments().size() <= 2 && !made_in.empty()) {
      finding.layers = made_in;
      finding.where = fmt::format("in layers {}", fmt::join(made_in, ", "));
    }
    finding.error_before = culprit.error_before;
    finding.error_after = culprit.error_after;
    finding.noise = culprit.noise;
    finding.exact_after = culprit.exact_after;
    for (std::size_t a = 0; a < culprit.alternatives.size(); ++a) {
      const Suspect& other = culprit.alternatives[a];
      Hypothesis one = scene_.right();
      Hypothesis two = scene_.right();
      culprit.suspect.apply(one);
      other.apply(two);
      finding.alternatives.push_back(
          {mistake_of(*other.entry), other.variant.detail, culprit.alternative_errors[a],
           scene_.separate(one, two, layers.empty() ? 0 : *layers.begin())});
    }
    return finding;
  }

  // For roundings the text says where they are; for mistakes, where they were seen.
  std::string where(const std::vector<std::int64_t>& layers, bool rounding) const {
    std::string text = where(layers);
    if (!rounding || !text.starts_with("seen ")) return text;
    return text == "seen in every layer" ? "in all layers" : text.substr(5);
  }

  std::string where(const std::vector<std::int64_t>& layers) const {
    const std::int64_t all = scene_.spec().num_hidden_layers;
    if (scene_.segments().size() <= 2) return "in the whole run";
    if (layers.empty()) return "outside the layers";
    if (std::ssize(layers) == all) return "seen in every layer";
    if (layers.size() == 1) return fmt::format("seen in layer {}", layers.front());
    if (layers.back() - layers.front() + 1 == std::ssize(layers)) {
      return layers.back() == all - 1
                 ? fmt::format("seen from layer {} on", layers.front())
                 : fmt::format("seen in layers {} to {}", layers.front(), layers.back());
    }
    return std::ssize(layers) * 2 > all ? fmt::format("seen in {} of {} layers", layers.size(), all)
                                        : fmt::format("seen in layers {}", fmt::join(layers, ", "));
  }

  // Sets positions, heads, channels and relations.
  void describe(Place& place, std::size_t e, std::size_t i, const Hypothesis& hypothesis) const {
    const Site& at = site(e, i);
    const ReplayResult kept = scene_.look(hypothesis, e);
    if (kept.computed[i].empty()) return;
    const std::span<const float> right = kept.computed[i];
    const std::span<const float> candidate = at.values;
    const auto positions = scene_.evidence()[e].ids.size();
    const ModelSpec& spec = scene_.spec();
    const bool has_heads =
        at.place.tap >= Tap::kQProj && at.place.tap <= Tap::kAttnContext && !at.is_attention();
    const auto heads =
        has_heads ? at.width / static_cast<std::size_t>(spec.heads(at.place.layer).head_dim) : 1;
    const std::size_t per_head = at.width / heads;
    std::vector<double> of_position(positions);
    std::vector<double> of_head(at.is_attention() ? at.rows : heads);
    std::vector<double> of_channel(at.is_attention() ? 0 : at.width);
    double total = 0;
    double size = 0;
    for (std::size_t k = 0; k < candidate.size(); ++k) {
      const double x = right[k];
      const double y = candidate[k];
      if (x < kHiddenScore || y < kHiddenScore) continue;
      const double square = std::isfinite(y) ? (y - x) * (y - x) : 1e30;
      total += square;
      size += x * x;
      if (at.is_attention()) {
        of_position[k / positions % positions] += square;
        of_head[k / at.width] += square;
      } else {
        if (!at.last_only) of_position[k / at.width] += square;
        of_head[k % at.width / per_head] += square;
        of_channel[k % at.width] += square;
      }
    }
    const double noise = std::pow(kBeyondNoise * place.noise, 2) * size;
    const auto least = [&](std::size_t parts) {
      return std::max(noise, total / 1000) / static_cast<double>(parts);
    };
    if (!at.last_only && positions > 1) {
      place.positions = where_error_lives(of_position, least(positions));
    }
    if (of_head.size() > 1) place.heads = where_error_lives(of_head, least(of_head.size()));
    if (!of_channel.empty()) {
      place.channels = where_error_lives(of_channel, least(of_channel.size()));
      if (place.channels.size() > 16) place.channels.clear();
    }
    place.relations = relations(place, at, right, heads, positions);
  }

  // Both with 0 wherever one of them is masked: masked scores are too large for any relation.
  static std::pair<std::vector<float>, std::vector<float>> unmasked(std::span<const float> right,
                                                                    std::span<const float> own) {
    std::vector<float> x(right.begin(), right.end());
    std::vector<float> y(own.begin(), own.end());
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (x[i] < kHiddenScore || y[i] < kHiddenScore) x[i] = y[i] = 0;
    }
    return {std::move(x), std::move(y)};
  }

  // Only over the positions and heads that have the error: a factor of one head is not a factor of
  // all of them.
  static std::vector<Relation> relations(const Place& place, const Site& at,
                                         std::span<const float> right, std::size_t heads,
                                         std::size_t positions) {
    if (at.is_attention()) {
      const auto [x, y] = unmasked(right, at.values);
      return find_relations({x, y, at.rows * positions, 1});
    }
    if (at.last_only) return find_relations({right, at.values, at.rows, 1});
    std::vector<std::int64_t> rows = place.positions;
    std::vector<std::int64_t> parts = place.heads;
    const auto all = [](std::vector<std::int64_t>& list, std::size_t count) {
      if (!list.empty()) return;
      list.resize(count);
      std::iota(list.begin(), list.end(), 0);
    };
    all(rows, at.rows);
    all(parts, heads);
    const std::size_t n = at.width / heads;
    std::vector<float> x;
    std::vector<float> y;
    for (const std::int64_t r : rows) {
      for (const std::int64_t h : parts) {
        const auto begin = static_cast<std::ptrdiff_t>(static_cast<std::size_t>(r) * at.width +
                                                       static_cast<std::size_t>(h) * n);
        const auto end = begin + static_cast<std::ptrdiff_t>(n);
        x.insert(x.end(), right.begin() + begin, right.begin() + end);
        y.insert(y.end(), at.values.begin() + begin, at.values.begin() + end);
      }
    }
    std::vector<Relation> found = find_relations({x, y, rows.size(), parts.size()});
    if (!found.empty() || parts.size() == heads) return found;
    // The head may hold the values of another one that is right.
    return find_relations({right, at.values, at.rows, heads});
  }

  const Scene& scene_;
  const SearchResult& result_;
};

}  // namespace

Mistake mistake_of(const Entry& entry) {
  return {std::string(entry.id),          std::string(entry.group),   std::string(entry.name),
          std::string(entry.explanation), std::string(entry.look_at), entry.rounding};
}

void add_findings(Diagnosis& d, const Scene& scene, const SearchResult& result) {
  const Case the_case(scene, result);
  d.findings = the_case.findings();
  // A remaining error of coarse type is a rounding if its operation looks like one.
  std::set<Tap> rounded;
  for (const CoarseOperation& operation : coarse_operations(scene, result)) {
    rounded.insert(operation.tap);
    d.findings.push_back(the_case.finding(operation));
  }
  const auto is_bad = [](SiteState state, std::size_t, std::size_t) {
    return state == SiteState::kBad;
  };
  const auto is_open = [&](SiteState state, std::size_t e, std::size_t i) {
    const Tap tap = scene.evidence()[e].sites[i].place.tap;
    return state == SiteState::kBad || (state == SiteState::kLoose && !rounded.contains(tap));
  };
  auto first = the_case.first(result.before.sites, scene.noise(), is_bad);
  if (first) {
    d.first = the_case.place(first->first, first->second, result.before.sites, scene.noise(),
                             scene.right());
  }
  auto left = the_case.first(result.sites, result.noise, is_bad);
  if (!left) left = the_case.first(result.sites, result.noise, is_open);
  if (left) {
    d.unexplained.push_back(
        the_case.place(left->first, left->second, result.sites, result.noise, result.best));
    if (!d.first) d.first = d.unexplained.back();
  }
  const bool logic =
      std::ranges::any_of(d.findings, [](const Finding& f) { return !f.mistake.rounding; });
  if (left) {
    d.verdict =
        d.findings.empty() ? DiagnosisVerdict::kUnexplained : DiagnosisVerdict::kPartlyNamed;
  } else if (logic) {
    d.verdict = DiagnosisVerdict::kNamed;
  } else if (!d.findings.empty()) {
    d.verdict = DiagnosisVerdict::kRounding;
  }
}

}  // namespace assay
