#include "model/model.h"

#include <algorithm>
#include <set>
#include <string>
#include <variant>

#include "assay/error.h"
#include "base/mapped_file.h"
#include "base/memory.h"
#include "formats/gguf_parts.h"
#include "model/buffers.h"
#include "model/checkpoint.h"
#include "model/checkpoint_fault.h"
#include "model/fused_experts.h"
#include "model/read_spec.h"
#include "models/program.h"

namespace assay {
namespace {

Shape stored_shape(const TensorUse& tensor) {
  if (tensor.rows == 0) return {tensor.cols};
  if (tensor.depthwise) return {tensor.stored, 1, tensor.cols};
  return {tensor.stored, tensor.cols};
}

// A view of the stored tensor, after checking its shape.
Weight taken(const Weights& files, const TensorUse& tensor) {
  if (const Mxfp4Scales* scales = files.scales_of(tensor.name)) {
    return {files.find(tensor.name)->bytes.data(),
            DType::kU8,
            static_cast<std::size_t>(tensor.rows),
            static_cast<std::size_t>(tensor.cols),
            scales->bytes.data(),
            scales->row_step};
  }
  const ArrayView& stored = files.get(tensor.name, stored_shape(tensor));
  const auto cols = static_cast<std::size_t>(tensor.cols);
  const std::size_t before = static_cast<std::size_t>(tensor.first) * cols;
  Weight weight{stored.bytes.data() + before * dtype_size(stored.dtype), stored.dtype,
                static_cast<std::size_t>(std::max<std::int64_t>(tensor.rows, 1)), cols};
  if (const Fp8Scales* scales = files.fp8_scales_of(tensor.name)) {
    weight.block_scales = &scales->blocks;
    weight.first_row = scales->first_row + static_cast<std::size_t>(tensor.first);
  }
  return weight;
}

BlockWeights taken(const Weights& files, const Block& block) {
  BlockWeights all;
  for (const Step& step : block.steps) {
    std::vector<Weight>& weights = all.emplace_back();
    for (const TensorUse& tensor : each_tensor(step)) weights.push_back(taken(files, tensor));
  }
  return all;
}

// Block size when weights are streamed: enough rows for all threads.
constexpr std::size_t kBlockBytes = std::size_t{32} << 20;

std::unique_ptr<WeightStream> stream_weights(const Model& model, std::uint64_t cached_bytes) {
  std::vector<Weight> all;
  std::size_t largest_matrix = 0;
  std::size_t largest_layer = 0;
  const auto add = [&](const Block& block, const BlockWeights& weights) {
    std::size_t bytes = 0;
    for (std::size_t s = 0; s < block.steps.size(); ++s) {
      const Operation& operation = block.steps[s].operation;
      // Only these two read their matrices in blocks, as they are streamed.
      const bool streams = std::holds_alternative<Linear>(operation) ||
                           std::holds_alternative<ExpertLinear>(operation);
      if (!streams) continue;
      const std::vector<TensorUse>& tensors = block.steps[s].tensors;
      for (std::size_t i = 0; i < weights[s].size(); ++i) {
        if (tensors[i % tensors.size()].rows == 0) continue;
        all.push_back(weights[s][i]);
        largest_matrix = std::max(largest_matrix, all.back().byte_count());
        bytes += all.back().byte_count();
      }
    }
    return bytes;
  };
  for (std::size_t l = 0; l < model.program.layers.size(); ++l) {
    largest_layer = std::max(largest_layer, add(model.program.layers[l], model.weights.layers[l]));
  }
  add(model.program.head, model.weights.head);
  for (std::size_t i = 0; i < model.files.files().size(); ++i) {
    expect_random_access(model.files.mapped(i));
  }
  return std::make_unique<WeightStream>(
      model.files, all,
      WeightStream::Limits{std::min(kBlockBytes, largest_matrix), largest_layer, cached_bytes});
}

}  // namespace

const Weight& head_matrix(const Model& model) {
  return model.weights.head[head_matrix_step(model.program.head)].front();
}

bool is_tied(const Model& model) {
  return head_matrix(model).data == model.weights.embedding.front().front().data;
}

bool must_stream(const Weights& files) {
  return files.in_place() && files.total_bytes() > usable_memory() / 2;
}

namespace {

Model load(const std::filesystem::path& directory, bool stream, const OnWeights& on_weights) {
  ModelSpec spec = read_spec(directory);
  if (stream && gguf_file_of(directory) &&
      !open_weights(directory, DequantiseNow::kNo).in_place()) {
    throw usage_error(
        "--stream", directory.string() + " has weights that must be converted in memory",
        "a checkpoint whose weights can be used directly from its files: safetensors, "
        "or a GGUF file in F32, F16 or BF16 of an architecture other than llama "
        "and Gemma");
  }
  Model model{directory, spec, read_eos_token_ids(directory),
              open_weights(directory, DequantiseNow::kYes, on_weights)};
  split_fused_experts(model.files, spec, stream ? DequantiseNow::kNo : DequantiseNow::kYes,
                      on_weights);
  if (stream && !model.files.in_place()) {
    throw usage_error("--stream",
                      directory.string() + " has experts that must be laid out in memory",
                      "a checkpoint whose weights can be used directly from its files");
  }
  const bool stored_head = model.files.find(kLmHead) != nullptr;
  model.program.ropes = ropes_of(spec);
  model.program.embedding = embedding_of(spec);
  model.weights.embedding = taken(model.files, model.program.embedding);
  // Builds one layer at a time, so a config that claims many fails at its first missing tensor.
  for (std::int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    model.program.layers.push_back(layer_of(spec, l));
    model.weights.layers.push_back(taken(model.files, model.program.layers.back()));
  }
  model.program.head = head_of(spec, stored_head);
  model.weights.head = taken(model.files, model.program.head);
  if (stream || must_stream(model.files)) {
    model.stream = stream_weights(model, stream ? 0 : usable_memory() / 2);
  }
  return model;
}

}  // namespace

Model load_model(const std::filesystem::path& directory, bool stream, const OnWeights& on_weights) {
  try {
    return load(directory, stream, on_weights);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInput) throw;
    const auto fault = find_checkpoint_fault(directory);
    if (!fault) throw;
    throw input_error(fault->where, fault->found, "weights in BF16, F16 or F32: " + fault->advice);
  }
}

std::vector<TensorInfo> checkpoint_tensors(const ModelSpec& spec, DType dtype) {
  std::vector<TensorInfo> all;
  std::set<std::string>
      names;  // a tensor may be used several times: in parts, or as embedding and head
  const auto add = [&](const Block& block) {
    for (const Step& step : block.steps) {
      for (const TensorUse& tensor : each_tensor(step)) {
        if (names.insert(tensor.name).second) {
          all.push_back({tensor.name, dtype, stored_shape(tensor)});
        }
      }
    }
  };
  const Program program = program_of(spec);
  add(program.embedding);
  for (const Block& layer : program.layers) add(layer);
  add(program.head);
  return all;
}

}  // namespace assay
