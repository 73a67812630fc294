#include "candidate/dump_forms.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "assay/array.h"
#include "numerics/numerics.h"

namespace assay {
namespace {

// For two taps that are easily confused; else empty.
std::string words_for_exchange(Tap own, Tap other) {
  constexpr std::pair<Tap, Tap> kPairs[] = {{Tap::kGateProj, Tap::kUpProj},
                                            {Tap::kKProj, Tap::kVProj}};
  for (const auto& [a, b] : kPairs) {
    if ((own == a && other == b) || (own == b && other == a)) {
      return fmt::format("{} and {} have each other's names", tap_base_name(a), tap_base_name(b));
    }
  }
  return {};
}

// What the array holds instead of its own tap.
std::string words_for(const TapPlace& own, const TapPlace& other, const ModelSpec& spec) {
  if (const auto text =
          known_mix_up(own, other, tap_base_name(other.tap), spec.num_hidden_layers)) {
    return *text;
  }
  const bool whole_stream = other.tap == Tap::kLayerOutput || other.tap == Tap::kEmbeddingOutput;
  if (own.tap == Tap::kLayerOutput && whole_stream) {
    const bool early = other.tap == Tap::kEmbeddingOutput || other.layer < own.layer;
    return early ? "holds what enters the layer: shifted by one (hidden_states begins with the "
                   "embedding)"
                 : "holds the next layer's output: shifted by one";
  }
  if (own.tap == Tap::kEmbeddingOutput) return "holds the first layer's output: shifted by one";
  if (own.tap == Tap::kFinalNormOutput) return "holds the last layer's output, before the norm";
  return other.layer == own.layer
             ? fmt::format("holds {} of the same layer", tap_base_name(other.tap))
             : fmt::format("holds {}",
                           tap_name(other.tap, std::max<std::int64_t>(other.layer, 0), spec));
}

// Whether `sum` is the residual stream after `part`, a block's output, was added.
bool is_sum_of(Tap sum, Tap part) {
  if (part == Tap::kAttnOutput || part == Tap::kGdnOutput || part == Tap::kAttnPostNorm) {
    return sum == Tap::kAttnResidual;
  }
  return (part == Tap::kMlpOutput || part == Tap::kMlpPostNorm) &&
         (sum == Tap::kLayerOutput || sum == Tap::kMlpResidual);
}

}  // namespace

std::string_view residual_not_added() { return "the residual is not yet added"; }

std::optional<std::string> known_mix_up(const TapPlace& own, const TapPlace& other,
                                        std::string_view other_name, std::int64_t layers) {
  if (own == TapPlace{Tap::kLayerOutput, layers - 1} && other.tap == Tap::kFinalNormOutput) {
    return "holds the final norm's output instead of the last layer's "
           "(transformers' output_hidden_states has this trap)";
  }
  // The stream of another layer is something else.
  if (other.layer != own.layer) return std::nullopt;
  if (is_sum_of(other.tap, own.tap)) {
    return fmt::format("holds {}: the residual is already added", other_name);
  }
  if (is_sum_of(own.tap, other.tap)) {
    return fmt::format("holds {}: {}", other_name, residual_not_added());
  }
  return std::nullopt;
}

bool is_norm(Tap tap) {
  return tap == Tap::kInputNorm || tap == Tap::kQNorm || tap == Tap::kKNorm ||
         tap == Tap::kAttnPostNorm || tap == Tap::kMlpNorm || tap == Tap::kMlpPostNorm ||
         tap == Tap::kFinalNormOutput;
}

bool has_rotary_pairs(Tap tap) {
  return tap == Tap::kQProj || tap == Tap::kKProj || tap == Tap::kQNorm || tap == Tap::kKNorm ||
         tap == Tap::kQRope || tap == Tap::kKRope;
}

int family_of(Tap tap, const DumpForm& form) {
  return form.pairs || form.exchanged ? -1 : static_cast<int>(tap);
}

DumpForm paired_channels() {
  DumpForm form;
  form.text =
      "the two channels of each rotary pair lie side by side (rows of q_proj and k_proj permuted, "
      "RoPE over neighbours): a different layout with the same scores";
  form.pairs = true;
  return form;
}

std::vector<DumpForm> forms_of(const TapPlace& place, const ModelSpec& spec) {
  std::vector<DumpForm> all;
  const auto add = [&](std::string text) -> DumpForm& {
    all.emplace_back().text = std::move(text);
    return all.back();
  };
  if (place.tap == Tap::kEmbeddingOutput && spec.embedding.scale != 1) {
    add("taken before the embedding is multiplied by its scale").scale = spec.embedding.scale;
  }
  if (is_norm(place.tap))
    add("taken before the norm's weight is multiplied in").lacks_weight = true;
  if (place.tap == Tap::kLogits && spec.head.softcap > 0) {
    add("taken before the soft-cap").softcap = spec.head.softcap;
  }
  if (place.tap == Tap::kAttnScores) {
    const double scale = spec.attention_scale();
    const double cap = spec.attention.softcap;
    const auto score = [&](std::string text, double by, double with_cap) {
      DumpForm& form = add(std::move(text));
      form.scale = by;
      form.softcap = with_cap;
      form.masks = true;
    };
    score("taken before the mask", 1, 0);
    if (cap > 0) score("taken before the soft-cap", 1, cap);
    if (scale != 1) score("taken before the scale", scale, cap);
    if (cap > 0 && scale != 1) score("taken before the scale, without the soft-cap", scale, 0);
  }
  // Other taps with the same width, nearest in the data flow first.
  const auto holds = [&](const TapPlace& other) {
    const std::string exchange = words_for_exchange(place.tap, other.tap);
    DumpForm& form = add(exchange.empty() ? words_for(place, other, spec) : exchange);
    form.holds = other;
    form.exchanged = !exchange.empty();
  };
  const std::int64_t l = place.layer;
  const std::int64_t last = spec.num_hidden_layers - 1;
  const TapPlace enters = stream_into(std::max<std::int64_t>(l, 0));
  if (place.tap == Tap::kEmbeddingOutput) holds({Tap::kLayerOutput, 0});
  if (place.tap == Tap::kFinalNormOutput) holds({Tap::kLayerOutput, last});
  if (l < 0) return all;
  if (place.tap == Tap::kLayerOutput) {
    if (l == last) holds({Tap::kFinalNormOutput, -1});
    holds(enters);
    if (l < last) holds({Tap::kLayerOutput, l + 1});
  }
  const Shape own = tap_shape(place.tap, l, spec, 1);
  for (int t = 0; t < kTapCount; ++t) {
    const Tap tap = static_cast<Tap>(t);
    if (!is_layer_tap(tap) || tap == place.tap || !has_tap(tap, l, spec)) continue;
    if (tap_shape(tap, l, spec, 1) == own) holds({tap, l});
  }
  if (place.tap != Tap::kLayerOutput && own == tap_shape(Tap::kLayerOutput, l, spec, 1)) {
    holds(enters);
  }
  return all;
}

void apply_form(const DumpForm& form, const ModelSpec& spec, const TapPlace& place,
                std::span<const float> weight, std::size_t width, std::span<float> values) {
  if (form.pairs) {
    const auto head = static_cast<std::size_t>(spec.heads(place.layer).head_dim);
    const std::size_t half =
        static_cast<std::size_t>(spec.rotary_dims(spec.rope_table(place.layer))) / 2;
    std::vector<float> own(2 * half);
    for (std::size_t begin = 0; begin + head <= values.size(); begin += head) {
      std::copy_n(&values[begin], own.size(), own.begin());
      for (std::size_t i = 0; i < half; ++i) {
        values[begin + i] = own[2 * i];
        values[begin + half + i] = own[2 * i + 1];
      }
    }
    return;
  }
  if (form.scale != 1) {
    for (float& x : values) x = static_cast<float>(static_cast<double>(x) * form.scale);
  }
  if (form.softcap > 0) {
    for (float& x : values) {
      x = static_cast<float>(form.softcap * std::tanh(static_cast<double>(x) / form.softcap));
    }
  }
  if (form.lacks_weight && !weight.empty()) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] *= weight[i % weight.size()];
  }
  if (form.masks) {
    const std::size_t tokens = width;
    const auto window =
        static_cast<std::size_t>(spec.is_sliding(place.layer) ? spec.attention.window : 0);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::size_t p = i / tokens % tokens;
      const std::size_t j = i % tokens;
      if (j > p || (window > 0 && p - j >= window)) values[i] = Bf16::kMasked;
    }
  }
}

