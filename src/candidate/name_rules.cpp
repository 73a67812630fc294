#include "candidate/name_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "assay/error.h"
#include "base/text.h"
#include "candidate/data_flow.h"

namespace assay {
namespace {

constexpr std::string_view kLayerMark = "{layer}";

std::optional<std::int64_t> read_number(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || number < 0) {
    return std::nullopt;
  }
  return number;
}

std::string with_layer(std::string_view text, std::int64_t layer) {
  std::string result;
  for (std::size_t at = text.find(kLayerMark); at != text.npos; at = text.find(kLayerMark)) {
    result.append(text.substr(0, at)).append(std::to_string(layer));
    text.remove_prefix(at + kLayerMark.size());
  }
  return result.append(text);
}

std::vector<std::string> split_fused(std::string_view text) {
  constexpr std::string_view kBeside = " + ";
  std::vector<std::string> taps;
  for (;;) {
    const std::size_t at = text.find(kBeside);
    taps.emplace_back(text.substr(0, at));
    if (at == text.npos) return taps;
    text.remove_prefix(at + kBeside.size());
  }
}

// Reads a rule's target, in which {layer} must occur exactly if it does in the name.
class TargetReader {
 public:
  TargetReader(std::string where, bool has_layer)
      : where_(std::move(where)), has_layer_(has_layer) {}

  NameTarget read(const OrderedJson& json) const {
    if (json.is_null()) return {};
    if (json.is_string()) return {read_claim(json)};
    if (!json.is_array()) throw bad(json);
    NameTarget target;
    bool or_none = false;
    for (const OrderedJson& item : json) {
      if (!item.is_null() && !item.is_string()) throw bad(json);
      if (item.is_null()) {
        or_none = true;
      } else {
        target.push_back(read_claim(item));
      }
    }
    if (target.empty()) throw bad(json);
    for (NameClaim& claim : target) claim.sure = !or_none;
    return target;
  }

  Error bad(const OrderedJson& json) const {
    return input_error(where_, shown(json.dump()), "a tap name, a list of them, or null");
  }

 private:
  NameClaim read_claim(const std::string& text) const {
    NameClaim claim{split_fused(text)};
    for (const std::string& tap : claim.taps) {
      // The paths of a captured reference's modules are known when it is read.
      const bool is_path = tap.find('.') != tap.npos;
      if (!is_path && !canonical_tap(with_layer(tap, 0), 1)) {
        throw input_error(where_, "'" + shown(tap) + "' is not a tap",
                          "a name such as layer_{layer}_q_proj or logits");
      }
      const bool speaks_of_layer = tap.find(kLayerMark) != tap.npos;
      if (speaks_of_layer != has_layer_) {
        throw input_error(where_, "{layer} on one side only", "it on both or on neither");
      }
    }
    return claim;
  }

  std::string where_;
  bool has_layer_;
};

NameRule::Of read_condition(const std::string& text, const std::string& where) {
  if (text == "post_norms") return NameRule::Of::kPostNorms;
  if (text == "experts") return NameRule::Of::kExperts;
  if (text == "otherwise") return NameRule::Of::kAll;
  throw input_error(where, "'" + shown(text) + "'", "post_norms, experts or otherwise");
}

}  // namespace

std::optional<NamePattern> NamePattern::parse(std::string_view text) {
  NamePattern pattern;
  while (!text.empty()) {
    const std::size_t special = std::min(text.find_first_of("*{"), text.size());
    if (special > 0) {
      pattern.pieces_.emplace_back(Kind::kText, text.substr(0, special));
      text.remove_prefix(special);
      continue;
    }
    if (text[0] == '*') {
      pattern.pieces_.emplace_back(Kind::kAny, "");
      text.remove_prefix(1);
      continue;
    }
    const std::size_t end = text.find('}');
    if (end == text.npos || pattern.has_layer_) return std::nullopt;
    std::string_view inner = text.substr(1, end - 1);
    if (const std::size_t times = inner.find('*'); times != inner.npos) {
      const std::optional<std::int64_t> factor = read_number(inner.substr(0, times));
      if (!factor || *factor < 1) return std::nullopt;
      pattern.factor_ = *factor;
      inner.remove_prefix(times + 1);
    }
    if (const std::size_t plus = inner.find('+'); plus != inner.npos) {
      const std::optional<std::int64_t> offset = read_number(inner.substr(plus + 1));
      if (!offset) return std::nullopt;
      pattern.offset_ = *offset;
      inner = inner.substr(0, plus);
    }
    if (inner != "layer") return std::nullopt;
    pattern.has_layer_ = true;
    pattern.pieces_.emplace_back(Kind::kLayer, "");
    text.remove_prefix(end + 1);
  }
  return pattern;
}

