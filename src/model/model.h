// A checkpoint, opened: spec, end-of-text ids, and every weight where it lies in the mapped files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "assay/safetensors.h"
#include "assay/spec.h"
#include "model/gguf_tensors.h"
#include "model/weight_stream.h"
#include "numerics/kernels.h"

namespace assay {

// All matrices are row-major [out, in]. What a model does not have has no data.
struct MlpWeights {
  Weight gate_proj, up_proj;  // [intermediate, hidden]
  Weight down_proj;           // [hidden, intermediate]
  Weight gate_bias, up_bias, down_bias;
};

struct LayerWeights {
  Weight input_norm;      // [hidden]
  Weight q_proj;          // [heads * head_dim, hidden]
  Weight k_proj, v_proj;  // [kv heads * head_dim, hidden]
  Weight q_bias, k_bias, v_bias;
  Weight q_norm, k_norm;  // [head_dim], or the width of q_proj and k_proj
  Weight o_proj;          // [hidden, heads * head_dim]
  Weight o_bias;
  Weight attn_post_norm;
  Weight mlp_norm;
  MlpWeights mlp;                   // of a dense layer,
  Weight router;                    // of a sparse one: [experts, hidden]
  std::vector<MlpWeights> experts;  // and these
  Weight mlp_post_norm;
};

// The weights outside the layers.
struct OuterWeights {
  Weight embed_tokens;  // [vocab, hidden]
  Weight norm;          // [hidden]
  Weight lm_head;       // [vocab, hidden]; embed_tokens where the checkpoint ties and stores none
};

// The weights are views into mappings that `files` owns: a Model may be moved, not copied.
struct Model {
  std::filesystem::path directory;  // or GGUF file
  ModelSpec spec;
  std::vector<std::int64_t> eos_token_ids;
  Weights files;

  OuterWeights outer = {};
  std::vector<LayerWeights> layers = {};
  // Of each layer what a pass reads whole, in the order in which it does.
  std::vector<std::vector<Weight>> matrices = {};

  // Where not null, the matrices are to be had from here, those of the layers and then lm_head;
  // what else a pass needs of the mappings (norms, rows of the embedding) is little.
  std::unique_ptr<WeightStream> stream = {};
};

// Opens a checkpoint: a directory, or a GGUF file. Throws an input error that names file, field or
// tensor. Reads no weights, but for a GGUF file's that are to be made from what it holds (see
// gguf_weights): on_weights hears of that.
// stream: hold no more than a layer of the weights in memory, and leave none in the page cache. A
// checkpoint that must_stream is streamed anyway, and as much of it as half of the usable memory
// holds may stay in the page cache.
Model load_model(const std::filesystem::path& checkpoint, bool stream = false,
                 const OnWeights& on_weights = {});

// Whether the files are larger than half of the memory that this process may use, and can be
// streamed.
bool must_stream(const Weights& files);

// The tensors that a checkpoint of this spec holds under their published names, in the order of
// their use; lm_head.weight only where it is not tied.
std::vector<TensorInfo> checkpoint_tensors(const ModelSpec& spec, DType dtype);

}  // namespace assay
