#include "diagnose/weight_change.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/half.h"
#include "base/widen.h"
#include "numerics/operand_rounding.h"

namespace assay {
namespace {

using Kind = WeightChange::Kind;

constexpr std::array<std::string_view, kPartCount> kNames = {
    "input_layernorm",
    "q_proj",
    "k_proj",
    "v_proj",
    "q_proj.bias",
    "k_proj.bias",
    "v_proj.bias",
    "q_norm",
    "k_norm",
    "o_proj",
    "o_proj.bias",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "mlp.gate",
    "gate_proj",
    "up_proj",
    "down_proj",
    "gate_proj.bias",
    "up_proj.bias",
    "down_proj.bias",
    "post_feedforward_layernorm",
};

constexpr std::array kNorms = {Part::kInputNorm,    Part::kQNorm,   Part::kKNorm,
                               Part::kAttnPostNorm, Part::kMlpNorm, Part::kMlpPostNorm};

std::size_t row_bytes(const Weight& w) { return w.cols * dtype_size(w.dtype); }

const std::byte* row(const Weight& w, std::size_t r) { return w.data + r * row_bytes(w); }

// Out of a matrix of the same bytes, row by row.
template <class Source>
Weight gather(const Weight& shape, std::byte* to, const Source& source) {
  for (std::size_t r = 0; r < shape.rows; ++r) {
    std::memcpy(to + r * row_bytes(shape), source(r), row_bytes(shape));
  }
  return {to, shape.dtype, shape.rows, shape.cols};
}

double flushed_f16(double x) {
  const float rounded = f16_to_f32(f32_to_f16(static_cast<float>(x)));
  return std::abs(rounded) < 0x1p-14F ? 0.0 : rounded;
}

// In FP32, as quantisers compute: half-way cases are common (half of the largest is one). torchao,
// whose levels are 127.5, multiplies by the inverse of the step, which tells them otherwise.
void quantize(std::span<float> row, std::size_t group, float levels) {
  const float most = std::floor(levels);
  const bool inverse = most != levels;
  for (std::size_t begin = 0; begin < row.size(); begin += group) {
    const auto block = row.subspan(begin, std::min(group, row.size() - begin));
    float largest = 0;
    for (const float x : block) largest = std::max(largest, std::abs(x));
    const float step = largest / levels;
    if (step == 0) continue;
    for (float& x : block) {
      const float steps = std::nearbyint(inverse ? x * (1 / step) : x / step);
      x = std::clamp(steps, -most - 1, most) * step;
    }
  }
}

// As F32, because the values are on no 16-bit grid.
Weight quantized(const Weight& w, Kind kind, std::byte* to) {
  std::vector<float> values(w.cols);
  for (std::size_t r = 0; r < w.rows; ++r) {
    widen(w.dtype, row(w, r), static_cast<std::ptrdiff_t>(dtype_size(w.dtype)),
          std::span<float>(values));
    if (kind == Kind::kInt8) quantize(values, values.size(), 127);
    if (kind == Kind::kInt8Wide) quantize(values, values.size(), 127.5F);
    if (kind == Kind::kInt4) quantize(values, 32, 7);
    if (kind == Kind::kFp8) round_operand(OperandType::kF8, std::span(values), values.size());
    if (kind == Kind::kFp8Row) round_operand(OperandType::kF8Row, std::span(values), values.size());
    const auto one_plus = [&](DType sum) {
      for (float& x : values) x = static_cast<float>(rounded_to(sum, 1.0 + x) - 1.0);
    };
    if (kind == Kind::kOnePlusBf16) one_plus(DType::kBF16);
    if (kind == Kind::kOnePlusF16) one_plus(DType::kF16);
    if (kind == Kind::kF16) {
      for (float& x : values) x = static_cast<float>(flushed_f16(x));
    }
    std::memcpy(to + r * w.cols * sizeof(float), values.data(), w.cols * sizeof(float));
  }
  const Weight made{to, DType::kF32, w.rows, w.cols};
  if (kind == Kind::kFp8Tensor) {
    round_operand(OperandType::kF8Tensor, std::span(reinterpret_cast<float*>(to), w.rows * w.cols),
                  w.cols);
  }
  return made;
}

std::size_t bytes_after(const Weight& w, Kind kind) {
  const bool wide = kind == Kind::kInt8 || kind == Kind::kInt8Wide || kind == Kind::kInt4 ||
                    kind == Kind::kFp8 || kind == Kind::kFp8Row || kind == Kind::kFp8Tensor ||
                    kind == Kind::kF16 || kind == Kind::kOnePlusBf16 || kind == Kind::kOnePlusF16;
  return w.rows * w.cols * (wide ? sizeof(float) : dtype_size(w.dtype));
}

Weight changed(const Weight& w, const WeightChange& change, std::byte* to) {
  const auto rows = static_cast<std::int64_t>(w.rows);
  switch (change.kind) {
    case Kind::kTransposed: {
      const std::size_t size = dtype_size(w.dtype);
      for (std::size_t r = 0; r < w.rows; ++r) {
        for (std::size_t c = 0; c < w.cols; ++c) {
          std::memcpy(to + (r * w.cols + c) * size, w.data + (c * w.rows + r) * size, size);
        }
      }
      return {to, w.dtype, w.rows, w.cols};
    }
    case Kind::kRowsShifted:
      return gather(w, to, [&](std::size_t r) {
        const std::int64_t from = static_cast<std::int64_t>(r) + change.amount;
        return row(w, static_cast<std::size_t>(((from % rows) + rows) % rows));
      });
    case Kind::kZero:
      std::memset(to, 0, bytes_after(w, change.kind));
      return {to, w.dtype, w.rows, w.cols};
    case Kind::kBf16AsF16:
      if (w.dtype != DType::kBF16) return w;
      return {w.data, DType::kF16, w.rows, w.cols};
    default:
      return quantized(w, change.kind, to);
  }
}

}  // namespace

std::string_view part_name(const ModelSpec& spec, Part part) {
  // The one norm whose name says where it stands, and not what it is before.
  if (part == Part::kMlpNorm && !spec.has_norms_after()) return "post_attention_layernorm";
  return kNames.at(static_cast<std::size_t>(part));
}

bool has_part(const ModelSpec& spec, Part part) {
  switch (part) {
    case Part::kInputNorm:
    case Part::kMlpNorm:
      return spec.has_norms_before();
    case Part::kAttnPostNorm:
    case Part::kMlpPostNorm:
      return spec.has_norms_after();
    case Part::kQNorm:
    case Part::kKNorm:
      return spec.qk_norm;
    case Part::kQBias:
    case Part::kKBias:
    case Part::kVBias:
      return spec.qkv_bias;
    case Part::kOBias:
      return spec.o_bias;
    case Part::kGateBias:
    case Part::kUpBias:
    case Part::kDownBias:
      return spec.mlp_bias;
    case Part::kRouter:
      return spec.moe.num_experts > 0;
    default:
      return true;
  }
}

namespace {

Weight LayerWeights::*of_layer(Part part) {
  switch (part) {
    case Part::kInputNorm:
      return &LayerWeights::input_norm;
    case Part::kQ:
      return &LayerWeights::q_proj;
    case Part::kK:
      return &LayerWeights::k_proj;
    case Part::kV:
      return &LayerWeights::v_proj;
    case Part::kQBias:
      return &LayerWeights::q_bias;
    case Part::kKBias:
      return &LayerWeights::k_bias;
    case Part::kVBias:
      return &LayerWeights::v_bias;
    case Part::kQNorm:
      return &LayerWeights::q_norm;
    case Part::kKNorm:
      return &LayerWeights::k_norm;
    case Part::kO:
      return &LayerWeights::o_proj;
    case Part::kOBias:
      return &LayerWeights::o_bias;
    case Part::kAttnPostNorm:
      return &LayerWeights::attn_post_norm;
    case Part::kMlpNorm:
      return &LayerWeights::mlp_norm;
    case Part::kRouter:
      return &LayerWeights::router;
    case Part::kMlpPostNorm:
      return &LayerWeights::mlp_post_norm;
    default:
      return nullptr;
  }
}

Weight MlpWeights::*of_mlp(Part part) {
  switch (part) {
    case Part::kGate:
      return &MlpWeights::gate_proj;
    case Part::kUp:
      return &MlpWeights::up_proj;
    case Part::kGateBias:
      return &MlpWeights::gate_bias;
    case Part::kUpBias:
      return &MlpWeights::up_bias;
    case Part::kDownBias:
      return &MlpWeights::down_bias;
    default:
      return &MlpWeights::down_proj;
  }
}

}  // namespace

std::vector<Weight*> tensors_of(LayerWeights& layer, Part part) {
  std::vector<Weight*> all;
  if (const auto member = of_layer(part)) {
    all.push_back(&(layer.*member));
  } else {
    all.push_back(&(layer.mlp.*of_mlp(part)));
    for (MlpWeights& expert : layer.experts) all.push_back(&(expert.*of_mlp(part)));
  }
  std::erase_if(all, [](const Weight* w) { return w->data == nullptr; });
  return all;
}

Weight changed(const Weight& w, const WeightChange& change, std::vector<std::byte>& memory) {
  memory.resize(bytes_after(w, change.kind));
  return changed(w, change, memory.data());
}

ChangedWeights::ChangedWeights(const Model& model, std::vector<WeightChange> changes,
                               LayerOrder order)
    : model_(model), changes_(std::move(changes)), order_(std::move(order)) {}

std::byte* ChangedWeights::keep(std::size_t bytes) {
  if (used_ == made_.size()) made_.emplace_back();
  std::vector<std::byte>& memory = made_[used_++];
  memory.resize(bytes);
  return memory.data();
}

LayerWeights ChangedWeights::stored(std::int64_t l) const {
  return model_.layers.at(static_cast<std::size_t>(l));
}

const LayerWeights* ChangedWeights::layer(std::int64_t l) {
  const std::int64_t from = order_.empty() ? l : order_.at(static_cast<std::size_t>(l));
  if (from < 0) return nullptr;
  used_ = 0;
  layer_ = stored(from);
  for (const WeightChange& change : changes_) {
    if (change.layers.empty() || std::ranges::count(change.layers, l) > 0) {
      apply(change, from, layer_);
    }
  }
  return &layer_;
}

namespace {

// Of two parts' tensors, those that belong together; none where their shapes differ.
template <class Exchange>
void for_each_pair(const std::vector<Weight*>& a, const std::vector<Weight*>& b,
                   const Exchange& exchange) {
  if (a.size() != b.size()) return;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i]->rows == b[i]->rows && a[i]->cols == b[i]->cols) exchange(*a[i], *b[i]);
  }
}

}  // namespace

