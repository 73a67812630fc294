// An open checkpoint: spec, end-of-text ids, and all weights as views of the mapped files.
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

// The weights of each of a block's steps, in the order of Step::tensors. Matrices are row-major,
// [out, in].
using BlockWeights = std::vector<std::vector<Weight>>;

struct ProgramWeights {
  BlockWeights embedding;
  std::vector<BlockWeights> layers;
  BlockWeights head;
};

// The weights are views into mappings that `files` owns: a Model can be moved, not copied.
struct Model {
  std::filesystem::path directory;  // or GGUF file
  ModelSpec spec;
  std::vector<std::int64_t> eos_token_ids;
  Weights files;

  Program program = {};
  ProgramWeights weights = {};

  // If not null, it provides the matrices: those of the layers, then lm_head. What else a pass
  // needs from the mappings (norms, rows of the embedding) is small.
  std::unique_ptr<WeightStream> stream = {};
};

// Opens a checkpoint: a directory, or a GGUF file. Throws an input error that names file, field or
// tensor. Reads no weights, except those of a GGUF file that must be converted (see gguf_weights):
// on_weights reports their progress. stream: keep at most one layer's weights in memory, and none
// in the page cache. A checkpoint that must_stream is streamed anyway; then the page cache may keep
// as much of it as fits in half of the usable memory.
Model load_model(const std::filesystem::path& checkpoint, bool stream = false,
                 const OnWeights& on_weights = {});

// The head's matrix, [vocab, hidden]; and whether it is the embedding.
const Weight& head_matrix(const Model& model);
bool is_tied(const Model& model);

// Whether the files are larger than half of the memory that this process may use, and can be
// streamed.
bool must_stream(const Weights& files);

// The tensors of a checkpoint with this spec, under their published names and in the order of their
// use; lm_head.weight only if it is not tied.
std::vector<TensorInfo> checkpoint_tensors(const ModelSpec& spec, DType dtype);

}  // namespace assay
