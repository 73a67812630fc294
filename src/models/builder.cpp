#include "models/builder.h"

#include <utility>

namespace assay {

Builder::Builder(const ModelSpec& spec, std::int64_t layer, std::string prefix)
    : spec_(spec), layer_(layer), prefix_(std::move(prefix)) {
  block_.values.push_back({{spec.hidden_size}, std::nullopt});
}

TensorUse Builder::named(std::string_view name, std::int64_t size) const {
  return {prefix_ + std::string(name), 0, size, 0, 0};
}

TensorUse Builder::vector(std::string_view name, std::int64_t size) const {
  return named(std::string(name) + ".weight", size);
}

TensorUse Builder::matrix(std::string_view name, std::int64_t rows, std::int64_t cols) const {
  return {prefix_ + std::string(name) + ".weight", rows, cols, 0, rows};
}

TensorUse Builder::bias(std::string_view name, std::int64_t size) const {
  return named(std::string(name) + ".bias", size);
}

TensorUse Builder::outside(std::string_view name, std::int64_t rows, std::int64_t cols) {
  return {std::string(name) + ".weight", rows, cols, 0, rows};
}

ValueId Builder::import(TapPlace from, std::vector<std::int64_t> shape) {
  const ValueId value = block_.values.size();
  block_.values.push_back({std::move(shape), std::nullopt});
  block_.imports.push_back({value, from});
  return value;
}

ValueId Builder::step(Operation operation, std::vector<ValueId> reads, Value value,
                      std::vector<TensorUse> tensors) {
  return steps(operation, std::move(reads), {std::move(value)}, std::move(tensors)).front();
}

std::vector<ValueId> Builder::steps(Operation operation, std::vector<ValueId> reads,
                                    std::vector<Value> values, std::vector<TensorUse> tensors) {
  std::vector<ValueId> writes;
  for (Value& value : values) {
    writes.push_back(block_.values.size());
    block_.values.push_back(std::move(value));
  }
  block_.steps.push_back({operation, std::move(reads), writes, std::move(tensors)});
  return writes;
}

ValueId Builder::norm(ValueId x, std::string_view tensor, std::optional<Tap> tap) {
  const NormSpec& norm = spec_.norm;
  return step(RmsNorm{spec_.rms_norm_eps, spec_.hidden_size, norm.one_plus, norm.rounded_once}, {x},
              {{spec_.hidden_size}, tap}, {vector(tensor, spec_.hidden_size)});
}

ValueId Builder::norm(ValueId x, const TensorUse& tensor, Tap tap) {
  const NormSpec& norm = spec_.norm;
  return step(RmsNorm{spec_.rms_norm_eps, tensor.cols, norm.one_plus, norm.rounded_once}, {x},
              {block_.values[x].shape, tap}, {tensor});
}

ValueId Builder::bare_norm(ValueId x, std::int64_t width, Tap tap) {
  return step(RmsNorm{spec_.rms_norm_eps, width, false, spec_.norm.rounded_once}, {x},
              {block_.values[x].shape, tap});
}

void Builder::add(ValueId x, Tap tap) {
  stream_ = step(Add{}, {x, stream_}, {{spec_.hidden_size}, tap});
}

Block Builder::take() {
  block_.result = stream_;
  return std::move(block_);
}

}  // namespace assay
