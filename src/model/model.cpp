#include "model/model.h"

#include <fmt/format.h>

#include <algorithm>

#include "assay/error.h"
#include "base/mapped_file.h"
#include "base/memory.h"
#include "formats/gguf_parts.h"
#include "model/checkpoint.h"
#include "model/checkpoint_fault.h"

namespace assay {
namespace {

constexpr std::int64_t kVector = 0;

// Rows of a stored tensor that are a weight of their own; kVector: the tensor is a vector.
struct Slice {
  Weight* to;
  std::int64_t rows;
};

// Calls visit(name, cols, slices) for every tensor of a layer, in the order of the forward pass.
// The names are transformers'.
template <class Visit>
class LayerTensors {
 public:
  LayerTensors(const ModelSpec& spec, Visit visit) : spec_(spec), visit_(std::move(visit)) {}

  void layer(std::int64_t l, LayerWeights& w) {
    const std::string at = fmt::format("model.layers.{}.", l);
    const std::int64_t hidden = spec_.hidden_size;
    const bool after = spec_.has_norms_after();
    if (spec_.has_norms_before()) vector(at + "input_layernorm", hidden, w.input_norm);
    attention(at + "self_attn.", w);
    if (after) vector(at + "post_attention_layernorm", hidden, w.attn_post_norm);
    if (spec_.has_norms_before()) {
      vector(at + (after ? "pre_feedforward_layernorm" : "post_attention_layernorm"), hidden,
             w.mlp_norm);
    }
    if (spec_.is_sparse(l)) {
      visit_(at + "mlp.gate.weight", hidden, {{&w.router, spec_.moe.num_experts}});
      w.experts.resize(static_cast<std::size_t>(spec_.moe.num_experts));
      for (std::size_t e = 0; e < w.experts.size(); ++e) {
        mlp(fmt::format("{}mlp.experts.{}.", at, e), spec_.moe.intermediate_size, w.experts[e]);
      }
    } else {
      mlp(at + "mlp.", spec_.intermediate_size, w.mlp);
    }
    if (after) vector(at + "post_feedforward_layernorm", hidden, w.mlp_post_norm);
  }

 private:
  void vector(const std::string& name, std::int64_t size, Weight& to) {
    visit_(name + ".weight", size, {{&to, kVector}});
  }
  void linear(const std::string& name, std::int64_t cols, std::int64_t rows, Weight& w,
              Weight& bias, bool has_bias) {
    visit_(name + ".weight", cols, {{&w, rows}});
    if (has_bias) visit_(name + ".bias", rows, {{&bias, kVector}});
  }

  void attention(const std::string& at, LayerWeights& w) {
    const std::int64_t hidden = spec_.hidden_size;
    const std::int64_t q = spec_.q_size();
    const std::int64_t kv = spec_.kv_size();
    if (is_fused()) {
      visit_(at + "qkv_proj.weight", hidden, {{&w.q_proj, q}, {&w.k_proj, kv}, {&w.v_proj, kv}});
    } else {
      linear(at + "q_proj", hidden, q, w.q_proj, w.q_bias, spec_.qkv_bias);
      linear(at + "k_proj", hidden, kv, w.k_proj, w.k_bias, spec_.qkv_bias);
      linear(at + "v_proj", hidden, kv, w.v_proj, w.v_bias, spec_.qkv_bias);
    }
    if (spec_.qk_norm) {
      const bool full = spec_.qk_norms.full_width;
      vector(at + "q_norm", full ? q : spec_.head_dim, w.q_norm);
      vector(at + "k_norm", full ? kv : spec_.head_dim, w.k_norm);
    }
    linear(at + "o_proj", q, hidden, w.o_proj, w.o_bias, spec_.o_bias);
  }

  void mlp(const std::string& at, std::int64_t width, MlpWeights& w) {
    const std::int64_t hidden = spec_.hidden_size;
    if (is_fused()) {
      visit_(at + "gate_up_proj.weight", hidden, {{&w.gate_proj, width}, {&w.up_proj, width}});
    } else {
      linear(at + "gate_proj", hidden, width, w.gate_proj, w.gate_bias, spec_.mlp_bias);
      linear(at + "up_proj", hidden, width, w.up_proj, w.up_bias, spec_.mlp_bias);
    }
    linear(at + "down_proj", width, hidden, w.down_proj, w.down_bias, spec_.mlp_bias);
  }

