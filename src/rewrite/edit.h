// Changes of a program: steps put in, taken out, moved; operations changed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "models/program.h"
#include "rewrite/attention.h"

namespace assay {

// Puts a step in at `at` that writes one new value.
ValueId insert_step(Block& block, std::size_t at, Operation operation, std::vector<ValueId> reads,
                    Value value, std::vector<TensorUse> tensors = {});
// Steps from `from` on that read `old` read `other`; so does who takes the block's result.
void replace_reads(Block& block, std::size_t from, ValueId old, ValueId other);

// What the tap shows passes through the operation first, and everybody goes on with that.
void before_shown(Block& block, Tap tap, const Operation& operation);
// Everybody goes on with what the operation makes of it; the tap shows what it is before.
void after_shown(Block& block, Tap tap, const Operation& operation);
// The step reads its i-th value through the operation, and nobody else does.
void before_read(Block& block, std::size_t step, std::size_t i, const Operation& operation);

// The step is taken out: whoever read its result reads its first input, which its tap shows.
void leave_out(Block& block, std::size_t step);

// A block that passes the residual stream on, with the tap of a layer's output.
Block passing(const Block& layer);

// Changes each of a block's operations of that kind, plain or odd (see OddNorm). change(odd, step)
// may leave it as it is.
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

// The same of attention's scores, softmax and context together; where the change leaves a model's
// own attention, the steps stay three.
class AttentionEdit {
 public:
  // Null `step` where the block has none.
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

// The step that runs it: scores, or an OddAttention.
std::optional<std::size_t> attention_step(const Block& block);

// Gives odd rotary embeddings the parameters of the program's tables: to be called before it runs.
void fill_in_tables(Program& program);

// All results are stored so.
void store_results(Program& program, Store store);

}  // namespace assay
