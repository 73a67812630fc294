#include "models/tap_suggestion.h"

#include <fmt/format.h>

#include <vector>

#include "base/nearest_name.h"
#include "models/taps.h"

namespace assay {
namespace {

// What tap names end in: "q_proj", "logits".
std::vector<std::string> base_names(const ModelSpec& spec, bool of_layers) {
  std::vector<std::string> names;
  for (int i = 0; i < kTapCount; ++i) {
    const auto tap = static_cast<Tap>(i);
    if (of_layers != is_layer_tap(tap)) continue;
    bool has = !of_layers;
    for (std::int64_t layer = 0; layer < spec.num_hidden_layers && !has; ++layer) {
      has = has_tap(tap, layer, spec);
    }
    if (has) names.emplace_back(tap_base_name(tap));
  }
  return names;
}

bool matches_a_tap(std::string_view glob, const ModelSpec& spec) {
  return TapSet(spec).add(glob) > 0;
}

}  // namespace

std::string tap_suggestion(std::string_view glob, const ModelSpec& spec) {
  constexpr std::string_view kLayer = "layer_";
  std::vector<std::string> outside = base_names(spec, false);
  if (const std::string name = nearest_name(glob, outside); !name.empty()) {
    return fmt::format("; did you mean '{}'?", name);
  }
  // The part before the tap's own name: "layer_03_", "*_", or nothing.
  std::string_view front;
  std::string_view rest = glob;
  if (glob.starts_with(kLayer)) {
    const std::size_t end = glob.find('_', kLayer.size());
    if (end == glob.npos) return {};
    front = glob.substr(0, end + 1);
    rest = glob.substr(end + 1);
  } else if (const std::size_t star = glob.rfind('*'); star != glob.npos) {
    std::size_t end = star + 1;
    if (glob.substr(end).starts_with('_')) ++end;
    front = glob.substr(0, end);
    rest = glob.substr(end);
  }
  const std::vector<std::string> in_layers = base_names(spec, true);
  std::string name(rest);
  if (rest.find_first_of("*?[") == rest.npos) {
    name = nearest_name(rest, in_layers);
    if (name.empty()) return {};
  }
  std::vector<std::string> attempts = {fmt::format("{}{}", front, name)};
  std::int64_t layer = 0;
  const std::string_view digits =
      front.starts_with(kLayer) ? front.substr(kLayer.size(), front.size() - kLayer.size() - 1)
                                : "";
  if (!digits.empty() && digits.find_first_not_of("0123456789") == digits.npos) {
    constexpr std::size_t kMostDigits = 9;
    layer = digits.size() > kMostDigits ? spec.num_hidden_layers : std::stoll(std::string(digits));
    if (layer >= spec.num_hidden_layers) {
      return fmt::format("; this model has the layers 0 to {}", spec.num_hidden_layers - 1);
    }
    const std::string any = tap_name(Tap::kQProj, layer, spec);
    const std::string_view base = tap_base_name(Tap::kQProj);
    attempts.push_back(any.substr(0, any.size() - base.size()) + name);
  }
  attempts.push_back(fmt::format("layer_*_{}", name));
  for (const std::string& attempt : attempts) {
    if (matches_a_tap(attempt, spec)) return fmt::format("; did you mean '{}'?", attempt);
  }
  return {};
}

}  // namespace assay
