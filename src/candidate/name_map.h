// From another engine's array names to tap names.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "assay/spec.h"

namespace assay {

// Rules "from" -> "to", in order; the first that matches wins. "{layer}" in both stands for a
// layer's number; "{layer+1}" in "from" for one that counts from 1. Tap names themselves need no
// rule.
class NameMap {
 public:
  // The maps that come along: "transformers" (module paths, with or without a trailing ".output"),
  // "llama.cpp" (graph names), "candle" (GGUF and VarBuilder paths).
  static const std::vector<std::string>& known();

  // name_or_file: empty for all known maps, one's name, or a JSON file that holds an object
  // {"from": "to", ...}. Throws a usage error for another name, input errors for the file.
  explicit NameMap(const std::string& name_or_file);

  // For a model that has norms after its blocks: transformers' post_attention_layernorm is one of
  // them there, and in all others the norm before the MLP.
  void suit(const ModelSpec& model);

  // The tap (or input_ids, generated_ids, rope_cos, rope_sin) that an array of that name holds;
  // layer numbers are written as tap_name does for a model of `layers` layers.
  std::optional<std::string> tap_of(std::string_view name, std::int64_t layers) const;

 private:
  std::vector<std::pair<std::string, std::string>> rules_;
  bool own_ = true;  // the maps that come along, not a file
};

}  // namespace assay
