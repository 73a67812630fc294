#include "diagnose/rewrites.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "model/buffers.h"
#include "rewrite/foreign_of.h"

namespace assay {
namespace {

// The single value that a step makes.
ValueId made_by(const Block& block, std::size_t step) { return block.steps[step].writes[0]; }

constexpr Tap kHeadNorms[] = {Tap::kQNorm, Tap::kKNorm};

// Step and operand with which attention reads values: its own step, or the context's.
std::pair<std::size_t, std::size_t> value_read(const Block& block) {
  const std::size_t at = *attention_step(block);
  if (std::holds_alternative<Scores>(block.steps[at].operation)) return {at + 2, 1};
  return {at, 2};
}

// Lets values pass through a copy of another of the layer's operations before attention.
void pass_values_through(Block& block, Tap like) {
  const std::optional<std::size_t> model = block.step_showing(like);
  if (!model || !attention_step(block)) return;
  const Step step = block.steps[*model];
  const auto [reader, i] = value_read(block);
  const ValueId values = block.steps[reader].reads[i];
  const bool done = std::ranges::any_of(block.steps, [&](const Step& s) {
    return s.operation == step.operation && s.writes[0] == values;
  });
  if (done) return;
  Value value = block.values[values];
  value.tap.reset();
  const std::size_t at = *attention_step(block);
  const ValueId made =
      insert_step(block, at, step.operation, {values}, std::move(value), step.tensors);
  block.steps[reader + 1].reads[i] = made;
}

void norms_after_rotation(Block& block) {
  for (const auto& [norm_tap, rope_tap] :
       {std::pair{Tap::kQNorm, Tap::kQRope}, std::pair{Tap::kKNorm, Tap::kKRope}}) {
    const std::optional<std::size_t> norm = block.step_showing(norm_tap);
    const std::optional<std::size_t> rope = block.step_showing(rope_tap);
    if (!norm || !rope || *norm > *rope) continue;
    const ValueId normed = made_by(block, *norm);
    const ValueId rotated = made_by(block, *rope);
    replace_reads(block, *rope + 1, rotated, normed);
    block.steps[*rope].reads[0] = block.steps[*norm].reads[0];
    Step moved = block.steps[*norm];
    moved.reads[0] = rotated;
    const std::size_t attention = *attention_step(block);
    block.steps.insert(block.steps.begin() + static_cast<std::ptrdiff_t>(attention), moved);
    block.steps.erase(block.steps.begin() + static_cast<std::ptrdiff_t>(*norm));
  }
}

// The norm of attention or the MLP, removed from its layer.
struct TakenNorm {
  Operation operation;
  std::vector<TensorUse> tensors;
};
std::optional<TakenNorm> take_norm(Block& block, Tap tap) {
  const std::optional<std::size_t> at = block.step_showing(tap);
  if (!at) return std::nullopt;
  const Step step = block.steps[*at];
  replace_reads(block, *at + 1, step.writes[0], step.reads[0]);
  block.values[step.writes[0]].tap.reset();
  block.steps.erase(block.steps.begin() + static_cast<std::ptrdiff_t>(*at));
  return TakenNorm{step.operation, step.tensors};
}

// The tap of the sum after the MLP, which is not always the layer's output.
Tap of_layer(const Block& layer, Tap sum) {
  const bool earlier = sum == Tap::kLayerOutput && layer.find(Tap::kMlpResidual);
  return earlier ? Tap::kMlpResidual : sum;
}

struct Half {
  Tap before, after, sum;
};
constexpr Half kHalves[] = {{Tap::kInputNorm, Tap::kAttnPostNorm, Tap::kAttnResidual},
                            {Tap::kMlpNorm, Tap::kMlpPostNorm, Tap::kLayerOutput}};

void norms_after_adds(Block& block, bool has_norms_before) {
  for (const Half& half : kHalves) {
    const std::optional<TakenNorm> post = take_norm(block, half.after);
    const std::optional<TakenNorm> norm = has_norms_before ? take_norm(block, half.before) : post;
    const std::optional<std::size_t> sum = block.step_showing(of_layer(block, half.sum));
    if (!norm || !sum) continue;
    const ValueId added = made_by(block, *sum);
    Value value = block.values[added];
    block.values[added].tap.reset();
    Value seen = value;
    value.tap = half.before;
    const ValueId normed =
        insert_step(block, *sum + 1, norm->operation, {added}, value, norm->tensors);
    const ValueId stream = insert_step(block, *sum + 2, foreign(Same{}), {normed}, seen);
    replace_reads(block, *sum + 3, added, stream);
  }
}

void norms_before_blocks(Block& block) {
  for (const Half& half : kHalves) {
    if (block.step_showing(half.before)) continue;
    const std::optional<TakenNorm> norm = take_norm(block, half.after);
    const std::optional<std::size_t> sum = block.step_showing(of_layer(block, half.sum));
    if (!norm || !sum) continue;
    const bool first = half.sum == Tap::kAttnResidual;
    const ValueId stream = first ? 0 : *block.find(Tap::kAttnResidual);
    const std::size_t begin = first ? 0 : *block.step_showing(Tap::kAttnResidual) + 1;
    Value value = block.values[stream];
    value.tap = half.before;
    const ValueId normed =
        insert_step(block, begin, norm->operation, {stream}, value, norm->tensors);
    for (std::size_t s = begin + 1; s <= *sum; ++s) {
      std::ranges::replace(block.steps[s].reads, stream, normed);
    }
    // The add itself still reads the stream.
    std::ranges::replace(block.steps[*sum + 1].reads, normed, stream);
  }
}

}  // namespace

void join_heads_of_norms(Program& program) {
  for (Block& layer : program.layers) {
    change_each<OddNorm>(layer, [&](OddNorm& norm, const Step& step) {
      const Value& value = layer.values[step.writes[0]];
      if (value.tap && std::ranges::count(kHeadNorms, *value.tap) > 0) {
        norm.heads = static_cast<std::size_t>(value.shape[0]);
      }
    });
  }
}

void part_heads_of_norms(Program& program) {
  for (Block& layer : program.layers) {
    change_each<OddNorm>(layer, [&](OddNorm& norm, const Step& step) {
      const Value& value = layer.values[step.writes[0]];
      if (value.tap && std::ranges::count(kHeadNorms, *value.tap) > 0) {
        norm.parts = static_cast<std::size_t>(value.shape[0]);
      }
    });
  }
}

void norms_after_rotation(Program& program) {
  for (Block& layer : program.layers) norms_after_rotation(layer);
}

void normalise_values(Program& program) {
  for (Block& layer : program.layers) pass_values_through(layer, Tap::kKNorm);
}

void rotate_values(Program& program) {
  for (Block& layer : program.layers) pass_values_through(layer, Tap::kKRope);
}

void add_to(Program& program, Tap sum, Residual from) {
  const Tap norm = sum == Tap::kAttnResidual ? Tap::kInputNorm : Tap::kMlpNorm;
  for (Block& layer : program.layers) {
    const std::optional<std::size_t> at = layer.step_showing(of_layer(layer, sum));
    if (!at || !std::holds_alternative<Add>(layer.steps[*at].operation)) continue;
    const std::optional<ValueId> normed = layer.find(norm);
    if (from == Residual::kNone) {
      leave_out(layer, *at);
    } else if (from == Residual::kLayerInput) {
      layer.steps[*at].reads[1] = 0;
    } else if (normed && *layer.step_showing(norm) < *at) {
      layer.steps[*at].reads[1] = *normed;
    }
  }
}

void run_in_parallel(Program& program) {
  for (Block& layer : program.layers) {
    const std::optional<std::size_t> residual = layer.step_showing(Tap::kAttnResidual);
    const std::optional<std::size_t> sum = layer.step_showing(of_layer(layer, Tap::kLayerOutput));
    if (!residual || !sum) continue;
    const ValueId stream = *layer.find(Tap::kAttnResidual);
    for (std::size_t s = *residual + 1; s < *sum; ++s) {
      std::ranges::replace(layer.steps[s].reads, stream, ValueId{0});
    }
  }
}

void norms_after_adds(Program& program, bool has_norms_before) {
  for (Block& layer : program.layers) norms_after_adds(layer, has_norms_before);
}

void norms_before_blocks(Program& program) {
  for (Block& layer : program.layers) norms_before_blocks(layer);
}

void slide_in(Program& program, std::int64_t window,
              const std::function<bool(std::int64_t)>& slides) {
  for (std::size_t l = 0; l < program.layers.size(); ++l) {
    const bool here = slides(static_cast<std::int64_t>(l));
    if (AttentionEdit attention(program.layers[l]); attention) {
      attention->scores.window = here ? window : 0;
    }
    // If there are two tables, sliding layers have the second one.
    if (program.ropes.size() < 2) continue;
    change_each<OddRotate>(program.layers[l], [here](OddRotate& rotation, const Step&) {
      if (rotation.rotate.table < 2) rotation.rotate.table = here ? 1 : 0;
    });
  }
}

void change_window(Program& program, std::int64_t window) {
  change_attention(program, [window](OddAttention& attention) {
    if (attention.scores.window > 0) attention.scores.window = window;
  });
}

void set_experts_per_token(Program& program, std::int64_t count) {
  for (Block& layer : program.layers) {
    bool chosen = false;
    for (Step& step : layer.steps) {
      if (auto* top = std::get_if<TopExperts>(&step.operation)) {
        top->per_token = count;
        chosen = true;
      }
      if (!chosen) continue;
      if (auto* linear = std::get_if<ExpertLinear>(&step.operation)) linear->per_token = count;
      // Resize ids, weights, and values with a row per expert.
      for (const ValueId v : step.writes) {
        Value& value = layer.values[v];
        const bool of_slots = std::holds_alternative<TopExperts>(step.operation) ||
                              OddExpertWeights::of(step.operation) ||
                              foreign_as<ShiftedIds>(step.operation) != nullptr ||
                              value.shape.size() > 1;
        if (of_slots) value.shape[0] = count;
      }
    }
  }
}

void shift_experts(Program& program, std::int64_t by) {
  for (Block& layer : program.layers) {
    const std::optional<std::size_t> ids = layer.step_showing(Tap::kExpertIds);
    if (!ids) continue;
    const auto* top = std::get_if<TopExperts>(&layer.steps[*ids].operation);
    if (top == nullptr) continue;
    const std::int64_t experts = top->experts;
    const ValueId own = made_by(layer, *ids);
    Value value = layer.values[own];
    value.tap.reset();
    // Keep the weights of the experts that were chosen.
    std::size_t at = *ids + 1;
    while (at < layer.steps.size() &&
           !std::holds_alternative<ExpertLinear>(layer.steps[at].operation)) {
      ++at;
    }
    const ValueId shifted =
        insert_step(layer, at, foreign(ShiftedIds{experts, by}), {own}, std::move(value));
    for (std::size_t s = at + 1; s < layer.steps.size(); ++s) {
      if (std::holds_alternative<ExpertLinear>(layer.steps[s].operation)) {
        layer.steps[s].reads[1] = shifted;
      }
    }
  }
}

void shift_head_rows(Program& program, std::int64_t by) {
  before_read(program.head, head_matrix_step(program.head), 0, foreign(ShiftedRows{by}));
}

void scale_logits(Program& program, double by) {
  Block& head = program.head;
  const std::size_t matrix = head_matrix_step(head);
  const ValueId logits = made_by(head, matrix);
  Value value = head.values[logits];
  head.values[logits].tap.reset();
  const ValueId scaled =
      insert_step(head, matrix + 1, foreign(Scaled{by}), {logits}, std::move(value));
  replace_reads(head, matrix + 2, logits, scaled);
}

void cap_logits(Program& program, double cap) {
  Block& head = program.head;
  const auto own = std::ranges::find_if(
      head.steps, [](const Step& step) { return std::holds_alternative<Softcap>(step.operation); });
  if (own == head.steps.end()) {
    if (cap > 0) before_shown(head, Tap::kLogits, Softcap{cap});
  } else if (cap > 0) {
    own->operation = Softcap{cap};
  } else {
    leave_out(head, static_cast<std::size_t>(own - head.steps.begin()));
  }
}

void cap_final_norm(Program& program, double cap) {
  before_shown(program.head, Tap::kFinalNormOutput, foreign(OddSoftcap{cap, true}));
}

void bias_logits(Program& program, std::vector<std::pair<std::int64_t, double>> ids) {
  before_shown(program.head, Tap::kLogits, foreign(Biased{std::move(ids)}));
}

void limit(Program& program, Tap tap, double least, double most) {
  const bool stream = tap == Tap::kAttnResidual || tap == Tap::kLayerOutput;
  for (Block& layer : program.layers) {
    (stream ? before_shown : after_shown)(layer, tap, foreign(Clamped{least, most}));
  }
}

void use_embedding_as_head(Program& program) {
  program.head.steps[head_matrix_step(program.head)].tensors = program.embedding.steps[0].tensors;
}

void use_as_final_norm(Program& program, const TensorUse& tensor) {
  const std::optional<std::size_t> norm = program.head.step_showing(Tap::kFinalNormOutput);
  if (norm) program.head.steps[*norm].tensors = {tensor};
}

void set_rotary(Program& program, const Rotary& rotary) {
  for (std::size_t l = 0; l < program.layers.size(); ++l) {
    const bool here = rotary.layers.empty() ||
                      std::ranges::count(rotary.layers, static_cast<std::int64_t>(l)) > 0;
    if (!here) continue;
    change_each<OddRotate>(program.layers[l], [&](OddRotate& rotation, const Step&) {
      rotation.types = rotary.types;
      rotation.position_of = rotary.position_of;
      rotation.inv_freq = rotary.inv_freq;
    });
  }
}

}  // namespace assay
