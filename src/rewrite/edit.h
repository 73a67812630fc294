// Edits of a program: inserts, removes and moves steps, and changes operations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "models/program.h"
#include "rewrite/attention.h"

namespace assay {

// Inserts a step at `at` that writes one new value.
ValueId insert_step(Block& block, std::size_t at, Operation operation, std::vector<ValueId> reads,
                    Value value, std::vector<TensorUse> tensors = {});
// Lets steps from `from` on, and the block's result, use `other` instead of `old`.
void replace_reads(Block& block, std::size_t from, ValueId old, ValueId other);

// Applies the operation to the value that the tap shows; the tap and all readers get the result.
void before_shown(Block& block, Tap tap, const Operation& operation);
// Applies the operation to the value after the tap has shown it; all readers get the result.
void after_shown(Block& block, Tap tap, const Operation& operation);
// Applies the operation to the step's i-th input, for this step only.
void before_read(Block& block, std::size_t step, std::size_t i, const Operation& operation);

// Removes the step: readers of its result read its first input, which its tap shows.
void leave_out(Block& block, std::size_t step);

// A block that passes on the residual stream, with the tap of a layer's output.
Block passing(const Block& layer);

// Calls change(odd, step) for each of a block's operations of that kind, plain or odd (see
// OddNorm).
template <class Odd, class Change>
void change_each(Block& block, const Change& change) {
  for (Step& step : block.steps) {
    std::optional<Odd> odd = Odd::of(step.operation);
    if (!odd) continue;
    const Odd before = *odd;
    change(*odd, std::as_const(step));
    if (*odd != before) step.operation = odd->operation();
  }
}

// The same for attention's scores, softmax and context together. If the change leaves a model's own
// attention, the steps stay three.
class AttentionEdit {
 public:
  // `step` is null if the block has none.
  explicit AttentionEdit(Block& block);
  ~AttentionEdit();
  AttentionEdit(const AttentionEdit&) = delete;
  AttentionEdit& operator=(const AttentionEdit&) = delete;

  explicit operator bool() const { return found_; }
  OddAttention* operator->() { return &odd_; }
  OddAttention& operator*() { return odd_; }

 private:
  Block& block_;
  bool found_ = false;
  OddAttention odd_, before_;
};

// Runs each attention in full, as one step.
void attend_in_full(Block& block);

// The step that runs attention: scores, or an OddAttention.
std::optional<std::size_t> attention_step(const Block& block);

// Gives odd rotary embeddings the parameters of the program's tables. Call it before running.
void fill_in_tables(Program& program);

// Puts the prompt's length in the place of kAfterPrompt. Call it before running.
void begin_decoding_at(Program& program, std::int64_t prompt);

// Stores all results in this way.
void store_results(Program& program, Store store);

}  // namespace assay
