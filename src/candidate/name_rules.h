// Rules from names to taps: their patterns, and their JSON (docs/names.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/json_file.h"
#include "models/spec.h"

namespace assay {

// A name with at most one placeholder for a layer's number ({layer}, {layer+1}, {2*layer+1}) and
// any number of "*", each of which matches any text.
class NamePattern {
 public:
  static constexpr std::int64_t kNoLayer = -1;

  // None if a placeholder is unknown, or there are two.
  static std::optional<NamePattern> parse(std::string_view text);

  bool has_layer() const { return has_layer_; }
  // The layer's number if `name` matches, kNoLayer for a pattern without one.
  std::optional<std::int64_t> match(std::string_view name) const;

 private:
  // Whether the rest begins with that piece; removes it then. Not for "*".
  bool take_piece(std::size_t piece, std::string_view& rest, std::int64_t& layer) const;

  enum class Kind { kText, kAny, kLayer };
  std::vector<std::pair<Kind, std::string>> pieces_;
  bool has_layer_ = false;
  std::int64_t factor_ = 1;  // the number in the name is factor * layer + offset
  std::int64_t offset_ = 0;
};

// A possible content of an array: a tap, or several side by side.
struct NameClaim {
  std::vector<std::string> taps;
  bool sure = true;  // false: only if the content shows it

  bool operator==(const NameClaim&) const = default;
};

// The target of a rule: empty for a name that is ignored.
using NameTarget = std::vector<NameClaim>;

struct NameRule {
  // The models for which the next target holds.
  enum class Of { kAll, kPostNorms, kExperts };

  NamePattern from;
  std::vector<std::pair<Of, NameTarget>> to;  // the first that holds; {layer} not filled in yet
};

// The rules of a JSON object in its order: "from": "tap", ["tap", "other tap"], null, or an object
// of these by kind of model. `where` names the text in errors. Throws input errors.
std::vector<NameRule> read_name_rules(const OrderedJson& json, const std::string& where);

// The name of a tap, or of another array (input_ids, rope_cos), with the layer's number as tap_name
// writes it for a model of `layers` layers. None: an unknown name.
std::optional<std::string> canonical_tap(std::string_view name, std::int64_t layers);

// What rules ask about a model. Looks at its layers once, because each rule is tried on every name
// of a dump.
class RuleConditions {
 public:
  // Of an unknown model: no norms after its blocks, no experts.
  RuleConditions() = default;
  explicit RuleConditions(const ModelSpec& model);

  bool hold(NameRule::Of of, std::int64_t layer) const;

 private:
  ModelSpec model_;
  bool post_norms_ = false;
};

// The target for that layer (or kNoLayer) of a model with `layers` layers, with canonical names.
NameTarget target_of(const NameRule& rule, std::int64_t layer, const RuleConditions& conditions,
                     std::int64_t layers);

}  // namespace assay
