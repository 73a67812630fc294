// A model as a value: the steps that compute it, in order, with the tensors that they read and the
// taps that show their results.
//
// A layer is a block of steps; so are the parts before and after the layers. The residual stream
// enters a block as value 0. A checkpoint's tensors in the order of their use, the work per token,
// and the output of `assay explain` all follow from a program.
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
  // Shape per token: [heads, head_dim] or [width]; of scores and probabilities [heads], each with a
  // row of keys for every query.
  std::vector<std::int64_t> shape;
  std::optional<Tap> tap;
  bool over_keys = false;
  bool operator==(const Value&) const = default;
};

// A tensor of the checkpoint as a step reads it: a vector, a matrix [rows, cols], or some rows of a
// matrix that is stored for several.
struct TensorUse {
  std::string name;         // as in transformers
  std::int64_t rows = 0;    // 0: a vector
  std::int64_t cols = 0;    // the length of a vector
  std::int64_t first = 0;   // first row in the stored matrix
  std::int64_t stored = 0;  // rows of the stored matrix
  std::int64_t count = 1;   // number of equal tensors
  bool depthwise = false;   // stored as [rows, 1, cols], a convolution's
  // Whether they are numbered by "{}" in the name.
  bool is_numbered() const { return name.find("{}") != name.npos; }
  bool operator==(const TensorUse&) const = default;
};

// x = table[id] * round(scale), or with `parts`, the `part`-th of so many equal parts of the row.
struct Lookup {
  double scale = 1;
  std::int64_t parts = 1;
  std::int64_t part = 0;
  bool operator==(const Lookup&) const = default;
};

// RMSNorm over each `width` elements: x / sqrt(mean(x^2) + eps) * weight, or * (1 + weight), or
// without a weight if the step reads no tensor.
struct RmsNorm {
  double eps = 0;
  std::int64_t width = 0;
  bool one_plus = false;
  bool rounded_once = false;  // only after the weight, not also before it
  bool operator==(const RmsNorm&) const = default;
};

// x w^T + bias: a matrix for each value that it writes, followed by its bias, if any.
struct Linear {
  bool rounded = true;  // false: the results stay in FP32 (in double in numerics f64)
  bool operator==(const Linear&) const = default;
};

// Takes apart what one projection has side by side, in `groups` of parts with these widths: part i
// of all groups goes to the value into[i], after the parts that went there before.
struct Unpack {
  std::int64_t groups = 0;
  std::vector<std::int64_t> widths;
  std::vector<std::size_t> into;
  bool operator==(const Unpack&) const = default;
};

// Rotary embedding of the first `dims` elements of each head, pairs (i, i + dims / 2), with
// Program::ropes[table].
struct Rotate {
  std::size_t table = 0;
  std::int64_t dims = 0;
  bool rounded_once = false;  // only the sum, not cos, sin and the products
  bool operator==(const Rotate&) const = default;
};

// x * round(1 + growth * log(1 + floor(p / length))) of the token at position p.
struct ScaleByPosition {
  double growth = 0;
  double length = 1;
  bool operator==(const ScaleByPosition&) const = default;
};

// round(q k^T) * scale of each query head with its key head, soft-capped if cap is not 0. A query
// sees the keys up to its own position, or the last `window` of them if that is not 0.
struct Scores {
  double scale = 0;
  double cap = 0;
  std::int64_t window = 0;
  bool operator==(const Scores&) const = default;
};
// With the sinks of the heads, a vector: a row has one more score, which belongs to no key, and
// what is subtracted from scores before their exponentials is rounded.
struct Softmax {
  bool sinks = false;
  bool operator==(const Softmax&) const = default;
};
// Probabilities times values, heads side by side.
struct Context {
  bool operator==(const Context&) const = default;
};

struct Add {
  bool operator==(const Add&) const = default;
};

// x * factor, or times a vector of the checkpoint: one number for each element of x, or one for
// all.
struct Multiply {
  double factor = 1;
  bool operator==(const Multiply&) const = default;
};

// activation(gate) * up. Swish has more: g * sigmoid(alpha * g) * (up + 1, or up), with g = gate
// limited from above, and up limited on both sides, unless the limit is 0.
struct Gate {
  Activation activation = Activation::kSilu;
  double alpha = 1;
  double limit = 0;
  bool up_plus_one = false;
  bool operator==(const Gate&) const = default;
};

// x * sigmoid(gate), with a gate for each element of x or one for each token.
struct SigmoidGate {
  bool operator==(const SigmoidGate&) const = default;
};

// 1 / (1 + exp(-x)).
struct Sigmoid {
  bool operator==(const Sigmoid&) const = default;
};

