// Builds the steps of a block. parts/ has what several families share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/program.h"

namespace assay {

class Builder {
 public:
  // spec must outlive it. prefix: of the names of the block's tensors, e.g. "model.layers.3.".
  Builder(const ModelSpec& spec, std::int64_t layer, std::string prefix);

  const ModelSpec& spec() const { return spec_; }
  std::int64_t layer() const { return layer_; }
  // The current value of the residual stream.
  ValueId stream() const { return stream_; }

  // A vector by its whole name within the block.
  TensorUse named(std::string_view name, std::int64_t size) const;
  // A tensor by its name within the block; `.weight` is added to it.
  TensorUse vector(std::string_view name, std::int64_t size) const;
  TensorUse matrix(std::string_view name, std::int64_t rows, std::int64_t cols) const;
  TensorUse bias(std::string_view name, std::int64_t size) const;

  // A tensor by its name in the whole model.
  static TensorUse outside(std::string_view name, std::int64_t rows, std::int64_t cols);

  // The value that an earlier layer, or the embedding, shows as this tap.
  ValueId import(TapPlace from, std::vector<std::int64_t> shape);
  // Adds a step that writes one value, or several.
  ValueId step(Operation operation, std::vector<ValueId> reads, Value value,
               std::vector<TensorUse> tensors = {});
  std::vector<ValueId> steps(Operation operation, std::vector<ValueId> reads,
                             std::vector<Value> values, std::vector<TensorUse> tensors = {});

  // RMSNorm over the whole hidden size.
  ValueId norm(ValueId x, std::string_view tensor, std::optional<Tap> tap);
  // RMSNorm with another width, with the spec's norm parameters.
  ValueId norm(ValueId x, const TensorUse& tensor, Tap tap);
  // RMSNorm without a weight over each `width` elements.
  ValueId bare_norm(ValueId x, std::int64_t width, Tap tap);
  // Adds x to the residual stream.
  void add(ValueId x, Tap tap);
  // Replaces the residual stream by x.
  void continue_with(ValueId x) { stream_ = x; }

  Block take();

 private:
  const ModelSpec& spec_;
  std::int64_t layer_;
  std::string prefix_;
  ValueId stream_ = 0;
  Block block_;
};

}  // namespace assay
