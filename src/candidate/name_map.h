// From another engine's array names to tap names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "candidate/name_rules.h"
#include "models/spec.h"

namespace assay {

// What a name means.
struct NameMeaning {
  bool known = false;  // by a rule, or as a tap's name; without a claim it is to be ignored
  NameTarget claims;   // the likeliest first

  // Those of a single tap.
  std::vector<NameClaim> singles() const;
  // The likeliest of them that is sure without a look at the content.
  std::optional<std::string> sure_tap() const;
};

// A user's rules come first, then the taps' own names, then the maps that come along. Of these the
// one that knows most of a dump is asked first; what the others say is never sure.
class NameMap {
 public:
  // The maps that come along.
  static const std::vector<std::string>& known();

  // maps: separated by commas, each the name of a map that comes along (in any case of letters) or
  // a .json file of rules. Where none is named, all that come along hold; where some are, only
  // they. Of several files the last one's rules come first; within a file, the first rule that
  // matches. Throws a usage error for another name, input errors for a file.
  explicit NameMap(const std::string& maps);

  // Some names mean one thing in a model that has norms after its blocks, or experts, and another
  // in others.
  void suit(const ModelSpec& model);
  // The maps that come along, in the order in which they know the most of a dump's names.
  void suit(const std::vector<std::string>& names);

  // layers: of the model; tap names have as many digits as tap_name writes for it.
  NameMeaning meaning(std::string_view name, std::int64_t layers) const;
  // A rule says that an array of that name is nothing to compare.
  bool ignores(std::string_view name, std::int64_t layers) const;

  // The likeliest single tap (or input_ids, generated_ids, rope_cos, rope_sin) of that name, as far
  // as that is sure without a look at the content.
  std::optional<std::string> tap_of(std::string_view name, std::int64_t layers) const;

 private:
  NameMeaning meaning_of_array(std::string_view name, std::int64_t layers) const;
  // Of a part of a fused array (candidate/fused_file.h).
  std::optional<NameMeaning> meaning_of_part(std::string_view name, std::int64_t layers) const;

  std::vector<NameRule> own_;            // of files
  std::vector<std::size_t> come_along_;  // indices of known_maps()
  ModelSpec model_;
};

}  // namespace assay
