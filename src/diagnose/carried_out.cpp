#include "diagnose/carried_out.h"

#include <algorithm>
#include <stdexcept>

#include "model/buffers.h"
#include "model/executor.h"
#include "rewrite/edit.h"
#include "rewrite/rewritten.h"

namespace assay {
namespace {

// The table with some rows replaced.
Weight with_rows(const Weight& w, const std::vector<EmbeddingRow>& rows,
                 std::vector<std::byte>& memory) {
  const std::size_t bytes = w.cols * dtype_size(w.dtype);
  memory.assign(w.data, w.data + w.rows * bytes);
  for (const EmbeddingRow& row : rows) {
    std::byte* to = &memory[static_cast<std::size_t>(row.id) * bytes];
    if (row.from < 0) {
      std::fill_n(to, bytes, std::byte{0});
    } else {
      std::copy_n(w.data + static_cast<std::size_t>(row.from) * bytes, bytes, to);
    }
  }
  return {memory.data(), w.dtype, w.rows, w.cols};
}

Program lowered(const Hypothesis& hypothesis, Store store, std::int64_t prompt) {
  Program program = hypothesis.program;
  for (std::size_t l = 0; l < hypothesis.order.size(); ++l) {
    if (hypothesis.order[l] < 0) program.layers[l] = passing(program.layers[l]);
  }
  hold(program, hypothesis.held);
  if (store != Store::kOwn) store_results(program, store);
  for (Block& layer : program.layers) attend_in_full(layer);
  begin_decoding_at(program, prompt);
  fill_in_tables(program);
  return program;
}

}  // namespace

CarriedOut::CarriedOut(const Model& model, const Hypothesis& hypothesis, Store store,
                       std::int64_t prompt)
    : model_(model),
      program_(lowered(hypothesis, store, prompt)),
      order_(hypothesis.order),
      layers_(model, hypothesis.weights, hypothesis.order) {
  // Change the table, the final norm's weight and the head's matrix.
  Weight table = model.weights.embedding.front().front();
  if (hypothesis.embedding) table = changed(table, *hypothesis.embedding, embedding_memory_);
  if (!hypothesis.embedding_rows.empty()) {
    table = with_rows(table, hypothesis.embedding_rows, rows_memory_);
  }
  BlockWeights table_alone = model.weights.embedding;
  table_alone.front().front() = table;
  embedding_ = weights_of(program_.embedding, model.program.embedding, table_alone);
  const Block& own = model.program.head;
  BlockWeights weights = model.weights.head;
  const auto step_of = [&](Tap tap) { return *own.step_showing(tap); };
  Weight& norm = weights[step_of(Tap::kFinalNormOutput)].front();
  for (const WeightChange& change : hypothesis.weights) {
    if (is_of_all_norms(change)) norm = changed(norm, change, norm_memory_);
  }
  Weight& lm_head = weights[head_matrix_step(own)].front();
  if (hypothesis.head) lm_head = changed(lm_head, *hypothesis.head, head_memory_);
  if (hypothesis.rows_in_head) lm_head = table;
  for (const Step& step : program_.head.steps) {
    std::vector<Weight>& of_step = head_.emplace_back();
    for (const TensorUse& tensor : step.tensors) {
      const auto it = std::ranges::find_if(own.steps, [&](const Step& s) {
        return !s.tensors.empty() && s.tensors.front() == tensor;
      });
      of_step.push_back(it == own.steps.end()
                            ? weight(tensor)
                            : weights[static_cast<std::size_t>(it - own.steps.begin())].front());
    }
  }
}

// A tensor of another place: the embedding as changed, or that of a layer.
Weight CarriedOut::weight(const TensorUse& tensor) const {
  if (model_.program.embedding.steps.front().tensors.front() == tensor) {
    return embedding_.front().front();
  }
  for (std::size_t l = 0; l < model_.program.layers.size(); ++l) {
    const Block& layer = model_.program.layers[l];
    for (std::size_t s = 0; s < layer.steps.size(); ++s) {
      const std::vector<TensorUse>& tensors = layer.steps[s].tensors;
      const auto it = std::ranges::find(tensors, tensor);
      if (it == tensors.end()) continue;
      return model_.weights.layers[l][s][static_cast<std::size_t>(it - tensors.begin())];
    }
  }
  throw std::logic_error("no such tensor in the model: " + tensor.name);
}

const BlockWeights& CarriedOut::weights(std::int64_t which) {
  using Any = Executor<F32>;
  if (which == Any::kEmbedding) return embedding_;
  if (which == Any::kHead) return head_;
  const auto l = static_cast<std::size_t>(which);
  const bool left_out = !order_.empty() && order_[l] < 0;
  const Block& own = model_.program.layers[l];
  const BlockWeights& read = left_out ? model_.weights.layers[l] : layers_.layer(which);
  layer_ = weights_of(program_.layers[l], own, read);
  return layer_;
}

}  // namespace assay