void ChangedWeights::apply(const WeightChange& change, std::int64_t l, LayerWeights& w) {
  switch (change.kind) {
    case Kind::kTransposed:
    case Kind::kRowsShifted:
    case Kind::kZero:
      for (Weight* part : tensors_of(w, change.part)) replace(*part, change);
      return;
    case Kind::kExchanged:
      for_each_pair(tensors_of(w, change.part), tensors_of(w, change.other),
                    [](Weight& a, Weight& b) { std::swap(a, b); });
      return;
    case Kind::kCopied:
      for_each_pair(tensors_of(w, change.part), tensors_of(w, change.other),
                    [](Weight& a, const Weight& b) { a = b; });
      return;
    case Kind::kFinalNorm:
      for (Weight* part : tensors_of(w, change.part)) *part = model_.outer.norm;
      return;
    case Kind::kNormsMoved:
      std::swap(w.input_norm, w.attn_post_norm);
      std::swap(w.mlp_norm, w.mlp_post_norm);
      return;
    case Kind::kFromLayer: {
      const std::int64_t from = l + change.amount;
      if (from < 0 || from >= std::ssize(model_.layers)) return;
      LayerWeights other = stored(from);
      for_each_pair(tensors_of(w, change.part), tensors_of(other, change.part),
                    [](Weight& a, const Weight& b) { a = b; });
      return;
    }
    case Kind::kPermuted:
      for (Weight* part : tensors_of(w, change.part)) *part = permuted(*part, change.amount);
      return;
    case Kind::kQkvGrouped:
      return split_by_groups(w);
    case Kind::kGateUpMixed:
      mix_gate_and_up(w.mlp);
      for (MlpWeights& expert : w.experts) mix_gate_and_up(expert);
      return;
    case Kind::kInt8:
    case Kind::kInt8Wide:
    case Kind::kInt4:
    case Kind::kFp8:
    case Kind::kFp8Row:
    case Kind::kFp8Tensor:
      for (const Part p : kMatrices) {
        for (Weight* matrix : tensors_of(w, p)) replace(*matrix, change);
      }
      return;
    case Kind::kOnePlusBf16:
    case Kind::kOnePlusF16:
      for (const Part p : kNorms) {
        for (Weight* norm : tensors_of(w, p)) replace(*norm, change);
      }
      return;
    case Kind::kF16:
    case Kind::kBf16AsF16:
      for (int p = 0; p < kPartCount; ++p) {
        for (Weight* tensor : tensors_of(w, static_cast<Part>(p))) replace(*tensor, change);
      }
      return;
  }
}

