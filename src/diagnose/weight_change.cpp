#include "diagnose/weight_change.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "base/half.h"
#include "base/widen.h"
#include "candidate/data_flow.h"
#include "rewrite/operand_rounding.h"

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
    "the router",
    "gate_proj",
    "up_proj",
    "down_proj",
    "gate_proj.bias",
    "up_proj.bias",
    "down_proj.bias",
    "post_feedforward_layernorm",
    "the shared expert's gate_proj",
    "the shared expert's up_proj",
    "the shared expert's down_proj",
    "shared_expert_gate",
    "in_proj_qkv",
    "in_proj_z",
    "in_proj_b",
    "in_proj_a",
    "in_proj_qkvz",
    "in_proj_ba",
    "conv1d",
    "A_log",
    "dt_bias",
    "linear_attn.norm",
    "linear_attn.out_proj",
};

constexpr std::array kNorms = {Part::kInputNorm,    Part::kQNorm,   Part::kKNorm,
                               Part::kAttnPostNorm, Part::kMlpNorm, Part::kMlpPostNorm};

const std::byte* row(const Weight& w, std::size_t r) { return w.data + r * w.row_bytes(); }

// A copy of the matrix, row by row.
template <class Source>
Weight gather(const Weight& shape, std::byte* to, const Source& source) {
  for (std::size_t r = 0; r < shape.rows; ++r) {
    std::memcpy(to + r * shape.row_bytes(), source(r), shape.row_bytes());
  }
  return {to, shape.dtype, shape.rows, shape.cols};
}

double flushed_f16(double x) {
  const float rounded = f16_to_f32(f32_to_f16(static_cast<float>(x)));
  return std::abs(rounded) < 0x1p-14F ? 0.0 : rounded;
}

// Computes in FP32, as quantisers do, because ties are common (half of the largest is one).
// torchao, with 127.5 levels, multiplies by the inverse of the step, which decides ties
// differently.
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

// The result is F32, because the values are on no 16-bit grid.
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
    case Kind::kNibbles:
      for (std::size_t r = 0; r < w.rows; ++r) {
        const std::size_t size = dtype_size(w.dtype);
        for (std::size_t c = 0; c < w.cols; ++c) {
          std::memcpy(to + (r * w.cols + c) * size, row(w, r) + (c ^ 1) * size, size);
        }
      }
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
  // The name of this norm says where it is, not what it precedes.
  if (part == Part::kMlpNorm && !has_norms_after(spec)) return "post_attention_layernorm";
  return kNames.at(static_cast<std::size_t>(part));
}

