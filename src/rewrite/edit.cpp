#include "rewrite/edit.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "rewrite/delta_net.h"
#include "rewrite/elementwise.h"
#include "rewrite/experts.h"
#include "rewrite/foreign_of.h"
#include "rewrite/gate.h"
#include "rewrite/norm.h"

namespace assay {
namespace {

// The three steps of a plain attention are adjacent.
void put_in_full(Block& block, std::size_t at, const OddAttention& odd) {
  Step& scores = block.steps[at];
  const Step softmax = block.steps[at + 1];
  const Step context = block.steps[at + 2];
  const ValueId keys = scores.reads[1];
  const std::optional<std::size_t> rotation = block.step_showing(Tap::kKRope);
  const ValueId unrotated = rotation ? block.steps[*rotation].reads[0] : keys;
  scores.operation = foreign(odd);
  scores.reads = {scores.reads[0], keys, context.reads[1], unrotated};
  scores.writes = {scores.writes[0], softmax.writes[0], context.writes[0]};
  for (const Step* step : {&softmax, &context}) {
    scores.tensors.insert(scores.tensors.end(), step->tensors.begin(), step->tensors.end());
  }
  const auto first = block.steps.begin() + static_cast<std::ptrdiff_t>(at);
  block.steps.erase(first + 1, first + 3);
}

template <class Odd>
void store_each(Block& block, Store store) {
  change_each<Odd>(block, [store](Odd& odd, const Step&) { odd.store = store; });
}

template <class Values>
void store_foreign(Block& block, Store store) {
  for (Step& step : block.steps) {
    if (const Values* own = foreign_as<Values>(step.operation)) {
      Values values = *own;
      values.store = store;
      step.operation = foreign(std::move(values));
    }
  }
}

// What a layer with a delta rule has of its own, and rounds.
bool is_of_delta_net(const Operation& operation) {
  return std::holds_alternative<Sigmoid>(operation) || OddConv::of(operation) ||
         OddDeltaRule::of(operation) || OddGatedNorm::of(operation);
}

// Sums of kernels are rounded after them.
void store_sums(Block& block, Store store) {
  for (std::size_t s = 0; s < block.steps.size(); ++s) {
    const Operation& operation = block.steps[s].operation;
    const auto* linear = std::get_if<Linear>(&operation);
    if ((linear == nullptr || !linear->rounded) && !std::holds_alternative<Add>(operation) &&
        !std::holds_alternative<SigmoidGate>(operation) &&
        !std::holds_alternative<ScaleByPosition>(operation) &&
        !std::holds_alternative<Multiply>(operation) && !is_of_delta_net(operation) &&
        !std::holds_alternative<ExpertLinear>(operation)) {
      continue;
    }
    const std::vector<ValueId> writes = block.steps[s].writes;
    for (const ValueId v : writes) {
      Value value = block.values[v];
      block.values[v].tap.reset();
      const ValueId made = insert_step(block, s + 1, foreign(Stored{store}), {v}, std::move(value));
      replace_reads(block, s + 2, v, made);
      ++s;
    }
  }
}

}  // namespace

ValueId insert_step(Block& block, std::size_t at, Operation operation, std::vector<ValueId> reads,
                    Value value, std::vector<TensorUse> tensors) {
  const ValueId made = block.values.size();
  block.values.push_back(std::move(value));
  block.steps.insert(block.steps.begin() + static_cast<std::ptrdiff_t>(at),
                     {std::move(operation), std::move(reads), {made}, std::move(tensors)});
  return made;
}

void replace_reads(Block& block, std::size_t from, ValueId old, ValueId other) {
  for (std::size_t s = from; s < block.steps.size(); ++s) {
    std::ranges::replace(block.steps[s].reads, old, other);
  }
  if (block.result == old) block.result = other;
}

namespace {

void after(Block& block, Tap tap, const Operation& operation, bool shown) {
  const std::optional<std::size_t> step = block.step_showing(tap);
  if (!step) return;
  const std::vector<ValueId>& writes = block.steps[*step].writes;
  const ValueId own =
      *std::ranges::find_if(writes, [&](ValueId v) { return block.values[v].tap == tap; });
  Value value = block.values[own];
  (shown ? block.values[own] : value).tap.reset();
  const ValueId made = insert_step(block, *step + 1, operation, {own}, std::move(value));
  replace_reads(block, *step + 2, own, made);
}

}  // namespace

void before_shown(Block& block, Tap tap, const Operation& operation) {
  after(block, tap, operation, true);
}

void after_shown(Block& block, Tap tap, const Operation& operation) {
  after(block, tap, operation, false);
}

void before_read(Block& block, std::size_t step, std::size_t i, const Operation& operation) {
  const ValueId own = block.steps[step].reads[i];
  Value value = block.values[own];
  value.tap.reset();
  const ValueId made = insert_step(block, step, operation, {own}, std::move(value));
  block.steps[step + 1].reads[i] = made;
}

void leave_out(Block& block, std::size_t step) {
  block.steps[step].operation = foreign(Same{});
  block.steps[step].reads.resize(1);
  block.steps[step].tensors.clear();
}

Block passing(const Block& layer) {
  Block block;
  block.values = {layer.values[0], layer.values[0]};
  block.values[1].tap = Tap::kLayerOutput;
  block.steps.push_back({foreign(Same{}), {0}, {1}, {}});
  block.result = 1;
  return block;
}

std::optional<std::size_t> attention_step(const Block& block) {
  const auto found = std::ranges::find_if(block.steps, [](const Step& step) {
    return std::holds_alternative<Scores>(step.operation) ||
           foreign_as<OddAttention>(step.operation) != nullptr;
  });
  if (found == block.steps.end()) return std::nullopt;
  return static_cast<std::size_t>(found - block.steps.begin());
}

AttentionEdit::AttentionEdit(Block& block) : block_(block) {
  const std::optional<std::size_t> at = attention_step(block);
  found_ = at.has_value();
  if (!at) return;
  if (const auto* plain = std::get_if<Scores>(&block.steps[*at].operation)) {
    odd_.scores = *plain;
  } else {
    odd_ = *foreign_as<OddAttention>(block.steps[*at].operation);
  }
  before_ = odd_;
}

AttentionEdit::~AttentionEdit() {
  if (!found_ || odd_ == before_) return;
  const std::size_t at = *attention_step(block_);
  Step& step = block_.steps[at];
  OddAttention plain;
  plain.scores = odd_.scores;
  if (!std::holds_alternative<Scores>(step.operation)) {
    step.operation = foreign(odd_);
  } else if (odd_ == plain) {
    step.operation = odd_.scores;
  } else {
    put_in_full(block_, at, odd_);
  }
}

void attend_in_full(Block& block) {
  const std::optional<std::size_t> at = attention_step(block);
  if (!at) return;
  const auto* plain = std::get_if<Scores>(&block.steps[*at].operation);
  if (plain == nullptr) return;
  OddAttention odd;
  odd.scores = *plain;
  put_in_full(block, *at, odd);
}

void begin_decoding_at(Program& program, std::int64_t prompt) {
  for (Block& layer : program.layers) {
    change_each<OddRotate>(layer, [&](OddRotate& odd, const Step&) {
      if (odd.decoded && odd.decoded->from == kAfterPrompt) odd.decoded->from = prompt;
    });
    if (AttentionEdit attention(layer); attention && attention->decoding.from == kAfterPrompt) {
      attention->decoding.from = prompt;
    }
  }
}

void fill_in_tables(Program& program) {
  const auto fill = [&](OddRotate& odd) { odd.parameters = program.ropes[odd.rotate.table]; };
  for (Block& layer : program.layers) {
    for (Step& step : layer.steps) {
      const auto* odd = foreign_as<OddRotate>(step.operation);
      if (odd == nullptr) continue;
      OddRotate filled = *odd;
      fill(filled);
      step.operation = foreign(std::move(filled));
    }
    if (AttentionEdit attention(layer);
        attention && attention->decoding.fault == DecodeFault::kRotatedAgain) {
      fill(attention->again);
    }
  }
}

void store_results(Program& program, Store store) {
  const auto change = [store](Block& block) {
    store_each<OddLookup>(block, store);
    store_each<OddNorm>(block, store);
    store_each<OddRotate>(block, store);
    store_each<OddGate>(block, store);
    store_each<OddExpertWeights>(block, store);
    store_each<OddSum>(block, store);
    if (AttentionEdit attention(block); attention) {
      attention->store = attention->again.store = store;
    }
    for (Step& step : block.steps) {
      if (const auto* plain = std::get_if<Softcap>(&step.operation)) {
        step.operation = foreign(OddSoftcap{plain->cap, false, store});
      } else if (const auto* gate = std::get_if<Gate>(&step.operation);
                 gate != nullptr && gate->activation == Activation::kSwish) {
        step.operation = foreign(StoredSwish{*gate, store});
      }
    }
    store_foreign<Scaled>(block, store);
    store_foreign<Biased>(block, store);
    store_sums(block, store);
  };
  change(program.embedding);
  for (Block& layer : program.layers) change(layer);
  change(program.head);
}

}  // namespace assay
