#include "models/taps.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <stdexcept>

#include "models/program.h"

namespace assay {
namespace {

constexpr std::array<std::string_view, kTapCount> kNames = {
#define ASSAY_TAP(tap, name) name,
    ASSAY_TAPS(ASSAY_TAP)
#undef ASSAY_TAP
};

}  // namespace

std::string_view tap_base_name(Tap tap) { return kNames[static_cast<std::size_t>(tap)]; }

std::string tap_name(Tap tap, std::int64_t layer, const ModelSpec& spec) {
  const std::string_view name = tap_base_name(tap);
  if (!is_layer_tap(tap)) return std::string(name);
  const int digits = spec.num_hidden_layers > 100 ? 3 : 2;
  return fmt::format("layer_{:0{}}_{}", layer, digits, name);
}

std::int64_t TapPlace::order() const {
  constexpr std::int64_t kLast = std::int64_t{1} << 40;
  if (layer >= 0) return (layer + 1) * kTapCount + static_cast<int>(tap);
  return (tap == Tap::kEmbeddingOutput ? 0 : kLast) + static_cast<int>(tap);
}

std::optional<TapPlace> parse_tap_name(std::string_view name) {
  constexpr std::string_view kPrefix = "layer_";
  std::int64_t layer = -1;
  if (name.starts_with(kPrefix)) {
    name.remove_prefix(kPrefix.size());
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
    const auto digits = static_cast<std::size_t>(end - name.data());
    const bool is_layer = error == std::errc() && layer >= 0 && layer < kMostLayers;
    if (!is_layer || digits >= name.size() || name[digits] != '_') return std::nullopt;
    name.remove_prefix(digits + 1);
  }
  for (int t = 0; t < kTapCount; ++t) {
    const Tap tap = static_cast<Tap>(t);
    if (is_layer_tap(tap) == (layer >= 0) && tap_base_name(tap) == name)
      return TapPlace{tap, layer};
  }
  return std::nullopt;
}

std::size_t position_axis(Tap tap) {
  return tap == Tap::kAttnScores || tap == Tap::kAttnProbs ? 2 : 1;
}

namespace {

// The block that a tap belongs to.
Block block_of(Tap tap, std::int64_t layer, const ModelSpec& spec) {
  if (is_layer_tap(tap)) return layer_of(spec, layer);
  return tap == Tap::kEmbeddingOutput ? embedding_of(spec) : head_of(spec);
}

}  // namespace

bool has_tap(Tap tap, std::int64_t layer, const ModelSpec& spec) {
  return block_of(tap, layer, spec).find(tap).has_value();
}

std::vector<std::int64_t> tap_shape(Tap tap, std::int64_t layer, const ModelSpec& spec,
                                    std::int64_t tokens) {
  const Block block = block_of(tap, layer, spec);
  const std::optional<ValueId> found = block.find(tap);
  if (!found) throw std::logic_error("no such tap: " + tap_name(tap, layer, spec));
  const Value& value = block.values[*found];
  std::vector<std::int64_t> shape = {1};
  if (!value.over_keys) shape.push_back(tokens);
  shape.insert(shape.end(), value.shape.begin(), value.shape.end());
  if (value.over_keys) shape.insert(shape.end(), 2, tokens);
  return shape;
}

TapSet::TapSet(const ModelSpec& spec)
    : spec_(spec), wanted_(static_cast<std::size_t>(spec.num_hidden_layers) * kTapCount) {}

TapSet TapSet::classic(const ModelSpec& spec) {
  TapSet set(spec);
  for (const Tap tap : {Tap::kEmbeddingOutput, Tap::kFinalNormOutput, Tap::kLogits}) {
    set.wanted_[set.index(tap, 0)] = true;
  }
  for (std::int64_t layer = 0; layer < spec.num_hidden_layers; ++layer) {
    set.wanted_[set.index(Tap::kLayerOutput, layer)] = true;
  }
  return set;
}

int TapSet::add(std::string_view glob) {
  const std::string pattern(glob);
  int matches = 0;
  const auto look = [&](const Block& block, std::int64_t layer) {
    for (const Value& value : block.values) {
      if (!value.tap) continue;
      if (fnmatch(pattern.c_str(), tap_name(*value.tap, layer, spec_).c_str(), 0) != 0) continue;
      wanted_[index(*value.tap, layer)] = true;
      ++matches;
    }
  };
  look(embedding_of(spec_), 0);
  for (std::int64_t layer = 0; layer < spec_.num_hidden_layers; ++layer) {
    look(layer_of(spec_, layer), layer);
  }
  look(head_of(spec_), 0);
  return matches;
}

bool TapSet::wants(Tap tap, std::int64_t layer) const { return wanted_[index(tap, layer)]; }

std::size_t TapSet::index(Tap tap, std::int64_t layer) {
  return static_cast<std::size_t>(layer * kTapCount + static_cast<int>(tap));
}

bool TapSet::empty() const {
  return std::none_of(wanted_.begin(), wanted_.end(), [](bool wanted) { return wanted; });
}

}  // namespace assay
