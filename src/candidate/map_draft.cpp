#include "candidate/map_draft.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "assay/error.h"
#include "candidate/choose.h"
#include "candidate/data_flow.h"
#include "candidate/fused.h"
#include "candidate/fused_file.h"
#include "candidate/ids.h"
#include "candidate/sequence.h"
#include "formats/json_file.h"

namespace assay {
namespace {

// Content at most this far from a tap's is that tap's.
constexpr double kIsIt = 0.1;
constexpr double kNever = std::numeric_limits<double>::infinity();
// Layers of a pattern that are checked: the first ones, where an engine is still right, and one in
// the middle.
constexpr std::size_t kFirstLayers = 3;

// How the number in a name depends on the layer's.
struct Counting {
  std::int64_t factor = 1;
  std::int64_t offset = 0;
};
// If a name counts two calls per layer, one of the first two fits.
constexpr std::array kCountings = {Counting{2, 0}, Counting{2, 1}, Counting{1, 0}, Counting{1, 1}};

std::string placeholder(const Counting& counting) {
  return fmt::format("{{{}layer{}}}", counting.factor == 2 ? "2*" : "",
                     counting.offset == 1 ? "+1" : "");
}

// Names that differ only in one number.
struct Pattern {
  std::string before;
  std::string after;
  std::map<std::int64_t, std::string> names;  // by that number
};

struct Run {
  std::size_t begin = 0;
  std::size_t end = 0;
};

std::vector<Run> numbers_in(std::string_view name) {
  std::vector<Run> runs;
  for (std::size_t i = 0; i < name.size();) {
    if (std::isdigit(static_cast<unsigned char>(name[i])) == 0) {
      ++i;
      continue;
    }
    const std::size_t end = std::min(name.find_first_not_of("0123456789", i), name.size());
    if (end - i < 7) runs.push_back({i, end});
    i = end;
  }
  return runs;
}

// The number that most other names have too is likely the layer's: those patterns come first.
std::vector<Pattern> patterns_of(const std::vector<std::string>& names) {
  std::map<std::pair<std::string, std::string>, Pattern> all;
  for (const std::string& name : names) {
    for (const Run& run : numbers_in(name)) {
      Pattern pattern{name.substr(0, run.begin), name.substr(run.end), {}};
      auto& known = all.try_emplace({pattern.before, pattern.after}, pattern).first->second;
      known.names.emplace(std::stoll(name.substr(run.begin, run.end - run.begin)), name);
    }
  }
  std::vector<Pattern> patterns;
  for (auto& [key, pattern] : all) patterns.push_back(std::move(pattern));
  std::ranges::stable_sort(patterns, std::greater<>(),
                           [](const Pattern& p) { return p.names.size(); });
  return patterns;
}

// How far an array is from a possible content.
struct Nearness {
  double error = kNever;
  double used = 0;  // fraction of its elements that were read; the others would be padding
};

// When both are near enough, padding is the weaker explanation, whatever the rounding.
bool is_better(const Nearness& a, const Nearness& b) {
  return a.used != b.used ? a.used > b.used : a.error < b.error;
}

// For a pattern: the number of checked layers that fit, and the distance of the nearest.
struct Fit {
  std::size_t layers = 0;
  Nearness nearest;
};

bool is_better(const Fit& a, const Fit& b) {
  if (a.nearest.used != b.nearest.used) return a.nearest.used > b.nearest.used;
  return a.layers != b.layers ? a.layers > b.layers : a.nearest.error < b.nearest.error;
}

// A possible content: taps, side by side if there are several, or a rotary table.
struct Content {
  std::vector<Tap> taps;
  std::string table = {};
};

class Drafting {
 public:
  Drafting(const ArrayFile& candidate, const ArrayFile& reference, const ModelSpec& model)
      : candidate_(candidate), reference_(reference), model_(model) {
    for (int t = 0; t < kTapCount; ++t) {
      const Tap tap = static_cast<Tap>(t);
      (is_layer_tap(tap) ? of_layers_ : of_model_).push_back({{tap}});
    }
    of_layers_.push_back({{Tap::kQProj, Tap::kKProj, Tap::kVProj}});
    of_layers_.push_back({{Tap::kGateProj, Tap::kUpProj}});
    for (const std::string& name : reference.names()) {
      if (name.starts_with("rope_")) of_model_.push_back({{}, name});
    }
  }

