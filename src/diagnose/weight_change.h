// Weights as a wrong port reads them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "model/model.h"

namespace assay {

// The tensors of a layer.
enum class Part : std::uint8_t {
  kInputNorm,
  kQ,
  kK,
  kV,
  kQBias,
  kKBias,
  kVBias,
  kQNorm,
  kKNorm,
  kO,
  kOBias,
  kAttnPostNorm,
  kMlpNorm,
  kRouter,
  kGate,
  kUp,
  kDown,
  kGateBias,
  kUpBias,
  kDownBias,
  kMlpPostNorm,
};
inline constexpr int kPartCount = static_cast<int>(Part::kMlpPostNorm) + 1;
inline constexpr std::array kMatrices = {Part::kQ,    Part::kK,  Part::kV,   Part::kO,
                                         Part::kGate, Part::kUp, Part::kDown};
// Whether a layer of the model has it.
bool has_part(const Program& program, Part part);
// As in the checkpoint: "q_proj", "input_layernorm".
std::string_view part_name(const ModelSpec& spec, Part part);
// The tensors that it stands for in this layer of a model: one, or that of each expert, or none.
std::vector<Weight*> tensors_of(const Block& layer, BlockWeights& weights, Part part);
// The same by their use.
std::vector<const TensorUse*> tensors_of(const Block& layer, Part part);

// One mistake in reading the weights.
struct WeightChange {
  enum class Kind : std::uint8_t {
    kTransposed,   // `part`'s bytes taken for [in, out]
    kRowsShifted,  // row r is row r + amount (a shard that begins at the wrong place), round the
                   // end
    kZero,         // `part` was never loaded
    kExchanged,    // `part` and `other` taken for each other; equal shapes
    kCopied,       // `part` is `other`; equal shapes
    kFinalNorm,    // `part` is the final norm's weight
    kFromLayer,    // `part` is that of layer l + amount (where there is one of its shape)
    kPermuted,     // rows of `part` in each head: amount 1 (i, i + n/2) -> (2i, 2i + 1); -1 back
    kQkvGrouped,   // q, k, v fused head group by head group, split as if one after the other
    kGateUpMixed,  // gate and up fused row by row, split as if one after the other
    kInt8,         // all matrices, one scale per row: largest / 127
    kInt8Wide,     // the same of largest / 127.5, so that -128 is used too
    kInt4,         // all matrices, one scale per 32 of a row
    kFp8,          // all matrices, E4M3 as they are
    kFp8Row,       // all matrices, E4M3 with one scale per row: largest / 448
    kFp8Tensor,    // all matrices, E4M3 with one scale: largest / 448
    kF16,          // all tensors; subnormals flushed to zero
    kBf16AsF16,    // the bits of all BF16 tensors taken for F16
    kOnePlusBf16,  // all norms that multiply by 1 + weight, the final one too: the sum in BF16
    kOnePlusF16,   // the same in F16
  };
  Kind kind;
  Part part = Part::kQ;
  Part other = Part::kQ;
  std::int64_t amount = 0;
  std::vector<std::int64_t> layers = {};  // empty: all
  bool operator==(const WeightChange&) const = default;
};

// Whether the final norm is changed too.
constexpr bool is_of_all_norms(const WeightChange& change) {
  return change.kind == WeightChange::Kind::kOnePlusBf16 ||
         change.kind == WeightChange::Kind::kOnePlusF16;
}

// Which of the checkpoint's layers runs as layer l: by index; -1 leaves it out.
using LayerOrder = std::vector<std::int64_t>;

// A model's weights with changes. Holds one layer of what had to be made anew.
class ChangedWeights {
 public:
  // order: empty for the model's own.
  ChangedWeights(const Model& model, std::vector<WeightChange> changes, LayerOrder order);

  // Of the steps of the model's own layer. Valid until the next call; the order must not leave the
  // layer out.
  const BlockWeights& layer(std::int64_t l);

 private:
  const Block& block(std::int64_t l) const;
  void apply(const WeightChange& change, std::int64_t l, BlockWeights& w);
  void replace(Weight& part, const WeightChange& change);
  Weight permuted(const Weight& part, std::int64_t way);
  void split_by_groups(const Block& layer, BlockWeights& w);
  void mix(Weight& gate, Weight& up);
  // Memory for a matrix, kept until the next layer.
  std::byte* keep(std::size_t bytes);

  const Model& model_;
  std::vector<WeightChange> changes_;
  LayerOrder order_;
  BlockWeights layer_;
  std::vector<std::vector<std::byte>> made_;
  std::size_t used_ = 0;
};

// One tensor with such a change of Kind kTransposed, kRowsShifted, kInt8, kInt8Wide, kInt4, kFp8,
// kFp8Row, kFp8Tensor, kF16, kBf16AsF16, kOnePlusBf16 or kOnePlusF16; the bytes are kept in
// `memory`.
Weight changed(const Weight& w, const WeightChange& change, std::vector<std::byte>& memory);

}  // namespace assay
