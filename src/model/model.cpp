#include "model/model.h"

#include <algorithm>
#include <set>
#include <string>
#include <variant>

#include "assay/error.h"
#include "base/mapped_file.h"
#include "base/memory.h"
#include "formats/gguf_parts.h"
#include "model/checkpoint.h"
#include "model/checkpoint_fault.h"
#include "models/program.h"

namespace assay {
namespace {

// Where the forward pass looks for what a step reads: by the tap of what the step writes.
Weight* norm_of(LayerWeights& w, Tap tap) {
  switch (tap) {
    case Tap::kInputNorm:
      return &w.input_norm;
    case Tap::kQNorm:
      return &w.q_norm;
    case Tap::kKNorm:
      return &w.k_norm;
    case Tap::kAttnPostNorm:
      return &w.attn_post_norm;
    case Tap::kMlpNorm:
      return &w.mlp_norm;
    case Tap::kMlpPostNorm:
      return &w.mlp_post_norm;
    default:
      return nullptr;
  }
}

struct Projected {
  Weight* w = nullptr;
  Weight* bias = nullptr;
};
Projected projection_of(LayerWeights& w, Tap tap) {
  switch (tap) {
    case Tap::kQProj:
      return {&w.q_proj, &w.q_bias};
    case Tap::kKProj:
      return {&w.k_proj, &w.k_bias};
    case Tap::kVProj:
      return {&w.v_proj, &w.v_bias};
    case Tap::kAttnOutput:
      return {&w.o_proj, &w.o_bias};
    case Tap::kRouterLogits:
      return {&w.router, nullptr};
    case Tap::kGateProj:
      return {&w.mlp.gate_proj, &w.mlp.gate_bias};
    case Tap::kUpProj:
      return {&w.mlp.up_proj, &w.mlp.up_bias};
    case Tap::kMlpOutput:
      return {&w.mlp.down_proj, &w.mlp.down_bias};
    default:
      return {};
  }
}

Shape stored_shape(const TensorUse& tensor) {
  if (tensor.rows == 0) return {tensor.cols};
  return {tensor.stored, tensor.cols};
}

// A view of the stored tensor, whose shape is checked.
Weight taken(const Weights& files, const TensorUse& tensor) {
  const ArrayView& stored = files.get(tensor.name, stored_shape(tensor));
  const auto cols = static_cast<std::size_t>(tensor.cols);
  const std::size_t before = static_cast<std::size_t>(tensor.first) * cols;
  return {stored.bytes.data() + before * dtype_size(stored.dtype), stored.dtype,
          static_cast<std::size_t>(std::max<std::int64_t>(tensor.rows, 1)), cols};
}

// The weights of a step of a layer, in their places.
void place(const Block& block, const Step& step, const std::vector<Weight>& weights,
           LayerWeights& w) {
  const auto tap_of = [&](std::size_t i) { return block.values[step.writes[i]].tap; };
  if (std::holds_alternative<RmsNorm>(step.operation)) {
    *norm_of(w, tap_of(0).value()) = weights.front();
  } else if (std::holds_alternative<Linear>(step.operation)) {
    std::size_t output = 0;
    for (std::size_t i = 0; i < weights.size(); ++output) {
      const Projected to = projection_of(w, tap_of(output).value());
      *to.w = weights[i++];
      if (i < weights.size() && step.tensors[i].rows == 0) *to.bias = weights[i++];
    }
  } else if (const auto* experts = std::get_if<ExpertLinear>(&step.operation)) {
    w.experts.resize(static_cast<std::size_t>(experts->experts));
    const std::size_t outputs = step.writes.size();
    for (std::size_t i = 0; i < weights.size(); ++i) {
      MlpWeights& expert = w.experts[i / outputs];
      const std::optional<Tap> tap = tap_of(i % outputs);
      (tap == Tap::kGateProj ? expert.gate_proj
       : tap == Tap::kUpProj ? expert.up_proj
                             : expert.down_proj) = weights[i];
    }
  }
}

// Read and computed with at a time while weights are streamed: enough rows for all threads.
constexpr std::size_t kBlockBytes = std::size_t{32} << 20;

std::size_t byte_count(const Weight& w) { return w.rows * w.cols * dtype_size(w.dtype); }

std::unique_ptr<WeightStream> stream_weights(const Model& model, std::uint64_t cached_bytes) {
  std::vector<Weight> all;
  std::size_t largest_matrix = 0;
  std::size_t largest_layer = 0;
  for (const std::vector<Weight>& matrices : model.matrices) {
    std::size_t layer = 0;
    for (const Weight& matrix : matrices) {
      all.push_back(matrix);
      largest_matrix = std::max(largest_matrix, byte_count(matrix));
      layer += byte_count(matrix);
    }
    largest_layer = std::max(largest_layer, layer);
  }
  all.push_back(model.outer.lm_head);
  for (std::size_t i = 0; i < model.files.files().size(); ++i) {
    expect_random_access(model.files.mapped(i));
  }
  return std::make_unique<WeightStream>(
      model.files, all,
      WeightStream::Limits{std::min(kBlockBytes, largest_matrix), largest_layer, cached_bytes});
}

}  // namespace

bool must_stream(const Weights& files) {
  return files.in_place() && files.total_bytes() > usable_memory() / 2;
}

namespace {

Model load(const std::filesystem::path& directory, bool stream, const OnWeights& on_weights) {
  ModelSpec spec = read_spec(directory);
  if (stream && gguf_file_of(directory) &&
      !open_weights(directory, DequantiseNow::kNo).in_place()) {
    throw usage_error("--stream", directory.string() + " has weights that are made in memory",
                      "a checkpoint whose weights are used as they lie in its files: safetensors, "
                      "or a GGUF file in F32, F16 or BF16 of an architecture other than llama "
                      "and Gemma");
  }
  Model model{directory, spec, read_eos_token_ids(directory),
              open_weights(directory, DequantiseNow::kYes, on_weights)};
  model.outer.embed_tokens = taken(model.files, embedding_of(spec).steps.front().tensors.front());
  model.layers.resize(static_cast<std::size_t>(spec.num_hidden_layers));
  model.matrices.resize(model.layers.size());
  // One layer at a time: a config that claims many fails at its first missing tensor.
  for (std::size_t l = 0; l < model.layers.size(); ++l) {
    const Block layer = layer_of(spec, static_cast<std::int64_t>(l));
    for (const Step& step : layer.steps) {
      std::vector<Weight> weights;
      for (const TensorUse& tensor : step.tensors) {
        weights.push_back(taken(model.files, tensor));
        if (tensor.rows > 0) model.matrices[l].push_back(weights.back());
      }
      place(layer, step, weights, model.layers[l]);
    }
  }
  const std::vector<Step> head = head_of(spec, model.files.find(kLmHead) != nullptr).steps;
  model.outer.norm = taken(model.files, head[0].tensors.front());
  model.outer.lm_head = taken(model.files, head[1].tensors.front());
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
      for (const TensorUse& tensor : step.tensors) {
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
