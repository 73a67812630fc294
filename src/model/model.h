// A checkpoint, opened: spec, end-of-text ids, and every weight where it lies in the mapped files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "formats/safetensors.h"
#include "model/gguf_tensors.h"
#include "models/program.h"
#include "models/spec.h"
#include "numerics/kernels.h"
#include "ops/weight_stream.h"

namespace assay {

// Of each of a block's steps its weights, in the order of Step::tensors. Matrices are row-major,
// [out, in].
using BlockWeights = std::vector<std::vector<Weight>>;

struct ProgramWeights {
  BlockWeights embedding;
  std::vector<BlockWeights> layers;
  BlockWeights head;
};

// The weights are views into mappings that `files` owns: a Model may be moved, not copied.
struct Model {
  std::filesystem::path directory;  // or GGUF file
  ModelSpec spec;
  std::vector<std::int64_t> eos_token_ids;
  Weights files;

  Program program = {};
  ProgramWeights weights = {};

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

// The head's matrix, [vocab, hidden]; and whether it is the embedding.
const Weight& head_matrix(const Model& model);
bool is_tied(const Model& model);

// Whether the files are larger than half of the memory that this process may use, and can be
// streamed.
bool must_stream(const Weights& files);

// The tensors that a checkpoint of this spec holds under their published names, in the order of
// their use; lm_head.weight only where it is not tied.
std::vector<TensorInfo> checkpoint_tensors(const ModelSpec& spec, DType dtype);

}  // namespace assay
