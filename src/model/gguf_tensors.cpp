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
#include "numerics/logarithm.h"

namespace assay {
namespace {

constexpr auto kSilence = std::chrono::seconds(2);
constexpr std::size_t kChunkElements = std::size_t{1} << 18;

// Read by gguf_config.
constexpr std::array<std::string_view, 3> kFactors = {
    "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"};

// Rows of blocks in a file.
struct FileRows {
  GgmlType type = GgmlType::kF32;
  std::span<const std::byte> bytes;

  std::size_t elements() const {
    const GgmlLayout& layout = ggml_layout(type);
    return bytes.size() / layout.block_bytes * layout.block_elements;
  }
};

// One tensor of the checkpoint, and how it is made from the file's.
struct Plan {
  WeightParts::Tensor tensor;
  FileRows from;
  std::optional<FileRows> rest = {};  // the rows after those
  GgufChange change = {};
  bool minus_one = false;
  bool made = false;

  // A vector whose elements are not moved is a row.
  std::int64_t rows() const {
    return tensor.view.shape.size() == 1 && change.rows.empty() ? 1 : tensor.view.shape.front();
  }
  std::size_t elements() const { return from.elements() + (rest ? rest->elements() : 0); }
  bool moves() const { return !change.rows.empty() || !change.columns.empty() || rest; }
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
      : parts_(parts), head_(parts.head()), type_(gguf_type(parts.head()).gguf) {
    for (std::size_t f = 0; f < parts.files().size(); ++f) {
      for (const GgufTensor& tensor : parts.files()[f].tensors()) add(parts.files()[f], tensor, f);
    }
  }
  std::vector<Plan> take() { return std::move(plans_); }

 private:
  void add(const GgufFile& file, const GgufTensor& tensor, std::size_t file_number) {
    if (std::ranges::find(kFactors, tensor.name) != kFactors.end()) return;
    Plan plan;
    plan.from = {tensor.type, tensor.bytes};
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
    if (number.ec != std::errc() || !rest.starts_with('.')) return add_unknown(std::move(plan));
    rest.remove_prefix(1);
    const std::string block = fmt::format("blk.{}.", layer);
    const std::string at = fmt::format("model.layers.{}.", layer);
    const auto& [first, second] = type_.split;
    if (!second.empty() && rest == second) return;  // with the first
    const std::optional<std::string> name = name_in_layer(rest, type_.names);
    const bool known = rest.ends_with(".weight") || rest.ends_with(".bias") ||
                       std::ranges::find(type_.names, rest, &GgufName::gguf) != type_.names.end();
    if (!name || !known) return add_unknown(std::move(plan));
    if (name->find("{}") != name->npos) return add_experts(file, plan, at + *name);
    Shape& shape = plan.tensor.view.shape;
    // Some converters leave out an axis of length 1.
    if (rest == "ffn_gate_inp_shexp.weight" && shape.size() == 1) shape.insert(shape.begin(), 1);
    if (rest == "ssm_conv1d.weight" && shape.size() == 2) shape.insert(shape.begin() + 1, 1);
    if (!first.empty() && rest == first) join(file, tensor.name, block + std::string(second), plan);
    plan.minus_one =
        type_.adds_one_to_norms && rest.ends_with("norm.weight") && rest != "ssm_norm.weight";
    if (type_.change != nullptr) {
      plan.change = type_.change({head_, file.tensor_where(tensor.name), rest, *name, shape});
    }
    add_named(file, std::move(plan), at + *name);
  }

  // Adds the rows of another tensor.
  void join(const GgufFile& file, const std::string& first, const std::string& second, Plan& plan) {
    const GgufTensor* other = parts_.find(second);
    Shape& shape = plan.tensor.view.shape;
    if (other == nullptr) throw input_error(file.tensor_where(second), "missing", "a tensor");
    if (shape.size() != 2 || other->shape.size() != 2 || shape.back() != other->shape.back()) {
      throw input_error(file.tensor_where(second), "shape " + shape_text(other->shape),
                        fmt::format("rows as long as those of '{}', {}", first, shape_text(shape)));
    }
    plan.rest = {other->type, other->bytes};
    shape.front() += other->shape.front();
  }

