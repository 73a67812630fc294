#include "model/fused_experts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "assay/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "formats/safetensors_header.h"
#include "models/program.h"
#include "numerics/mxfp4.h"

namespace assay {
namespace {

constexpr std::string_view kBlocks = "_blocks";
constexpr std::string_view kScales = "_scales";
constexpr std::string_view kBias = "_bias";

// A layer's fused tensor and the matrices in it, one after the other for each expert; with biases,
// those of all experts.
struct Fused {
  const ArrayView* stored;
  std::vector<TensorUse> parts;
  std::int64_t rows = 0;  // of all parts
  bool exchanged = false;
  bool interleaved = false;           // the parts' rows alternate
  const ArrayView* scales = nullptr;  // of MXFP4
  const ArrayView* bias = nullptr;    // [experts, rows]
  std::vector<TensorUse> biases = {};

  std::size_t experts() const { return static_cast<std::size_t>(parts.front().count); }
  std::size_t cols() const { return static_cast<std::size_t>(parts.front().cols); }
  // Which stored row is row r of part p.
  std::size_t stored_row(std::size_t p, std::size_t r) const {
    if (interleaved) return r * parts.size() + p;
    for (std::size_t before = 0; before < p; ++before) {
      r += static_cast<std::size_t>(parts[before].rows);
    }
    return r;
  }
};

bool is_fused(std::string_view name) {
  for (const std::string_view ending : {std::string_view(".weight"), kBlocks}) {
    if (name.ends_with(ending)) name.remove_suffix(ending.size());
  }
  return name.ends_with(".experts.gate_up_proj") || name.ends_with(".experts.down_proj");
}

// "model.layers.3.mlp.experts" of "model.layers.3.mlp.experts.{}.up_proj.weight".
std::string stem_of(const std::string& numbered) {
  return numbered.substr(0, numbered.find(".{}."));
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// transformers 5 calls every MoE `mlp`; Mixtral's own files have another name for it.
void rename_blocks(Weights& weights, const ModelSpec& spec) {
  constexpr std::string_view kMlp = ".mlp.";
  for (std::int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    for (const Step& step : layer_of(spec, l).steps) {
      if (!std::holds_alternative<ExpertLinear>(step.operation)) continue;
      const std::string stem = stem_of(step.tensors.front().name);
      const std::size_t end = stem.rfind('.');
      const std::string block =
          stem.substr(stem.rfind('.', end - 1), end + 1 - stem.rfind('.', end - 1));
      // Gemma 4's experts are the layer's own: what precedes them is its number.
      if (block == kMlp || is_digit(block[1])) return;
      return weights.rename([&](const std::string& name) {
        std::string renamed = name;
        const std::size_t at = name.find(kMlp);
        return at == name.npos ? renamed : renamed.replace(at, kMlp.size(), block);
      });
    }
  }
}

[[noreturn]] void refuse_shape(const Weights& weights, const ArrayView& stored,
                               const std::string& expected) {
  throw input_error(tensor_where(weights.file_of(stored.name), stored.name),
                    fmt::format("{} {}", dtype_name(stored.dtype), shape_text(stored.shape)),
                    expected + " (by config.json)");
}

const ArrayView& companion(const Weights& weights, const std::string& name, const Shape& shape,
                           const ArrayView& of) {
  const ArrayView* found = weights.find(name);
  if (found == nullptr) {
    throw input_error(tensor_where(weights.file_of(of.name), name), "missing",
                      fmt::format("{}, beside {}", shape_text(shape), of.name));
  }
  return *found;
}

// Elements [experts, rows, cols / 32, 16] and their scales [experts, rows, cols / 32].
void find_mxfp4(const Weights& weights, const std::string& name, Fused& fused) {
  const auto block = static_cast<std::int64_t>(kMxfp4Block);
  const auto cols = static_cast<std::int64_t>(fused.cols());
  const Shape of_scales = {fused.parts.front().count, fused.rows, cols / block};
  Shape of_blocks = of_scales;
  of_blocks.push_back(static_cast<std::int64_t>(kMxfp4Bytes));
  if (fused.stored->dtype != DType::kU8 || fused.stored->shape != of_blocks || cols % block != 0) {
    refuse_shape(weights, *fused.stored, "U8 " + shape_text(of_blocks));
  }
  fused.scales = &companion(weights, name + std::string(kScales), of_scales, *fused.stored);
  if (fused.scales->dtype != DType::kU8 || fused.scales->shape != of_scales) {
    refuse_shape(weights, *fused.scales, "U8 " + shape_text(of_scales));
  }
}

void find_layout(const Weights& weights, const ModelSpec& spec, Fused& fused) {
  const TensorUse& first = fused.parts.front();
  const Shape plain = {first.count, fused.rows, first.cols};
  const Shape exchanged = {first.count, first.cols, fused.rows};
  fused.exchanged =
      fused.stored->shape == exchanged && (exchanged != plain || spec.exchanged_experts);
  if (fused.exchanged && fused.stored->dtype == DType::kF8E4M3) {
    throw input_error(tensor_where(weights.file_of(fused.stored->name), fused.stored->name),
                      fmt::format("F8_E4M3 {}", shape_text(fused.stored->shape)),
                      shape_text(plain) + ", because its scales are read row by row");
  }
  const bool fits = fused.exchanged || (fused.stored->shape == plain && !fused.interleaved);
  if (fits) return;
  refuse_shape(weights, *fused.stored,
               fused.interleaved
                   ? shape_text(exchanged)
                   : fmt::format("{} or {}", shape_text(plain), shape_text(exchanged)));
}

std::vector<Fused> find_fused(const Weights& weights, const ModelSpec& spec) {
  std::vector<Fused> all;
  for (std::int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    for (const Step& step : layer_of(spec, l).steps) {
      if (!std::holds_alternative<ExpertLinear>(step.operation)) continue;
      Fused fused{};
      for (const TensorUse& tensor : step.tensors) {
        (tensor.rows == 0 ? fused.biases : fused.parts).push_back(tensor);
        fused.rows += tensor.rows;
      }
      const bool both = fused.parts.size() > 1;
      const std::string name =
          stem_of(step.tensors.front().name) + (both ? ".gate_up_proj" : ".down_proj");
      fused.interleaved = both && spec.interleaved_experts;
      fused.stored = weights.find(name + std::string(kBlocks));
      const bool mxfp4 = fused.stored != nullptr;
      if (!mxfp4) fused.stored = weights.find(name);
      if (fused.stored == nullptr) fused.stored = weights.find(name + ".weight");
      if (fused.stored == nullptr) continue;
      if (mxfp4) {
        find_mxfp4(weights, name, fused);
      } else {
        find_layout(weights, spec, fused);
      }
      if (!fused.biases.empty()) {
        const Shape shape = {fused.parts.front().count, fused.rows};
        fused.bias = &companion(weights, name + std::string(kBias), shape, *fused.stored);
        if (fused.bias->shape != shape) refuse_shape(weights, *fused.bias, shape_text(shape));
      }
      all.push_back(std::move(fused));
    }
  }
  return all;
}

// Writes the parts, [rows, cols] together, from [cols, rows].
void exchange(const Fused& fused, const std::byte* from, std::byte* to) {
  const std::size_t size = dtype_size(fused.stored->dtype);
  const auto rows = static_cast<std::size_t>(fused.rows);
  const std::size_t cols = fused.cols();
  std::vector<std::size_t> stored;
  for (std::size_t p = 0; p < fused.parts.size(); ++p) {
    const auto of_part = static_cast<std::size_t>(fused.parts[p].rows);
    for (std::size_t r = 0; r < of_part; ++r) stored.push_back(fused.stored_row(p, r));
  }
  constexpr std::size_t kTile = 64;
  for (std::size_t r0 = 0; r0 < rows; r0 += kTile) {
    for (std::size_t c0 = 0; c0 < cols; c0 += kTile) {
      for (std::size_t r = r0; r < std::min(rows, r0 + kTile); ++r) {
        for (std::size_t c = c0; c < std::min(cols, c0 + kTile); ++c) {
          std::memcpy(to + (r * cols + c) * size, from + (c * rows + stored[r]) * size, size);
        }
      }
    }
  }
}

// The bytes of a fused tensor as [experts, rows, cols], made where they are stored otherwise.
std::span<const std::byte> in_order(Weights& weights, const Fused& fused, DequantiseNow now,
                                    ThreadPool& pool) {
  const std::span<const std::byte> stored = fused.stored->bytes;
  if (!fused.exchanged) return stored;
  const std::span<std::byte> made = weights.make(now == DequantiseNow::kYes ? stored.size() : 0);
  const std::size_t bytes = made.size() / fused.experts();
  pool.for_each_item(made.empty() ? 0 : fused.experts(),
                     [&](std::size_t e) { exchange(fused, &stored[e * bytes], &made[e * bytes]); });
  return made;
}

// Views of single experts' matrices, in the order of the bytes that in_order() gives.
void add_matrices(Weights& weights, const Fused& fused, std::span<const std::byte> bytes,
                  std::vector<ArrayView>& views) {
  const std::size_t row_bytes = fused.cols() * dtype_size(fused.stored->dtype);
  const Fp8Scales* fp8 = weights.fp8_scales_of(fused.stored->name);
  std::size_t at = 0;
  for (std::size_t e = 0; e < fused.experts(); ++e) {
    std::size_t row = 0;
    for (const TensorUse& part : fused.parts) {
      ArrayView view = *fused.stored;
      view.name = fmt::format(fmt::runtime(part.name), e);
      view.shape = {part.rows, part.cols};
      const std::size_t size = static_cast<std::size_t>(part.rows) * row_bytes;
      view.bytes = bytes.empty() ? bytes : bytes.subspan(at, size);
      view.mapped = !fused.exchanged;
      at += size;
      if (fp8 != nullptr) {
        const std::size_t of_expert = fp8->blocks.values.size() / fused.experts();
        Fp8Scales scales{fp8->blocks, row};
        scales.blocks.values = scales.blocks.values.subspan(e * of_expert, of_expert);
        weights.set_fp8_scales(view.name, scales);
        row += static_cast<std::size_t>(part.rows);
      }
      views.push_back(std::move(view));
    }
  }
}

// The same of MXFP4: from the first row of a matrix to its last one, with those of the other part
// in between if rows alternate.
void add_mxfp4(Weights& weights, const Fused& fused, std::vector<ArrayView>& views) {
  const std::size_t step = fused.interleaved ? fused.parts.size() : 1;
  const auto all = static_cast<std::size_t>(fused.rows);
  const auto rows_of = [&](const ArrayView& stored, std::size_t e, std::size_t first,
                           std::size_t count) {
    const std::size_t row = stored.bytes.size() / fused.experts() / all;
    return stored.bytes.subspan((e * all + first) * row, ((count - 1) * step + 1) * row);
  };
  for (std::size_t e = 0; e < fused.experts(); ++e) {
    for (std::size_t p = 0; p < fused.parts.size(); ++p) {
      const TensorUse& part = fused.parts[p];
      const auto rows = static_cast<std::size_t>(part.rows);
      const std::size_t first = fused.stored_row(p, 0);
      ArrayView view = *fused.stored;
      view.name = fmt::format(fmt::runtime(part.name), e);
      view.shape = {part.rows, part.cols / 2};
      view.bytes = rows_of(*fused.stored, e, first, rows);
      weights.set_scales(view.name, {rows_of(*fused.scales, e, first, rows), step});
      views.push_back(std::move(view));
    }
  }
}

void add_biases(Weights& weights, const Fused& fused, std::vector<ArrayView>& views) {
  const std::size_t size = dtype_size(fused.bias->dtype);
  const std::span<std::byte> made = weights.make_vectors(fused.bias->bytes.size());
  std::size_t at = 0;
  for (std::size_t e = 0; e < fused.experts(); ++e) {
    const std::byte* from = &fused.bias->bytes[e * static_cast<std::size_t>(fused.rows) * size];
    for (std::size_t p = 0; p < fused.biases.size(); ++p) {
      const auto count = static_cast<std::size_t>(fused.biases[p].cols);
      ArrayView view = *fused.bias;
      view.name = fmt::format(fmt::runtime(fused.biases[p].name), e);
      view.shape = {fused.biases[p].cols};
      view.bytes = std::span<const std::byte>(made).subspan(at, count * size);
      view.mapped = false;
      for (std::size_t r = 0; r < count; ++r, at += size) {
        std::memcpy(&made[at], from + fused.stored_row(p, r) * size, size);
      }
      views.push_back(std::move(view));
    }
  }
}

}  // namespace

std::vector<TensorInfo> fused_tensors(std::vector<TensorInfo> tensors, const ModelSpec& spec,
                                      bool in_mxfp4) {
  std::map<std::string, std::vector<TensorInfo>> by_first;  // by the first expert's first matrix
  std::set<std::string> single;
  for (std::int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    for (const Step& step : layer_of(spec, l).steps) {
      if (!std::holds_alternative<ExpertLinear>(step.operation)) continue;
      const std::vector<TensorUse> all = each_tensor(step);
      for (const TensorUse& tensor : all) single.insert(tensor.name);
      const TensorUse& first = step.tensors.front();
      std::int64_t rows = 0;
      std::size_t matrices = 0;
      for (const TensorUse& tensor : step.tensors) {
        rows += tensor.rows;
        if (tensor.rows > 0) ++matrices;
      }
      const std::string name =
          stem_of(first.name) + (matrices > 1 ? ".gate_up_proj" : ".down_proj");
      const DType dtype = tensors.front().dtype;
      std::vector<TensorInfo>& fused = by_first[all.front().name];
      if (in_mxfp4) {
        const Shape scales = {first.count, rows,
                              first.cols / static_cast<std::int64_t>(kMxfp4Block)};
        Shape blocks = scales;
        blocks.push_back(static_cast<std::int64_t>(kMxfp4Bytes));
        fused.push_back({name + std::string(kBlocks), DType::kU8, blocks});
        fused.push_back({name + std::string(kScales), DType::kU8, scales});
      } else {
        fused.push_back({name, dtype, {first.count, first.cols, rows}});
      }
      if (matrices < step.tensors.size()) {
        fused.push_back({name + std::string(kBias), dtype, {first.count, rows}});
      }
    }
  }
  std::vector<TensorInfo> stored;
  for (TensorInfo& tensor : tensors) {
    if (const auto found = by_first.find(tensor.name); found != by_first.end()) {
      stored.insert(stored.end(), found->second.begin(), found->second.end());
    } else if (!single.contains(tensor.name)) {
      stored.push_back(std::move(tensor));
    }
  }
  return stored;
}

void split_fused_experts(Weights& weights, const ModelSpec& spec, DequantiseNow now,
                         const OnWeights& on_progress) {
  if (std::ranges::none_of(weights.tensors(),
                           [](const ArrayView& tensor) { return is_fused(tensor.name); })) {
    return;
  }
  rename_blocks(weights, spec);
  const std::vector<Fused> all = find_fused(weights, spec);
  std::size_t to_make = 0;
  for (const Fused& fused : all) to_make += fused.exchanged ? fused.stored->bytes.size() : 0;
  if (now == DequantiseNow::kYes && to_make > usable_memory()) {
    throw system_error(weights.file_of(all.front().stored->name).string(),
                       fmt::format("{} of experts that must be laid out in memory, {} of memory",
                                   bytes_text(to_make), bytes_text(usable_memory())));
  }
  ThreadPool pool;
  std::map<std::string, std::vector<ArrayView>, std::less<>> parts;
  std::size_t done = 0;
  for (const Fused& fused : all) {
    std::vector<ArrayView>& views = parts[fused.stored->name];
    if (fused.scales != nullptr) {
      add_mxfp4(weights, fused, views);
      parts[fused.scales->name];
    } else {
      add_matrices(weights, fused, in_order(weights, fused, now, pool), views);
    }
    if (fused.bias != nullptr) add_biases(weights, fused, parts[fused.bias->name]);
    done += 1;
    if (to_make > 0 && on_progress) {
      on_progress(static_cast<double>(done) / static_cast<double>(all.size()));
    }
  }
  weights.replace(std::move(parts));
}

}  // namespace assay
