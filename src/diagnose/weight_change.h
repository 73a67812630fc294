// Weights as a port with a mistake reads them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "model/model.h"

namespace assay {

// The kinds of tensors in a layer.
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
  kRouterBias,
  kGate,
  kUp,
  kDown,
  kGateBias,
  kUpBias,
  kDownBias,
  kMlpPostNorm,
  kSharedGate,
  kSharedUp,
  kSharedDown,
  kSharedExpertGate,
  kDeltaQkv,
  kDeltaZ,
  kDeltaB,
  kDeltaA,
  kDeltaQkvz,
  kDeltaBa,
  kDeltaConv,
  kDeltaLog,
  kDeltaBias,
  kDeltaNorm,
  kDeltaOut,
};
inline constexpr int kPartCount = static_cast<int>(Part::kDeltaOut) + 1;
inline constexpr std::array kMatrices = {
    Part::kQ,        Part::kK,       Part::kV,          Part::kO,        Part::kGate,
    Part::kUp,       Part::kDown,    Part::kSharedGate, Part::kSharedUp, Part::kSharedDown,
    Part::kDeltaQkv, Part::kDeltaZ,  Part::kDeltaB,     Part::kDeltaA,   Part::kDeltaQkvz,
    Part::kDeltaBa,  Part::kDeltaOut};
// Whether a layer of the model has it.
bool has_part(const Program& program, Part part);
// The name in the checkpoint: "q_proj", "input_layernorm".
std::string_view part_name(const ModelSpec& spec, Part part);
// The part's tensors in a layer of a model: one, or one per expert, or none.
std::vector<Weight*> tensors_of(const Block& layer, BlockWeights& weights, Part part);
// The same, by their use.
std::vector<const TensorUse*> tensors_of(const Block& layer, Part part);

// A mistake in reading the weights.
struct WeightChange {
  enum class Kind : std::uint8_t {
    kTransposed,   // `part`'s bytes read as [in, out]
    kRowsShifted,  // row r is row r + amount, cyclically (a shard that begins at the wrong place)
    kZero,         // `part` was never loaded
    kExchanged,    // `part` and `other` swapped; equal shapes
    kCopied,       // `part` is `other`; equal shapes
    kFinalNorm,    // `part` is the final norm's weight
    kFromLayer,    // `part` is that of layer l + amount (if it has one of this shape)
    kPermuted,     // rows of `part` in each head: amount 1 (i, i + n/2) -> (2i, 2i + 1); -1 back
    kQkvGrouped,   // q, k, v fused head group by head group, split as if one after the other
    kGateUpMixed,  // gate and up fused row by row, split as if one after the other
    kNibbles,      // of experts' matrices, neighbouring elements 2i and 2i + 1 exchanged
    kInt8,         // all projections, one scale per row: largest / 127
    kInt8Wide,     // the same with largest / 127.5, which uses -128 too
    kInt4,         // all projections, one scale per 32 of a row
    kFp8,          // all projections, cast to E4M3 without a scale
    kFp8Row,       // all projections, E4M3 with one scale per row: largest / 448
    kFp8Tensor,    // all projections, E4M3 with one scale: largest / 448
    kF16,          // all tensors; subnormals flushed to zero
    kBf16AsF16,    // the bits of all BF16 tensors read as F16
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

// Whether it changes the final norm too.
constexpr bool is_of_all_norms(const WeightChange& change) {
  return change.kind == WeightChange::Kind::kOnePlusBf16 ||
         change.kind == WeightChange::Kind::kOnePlusF16;
}

// Layer l runs with the weights of layer order[l] of the checkpoint; -1 leaves it out.
using LayerOrder = std::vector<std::int64_t>;

// A model's weights with changes. Holds one layer of the tensors that had to be rebuilt.
class ChangedWeights {
 public:
  // order: empty for the model's own.
  ChangedWeights(const Model& model, std::vector<WeightChange> changes, LayerOrder order);

  // For the steps of the model's own layer. Valid until the next call. The order must not leave the
  // layer out.
  const BlockWeights& layer(std::int64_t l);

 private:
  const Block& block(std::int64_t l) const;
  // Of a layer's weights; what is in MXFP4 is widened to BF16.
  std::vector<Weight*> parts_of(std::int64_t l, BlockWeights& w, Part part);
  void apply(const WeightChange& change, std::int64_t l, BlockWeights& w);
  void replace(Weight& part, const WeightChange& change);
  Weight permuted(const Weight& part, std::int64_t way, std::int64_t l);
  void split_by_groups(std::int64_t l, BlockWeights& w);
  void mix(Weight& gate, Weight& up);
  // Memory for a matrix, until the next layer.
  std::byte* keep(std::size_t bytes);

  const Model& model_;
  std::vector<WeightChange> changes_;
  LayerOrder order_;
  BlockWeights layer_;
  std::vector<std::vector<std::byte>> made_;
  std::size_t used_ = 0;
};

// One tensor with a change of kind kTransposed, kRowsShifted, kInt8, kInt8Wide, kInt4, kFp8,
// kFp8Row, kFp8Tensor, kF16, kBf16AsF16, kOnePlusBf16 or kOnePlusF16. `memory` holds its bytes.
Weight changed(const Weight& w, const WeightChange& change, std::vector<std::byte>& memory);

}  // namespace assay