NameKind kind_of_name(std::string_view array_name) {
  constexpr std::string_view kModules[] = {"lm_head",      "unembed", "embed_out",
                                           "embed_tokens", "wte",     "tok_embeddings"};
  if (array_name == "output") return NameKind::kOutput;
  // onnxruntime-genai names the operations after the head by it: lm_head.softcap.Mul.
  if (array_name.find(".softcap.") != array_name.npos) return NameKind::kValue;
  const bool is_module = std::ranges::any_of(kModules, [&](std::string_view module) {
    return array_name.find(module) != array_name.npos;
  });
  return is_module ? NameKind::kModule : NameKind::kValue;
}

bool is_any_output(std::string_view array_name) {
  return array_name == "output" || array_name.starts_with("output~");
}

bool is_known_trap(const TapPlace& place, std::string_view array_name, const DumpForm& form) {
  if (form.holds) {
    return place.tap == Tap::kLayerOutput &&
           (form.holds->tap == Tap::kFinalNormOutput || form.holds->tap == Tap::kLayerOutput ||
            form.holds->tap == Tap::kEmbeddingOutput);
  }
  return kind_of_name(array_name) != NameKind::kValue;
}

std::string places_text(std::span<const TapPlace> places, const ModelSpec& spec) {
  std::set<std::string_view> taps;
  std::set<std::int64_t> layers;
  for (const TapPlace& place : places) {
    taps.insert(tap_base_name(place.tap));
    layers.insert(place.layer);
  }
  if (places.size() == 1 || *layers.begin() < 0) {
    std::vector<std::string> names;
    for (const TapPlace& place : places) {
      names.push_back(tap_name(place.tap, std::max<std::int64_t>(place.layer, 0), spec));
    }
    return fmt::format("{}", fmt::join(names, ", "));
  }
  std::string of = std::ssize(layers) == spec.num_hidden_layers ? "all layers" : "";
  if (of.empty() && layers.size() == 1) of = fmt::format("layer {}", *layers.begin());
  if (of.empty() && *layers.rbegin() - *layers.begin() + 1 == std::ssize(layers)) {
    of = fmt::format("layers {} to {}", *layers.begin(), *layers.rbegin());
  }
  if (of.empty()) of = fmt::format("layers {}", fmt::join(layers, ", "));
  return fmt::format("{} of {}", fmt::join(taps, ", "), of);
}

std::string_view not_gone_on_with() {
  return "is not what the engine computed with: everything after it is right with the right value, "
         "and wrong with this one. Was it taken at another place or time?";
}

}  // namespace assay