  // Phi-3 stores the projections that have one input as one matrix.
  bool is_fused() const { return spec_.model_type == "phi3"; }

  const ModelSpec& spec_;
  Visit visit_;
};

Shape shape_of(std::int64_t cols, std::initializer_list<Slice> slices) {
  std::int64_t rows = 0;
  for (const Slice& slice : slices) rows += slice.rows;
  if (rows == kVector) return {cols};
  return {rows, cols};
}

// Views of the stored tensor, whose shape is checked.
void take(const Weights& files, const std::string& name, std::int64_t cols,
          std::initializer_list<Slice> slices) {
  const ArrayView& tensor = files.get(name, shape_of(cols, slices));
  const std::byte* data = tensor.bytes.data();
  for (const Slice& slice : slices) {
    const auto rows = static_cast<std::size_t>(std::max<std::int64_t>(slice.rows, 1));
    *slice.to = {data, tensor.dtype, rows, static_cast<std::size_t>(cols)};
    data += rows * static_cast<std::size_t>(cols) * dtype_size(tensor.dtype);
  }
}

// Read and computed with at a time while weights are streamed: enough rows for all threads.
constexpr std::size_t kBlockBytes = std::size_t{32} << 20;

std::size_t byte_count(const Weight& w) { return w.rows * w.cols * dtype_size(w.dtype); }

std::unique_ptr<WeightStream> stream_weights(const Model& model, std::uint64_t cached_bytes) {
  std::vector<Weight> all;
  std::size_t largest_matrix = 0;
  std::size_t largest_layer = 0;
  for (const LayerWeights& w : model.layers) {
    std::size_t layer = 0;
    for (const Weight& matrix : matrices(w)) {
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

std::vector<Weight> matrices(const LayerWeights& layer) {
  std::vector<Weight> all = {layer.q_proj, layer.k_proj, layer.v_proj, layer.o_proj};
  if (layer.experts.empty()) {
    all.insert(all.end(), {layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj});
    return all;
  }
  all.push_back(layer.router);
  for (const MlpWeights& expert : layer.experts) {
    all.insert(all.end(), {expert.gate_proj, expert.up_proj});
  }
  for (const MlpWeights& expert : layer.experts) all.push_back(expert.down_proj);
  return all;
}

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
  const auto get = [&](const std::string& name, std::int64_t cols,
                       std::initializer_list<Slice> slices) {
    take(model.files, name, cols, slices);
  };
  get("model.embed_tokens.weight", spec.hidden_size,
      {{&model.outer.embed_tokens, spec.vocab_size}});
  LayerTensors tensors(spec, get);
  model.layers.resize(static_cast<std::size_t>(spec.num_hidden_layers));
  for (std::int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    tensors.layer(l, model.layers[static_cast<std::size_t>(l)]);
  }
  get("model.norm.weight", spec.hidden_size, {{&model.outer.norm, kVector}});
  // transformers 5 ties only when a stored head equals the embedding, and keeps it otherwise:
  // either way, a stored head is the one to use.
  const bool stored_head = model.files.find("lm_head.weight") != nullptr;
  if (spec.tie_word_embeddings && !stored_head) {
    model.outer.lm_head = model.outer.embed_tokens;
  } else {
    get("lm_head.weight", spec.hidden_size, {{&model.outer.lm_head, spec.vocab_size}});
  }
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
  const auto add = [&](const std::string& name, std::int64_t cols,
                       std::initializer_list<Slice> slices) {
    all.push_back({name, dtype, shape_of(cols, slices)});
  };
  add("model.embed_tokens.weight", spec.hidden_size, {{nullptr, spec.vocab_size}});
  LayerTensors tensors(spec, add);
  for (std::int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    LayerWeights unused;
    tensors.layer(l, unused);
  }
  add("model.norm.weight", spec.hidden_size, {{nullptr, kVector}});
  if (!spec.tie_word_embeddings) {
    add("lm_head.weight", spec.hidden_size, {{nullptr, spec.vocab_size}});
  }
  return all;
}

}  // namespace assay
