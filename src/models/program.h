// A model as a value: the steps that compute it, in their order, with the tensors that they read
// and the taps under which people see their results.
//
// A layer is a block of steps; what comes before the layers and after them are blocks, too. The
// residual stream enters a block as value 0. From a program follow the tensors of a checkpoint in
// the order of their use, the work of a token, and what `assay explain` prints.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "models/spec.h"
#include "models/taps.h"

namespace assay {

// A value of a block, by its index in Block::values.
using ValueId = std::size_t;

struct Value {
  // Of one token, as [heads, head_dim] or [width]. Of scores and probabilities [heads]: those have
  // a row of keys for every head and query.
  std::vector<std::int64_t> shape;
  std::optional<Tap> tap;
  bool over_keys = false;
  bool operator==(const Value&) const = default;
};

// A tensor of the checkpoint as a step reads it: a vector, a matrix [rows, cols], or some rows of a
// matrix that is stored for several.
struct TensorUse {
  std::string name;         // transformers'
  std::int64_t rows = 0;    // 0: a vector
  std::int64_t cols = 0;    // of a vector its length
  std::int64_t first = 0;   // row of the stored matrix
  std::int64_t stored = 0;  // its rows
  std::int64_t count = 1;   // of so many equal tensors; "{}" in the name is each one's number
  bool operator==(const TensorUse&) const = default;
};

// x = table[id] * round(scale).
struct Lookup {
  double scale = 1;
  bool operator==(const Lookup&) const = default;
};

// RMSNorm over each `width` elements: x / sqrt(mean(x^2) + eps) * weight, or * (1 + weight).
struct RmsNorm {
  double eps = 0;
  std::int64_t width = 0;
  bool one_plus = false;
  bool rounded_once = false;  // after the weight only, not before it as well
  bool operator==(const RmsNorm&) const = default;
};

// For each value that it writes a matrix, and after it a bias where it has one: x w^T + bias.
struct Linear {
  bool operator==(const Linear&) const = default;
};

// Rotary embedding of the first `dims` elements of each head, pairs (i, i + dims / 2), with
// Program::ropes[table].
struct Rotate {
  std::size_t table = 0;
  std::int64_t dims = 0;
  bool rounded_once = false;  // only the sum, not cos, sin and the products
  bool operator==(const Rotate&) const = default;
};

// round(q k^T) * scale of each query head with its key head, soft-capped where cap is not 0. Of the
// keys a query sees those up to its own position, the last `window` of them where that is not 0.
struct Scores {
  double scale = 0;
  double cap = 0;
  std::int64_t window = 0;
  bool operator==(const Scores&) const = default;
};
struct Softmax {
  bool operator==(const Softmax&) const = default;
};
// Probabilities times values, heads side by side.
struct Context {
  bool operator==(const Context&) const = default;
};

struct Add {
  bool operator==(const Add&) const = default;
};

// activation(gate) * up.
struct Gate {
  Activation activation = Activation::kSilu;
  bool operator==(const Gate&) const = default;
};

// The ids of each token's experts, those of its greatest logits; and their weights.
struct TopExperts {
  std::int64_t experts = 0;
  std::int64_t per_token = 0;
  bool operator==(const TopExperts&) const = default;
};
struct ExpertWeights {
  bool sum_to_one = false;
  bool operator==(const ExpertWeights&) const = default;
};
// As Linear, each token through the matrices of its own experts. Its weights are all of the first
// expert, then all of the second.
struct ExpertLinear {
  std::int64_t experts = 0;
  std::int64_t per_token = 0;
  bool operator==(const ExpertLinear&) const = default;
};
// The sum of a token's experts, each times its weight.
struct SumExperts {
  bool operator==(const SumExperts&) const = default;
};

// cap * tanh(x / cap).
struct Softcap {
  double cap = 0;
  bool operator==(const Softcap&) const = default;
};

// An operation that is none of these: its code comes with it.
struct Bf16;
struct F32;
struct F64;
template <class N>
struct ForeignRun;  // what it is run with: ops/foreign.h
class ForeignOperation {
 public:
  virtual ~ForeignOperation() = default;
  // Whether it computes the same.
  virtual bool equals(const ForeignOperation& other) const = 0;
  virtual void run(ForeignRun<Bf16>& with) const = 0;
  virtual void run(ForeignRun<F32>& with) const = 0;
  virtual void run(ForeignRun<F64>& with) const = 0;
};
struct Foreign {
  std::shared_ptr<const ForeignOperation> operation;  // not null
  bool operator==(const Foreign& other) const { return operation->equals(*other.operation); }
};

using Operation =
    std::variant<Lookup, RmsNorm, Linear, Rotate, Scores, Softmax, Context, Add, Gate, TopExperts,
                 ExpertWeights, ExpertLinear, SumExperts, Softcap, Foreign>;

struct Step {
  Operation operation;
  std::vector<ValueId> reads;
  std::vector<ValueId> writes;
  std::vector<TensorUse> tensors;
  bool operator==(const Step&) const = default;
};

// The tensors of a step one by one, in the order of its weights.
std::vector<TensorUse> each_tensor(const Step& step);

struct Block {
  std::vector<Value> values;
  std::vector<Step> steps;
  ValueId result = 0;  // the residual stream as it leaves the block; of the head, the logits

  // The value that the tap shows, and the step that writes it; none where the block has not the
  // tap.
  std::optional<ValueId> find(Tap tap) const;
  std::optional<std::size_t> step_showing(Tap tap) const;
  bool operator==(const Block&) const = default;
};

struct Program {
  std::vector<RopeParameters> ropes;
  Block embedding;
  std::vector<Block> layers;
  Block head;
  bool operator==(const Program&) const = default;
};

// The program of a spec that read_spec() gave. Pure: the same spec, the same program.
// stored_head: the checkpoint has an lm_head.weight, which is used though the config ties it:
// transformers 5 ties only where it equals the embedding.
Program program_of(const ModelSpec& spec, bool stored_head = false);
// Its parts one by one.
std::vector<RopeParameters> ropes_of(const ModelSpec& spec);
Block embedding_of(const ModelSpec& spec);
Block layer_of(const ModelSpec& spec, std::int64_t l);
Block head_of(const ModelSpec& spec, bool stored_head = false);

constexpr const char* kLmHead = "lm_head.weight";

}  // namespace assay
