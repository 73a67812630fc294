// Maps another engine's array names to tap names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "candidate/module_flow.h"
#include "candidate/name_rules.h"
#include "models/spec.h"

namespace assay {

// What a name means.
struct NameMeaning {
  bool known = false;  // by a rule, or as a tap's name; known without claims: to be ignored
  NameTarget claims;   // the likeliest first

  // The claims of a single tap.
  std::vector<NameClaim> singles() const;
  // The likeliest one that needs no look at the content.
  std::optional<std::string> sure_tap() const;
};

// A user's rules come first, then a captured reference's modules, then the taps' own names, then
// the built-in maps, the one that knows most of a dump's names first; what the other built-in maps
// say is never sure.
class NameMap {
 public:
  // The names of the built-in maps.
  static const std::vector<std::string>& known();

  // maps: separated by commas, each the name of a built-in map (case does not matter) or a .json
  // file of rules. If none is named, all built-in ones apply; otherwise only the named ones. Of
  // several files the last one's rules come first; within a file, the first rule that matches.
  // Throws a usage error for an unknown name, input errors for a file.
  explicit NameMap(const std::string& maps);

  // Adapts to the model: some names have another meaning if it has norms after its blocks, or
  // experts.
  void adapt_to(const ModelSpec& model);
  // Adds the names of a captured reference's modules; null: none. They come after a user's rules.
  void adapt_to(std::shared_ptr<const ModuleFlow> modules);
  // Sorts the built-in maps by how many of the dump's names they know; those that know none no
  // longer apply.
  void adapt_to(const std::vector<std::string>& names);

  // layers: of the model; tap names get as many digits as tap_name writes for it.
  NameMeaning meaning(std::string_view name, std::int64_t layers) const;
  // Whether a rule says to ignore arrays of that name.
  bool ignores(std::string_view name, std::int64_t layers) const;

  // The likeliest single tap (or input_ids, generated_ids, rope_cos, rope_sin) of that name, if no
  // look at the content is needed.
  std::optional<std::string> tap_of(std::string_view name, std::int64_t layers) const;

 private:
  NameMeaning meaning_of_array(std::string_view name, std::int64_t layers) const;
  NameTarget of_modules(NameTarget target) const;
  // For a part of a fused array (candidate/fused_file.h).
  std::optional<NameMeaning> meaning_of_part(std::string_view name, std::int64_t layers) const;

  std::vector<NameRule> own_;            // from files
  std::vector<std::size_t> come_along_;  // indices of known_maps()
  std::size_t applying_ = 0;             // as many of these, from the first
  RuleConditions conditions_;            // of the model
  std::shared_ptr<const ModuleFlow> modules_;
};

}  // namespace assay