namespace {

// Of a layer with a delta rule, whose operations have several results.
std::optional<Part> part_of_delta(std::string_view name) {
  constexpr std::string_view kDelta = "linear_attn.";
  const std::size_t at = name.find(kDelta);
  if (at == name.npos) return std::nullopt;
  std::string_view own = name.substr(at + kDelta.size());
  constexpr std::string_view kWeight = ".weight";
  if (own.ends_with(kWeight)) own.remove_suffix(kWeight.size());
  for (int p = static_cast<int>(Part::kDeltaQkv); p < kPartCount; ++p) {
    std::string_view part = kNames.at(static_cast<std::size_t>(p));
    if (part.starts_with(kDelta)) part.remove_prefix(kDelta.size());
    if (own == part) return static_cast<Part>(p);
  }
  return std::nullopt;
}

// The part that a tensor of a step belongs to, by the tap of the step's result.
std::optional<Part> part_of(const Step& step, const TensorUse& tensor, std::optional<Tap> tap,
                            bool bias) {
  if (const std::optional<Part> delta = part_of_delta(tensor.name)) return delta;
  // The queries' matrix has rows of attention's gate too, which are taken apart later.
  if (!tap && tensor.name.find(".self_attn.q_proj.") != tensor.name.npos) {
    return bias ? Part::kQBias : Part::kQ;
  }
  // The outputs of experts have no tap.
  if (std::holds_alternative<ExpertLinear>(step.operation) && !tap) {
    return bias ? Part::kDownBias : Part::kDown;
  }
  if (!tap || std::holds_alternative<CorrectScores>(step.operation)) return std::nullopt;
  switch (*tap) {
    case Tap::kInputNorm:
      return Part::kInputNorm;
    case Tap::kQProj:
      return bias ? Part::kQBias : Part::kQ;
    case Tap::kKProj:
      return bias ? Part::kKBias : Part::kK;
    case Tap::kVProj:
      return bias ? Part::kVBias : Part::kV;
    case Tap::kQNorm:
      return Part::kQNorm;
    case Tap::kKNorm:
      return Part::kKNorm;
    case Tap::kAttnOutput:
      return bias ? Part::kOBias : Part::kO;
    case Tap::kAttnPostNorm:
      return Part::kAttnPostNorm;
    case Tap::kMlpNorm:
      return Part::kMlpNorm;
    case Tap::kRouterLogits:
      return bias ? Part::kRouterBias : Part::kRouter;
    case Tap::kGateProj:
      return bias ? Part::kGateBias : Part::kGate;
    case Tap::kUpProj:
      return bias ? Part::kUpBias : Part::kUp;
    case Tap::kSharedGateProj:
      return Part::kSharedGate;
    case Tap::kSharedUpProj:
      return Part::kSharedUp;
    case Tap::kSharedOutput:
      return Part::kSharedDown;
    case Tap::kSharedGate:
      return Part::kSharedExpertGate;
    case Tap::kMlpOutput:
      return bias ? Part::kDownBias : Part::kDown;
    case Tap::kMlpPostNorm:
      return Part::kMlpPostNorm;
    default:
      return std::nullopt;
  }
}

// Calls found(step, tensor) for the part's tensors, with their indices in the layer and the step.
template <class Found>
void find_tensors(const Block& layer, Part part, const Found& found) {
  for (std::size_t s = 0; s < layer.steps.size(); ++s) {
    const Step& step = layer.steps[s];
    const bool of_norm = std::holds_alternative<RmsNorm>(step.operation);
    std::size_t matrices = 0;
    for (std::size_t t = 0; t < step.tensors.size(); ++t) {
      const bool bias = !of_norm && step.tensors[t].rows == 0;
      if (!bias || matrices == 0) ++matrices;
      const std::size_t output = matrices - 1;
      const std::optional<Tap> tap = layer.values[step.writes[output]].tap;
      if (part_of(step, step.tensors[t], tap, bias) == part) found(s, t);
    }
  }
}

}  // namespace

bool has_part(const Program& program, Part part) {
  return std::ranges::any_of(program.layers, [part](const Block& layer) {
    bool found = false;
    find_tensors(layer, part, [&found](std::size_t, std::size_t) { found = true; });
    return found;
  });
}

std::vector<Weight*> tensors_of(const Block& layer, BlockWeights& weights, Part part) {
  std::vector<Weight*> all;
  find_tensors(layer, part, [&](std::size_t s, std::size_t t) {
    // In an MoE layer, that of one expert after the other.
    const std::size_t stride = layer.steps[s].tensors.size();
    for (; t < weights[s].size(); t += stride) all.push_back(&weights[s][t]);
  });
  return all;
}

std::vector<const TensorUse*> tensors_of(const Block& layer, Part part) {
  std::vector<const TensorUse*> all;
  find_tensors(layer, part,
               [&](std::size_t s, std::size_t t) { all.push_back(&layer.steps[s].tensors[t]); });
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

const Block& ChangedWeights::block(std::int64_t l) const {
  return model_.program.layers.at(static_cast<std::size_t>(l));
}

const BlockWeights& ChangedWeights::layer(std::int64_t l) {
  const std::int64_t from = order_.empty() ? l : order_.at(static_cast<std::size_t>(l));
  used_ = 0;
  layer_ = model_.weights.layers.at(static_cast<std::size_t>(from));
  for (const WeightChange& change : changes_) {
    if (change.layers.empty() || std::ranges::count(change.layers, l) > 0) {
      apply(change, from, layer_);
    }
  }
  return layer_;
}

namespace {

// Calls exchange for corresponding tensors of two parts whose shapes are equal.
template <class Exchange>
void for_each_pair(const std::vector<Weight*>& a, const std::vector<Weight*>& b,
                   const Exchange& exchange) {
  if (a.size() != b.size()) return;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i]->rows == b[i]->rows && a[i]->cols == b[i]->cols) exchange(*a[i], *b[i]);
  }
}

}  // namespace