void ChangedWeights::replace(Weight& part, const WeightChange& change) {
  part = changed(part, change, keep(bytes_after(part, change.kind)));
}

Weight ChangedWeights::permuted(const Weight& part, std::int64_t way) {
  const auto n = static_cast<std::size_t>(model_.spec.head_dim);
  return gather(part, keep(bytes_after(part, Kind::kPermuted)), [&](std::size_t r) {
    const std::size_t i = r % n;
    const std::size_t interleaved = i < n / 2 ? 2 * i : 2 * (i - n / 2) + 1;
    const std::size_t halved = i % 2 == 0 ? i / 2 : i / 2 + n / 2;
    return row(part, r - i + (way > 0 ? halved : interleaved));
  });
}

// The fused matrix holds, for each key/value head, its query heads, its key and its value.
void ChangedWeights::split_by_groups(LayerWeights& w) {
  const auto n = static_cast<std::size_t>(model_.spec.head_dim);
  const auto kv_heads = static_cast<std::size_t>(model_.spec.num_key_value_heads);
  const std::size_t group = w.q_proj.rows / n / kv_heads;
  const LayerWeights own = w;
  const auto fused = [&](std::size_t r) {
    const std::size_t g = r / ((group + 2) * n);
    const std::size_t in = r % ((group + 2) * n);
    if (in < group * n) return row(own.q_proj, g * group * n + in);
    if (in < (group + 1) * n) return row(own.k_proj, g * n + in - group * n);
    return row(own.v_proj, g * n + in - (group + 1) * n);
  };
  const auto split = [&](const Weight& shape, std::size_t first) {
    return gather(shape, keep(bytes_after(shape, Kind::kQkvGrouped)),
                  [&](std::size_t r) { return fused(first + r); });
  };
  w.q_proj = split(own.q_proj, 0);
  w.k_proj = split(own.k_proj, own.q_proj.rows);
  w.v_proj = split(own.v_proj, own.q_proj.rows + own.k_proj.rows);
}

void ChangedWeights::mix_gate_and_up(MlpWeights& w) {
  if (w.gate_proj.data == nullptr) return;
  const MlpWeights own = w;
  const auto fused = [&](std::size_t r) {
    return row(r % 2 == 0 ? own.gate_proj : own.up_proj, r / 2);
  };
  const std::size_t bytes = bytes_after(own.gate_proj, Kind::kGateUpMixed);
  w.gate_proj = gather(own.gate_proj, keep(bytes), fused);
  w.up_proj = gather(own.up_proj, keep(bytes),
                     [&](std::size_t r) { return fused(own.gate_proj.rows + r); });
}

}  // namespace assay