std::optional<std::int64_t> NamePattern::match(std::string_view name) const {
  std::int64_t layer = kNoLayer;
  std::size_t piece = 0;
  std::string_view rest = name;
  // Only the last "*" is ever extended: what is before it matches as early as possible.
  struct Star {
    std::size_t piece;
    std::string_view rest;
  };
  std::optional<Star> star;
  while (piece < pieces_.size() || !rest.empty()) {
    if (piece < pieces_.size() && pieces_[piece].first == Kind::kAny) {
      star = Star{++piece, rest};
    } else if (piece < pieces_.size() && take_piece(piece, rest, layer)) {
      ++piece;
    } else if (star && !star->rest.empty()) {
      star->rest.remove_prefix(1);
      piece = star->piece;
      rest = star->rest;
    } else {
      return std::nullopt;
    }
  }
  return layer;
}

bool NamePattern::take_piece(std::size_t piece, std::string_view& rest, std::int64_t& layer) const {
  const auto& [kind, text] = pieces_[piece];
  if (kind == Kind::kText) {
    if (!rest.starts_with(text)) return false;
    rest.remove_prefix(text.size());
    return true;
  }
  const std::size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
  const std::optional<std::int64_t> number = read_number(rest.substr(0, digits));
  if (!number || *number < offset_ || (*number - offset_) % factor_ != 0) return false;
  layer = (*number - offset_) / factor_;
  rest.remove_prefix(digits);
  return true;
}

std::vector<NameRule> read_name_rules(const OrderedJson& json, const std::string& where) {
  if (!json.is_object()) throw input_error(where, "not a JSON object", R"({"from": "to", ...})");
  // Bounds the cost: each rule is tried on every name of a dump.
  constexpr std::size_t kMostRules = 1000;
  constexpr std::size_t kLongestPattern = 1000;
  if (json.size() > kMostRules) {
    throw input_error(where, fmt::format("{} rules", json.size()),
                      fmt::format("at most {}", kMostRules));
  }
  std::vector<NameRule> rules;
  for (const auto& [from, to] : json.items()) {
    const std::string here = fmt::format("{}: rule '{}'", where, shown(from));
    if (from.size() > kLongestPattern) {
      throw input_error(here, fmt::format("{} bytes", from.size()),
                        fmt::format("at most {}", kLongestPattern));
    }
    const std::optional<NamePattern> pattern = NamePattern::parse(from);
    if (!pattern) {
      throw input_error(here, "an unknown placeholder", "one {layer}, {layer+1} or {2*layer+1}");
    }
    const TargetReader reader(here, pattern->has_layer());
    NameRule rule{*pattern, {}};
    if (!to.is_object()) {
      rule.to.emplace_back(NameRule::Of::kAll, reader.read(to));
    } else {
      for (const auto& [condition, target] : to.items()) {
        rule.to.emplace_back(read_condition(condition, here), reader.read(target));
      }
    }
    rules.push_back(std::move(rule));
  }
  return rules;
}

std::optional<std::string> canonical_tap(std::string_view name, std::int64_t layers) {
  constexpr std::array kOthers = {"input_ids", "generated_ids",  "rope_cos",
                                  "rope_sin",  "rope_local_cos", "rope_local_sin"};
  if (std::ranges::find(kOthers, name) != kOthers.end()) return std::string(name);
  const std::optional<TapPlace> place = parse_tap_name(name);
  if (!place) return std::nullopt;
  ModelSpec spec;
  spec.num_hidden_layers = layers;
  return tap_name(place->tap, place->layer, spec);
}

RuleConditions::RuleConditions(const ModelSpec& model)
    : model_(model), post_norms_(has_norms_after(model)) {}

bool RuleConditions::hold(NameRule::Of of, std::int64_t layer) const {
  switch (of) {
    case NameRule::Of::kPostNorms:
      return post_norms_;
    case NameRule::Of::kExperts:
      return model_.is_sparse(layer);
    default:
      return true;
  }
}

NameTarget target_of(const NameRule& rule, std::int64_t layer, const RuleConditions& conditions,
                     std::int64_t layers) {
  for (const auto& [of, target] : rule.to) {
    if (!conditions.hold(of, layer)) continue;
    NameTarget result = target;
    for (NameClaim& claim : result) {
      for (std::string& tap : claim.taps) {
        tap = with_layer(tap, layer);
        if (const auto name = canonical_tap(tap, layers)) tap = *name;
      }
    }
    return result;
  }
  return {};
}

}  // namespace assay