  // The rule for a pattern; none if no layer fits the reference. calls: the name counts more than
  // layers.
  std::optional<MapDraft::Rule> rule_for(const Pattern& pattern, bool calls) const {
    std::optional<MapDraft::Rule> best;
    Fit best_fit;
    for (const Counting& counting : kCountings) {
      const Layers layers = layers_of(pattern, counting);
      if (layers.empty() || (counting.factor == 2 && !calls)) continue;
      std::vector<Fit> fits(of_layers_.size());
      for (const std::size_t i : asked(layers.size())) {
        const auto& [layer, name] = layers[i];
        const std::optional<LoadedArray> array = load(name);
        if (!array) continue;
        for (std::size_t c = 0; c < fits.size(); ++c) {
          const Nearness near = nearness(array->view, of_layers_[c], layer);
          if (!(near.error < kIsIt)) continue;
          if (fits[c].layers++ == 0 || is_better(near, fits[c].nearest)) fits[c].nearest = near;
        }
      }
      for (std::size_t c = 0; c < fits.size(); ++c) {
        const Fit& fit = fits[c];
        if (!is_better(fit, best_fit)) continue;
        best_fit = fit;
        best = MapDraft::Rule{pattern.before + placeholder(counting) + pattern.after,
                              text_of(of_layers_[c], "{layer}"), std::ssize(layers),
                              fit.nearest.error};
      }
    }
    return best;
  }

  // The rule for a single name.
  std::optional<MapDraft::Rule> rule_for(const std::string& name) const {
    std::optional<MapDraft::Rule> best;
    Nearness nearest;
    const std::optional<LoadedArray> array = load(name);
    if (!array) return best;
    const auto ask = [&](const Content& content, std::int64_t layer) {
      const Nearness near = nearness(array->view, content, layer);
      if (!(near.error < kIsIt) || !is_better(near, nearest)) return;
      nearest = near;
      best = MapDraft::Rule{name, text_of(content, layer < 0 ? "" : std::to_string(layer)), 1,
                            near.error};
    };
    for (const Content& content : of_model_) ask(content, -1);
    if (!numbers_in(name).empty()) return best;
    for (std::int64_t layer = 0; layer < model_.num_hidden_layers; ++layer) {
      for (const Content& content : of_layers_) ask(content, layer);
    }
    return best;
  }

  // Layers for which the pattern has an array, with its name.
  using Layers = std::vector<std::pair<std::int64_t, std::string>>;
  Layers layers_of(const Pattern& pattern, const Counting& counting) const {
    Layers layers;
    for (const auto& [number, name] : pattern.names) {
      const std::int64_t own = number - counting.offset;
      if (own < 0 || own % counting.factor != 0) continue;
      if (own / counting.factor >= model_.num_hidden_layers) continue;
      layers.emplace_back(own / counting.factor, name);
    }
    return layers;
  }

 private:
  static std::vector<std::size_t> asked(std::size_t layers) {
    std::vector<std::size_t> some;
    for (std::size_t i = 0; i < std::min(kFirstLayers, layers); ++i) some.push_back(i);
    if (layers > kFirstLayers) some.push_back(std::max(layers / 2, kFirstLayers));
    return some;
  }

  static std::string text_of(const Content& content, const std::string& layer) {
    if (content.taps.empty()) return content.table;
    std::vector<std::string> taps;
    for (const Tap tap : content.taps) {
      taps.push_back(is_layer_tap(tap) ? fmt::format("layer_{}_{}", layer, tap_base_name(tap))
                                       : std::string(tap_base_name(tap)));
    }
    return fmt::format("{}", fmt::join(taps, " + "));
  }

  // Unreadable arrays get no rule.
  std::optional<LoadedArray> load(const std::string& name) const {
    try {
      return candidate_.load(name);
    } catch (const Error&) {
      return std::nullopt;
    }
  }

  // Infinitely far if it cannot be read as that.
  Nearness nearness(const ArrayView& array, const Content& content, std::int64_t layer) const {
    if (content.taps.empty()) return nearness_to(array, content.table);
    std::vector<std::string> taps;
    for (const Tap tap : content.taps) taps.push_back(tap_name(tap, layer, model_));
    const auto is_known = [&](const std::string& tap) { return reference_.contains(tap); };
    if (!std::ranges::all_of(taps, is_known)) return {};
    if (taps.size() == 1) return nearness_to(array, taps[0]);
    std::vector<std::int64_t> widths;
    for (const std::string& tap : taps) {
      widths.push_back(widths_of(reference_, model_)(tap).value_or(0));
    }
    const std::int64_t head_dim = content.taps[0] == Tap::kQProj ? model_.head_dim : 0;
    Nearness best;
    for (const FusedOrder order : fused_orders(widths, head_dim)) {
      Nearness all{0, 1};
      for (std::size_t i = 0; i < taps.size() && all.error < kIsIt; ++i) {
        const std::optional<Array> part = fused_part(array, widths, i, order, head_dim);
        const Nearness own = part ? nearness_to(part->view(), taps[i]) : Nearness();
        all = {std::max(all.error, own.error), std::min(all.used, own.used)};
      }
      if (all.error < best.error) best = all;
    }
    return best;
  }