// silu of a causal convolution, each channel by itself: of its last `taps` inputs, zeros before the
// sequence. The sum is rounded, and so is silu.
struct CausalConv {
  std::int64_t taps = 0;
  bool operator==(const CausalConv&) const = default;
};
// The logarithm of the factor by which a head's state decays:
// -exp(A_log) * softplus(x + dt_bias); not rounded.
struct Decay {
  bool operator==(const Decay&) const = default;
};
// The gated delta rule. Reads queries, keys and values side by side, then beta and decay of each
// value head. A value head has a state S [key_dim, value_dim], zero before the sequence, and uses
// the query q and key k of its group, both divided by sqrt(sum of squares + eps):
//   S = S * exp(decay); S = S + k (beta * (v - k S)); result = scale * q S.
// State and everything but the result are in FP32 (in double in numerics f64).
struct DeltaRule {
  std::int64_t key_heads = 0, value_heads = 0;
  std::int64_t key_dim = 0, value_dim = 0;
  double scale = 0;
  double eps = 0;
  bool operator==(const DeltaRule&) const = default;
};
// RMSNorm over each `width` elements, rounded before and after the weight, times silu(z), which is
// not rounded before the product.
struct GatedNorm {
  double eps = 0;
  std::int64_t width = 0;
  bool operator==(const GatedNorm&) const = default;
};

// A router's scores, from its logits; not rounded.
struct RouterScores {
  RouterFunction function = RouterFunction::kSoftmax;
  bool operator==(const RouterScores&) const = default;
};
// scores + bias, by which experts are chosen but not weighted; not rounded.
struct CorrectScores {
  bool rounds_bias = false;  // to the run's type; otherwise it keeps its own
  bool operator==(const CorrectScores&) const = default;
};
// The ids of each token's experts, those with the greatest scores. With groups, of equal sizes,
// only experts of the `kept` groups with the greatest sums of their two best scores.
struct TopExperts {
  std::int64_t experts = 0;
  std::int64_t per_token = 0;
  bool sorted = true;  // greatest first; otherwise as torch.topk(sorted=False) leaves them
  std::int64_t groups = 1;
  std::int64_t kept = 1;
  bool operator==(const TopExperts&) const = default;
};
// The scores of a token's experts, or their softmax; divided by their sum + eps if sum_to_one,
// times the factor, and times its expert's element of the step's vector, if there is one.
struct ExpertWeights {
  bool sum_to_one = false;
  double eps = 0;
  double factor = 1;
  bool rounded = true;
  bool softmax = false;
  bool operator==(const ExpertWeights&) const = default;
};
// Like Linear, each token with the matrices of its own experts, but a bias is added to the rounded
// product. The weights are all of the first expert's, then all of the second's.
struct ExpertLinear {
  std::int64_t experts = 0;
  std::int64_t per_token = 0;
  bool operator==(const ExpertLinear&) const = default;
};
// The sum of the outputs of a token's experts, each times its weight.
struct SumExperts {
  bool rounds_products = true;
  bool operator==(const SumExperts&) const = default;
};

// cap * tanh(x / cap).
struct Softcap {
  double cap = 0;
  bool operator==(const Softcap&) const = default;
};

// An operation of another kind, which brings its own code.
struct Bf16;
struct F32;
struct F64;
template <class N>
struct ForeignRun;  // defined in ops/foreign.h
class ForeignOperation {
 public:
  virtual ~ForeignOperation() = default;
  // Whether both compute the same.
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
    std::variant<Lookup, RmsNorm, Linear, Unpack, Rotate, ScaleByPosition, Scores, Softmax, Context,
                 Add, Multiply, Gate, SigmoidGate, Sigmoid, CausalConv, Decay, DeltaRule, GatedNorm,
                 RouterScores, CorrectScores, TopExperts, ExpertWeights, ExpertLinear, SumExperts,
                 Softcap, Foreign>;

struct Step {
  Operation operation;
  std::vector<ValueId> reads;
  std::vector<ValueId> writes;
  std::vector<TensorUse> tensors;
  bool operator==(const Step&) const = default;
};

// Whether a BF16 run rounds the operation's results.
bool rounds(const Operation& operation);

// The tensors of a step one by one, in the order of its weights.
std::vector<TensorUse> each_tensor(const Step& step);

// A value that an earlier block shows: keys, values, or the embedding.
struct Import {
  ValueId value = 0;
  TapPlace from;
  bool operator==(const Import&) const = default;
};

struct Block {
  std::vector<Value> values;
  std::vector<Step> steps;
  std::vector<Import> imports = {};
  ValueId result = 0;  // the residual stream that leaves the block; in the head, the logits

  // The value that the tap shows, and the step that writes it; none if the block does not have the
  // tap.
  std::optional<ValueId> find(Tap tap) const;
  std::optional<std::size_t> step_showing(Tap tap) const;
  // The import that is this value, or null.
  const Import* import_of(ValueId value) const;
  bool operator==(const Block&) const = default;
};

struct Program {
  std::vector<RopeParameters> ropes;
  Block embedding;
  std::vector<Block> layers;
  Block head;
  bool operator==(const Program&) const = default;
};

// The taps of the layers that a BF16 run does not round.
std::vector<Tap> unrounded_taps(const Program& program);

// The program for a spec from read_spec(). A pure function. stored_head: the checkpoint has an
// lm_head.weight, which is used although the config ties it: transformers 5 ties only if it equals
// the embedding.
Program program_of(const ModelSpec& spec, bool stored_head = false);
// The program's parts.
std::vector<RopeParameters> ropes_of(const ModelSpec& spec);
Block embedding_of(const ModelSpec& spec);
Block layer_of(const ModelSpec& spec, std::int64_t l);
Block head_of(const ModelSpec& spec, bool stored_head = false);

constexpr const char* kLmHead = "lm_head.weight";

}  // namespace assay