std::vector<Weight*> ChangedWeights::parts_of(std::int64_t l, BlockWeights& w, Part part) {
  std::vector<Weight*> all = tensors_of(block(l), w, part);
  std::vector<float> values;
  for (Weight* weight : all) {
    if (!weight->is_packed()) continue;
    const std::size_t size = weight->is_fp8() ? sizeof(float) : sizeof(std::uint16_t);
    values.resize(weight->cols);
    std::byte* to = keep(weight->rows * weight->cols * size);
    for (std::size_t r = 0; r < weight->rows; ++r) {
      kernels<F32>(chosen_simd()).load_row(*weight, r, values.data());
      if (weight->is_fp8()) {
        std::memcpy(to + r * weight->cols * size, values.data(), weight->cols * size);
        continue;
      }
      for (std::size_t c = 0; c < weight->cols; ++c) {
        const std::uint16_t bits = f32_to_bf16(values[c]);
        std::memcpy(to + (r * weight->cols + c) * sizeof bits, &bits, sizeof bits);
      }
    }
    *weight = {to, weight->is_fp8() ? DType::kF32 : DType::kBF16, weight->rows, weight->cols};
  }
  return all;
}

void ChangedWeights::apply(const WeightChange& change, std::int64_t l, BlockWeights& w) {
  const auto of = [&](Part part) { return parts_of(l, w, part); };
  switch (change.kind) {
    case Kind::kTransposed:
    case Kind::kRowsShifted:
    case Kind::kZero:
    case Kind::kNibbles:
      for (Weight* part : of(change.part)) replace(*part, change);
      return;
    case Kind::kExchanged:
      for_each_pair(of(change.part), of(change.other),
                    [](Weight& a, Weight& b) { std::swap(a, b); });
      return;
    case Kind::kCopied:
      for_each_pair(of(change.part), of(change.other), [](Weight& a, const Weight& b) { a = b; });
      return;
    case Kind::kFinalNorm:
      for (Weight* part : of(change.part)) *part = model_.weights.head.front().front();
      return;
    case Kind::kFromLayer: {
      const std::int64_t from = l + change.amount;
      if (from < 0 || from >= std::ssize(model_.program.layers)) return;
      BlockWeights other = model_.weights.layers[static_cast<std::size_t>(from)];
      for_each_pair(of(change.part), parts_of(from, other, change.part),
                    [](Weight& a, const Weight& b) { a = b; });
      return;
    }
    case Kind::kPermuted:
      for (Weight* part : of(change.part)) *part = permuted(*part, change.amount, l);
      return;
    case Kind::kQkvGrouped:
      return split_by_groups(l, w);
    case Kind::kGateUpMixed: {
      const std::vector<Weight*> gates = of(Part::kGate);
      const std::vector<Weight*> ups = of(Part::kUp);
      for (std::size_t i = 0; i < gates.size(); ++i) mix(*gates[i], *ups[i]);
      if (!has_part(model_.program, Part::kGateBias)) return;
      const std::vector<Weight*> gate_biases = of(Part::kGateBias);
      const std::vector<Weight*> up_biases = of(Part::kUpBias);
      for (std::size_t i = 0; i < gate_biases.size(); ++i) mix(*gate_biases[i], *up_biases[i]);
      return;
    }
    case Kind::kInt8:
    case Kind::kInt8Wide:
    case Kind::kInt4:
    case Kind::kFp8:
    case Kind::kFp8Row:
    case Kind::kFp8Tensor:
      for (const Part p : kMatrices) {
        for (Weight* matrix : of(p)) replace(*matrix, change);
      }
      return;
    case Kind::kOnePlusBf16:
    case Kind::kOnePlusF16:
      for (const Part p : kNorms) {
        for (Weight* norm : of(p)) replace(*norm, change);
      }
      return;
    case Kind::kF16:
    case Kind::kBf16AsF16:
      for (int p = 0; p < kPartCount; ++p) {
        for (Weight* tensor : of(static_cast<Part>(p))) replace(*tensor, change);
      }
      return;
  }
}