  Nearness nearness_to(const ArrayView& array, const std::string& tap) const {
    const std::optional<TapPlace> place = parse_tap_name(tap);
    const std::size_t axis = place ? position_axis(place->tap) : 1;
    const std::vector<Reading> all =
        readings_of(tap, reference_.form_of(tap).shape, axis, array.shape, {});
    if (all.empty()) return {};
    const TensorMetrics metrics =
        choose_reading_of(tap, axis, reference_.load(tap).view, array, all, model_).metrics;
    // NaN was not compared.
    if (metrics.compared == 0 || metrics.unlike != 0 || metrics.nan_candidate != 0) return {};
    const auto elements = static_cast<double>(element_count(array.shape, tap));
    return {metrics.relative_l2, std::min(1.0, static_cast<double>(metrics.compared) / elements)};
  }

  const ArrayFile& candidate_;
  const ArrayFile& reference_;
  const ModelSpec& model_;
  std::vector<Content> of_layers_;
  std::vector<Content> of_model_;
};

// A rule would read "*" and "{" as wildcards, and JSON is UTF-8.
bool can_be_a_rule(const std::string& name) {
  if (name.empty() || name.find_first_of("*{") != name.npos) return false;
  try {
    return !OrderedJson(name).dump().empty();
  } catch (const OrderedJson::exception&) {
    return false;
  }
}

// "input_ids" if it has the prompt's tokens.
std::optional<MapDraft::Rule> rule_for_ids(const ArrayFile& candidate, const std::string& name,
                                           std::span<const std::int64_t> ids) {
  try {
    if (ids.empty() || !find_prompt(ids, read_ids(candidate, name))) return std::nullopt;
    return MapDraft::Rule{name, "input_ids", 1, 0};
  } catch (const Error&) {
    return std::nullopt;  // they are not ids
  }
}

// In data-flow order; what is not a tap comes first.
std::int64_t order_of(const MapDraft::Rule& rule) {
  std::string tap = rule.to.substr(0, rule.to.find(" + "));
  constexpr std::string_view kMark = "{layer}";
  if (const std::size_t at = tap.find(kMark); at != tap.npos) tap.replace(at, kMark.size(), "0");
  const std::optional<TapPlace> place = parse_tap_name(tap);
  return place ? place->order() : std::numeric_limits<std::int64_t>::min();
}

}  // namespace

MapDraft draft_map(const ArrayFile& candidate, const ArrayFile& reference, const NameMap& map,
                   const ModelSpec& model, std::span<const std::int64_t> ids) {
  MapDraft draft;
  std::set<std::string> open;
  bool has_ids = false;
  for (const std::string& name : candidate.names()) {
    const NameMeaning meaning = map.meaning(name, model.num_hidden_layers);
    has_ids = has_ids || meaning.sure_tap() == "input_ids";
    if (meaning.known) continue;
    if (can_be_a_rule(name)) {
      open.insert(name);
    } else {
      draft.open.push_back(name);
    }
  }
  const auto take = [&](MapDraft::Rule rule, const std::vector<std::string>& names) {
    for (const std::string& name : names) open.erase(name);
    draft.rules.push_back(std::move(rule));
  };
  const std::vector<std::string> names(open.begin(), open.end());
  for (const std::string& name : names) {
    if (has_ids) break;
    if (auto rule = rule_for_ids(candidate, name, ids)) {
      take(std::move(*rule), {name});
      has_ids = true;
    }
  }
  const Drafting drafting(candidate, reference, model);
  for (Pattern& pattern : patterns_of({open.begin(), open.end()})) {
    std::erase_if(pattern.names, [&](const auto& name) { return !open.contains(name.second); });
    // The stream into and out of the layers has one more name than there are layers.
    const bool calls = std::ssize(pattern.names) > model.num_hidden_layers + 1;
    while (!pattern.names.empty()) {
      std::optional<MapDraft::Rule> rule = drafting.rule_for(pattern, calls);
      if (!rule) break;
      std::vector<std::string> covered;
      for (const Counting& counting : kCountings) {
        if (rule->from != pattern.before + placeholder(counting) + pattern.after) continue;
        for (const auto& [layer, name] : drafting.layers_of(pattern, counting)) {
          covered.push_back(name);
        }
      }
      take(std::move(*rule), covered);
      std::erase_if(pattern.names, [&](const auto& name) { return !open.contains(name.second); });
    }
  }
  const std::vector<std::string> rest(open.begin(), open.end());
  for (const std::string& name : rest) {
    if (auto rule = drafting.rule_for(name)) take(std::move(*rule), {name});
  }
  std::ranges::stable_sort(draft.rules, {}, order_of);
  draft.open.insert(draft.open.end(), open.begin(), open.end());
  return draft;
}

}  // namespace assay
