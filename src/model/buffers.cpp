#include "model/buffers.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <variant>

namespace assay {
namespace {

std::size_t width_of(const Value& value) {
  return static_cast<std::size_t>(std::accumulate(value.shape.begin(), value.shape.end(),
                                                  std::int64_t{1}, std::multiplies<>()));
}

// The values that a step reads and may overwrite, the best one first.
std::vector<ValueId> may_write_over(const Step& step) {
  if (std::holds_alternative<RmsNorm>(step.operation) ||
      std::holds_alternative<Rotate>(step.operation) ||
      std::holds_alternative<ScaleByPosition>(step.operation) ||
      std::holds_alternative<Multiply>(step.operation) ||
      std::holds_alternative<SigmoidGate>(step.operation) ||
      std::holds_alternative<Sigmoid>(step.operation) ||
      std::holds_alternative<Decay>(step.operation) ||
      std::holds_alternative<GatedNorm>(step.operation) ||
      std::holds_alternative<RouterScores>(step.operation) ||
      std::holds_alternative<CorrectScores>(step.operation) ||
      std::holds_alternative<Softcap>(step.operation)) {
    return {step.reads[0]};
  }
  if (std::holds_alternative<Add>(step.operation) || std::holds_alternative<Gate>(step.operation)) {
    return {step.reads[1], step.reads[0]};
  }
  return {};
}

class Planner {
 public:
  explicit Planner(const Block& block) : block_(block), last_use_(block.values.size(), 0) {
    for (std::size_t s = 0; s < block.steps.size(); ++s) {
      for (const ValueId v : block.steps[s].reads) last_use_[v] = s + 1;
    }
    last_use_[block.result] = block.steps.size() + 1;
    // Imported values have no buffer of the block.
    for (const Import& import : block.imports) last_use_[import.value] = block.steps.size() + 1;
    for (const Value& value : block.values) plan_.widths.push_back(width_of(value));
    plan_.buffers.resize(block.values.size());
    plan_.buffers[0] = 0;
    plan_.buffer_widths.push_back(plan_.widths[0]);
    owner_ = {last_use_[0] == 0 ? kNobody : 0};
  }

  BufferPlan run(std::size_t steps) {
    for (std::size_t s = 0; s < steps; ++s) {
      const Step& step = block_.steps[s];
      for (const ValueId v : step.writes) place(v, &step, s);
      if (std::holds_alternative<Scores>(step.operation)) {
        place(block_.steps[context_step(block_, s)].writes[0], nullptr, s);
      }
      // Release values that are not read again, or are never read.
      for (const std::vector<ValueId>* values : {&step.reads, &step.writes}) {
        for (const ValueId v : *values) {
          if (plan_.buffers[v] && last_use_[v] <= s + 1) release(v);
        }
      }
    }
    return std::move(plan_);
  }

 private:
  void place(ValueId v, const Step* step, std::size_t s) {
    if (plan_.buffers[v] || block_.values[v].over_keys) return;
    for (const ValueId over : step != nullptr ? may_write_over(*step) : std::vector<ValueId>{}) {
      if (last_use_[over] != s + 1 || plan_.widths[over] != plan_.widths[v]) continue;
      plan_.buffers[v] = plan_.buffers[over];
      owner_[*plan_.buffers[v]] = v;
      return;
    }
    const bool as_stream = v == block_.result && owner_[0] == kNobody;
    const std::size_t buffer = as_stream ? 0 : best(plan_.widths[v]);
    plan_.buffers[v] = buffer;
    owner_[buffer] = v;
    plan_.buffer_widths[buffer] = std::max(plan_.buffer_widths[buffer], plan_.widths[v]);
  }

  // The narrowest free buffer that is wide enough, or else the widest.
  std::size_t best(std::size_t width) {
    std::optional<std::size_t> found;
    for (std::size_t b = 1; b < owner_.size(); ++b) {
      if (owner_[b] != kNobody) continue;
      const std::size_t own = plan_.buffer_widths[b];
      if (!found) {
        found = b;
        continue;
      }
      const std::size_t other = plan_.buffer_widths[*found];
      if (other < width ? own > other : own >= width && own < other) found = b;
    }
    if (found) return *found;
    owner_.push_back(kNobody);
    plan_.buffer_widths.push_back(width);
    return owner_.size() - 1;
  }

  // Frees the value's buffer unless another value has overwritten it.
  void release(ValueId v) {
    ValueId& owner = owner_[*plan_.buffers[v]];
    if (owner == v) owner = kNobody;
  }

  static constexpr ValueId kNobody = std::numeric_limits<ValueId>::max();

  const Block& block_;
  std::vector<std::size_t> last_use_;  // per value: one more than the step's index
  BufferPlan plan_;
  std::vector<ValueId> owner_;  // per buffer
};

}  // namespace

namespace {

std::size_t reader_of(const Block& block, std::size_t step) {
  const ValueId written = block.steps[step].writes[0];
  for (std::size_t s = step + 1; s < block.steps.size(); ++s) {
    if (std::ranges::count(block.steps[s].reads, written) > 0) return s;
  }
  throw std::logic_error("attention without its softmax or context");
}

}  // namespace

std::size_t softmax_step(const Block& block, std::size_t scores) {
  return reader_of(block, scores);
}

std::size_t context_step(const Block& block, std::size_t scores) {
  const std::size_t context = reader_of(block, softmax_step(block, scores));
  if (!std::holds_alternative<Context>(block.steps[context].operation)) {
    throw std::logic_error("attention's probabilities are not read by a Context step");
  }
  return context;
}

std::size_t head_matrix_step(const Block& head) {
  std::size_t step = head.steps.size();
  while (step-- > 0) {
    if (std::holds_alternative<Linear>(head.steps[step].operation)) return step;
  }
  throw std::logic_error("a head without its matrix");
}

BufferPlan plan_buffers(const Block& block, std::size_t steps) { return Planner(block).run(steps); }

}  // namespace assay
