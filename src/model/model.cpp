#include "model/model.h"

#include <fmt/format.h>

#include "assay/error.h"

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

}  // namespace

Model load_model(const std::filesystem::path& directory) {
  ModelSpec spec = read_spec(directory);
  Model model{directory, spec, read_eos_token_ids(directory), Weights::open(directory), {}, {},
              {},        {}};
  const Loader loader(model.files);
  model.embed_tokens =
      loader.matrix("model.embed_tokens.weight", spec.vocab_size, spec.hidden_size);
  for (std::int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    model.layers.push_back(loader.layer(spec, l));
  }
  model.norm = loader.vector("model.norm.weight", spec.hidden_size);
  // transformers 5 ties only when a stored head equals the embedding, and keeps it otherwise:
  // either way, a stored head is the one to use.
  const bool stored_head = model.files.find("lm_head.weight") != nullptr;
  model.lm_head = spec.tie_word_embeddings && !stored_head
                      ? model.embed_tokens
                      : loader.matrix("lm_head.weight", spec.vocab_size, spec.hidden_size);
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