void ChangedWeights::replace(Weight& part, const WeightChange& change) {
  part = changed(part, change, keep(bytes_after(part, change.kind)));
}

Weight ChangedWeights::permuted(const Weight& part, std::int64_t way, std::int64_t l) {
  const auto n = static_cast<std::size_t>(model_.spec.heads(l).head_dim);
  const auto heads = static_cast<std::size_t>(model_.spec.heads(l).queries);
  const bool gated = part.rows == 2 * n * heads;  // a head's query is followed by its gate
  return gather(part, keep(bytes_after(part, Kind::kPermuted)), [&](std::size_t r) {
    if (gated && r / n % 2 != 0) return row(part, r);
    const std::size_t i = r % n;
    const std::size_t interleaved = i < n / 2 ? 2 * i : 2 * (i - n / 2) + 1;
    const std::size_t halved = i % 2 == 0 ? i / 2 : i / 2 + n / 2;
    return row(part, r - i + (way > 0 ? halved : interleaved));
  });
}

// The fused matrix holds, for each key/value head, its query heads, its key and its value.
void ChangedWeights::split_by_groups(std::int64_t l, BlockWeights& w) {
  const Block& layer = block(l);
  // Nothing to split without attention, where keys are another layer's, or values have no matrix.
  for (const Part part : {Part::kQ, Part::kK, Part::kV}) {
    if (tensors_of(layer, w, part).empty()) return;
  }
  Weight& q = *tensors_of(layer, w, Part::kQ).front();
  Weight& k = *tensors_of(layer, w, Part::kK).front();
  Weight& v = *tensors_of(layer, w, Part::kV).front();
  const Heads heads = model_.spec.heads(l);
  const auto n = static_cast<std::size_t>(heads.head_dim);
  const auto kv_heads = static_cast<std::size_t>(heads.keys);
  const std::size_t group = q.rows / n / kv_heads;
  const auto fused = [&, q_own = q, k_own = k, v_own = v](std::size_t r) {
    const std::size_t g = r / ((group + 2) * n);
    const std::size_t in = r % ((group + 2) * n);
    if (in < group * n) return row(q_own, g * group * n + in);
    if (in < (group + 1) * n) return row(k_own, g * n + in - group * n);
    return row(v_own, g * n + in - (group + 1) * n);
  };
  const auto split = [&](const Weight& shape, std::size_t first) {
    return gather(shape, keep(bytes_after(shape, Kind::kQkvGrouped)),
                  [&](std::size_t r) { return fused(first + r); });
  };
  const std::size_t keys = q.rows;
  const std::size_t values = q.rows + k.rows;
  q = split(q, 0);
  k = split(k, keys);
  v = split(v, values);
}

void ChangedWeights::mix(Weight& gate, Weight& up) {
  if (gate.rows == 1) {  // biases: their elements are rows
    std::swap(gate.rows, gate.cols);
    std::swap(up.rows, up.cols);
    mix(gate, up);
    std::swap(gate.rows, gate.cols);
    std::swap(up.rows, up.cols);
    return;
  }
  const auto fused = [gate, up](std::size_t r) { return row(r % 2 == 0 ? gate : up, r / 2); };
  const std::size_t rows = gate.rows;
  const std::size_t bytes = bytes_after(gate, Kind::kGateUpMixed);
  gate = gather(gate, keep(bytes), fused);
  up = gather(up, keep(bytes), [&](std::size_t r) { return fused(rows + r); });
}

}  // namespace assay
