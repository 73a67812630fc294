#include "model/gguf_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstring>
#include <optional>
#include <string_view>

#include "assay/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "formats/weight_parts.h"
#include "models/gguf_config.h"
#include "models/gguf_names.h"

namespace assay {
namespace {

constexpr auto kSilence = std::chrono::seconds(2);
constexpr std::size_t kChunkElements = std::size_t{1} << 18;

// Read by gguf_config.
constexpr std::array<std::string_view, 3> kFactors = {
    "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"};

// One tensor of the checkpoint, and how it is made from the file's.
struct Plan {
  WeightParts::Tensor tensor;
  GgmlType type = GgmlType::kF32;
  std::span<const std::byte> from;
  std::int64_t heads = 0;  // not 0: rows must be reordered, head by head
  bool minus_one = false;
  bool made = false;

  std::int64_t rows() const {
    return tensor.view.shape.size() == 1 && heads == 0 ? 1 : tensor.view.shape.front();
  }
  std::size_t elements() const {
    const GgmlLayout& layout = ggml_layout(type);
    return from.size() / layout.block_bytes * layout.block_elements;
  }
};

DType stored_dtype(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return DType::kF32;
    case GgmlType::kF16:
      return DType::kF16;
    case GgmlType::kBF16:
      return DType::kBF16;
    default:
      return DType::kU8;
  }
}

bool is_quantised(GgmlType type) { return stored_dtype(type) == DType::kU8; }

class Planner {
 public:
  explicit Planner(const GgufParts& parts)
      : head_(parts.head()), type_(gguf_type(parts.head()).gguf) {
    for (std::size_t f = 0; f < parts.files().size(); ++f) {
      for (const GgufTensor& tensor : parts.files()[f].tensors()) add(parts.files()[f], tensor, f);
    }
  }
  std::vector<Plan> take() { return std::move(plans_); }

 private:
  void add(const GgufFile& file, const GgufTensor& tensor, std::size_t file_number) {
    if (std::ranges::find(kFactors, tensor.name) != kFactors.end()) return;
    Plan plan;
    plan.type = tensor.type;
    plan.from = tensor.bytes;
    plan.tensor = {{tensor.name, stored_dtype(tensor.type), tensor.shape, tensor.bytes, true},
                   file_number};
    if (const auto name = name_outside_layers(tensor.name)) {
      plan.minus_one = type_.adds_one_to_norms && tensor.name == "output_norm.weight";
      add_named(file, std::move(plan), std::string(*name));
      return;
    }
    // blk.12.attn_q.weight
    std::string_view rest = tensor.name;
    std::int64_t layer = 0;
    constexpr std::string_view kBlock = "blk.";
    if (!rest.starts_with(kBlock)) return add_unknown(std::move(plan));
    rest.remove_prefix(kBlock.size());
    const auto number = std::from_chars(rest.data(), rest.data() + rest.size(), layer);
    rest.remove_prefix(static_cast<std::size_t>(number.ptr - rest.data()));
    const std::size_t dot = rest.rfind('.');
    if (number.ec != std::errc() || !rest.starts_with('.') || dot == 0) {
      return add_unknown(std::move(plan));
    }
    const std::string_view inner = rest.substr(1, dot - 1);
    const std::string_view ending = rest.substr(dot);
    const bool is_own = std::ranges::count(type_.names, rest.substr(1), &GgufName::gguf) > 0;
    if (!is_own && ending != ".weight" && ending != ".bias") return add_unknown(std::move(plan));
    const std::string at = fmt::format("model.layers.{}.", layer);
    const std::optional<std::string> name = name_in_layer(rest.substr(1), type_.names);
    if (!name) return add_unknown(std::move(plan));
    if (name->find("{}") != name->npos) return add_experts(file, plan, at + *name);
    // Some converters leave out an axis of length 1.
    Shape& shape = plan.tensor.view.shape;
    if (inner == "ffn_gate_inp_shexp" && shape.size() == 1) shape.insert(shape.begin(), 1);
    plan.minus_one = type_.adds_one_to_norms && inner.ends_with("norm");
    if (type_.reorders_q_and_k && (inner == "attn_q" || inner == "attn_k")) {
      const std::int64_t heads = integer("attention.head_count");
      plan.heads = inner == "attn_q" ? heads : integer("attention.head_count_kv", heads);
      if (plan.heads == 0 || tensor.shape.front() % (2 * plan.heads) != 0) {
        throw input_error(file.tensor_where(tensor.name), "shape " + shape_text(tensor.shape),
                          fmt::format("{} heads of pairs of rows", plan.heads));
      }
    }
    add_named(file, std::move(plan), at + *name);
  }

  void add_unknown(Plan plan) {
    if (is_quantised(plan.type)) {
      plan.tensor.view.shape = {static_cast<std::int64_t>(plan.from.size())};
    }
    plans_.push_back(std::move(plan));
  }

  void add_named(const GgufFile& file, Plan plan, std::string name) {
    ArrayView& view = plan.tensor.view;
    plan.made = is_quantised(plan.type) || plan.heads != 0 || plan.minus_one;
    if (is_quantised(plan.type) && plan.heads != 0 && view.shape.size() == 1) {
      throw input_error(file.tensor_where(view.name),
                        "a bias in " + std::string(ggml_layout(plan.type).name),
                        "F32, F16 or BF16");
    }
    view.name = std::move(name);
    if (plan.made) {
      if (is_quantised(plan.type) || plan.minus_one) view.dtype = DType::kF32;
      view.bytes = {};
      view.mapped = false;
    }
    plans_.push_back(std::move(plan));
  }

