#include "model/model.h"

#include <fmt/format.h>

#include <algorithm>

#include "assay/error.h"
#include "base/mapped_file.h"
#include "base/memory.h"

namespace assay {
namespace {

class Loader {
 public:
  explicit Loader(const Weights& files) : files_(files) {}

  Weight matrix(const std::string& name, std::int64_t rows, std::int64_t cols) const {
    const Shape shape = {rows, cols};
    return {files_.get(name, shape).bytes.data(), files_.get(name, shape).dtype,
            static_cast<std::size_t>(rows), static_cast<std::size_t>(cols)};
  }
  Weight vector(const std::string& name, std::int64_t size) const {
    const Shape shape = {size};
    return {files_.get(name, shape).bytes.data(), files_.get(name, shape).dtype, 1,
            static_cast<std::size_t>(size)};
  }

  LayerWeights layer(const ModelSpec& spec, std::int64_t l) const {
    const std::string at = fmt::format("model.layers.{}.", l);
    const std::string attn = at + "self_attn.";
    const std::string mlp = at + "mlp.";
    LayerWeights w;
    w.input_layernorm = vector(at + "input_layernorm.weight", spec.hidden_size);
    w.q_proj = matrix(attn + "q_proj.weight", spec.q_size(), spec.hidden_size);
    w.k_proj = matrix(attn + "k_proj.weight", spec.kv_size(), spec.hidden_size);
    w.v_proj = matrix(attn + "v_proj.weight", spec.kv_size(), spec.hidden_size);
    if (spec.qk_norm) {
      w.q_norm = vector(attn + "q_norm.weight", spec.head_dim);
      w.k_norm = vector(attn + "k_norm.weight", spec.head_dim);
    }
    w.o_proj = matrix(attn + "o_proj.weight", spec.hidden_size, spec.q_size());
    w.post_attention_layernorm = vector(at + "post_attention_layernorm.weight", spec.hidden_size);
    w.gate_proj = matrix(mlp + "gate_proj.weight", spec.intermediate_size, spec.hidden_size);
    w.up_proj = matrix(mlp + "up_proj.weight", spec.intermediate_size, spec.hidden_size);
    w.down_proj = matrix(mlp + "down_proj.weight", spec.hidden_size, spec.intermediate_size);
    return w;
  }

 private:
  const Weights& files_;
};

// Read and computed with at a time while weights are streamed: enough rows for all threads.
constexpr std::size_t kBlockBytes = std::size_t{32} << 20;

std::size_t byte_count(const Weight& w) { return w.rows * w.cols * dtype_size(w.dtype); }

std::unique_ptr<WeightStream> stream_weights(const Model& model, std::uint64_t cached_bytes) {
  std::vector<Weight> matrices;
  std::size_t largest_matrix = 0;
  std::size_t largest_layer = 0;
  for (const LayerWeights& w : model.layers) {
    std::size_t layer = 0;
    for (const Weight& matrix :
         {w.q_proj, w.k_proj, w.v_proj, w.o_proj, w.gate_proj, w.up_proj, w.down_proj}) {
      matrices.push_back(matrix);
      largest_matrix = std::max(largest_matrix, byte_count(matrix));
      layer += byte_count(matrix);
    }
    largest_layer = std::max(largest_layer, layer);
  }
  matrices.push_back(model.outer.lm_head);
  for (std::size_t i = 0; i < model.files.files().size(); ++i) {
    expect_random_access(model.files.mapped(i));
  }
  return std::make_unique<WeightStream>(
      model.files, matrices,
      WeightStream::Limits{std::min(kBlockBytes, largest_matrix), largest_layer, cached_bytes});
}

}  // namespace

bool must_stream(const Weights& files) { return files.total_bytes() > usable_memory() / 2; }

Model load_model(const std::filesystem::path& directory, bool stream) {
  ModelSpec spec = read_spec(directory);
  Model model{directory, spec, read_eos_token_ids(directory), Weights::open(directory)};
  const Loader loader(model.files);
  model.outer.embed_tokens =
      loader.matrix("model.embed_tokens.weight", spec.vocab_size, spec.hidden_size);
  for (std::int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    model.layers.push_back(loader.layer(spec, l));
  }
  model.outer.norm = loader.vector("model.norm.weight", spec.hidden_size);
  // transformers 5 ties only when a stored head equals the embedding, and keeps it otherwise:
  // either way, a stored head is the one to use.
  const bool stored_head = model.files.find("lm_head.weight") != nullptr;
  model.outer.lm_head = spec.tie_word_embeddings && !stored_head
                            ? model.outer.embed_tokens
                            : loader.matrix("lm_head.weight", spec.vocab_size, spec.hidden_size);
  if (stream || must_stream(model.files)) {
    model.stream = stream_weights(model, stream ? 0 : usable_memory() / 2);
  }
  return model;
}

std::vector<TensorInfo> checkpoint_tensors(const ModelSpec& spec, DType dtype) {
  std::vector<TensorInfo> all;
  const auto add = [&](std::string name, Shape shape) {
    all.push_back({std::move(name), dtype, std::move(shape)});
  };
  add("model.embed_tokens.weight", {spec.vocab_size, spec.hidden_size});
  for (std::int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    const std::string at = fmt::format("model.layers.{}.", l);
    add(at + "input_layernorm.weight", {spec.hidden_size});
    add(at + "self_attn.q_proj.weight", {spec.q_size(), spec.hidden_size});
    add(at + "self_attn.k_proj.weight", {spec.kv_size(), spec.hidden_size});
    add(at + "self_attn.v_proj.weight", {spec.kv_size(), spec.hidden_size});
    if (spec.qk_norm) {
      add(at + "self_attn.q_norm.weight", {spec.head_dim});
      add(at + "self_attn.k_norm.weight", {spec.head_dim});
    }
    add(at + "self_attn.o_proj.weight", {spec.hidden_size, spec.q_size()});
    add(at + "post_attention_layernorm.weight", {spec.hidden_size});
    add(at + "mlp.gate_proj.weight", {spec.intermediate_size, spec.hidden_size});
    add(at + "mlp.up_proj.weight", {spec.intermediate_size, spec.hidden_size});
    add(at + "mlp.down_proj.weight", {spec.hidden_size, spec.intermediate_size});
  }
  add("model.norm.weight", {spec.hidden_size});
  if (!spec.tie_word_embeddings) add("lm_head.weight", {spec.vocab_size, spec.hidden_size});
  return all;
}

}  // namespace assay
