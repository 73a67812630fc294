#include "models/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "models/builder.h"
#include "models/model_type.h"

namespace assay {

bool rounds(const Operation& operation) {
  if (const auto* linear = std::get_if<Linear>(&operation)) return linear->rounded;
  if (const auto* weights = std::get_if<ExpertWeights>(&operation)) return weights->rounded;
  return !std::holds_alternative<RouterScores>(operation) &&
         !std::holds_alternative<Decay>(operation) &&
         !std::holds_alternative<CorrectScores>(operation);
}

std::vector<Tap> unrounded_taps(const Program& program) {
  std::vector<Tap> taps;
  for (const Block& layer : program.layers) {
    for (const Step& step : layer.steps) {
      if (rounds(step.operation)) continue;
      for (const ValueId v : step.writes) {
        const std::optional<Tap> tap = layer.values[v].tap;
        if (tap && std::ranges::count(taps, *tap) == 0) taps.push_back(*tap);
      }
    }
  }
  return taps;
}

std::vector<TensorUse> each_tensor(const Step& step) {
  const std::int64_t count = step.tensors.empty() ? 0 : step.tensors.front().count;
  std::vector<TensorUse> all;
  all.reserve(step.tensors.size() * static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    for (const TensorUse& tensor : step.tensors) {
      all.push_back(tensor);
      if (!tensor.is_numbered()) continue;
      all.back().count = 1;
      all.back().name = fmt::format(fmt::runtime(tensor.name), i);
    }
  }
  return all;
}

std::optional<ValueId> Block::find(Tap tap) const {
  const auto found = std::ranges::find(values, tap, &Value::tap);
  if (found == values.end()) return std::nullopt;
  return static_cast<ValueId>(found - values.begin());
}

const Import* Block::import_of(ValueId value) const {
  const auto found = std::ranges::find(imports, value, &Import::value);
  return found == imports.end() ? nullptr : &*found;
}

std::optional<std::size_t> Block::step_showing(Tap tap) const {
  const std::optional<ValueId> value = find(tap);
  const auto found = std::ranges::find_if(steps, [&](const Step& step) {
    return value && std::ranges::count(step.writes, *value) > 0;
  });
  if (found == steps.end()) return std::nullopt;
  return static_cast<std::size_t>(found - steps.begin());
}

std::vector<RopeParameters> ropes_of(const ModelSpec& spec) {
  std::vector<RopeParameters> all = {spec.rope_parameters};
  if (spec.local_rope_parameters) all.push_back(*spec.local_rope_parameters);
  return all;
}

Block embedding_of(const ModelSpec& spec) {
  Builder b(spec, -1, "model.");
  b.continue_with(b.step(Lookup{spec.embedding.scale}, {},
                         {{spec.hidden_size}, Tap::kEmbeddingOutput},
                         {b.matrix("embed_tokens", spec.vocab_size, spec.hidden_size)}));
  return b.take();
}

Block head_of(const ModelSpec& spec, bool stored_head) {
  Builder b(spec, -1, "");
  const ValueId normed = b.norm(b.stream(), "model.norm", Tap::kFinalNormOutput);
  const bool capped = spec.head.softcap > 0;
  const std::optional<Tap> last = Tap::kLogits;
  ValueId logits =
      b.step(Linear{}, {normed}, {{spec.vocab_size}, capped ? std::nullopt : last},
             {b.matrix(spec.tie_word_embeddings && !stored_head ? "model.embed_tokens" : "lm_head",
                       spec.vocab_size, spec.hidden_size)});
  if (capped) logits = b.step(Softcap{spec.head.softcap}, {logits}, {{spec.vocab_size}, last});
  b.continue_with(logits);
  return b.take();
}

Block layer_of(const ModelSpec& spec, std::int64_t l) {
  const auto types = all_model_types();
  const auto type = std::ranges::find(types, spec.model_type, &ModelType::name);
  if (type == types.end()) throw std::logic_error("no model type: " + spec.model_type);
  Builder b(spec, l, fmt::format("model.layers.{}.", l));
  type->layer(b);
  return b.take();
}

Program program_of(const ModelSpec& spec, bool stored_head) {
  Program program;
  program.ropes = ropes_of(spec);
  program.embedding = embedding_of(spec);
  for (std::int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    program.layers.push_back(layer_of(spec, l));
  }
  program.head = head_of(spec, stored_head);
  return program;
}

}  // namespace assay
