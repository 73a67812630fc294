#include "model/fused_experts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "assay/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "formats/safetensors_header.h"
#include "models/program.h"

namespace assay {
namespace {

// A layer's fused tensor and the matrices in it, one after the other for each expert.
struct Fused {
  const ArrayView* stored;
  std::vector<TensorUse> parts;
  std::int64_t rows = 0;  // of all parts
  bool exchanged = false;
};

bool is_fused(std::string_view name) {
  if (name.ends_with(".weight")) name.remove_suffix(std::string_view(".weight").size());
  return name.ends_with(".experts.gate_up_proj") || name.ends_with(".experts.down_proj");
}

// "model.layers.3.mlp.experts" of "model.layers.3.mlp.experts.{}.up_proj.weight".
std::string stem_of(const std::string& numbered) {
  return numbered.substr(0, numbered.find(".{}."));
}

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
      if (block == kMlp) return;
      return weights.rename([&](const std::string& name) {
        std::string renamed = name;
        const std::size_t at = name.find(kMlp);
        return at == name.npos ? renamed : renamed.replace(at, kMlp.size(), block);
      });
    }
  }
}

std::vector<Fused> find_fused(const Weights& weights, const ModelSpec& spec) {
  std::vector<Fused> all;
  for (std::int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    for (const Step& step : layer_of(spec, l).steps) {
      if (!std::holds_alternative<ExpertLinear>(step.operation)) continue;
      const bool both = step.tensors.size() > 1;
      const std::string name =
          stem_of(step.tensors.front().name) + (both ? ".gate_up_proj" : ".down_proj");
      const ArrayView* stored = weights.find(name);
      if (stored == nullptr) stored = weights.find(name + ".weight");
      if (stored == nullptr) continue;
      Fused fused{stored, step.tensors};
      for (const TensorUse& part : step.tensors) fused.rows += part.rows;
      const TensorUse& first = step.tensors.front();
      const Shape plain = {first.count, fused.rows, first.cols};
      const Shape exchanged = {first.count, first.cols, fused.rows};
      fused.exchanged =
          stored->shape == exchanged && (exchanged != plain || spec.exchanged_experts);
      if (!fused.exchanged && stored->shape != plain) {
        throw input_error(
            tensor_where(weights.file_of(stored->name), stored->name),
            "shape " + shape_text(stored->shape),
            fmt::format("{} or {} (by config.json)", shape_text(plain), shape_text(exchanged)));
      }
      all.push_back(std::move(fused));
    }
  }
  return all;
}

// Writes [rows, cols] from [cols, rows].
void exchange(const std::byte* from, std::size_t rows, std::size_t cols, std::size_t size,
              std::byte* to) {
  constexpr std::size_t kTile = 64;
  for (std::size_t r0 = 0; r0 < rows; r0 += kTile) {
    for (std::size_t c0 = 0; c0 < cols; c0 += kTile) {
      for (std::size_t r = r0; r < std::min(rows, r0 + kTile); ++r) {
        for (std::size_t c = c0; c < std::min(cols, c0 + kTile); ++c) {
          std::memcpy(to + (r * cols + c) * size, from + (c * rows + r) * size, size);
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
  const auto experts = static_cast<std::size_t>(fused.parts.front().count);
  const std::size_t bytes = made.size() / experts;
  pool.for_each_item(made.empty() ? 0 : experts, [&](std::size_t e) {
    exchange(&stored[e * bytes], static_cast<std::size_t>(fused.rows),
             static_cast<std::size_t>(fused.parts.front().cols), dtype_size(fused.stored->dtype),
             &made[e * bytes]);
  });
  return made;
}

}  // namespace

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
    const std::span<const std::byte> bytes = in_order(weights, fused, now, pool);
    std::vector<ArrayView>& views = parts[fused.stored->name];
    const auto experts = static_cast<std::size_t>(fused.parts.front().count);
    const std::size_t row =
        static_cast<std::size_t>(fused.parts.front().cols) * dtype_size(fused.stored->dtype);
    std::size_t at = 0;
    for (std::size_t e = 0; e < experts; ++e) {
      for (const TensorUse& part : fused.parts) {
        ArrayView view = *fused.stored;
        view.name = fmt::format(fmt::runtime(part.name), e);
        view.shape = {part.rows, part.cols};
        const std::size_t size = static_cast<std::size_t>(part.rows) * row;
        view.bytes = bytes.empty() ? bytes : bytes.subspan(at, size);
        view.mapped = !fused.exchanged;
        at += size;
        views.push_back(std::move(view));
      }
    }
    done += 1;
    if (to_make > 0 && on_progress) {
      on_progress(static_cast<double>(done) / static_cast<double>(all.size()));
    }
  }
  weights.replace(std::move(parts));
}

}  // namespace assay