  void add_unknown(Plan plan) {
    if (is_quantised(plan.from.type)) {
      plan.tensor.view.shape = {static_cast<std::int64_t>(plan.from.bytes.size())};
    }
    plans_.push_back(std::move(plan));
  }

  void add_named(const GgufFile& file, Plan plan, std::string name) {
    ArrayView& view = plan.tensor.view;
    const bool quantised = is_quantised(plan.from.type);
    const bool changes_values = plan.minus_one || plan.change.exponential;
    const bool widened =
        quantised || changes_values || (plan.rest && plan.rest->type != plan.from.type);
    plan.made = widened || plan.moves();
    if (quantised && !plan.change.rows.empty() && view.shape.size() == 1) {
      throw input_error(file.tensor_where(view.name),
                        "a vector in " + std::string(ggml_layout(plan.from.type).name),
                        "F32, F16 or BF16");
    }
    view.name = std::move(name);
    if (plan.made) {
      if (widened) view.dtype = DType::kF32;
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
    const std::size_t bytes = all.from.bytes.size() / experts;
    for (std::size_t e = 0; e < experts; ++e) {
      Plan plan = all;
      plan.from.bytes = all.from.bytes.subspan(e * bytes, bytes);
      plan.tensor.view.shape.erase(plan.tensor.view.shape.begin());
      plan.tensor.view.bytes = plan.from.bytes;
      add_named(file, std::move(plan), fmt::format(fmt::runtime(name), e));
    }
  }

  const GgufParts& parts_;
  const GgufFile& head_;
  const GgufType& type_;
  std::vector<Plan> plans_;
};

// Rows [begin, end) of a tensor. bytes: of the whole tensor.
void make_rows(const Plan& plan, std::int64_t begin, std::int64_t end, std::span<std::byte> bytes) {
  const std::int64_t rows = plan.rows();
  const std::size_t row_bytes = bytes.size() / static_cast<std::size_t>(rows);
  const std::size_t item = dtype_size(plan.tensor.view.dtype);
  const std::size_t width = row_bytes / item;
  const std::int64_t in_first =
      static_cast<std::int64_t>(plan.from.elements() / (plan.elements() / rows));
  std::vector<std::byte> moved(plan.change.columns.empty() ? 0 : row_bytes);
  for (std::int64_t row = begin; row < end; ++row) {
    std::int64_t source = plan.change.rows.empty() ? row : plan.change.rows[row];
    const bool first = source < in_first;
    const FileRows& stored = first ? plan.from : *plan.rest;
    if (!first) source -= in_first;
    const GgmlLayout& layout = ggml_layout(stored.type);
    const std::size_t size = width / layout.block_elements * layout.block_bytes;
    const std::span from = stored.bytes.subspan(static_cast<std::size_t>(source) * size, size);
    std::byte* const to = bytes.data() + static_cast<std::size_t>(row) * row_bytes;
    if (plan.tensor.view.dtype != DType::kF32) {
      std::memcpy(to, from.data(), size);
    } else {
      const std::span<float> values(reinterpret_cast<float*>(to), width);
      dequantize(stored.type, from, values);
      for (float& value : values) {
        if (plan.minus_one) value -= 1;
        if (plan.change.exponential) value = static_cast<float>(natural_logarithm(-value));
      }
    }
    if (moved.empty()) continue;
    std::memcpy(moved.data(), to, row_bytes);
    for (std::size_t c = 0; c < width; ++c) {
      std::memcpy(to + c * item, &moved[static_cast<std::size_t>(plan.change.columns[c]) * item],
                  item);
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
        plan.made ? plan.elements() * dtype_size(plan.tensor.view.dtype) : plan.from.bytes.size();
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
