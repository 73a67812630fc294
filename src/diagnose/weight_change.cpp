#include "diagnose/weight_change.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/half.h"
#include "base/widen.h"
#include "model/variant_ops.h"

namespace assay {
namespace {

using Kind = WeightChange::Kind;

constexpr std::array<std::string_view, kPartCount> kNames = {
    "input_layernorm",          "q_proj",    "k_proj",  "v_proj",   "q_norm", "k_norm", "o_proj",
    "post_attention_layernorm", "gate_proj", "up_proj", "down_proj"};

constexpr std::array kMatrices = {Part::kQ,    Part::kK,  Part::kV,   Part::kO,
                                  Part::kGate, Part::kUp, Part::kDown};

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

// In FP32, as quantisers compute: half-way cases are common (half of the largest is one).
void quantize(std::span<float> row, std::size_t group, float levels) {
  for (std::size_t begin = 0; begin < row.size(); begin += group) {
    const auto block = row.subspan(begin, std::min(group, row.size() - begin));
    float largest = 0;
    for (const float x : block) largest = std::max(largest, std::abs(x));
    const float step = largest / levels;
    if (step == 0) continue;
    for (float& x : block) x = std::nearbyint(x / step) * step;
  }
}

// As F32, because the values are on no 16-bit grid.
Weight quantized(const Weight& w, Kind kind, std::byte* to) {
  std::vector<float> values(w.cols);
  for (std::size_t r = 0; r < w.rows; ++r) {
    widen(w.dtype, row(w, r), static_cast<std::ptrdiff_t>(dtype_size(w.dtype)),
          std::span<float>(values));
    if (kind == Kind::kInt8) quantize(values, values.size(), 127);
    if (kind == Kind::kInt4) quantize(values, 32, 7);
    if (kind == Kind::kFp8) {
      for (float& x : values) x = static_cast<float>(rounded_to(DType::kF8E4M3, x));
    }
    if (kind == Kind::kF16) {
      for (float& x : values) x = static_cast<float>(flushed_f16(x));
    }
    std::memcpy(to + r * w.cols * sizeof(float), values.data(), w.cols * sizeof(float));
  }
  return {to, DType::kF32, w.rows, w.cols};
}

std::size_t bytes_after(const Weight& w, Kind kind) {
  const bool wide =
      kind == Kind::kInt8 || kind == Kind::kInt4 || kind == Kind::kFp8 || kind == Kind::kF16;
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

std::string_view part_name(Part part) { return kNames.at(static_cast<std::size_t>(part)); }

Weight& part_of(LayerWeights& layer, Part part) {
  return const_cast<Weight&>(part_of(std::as_const(layer), part));
}

const Weight& part_of(const LayerWeights& layer, Part part) {
  switch (part) {
    case Part::kInputNorm:
      return layer.input_norm;
    case Part::kQ:
      return layer.q_proj;
    case Part::kK:
      return layer.k_proj;
    case Part::kV:
      return layer.v_proj;
    case Part::kQNorm:
      return layer.q_norm;
    case Part::kKNorm:
      return layer.k_norm;
    case Part::kO:
      return layer.o_proj;
    case Part::kMlpNorm:
      return layer.mlp_norm;
    case Part::kGate:
      return layer.mlp.gate_proj;
    case Part::kUp:
      return layer.mlp.up_proj;
    case Part::kDown:
      break;
  }
  return layer.mlp.down_proj;
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
  for (const WeightChange& change : changes_) apply(change, from, layer_);
  return &layer_;
}

void ChangedWeights::apply(const WeightChange& change, std::int64_t l, LayerWeights& w) {
  Weight& part = part_of(w, change.part);
  switch (change.kind) {
    case Kind::kTransposed:
    case Kind::kRowsShifted:
    case Kind::kZero:
      part = changed(part, change, keep(bytes_after(part, change.kind)));
      return;
    case Kind::kExchanged:
      std::swap(part, part_of(w, change.other));
      return;
    case Kind::kFromLayer: {
      const std::int64_t from = l + change.amount;
      if (from < 0 || from >= std::ssize(model_.layers)) return;
      part = part_of(stored(from), change.part);
      return;
    }
    case Kind::kPermuted: {
      const auto n = static_cast<std::size_t>(model_.spec.head_dim);
      part = gather(part, keep(bytes_after(part, change.kind)), [&](std::size_t r) {
        const std::size_t i = r % n;
        const std::size_t interleaved = i < n / 2 ? 2 * i : 2 * (i - n / 2) + 1;
        const std::size_t halved = i % 2 == 0 ? i / 2 : i / 2 + n / 2;
        return row(part, r - i + (change.amount > 0 ? halved : interleaved));
      });
      return;
    }
    case Kind::kQkvGrouped: {
      // The fused matrix holds, for each key/value head, its query heads, its key and its value.
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
        return gather(shape, keep(bytes_after(shape, change.kind)),
                      [&](std::size_t r) { return fused(first + r); });
      };
      w.q_proj = split(own.q_proj, 0);
      w.k_proj = split(own.k_proj, own.q_proj.rows);
      w.v_proj = split(own.v_proj, own.q_proj.rows + own.k_proj.rows);
      return;
    }
    case Kind::kGateUpMixed: {
      const LayerWeights own = w;
      const auto fused = [&](std::size_t r) {
        return row(r % 2 == 0 ? own.mlp.gate_proj : own.mlp.up_proj, r / 2);
      };
      const std::size_t bytes = bytes_after(own.mlp.gate_proj, change.kind);
      w.mlp.gate_proj = gather(own.mlp.gate_proj, keep(bytes), fused);
      w.mlp.up_proj = gather(own.mlp.up_proj, keep(bytes),
                             [&](std::size_t r) { return fused(own.mlp.gate_proj.rows + r); });
      return;
    }
    case Kind::kInt8:
    case Kind::kInt4:
    case Kind::kFp8:
      for (const Part p : kMatrices) {
        Weight& matrix = part_of(w, p);
        matrix = changed(matrix, change, keep(bytes_after(matrix, change.kind)));
      }
      return;
    case Kind::kF16:
    case Kind::kBf16AsF16:
      for (int p = 0; p < kPartCount; ++p) {
        Weight& tensor = part_of(w, static_cast<Part>(p));
        if (tensor.data == nullptr) continue;
        tensor = changed(tensor, change, keep(bytes_after(tensor, change.kind)));
      }
      return;
  }
}

}  // namespace assay