  // Splits [experts, out, in] into one tensor per expert. name: with "{}" for its number.
  void add_experts(const GgufFile& file, const Plan& all, const std::string& name) {
    const ArrayView& view = all.tensor.view;
    const bool bias = name.ends_with(".bias");
    if (view.shape.size() != (bias ? 2 : 3)) {
      throw input_error(file.tensor_where(view.name), "shape " + shape_text(view.shape),
                        bias ? "[experts, out]" : "[experts, out, in]");
    }
    const auto experts = static_cast<std::size_t>(view.shape.front());
    const std::size_t bytes = all.from.size() / experts;
    for (std::size_t e = 0; e < experts; ++e) {
      Plan plan = all;
      plan.from = all.from.subspan(e * bytes, bytes);
      plan.tensor.view.shape.erase(plan.tensor.view.shape.begin());
      plan.tensor.view.bytes = plan.from;
      add_named(file, std::move(plan), fmt::format(fmt::runtime(name), e));
    }
  }

  std::int64_t integer(std::string_view name, std::optional<std::int64_t> fallback = {}) const {
    const std::string key = fmt::format("{}.{}", type_.architecture, name);
    return fallback ? head_.integer(key, *fallback) : head_.integer(key);
  }

  const GgufFile& head_;
  const GgufType& type_;
  std::vector<Plan> plans_;
};

// Where row r of a head-by-head matrix is in the file. llama.cpp rotates neighbours, HuggingFace
// element i with i + half a head, so the file's rows are i, i + half, i + 1, i + 1 + half, ...
std::int64_t row_in_file(std::int64_t row, std::int64_t rows, std::int64_t heads) {
  const std::int64_t size = rows / heads;
  const std::int64_t half = size / 2;
  const std::int64_t in_head = row % size;
  return row - in_head + in_head % half * 2 + in_head / half;
}

// Makes rows [begin, end) of a tensor. bytes: of the whole tensor.
void make_rows(const Plan& plan, std::int64_t begin, std::int64_t end, std::span<std::byte> bytes) {
  const std::int64_t rows = plan.rows();
  const std::size_t to_size = bytes.size() / static_cast<std::size_t>(rows);
  const std::size_t from_size = plan.from.size() / static_cast<std::size_t>(rows);
  for (std::int64_t row = begin; row < end; ++row) {
    const std::int64_t source = plan.heads == 0 ? row : row_in_file(row, rows, plan.heads);
    const std::span from(plan.from.data() + static_cast<std::size_t>(source) * from_size,
                         from_size);
    std::byte* to = bytes.data() + static_cast<std::size_t>(row) * to_size;
    if (plan.tensor.view.dtype != DType::kF32) {
      std::memcpy(to, from.data(), from_size);
      continue;
    }
    const std::span<float> values(reinterpret_cast<float*>(to), to_size / sizeof(float));
    dequantize(plan.type, from, values);
    if (plan.minus_one) {
      for (float& value : values) value -= 1;
    }
  }
}

// Some rows of one tensor: a work item of a thread.
struct Chunk {
  const Plan* plan;
  std::span<std::byte> bytes;  // of the whole tensor
  std::int64_t begin, end;
};

void make_all(std::span<Plan> plans, WeightParts& parts, const OnWeights& on_progress) {
  std::vector<Chunk> chunks;
  for (Plan& plan : plans) {
    if (!plan.made) continue;
    AlignedVector<std::byte>& memory = parts.made.emplace_back();
    memory.resize(plan.elements() * dtype_size(plan.tensor.view.dtype));
    plan.tensor.view.bytes = memory;
    const std::int64_t rows = plan.rows();
    const std::size_t row = plan.elements() / static_cast<std::size_t>(rows);
    const auto step = static_cast<std::int64_t>(std::max<std::size_t>(kChunkElements / row, 1));
    for (std::int64_t begin = 0; begin < rows; begin += step) {
      chunks.push_back({&plan, memory, begin, std::min(begin + step, rows)});
    }
  }
  const auto start = std::chrono::steady_clock::now();
  std::atomic<std::size_t> done{0};
  ThreadPool pool;
  pool.share_items(chunks.size(), chunks.size(), [&](std::size_t i, int worker) {
    const Chunk& chunk = chunks[i];
    make_rows(*chunk.plan, chunk.begin, chunk.end, chunk.bytes);
    const std::size_t now = done.fetch_add(1) + 1;
    if (worker == 0 && on_progress && std::chrono::steady_clock::now() - start > kSilence) {
      on_progress(static_cast<double>(now) / static_cast<double>(chunks.size()));
    }
  });
}

}  // namespace

Weights gguf_weights(GgufParts parts, DequantiseNow now, const OnWeights& on_progress) {
  std::vector<Plan> plans = Planner(parts).take();
  WeightParts result;
  result.checkpoint = parts.head().path();
  std::size_t to_make = 0;
  for (const Plan& plan : plans) {
    result.bytes +=
        plan.made ? plan.elements() * dtype_size(plan.tensor.view.dtype) : plan.from.size();
    if (plan.made) to_make += plan.elements() * dtype_size(plan.tensor.view.dtype);
  }
  result.in_place = to_make == 0;
  if (now == DequantiseNow::kYes) {
    if (to_make > usable_memory()) {
      throw system_error(result.checkpoint.string(),
                         fmt::format("{} of weights once dequantised, {} of memory",
                                     bytes_text(result.bytes), bytes_text(usable_memory())));
    }
    make_all(plans, result, on_progress);
  }
  for (GgufFile& file : std::move(parts).take_files()) {
    result.files.push_back(std::move(file).take_mapping());
  }
  for (Plan& plan : plans) result.tensors.push_back(std::move(plan.tensor));
  return Weights(std::move(result));
}

}  // namespace assay
