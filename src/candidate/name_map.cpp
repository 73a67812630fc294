#include "candidate/name_map.h"

#include <fmt/format.h>
#include <strings.h>

#include <algorithm>
#include <iterator>
#include <numeric>
#include <span>
#include <utility>

#include "assay/error.h"
#include "base/nearest_name.h"
#include "base/text.h"
#include "candidate/fused_file.h"
#include "candidate/known_maps.h"
#include "candidate/name_forms.h"

namespace assay {
namespace {

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    if (comma > 0) parts.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return parts;
}

std::size_t index_of_known(const std::string& name) {
  const std::vector<KnownMap>& maps = known_maps();
  const auto found = std::ranges::find_if(
      maps, [&](const KnownMap& map) { return strcasecmp(map.name.c_str(), name.c_str()) == 0; });
  if (found == maps.end()) {
    throw usage_error("--map", "'" + shown(name) + "'",
                      fmt::format("{} or a .json file{}", fmt::join(NameMap::known(), ", "),
                                  did_you_mean(name, NameMap::known())));
  }
  return static_cast<std::size_t>(found - maps.begin());
}

// The first rule of that map for the first form that it knows.
std::optional<NameTarget> target_in(const KnownMap& map, const std::vector<std::string>& forms,
                                    const RuleConditions& conditions, std::int64_t layers) {
  for (const std::string& form : forms) {
    for (const NameRule& rule : map.rules) {
      if (const auto layer = rule.from.match(form))
        return target_of(rule, *layer, conditions, layers);
    }
  }
  return std::nullopt;
}

}  // namespace

const std::vector<std::string>& NameMap::known() { return known_map_names(); }

NameMap::NameMap(const std::string& maps) {
  for (const std::string& map : split_list(maps)) {
    if (!map.ends_with(".json")) {
      come_along_.push_back(index_of_known(map));
      continue;
    }
    std::vector<NameRule> rules = read_name_rules(load_json(map), map);
    own_.insert(own_.begin(), std::make_move_iterator(rules.begin()),
                std::make_move_iterator(rules.end()));
  }
  if (come_along_.empty()) {
    come_along_.resize(known_maps().size());
    std::iota(come_along_.begin(), come_along_.end(), std::size_t{0});
  }
  applying_ = come_along_.size();
}

void NameMap::adapt_to(const ModelSpec& model) { conditions_ = RuleConditions(model); }

void NameMap::adapt_to(std::shared_ptr<const ModuleFlow> modules) { modules_ = std::move(modules); }

void NameMap::adapt_to(const std::vector<std::string>& names) {
  constexpr std::int64_t kAnyLayers = 100;
  std::vector<std::size_t> knows(known_maps().size(), 0);
  for (const std::string& name : names) {
    const std::vector<std::string> forms = name_forms(name);
    for (const std::size_t m : come_along_) {
      const auto target = target_in(known_maps()[m], forms, conditions_, kAnyLayers);
      if (target && !target->empty()) ++knows[m];
    }
  }
  std::ranges::stable_sort(come_along_, [&](std::size_t a, std::size_t b) {
    return std::pair(knows[b], a) < std::pair(knows[a], b);
  });
  // What is ignored in one engine's dumps may be something else in those of another.
  applying_ = static_cast<std::size_t>(
      std::ranges::count_if(come_along_, [&](std::size_t m) { return knows[m] > 0; }));
}

NameMeaning NameMap::meaning(std::string_view name, std::int64_t layers) const {
  // Bounds the cost, which grows with the name's length for each rule and form.
  constexpr std::size_t kLongestName = 4096;
  if (name.size() > kLongestName) return {};
  if (std::optional<NameMeaning> part = meaning_of_part(name, layers)) return *part;
  return meaning_of_array(name, layers);
}

NameMeaning NameMap::meaning_of_array(std::string_view name, std::int64_t layers) const {
  for (const NameRule& rule : own_) {
    if (const auto layer = rule.from.match(name)) {
      return {true, of_modules(target_of(rule, *layer, conditions_, layers))};
    }
  }
  if (modules_) {
    if (const ModuleArray* array = modules_->find_by_dump(name)) return {true, {{{array->name}}}};
  }
  if (auto tap = canonical_tap(name, layers)) return {true, {{{std::move(*tap)}}}};
  const std::vector<std::string> forms = name_forms(name);
  NameMeaning meaning;
  for (const std::size_t m : std::span(come_along_).first(applying_)) {
    std::optional<NameTarget> target = target_in(known_maps()[m], forms, conditions_, layers);
    if (!target) continue;
    if (!meaning.known) {
      meaning = {true, std::move(*target)};
      if (meaning.claims.empty()) break;
      continue;
    }
    for (NameClaim& claim : *target) {
      claim.sure = false;
      if (std::ranges::find(meaning.claims, claim.taps, &NameClaim::taps) == meaning.claims.end()) {
        meaning.claims.push_back(std::move(claim));
      }
    }
  }
  return meaning;
}

// A rule may name an array of a captured reference by any module that returns it.
NameTarget NameMap::of_modules(NameTarget target) const {
  if (!modules_) return target;
  for (NameClaim& claim : target) {
    for (std::string& tap : claim.taps) {
      if (const ModuleArray* array = modules_->find_by_dump(tap)) tap = array->name;
    }
  }
  return target;
}

std::optional<NameMeaning> NameMap::meaning_of_part(std::string_view name,
                                                    std::int64_t layers) const {
  const std::string_view array = array_of_part(name);
  if (array == name) return std::nullopt;
  for (const NameClaim& claim : meaning_of_array(array, layers).claims) {
    if (claim.taps.size() == 1) continue;
    for (const std::string& tap : claim.taps) {
      if (name.starts_with(part_name(array, tap, FusedOrder::kBeside)))
        return NameMeaning{true, {{{tap}}}};
    }
  }
  return std::nullopt;
}

bool NameMap::ignores(std::string_view name, std::int64_t layers) const {
  const NameMeaning found = meaning(name, layers);
  return found.known && found.claims.empty();
}

std::optional<std::string> NameMap::tap_of(std::string_view name, std::int64_t layers) const {
  return meaning(name, layers).sure_tap();
}

std::vector<NameClaim> NameMeaning::singles() const {
  std::vector<NameClaim> single;
  std::ranges::copy_if(claims, std::back_inserter(single),
                       [](const NameClaim& claim) { return claim.taps.size() == 1; });
  return single;
}

std::optional<std::string> NameMeaning::sure_tap() const {
  for (const NameClaim& claim : singles()) {
    if (claim.sure) return claim.taps.front();
  }
  return std::nullopt;
}

}  // namespace assay
