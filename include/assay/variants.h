// The switches of the forward pass beyond a config's sizes: one group for each operation.
//
// Each default is what transformers' Llama and Qwen compute. Some switches are what makes another
// model of the family; they say so by its name. A porting bug is the right spec with one of all
// these another way.
#pragma once

#include <cstdint>
#include <optional>

#include "assay/array.h"

namespace assay {

// How results are rounded when they are stored.
enum class Store : std::uint8_t {
  kOwn,        // as the numerics does
  kTruncated,  // to BF16 towards zero; with numerics f32
  kF16,        // to F16, which overflows beyond 65504; with numerics f32
};

struct EmbeddingSpec {
  double scale = 1;  // rows times this, which is rounded (Gemma: sqrt(hidden_size))
  bool scale_rounded = true;
  std::int64_t row_offset = 0;  // row id + this is looked up
  bool operator==(const EmbeddingSpec&) const = default;
};

// RMSNorm: x / sqrt(mean(x^2) + eps) * weight.
struct NormSpec {
  int times = 1;                   // 0: left out
  std::optional<double> eps = {};  // in place of rms_norm_eps
  bool weighted = true;
  bool one_plus = false;         // times 1 + weight (Gemma)
  bool centred = false;          // the mean is subtracted first (LayerNorm)
  bool eps_outside = false;      // x / (sqrt(mean(x^2)) + eps)
  bool sum_of_squares = false;   // sum(x^2) in place of its mean
  bool rounded_once = false;     // not before the weight, only after it (Gemma, OLMo 2)
  bool rounded_squares = false;  // x, x^2 and their mean held in BF16
  bool operator==(const NormSpec&) const = default;
};

struct QkNormSpec {
  bool full_width = false;    // over all heads together, with a weight for each channel (OLMo 2)
  bool across_heads = false;  // over all heads together, with the same weights for each
  bool each_head = false;     // with full_width: over each head apart, with its part of the weights
  bool after_rope = false;
  bool on_v = false;  // values too, by the keys' weight
  bool operator==(const QkNormSpec&) const = default;
};

// Rotary embedding: pairs (i, i + dims/2), angles by the spec's RopeParameters.
struct RopeSpec {
  bool on_q = true;
  bool on_k = true;
  bool on_v = false;
  int times = 1;
  bool interleaved = false;         // pairs (2i, 2i + 1), as GPT-J
  bool backwards = false;           // by -angle
  bool exchanged = false;           // cos and sin taken for each other
  std::int64_t dims = 0;            // only the first ones of a head are rotated (Phi); 0: all
  bool rounded_once = false;        // tables and products not rounded, only their sum (OLMo 2)
  std::int64_t offset = 0;          // added to the position
  double factor = 1;                // divides the position
  DType frequencies = DType::kF32;  // the frequencies are rounded to this,
  DType angles = DType::kF32;       // the angles to this,
  DType table = DType::kF32;        // and cos and sin to this
  bool operator==(const RopeSpec&) const = default;
};

enum class Mask : std::uint8_t {
  kCausal,
  kNone,          // every query sees every position
  kZero,          // hidden scores are 0, not the lowest value
  kAfterSoftmax,  // hidden probabilities are 0, the others not scaled up again
};

// What goes wrong only in tokens that are decoded one by one behind a prompt.
enum class DecodeFault : std::uint8_t {
  kNone,
  kPosition,      // rotary positions off by `amount`
  kStuck,         // all decoded tokens have the first one's rotary position
  kAlone,         // the cache is not read: a token sees itself only
  kFirstOnly,     // the mask begins at the wrong corner: a token sees position 0 only
  kNotItself,     // the cache is read before the token's own key and value are in it
  kSlot,          // keys and values are written `amount` slots too far; the one left out is zero
  kNotRotated,    // keys of the prompt are cached before their rotary embedding
  kRotatedAgain,  // keys of the prompt are rotated a second time when read
};

struct DecodeSpec {
  DecodeFault fault = DecodeFault::kNone;
  std::int64_t from = 0;  // position of the first decoded token
  std::int64_t amount = 0;
  bool operator==(const DecodeSpec&) const = default;
};

struct AttentionSpec {
  double scale = 0;           // of the scores (Gemma: its own); 0: 1 / sqrt(head_dim)
  bool modulo_heads = false;  // query head h reads key/value head h % n, not h / group
  bool keys_modulo = false;   // the same of keys alone
  Mask mask = Mask::kCausal;
  std::int64_t mask_offset = 0;  // the query at p sees positions up to p + this
  std::int64_t window = 0;       // in sliding layers none before p + 1 - this; 0: all
  double softcap = 0;            // cap * tanh(score / cap) (Gemma 2); 0: none
  bool sink = false;             // one more score, 0, in the softmax's denominator
  bool over_queries = false;     // softmax along the other axis
  DType softmax = DType::kF32;   // type in which exponentials and their sum are held
  bool joins_heads = true;       // false: context stored as [heads, tokens, head_dim], read as rows
  DType cache = DType::kF32;     // keys and values pass through kI8 (by row) or kF8E4M3
  DecodeSpec decode;
  bool operator==(const AttentionSpec&) const = default;
};

enum class Activation : std::uint8_t {
  kSilu,
  kGelu,       // x * Phi(x)
  kGeluTanh,   // its tanh approximation (Gemma)
  kQuickGelu,  // x * sigmoid(1.702 x)
  kRelu,
  kRelu2,  // squared
  kSigmoid,
  kTanh,
  kHardSwish,
  kNone,
};

struct MlpSpec {
  Activation activation = Activation::kSilu;
  enum class On : std::uint8_t { kGate, kUp, kProduct } on = On::kGate;
  bool operator==(const MlpSpec&) const = default;
};

// Where the residual stream comes from that a block's output is added to.
enum class Residual : std::uint8_t {
  kStream,
  kNormed,      // what the block's own norm made of it
  kNone,        // nothing is added
  kLayerInput,  // the stream before attention (of the MLP's add)
};

// Where the norms of a block f stand.
enum class Norms : std::uint8_t {
  kBefore,     // x + f(norm(x))
  kAfter,      // x + norm(f(x)) (OLMo 2)
  kAround,     // x + norm(f(norm(x))) (Gemma)
  kBehindAdd,  // norm(x + f(x)), as the first transformers
};

struct BlockSpec {
  Norms norms = Norms::kBefore;
  Residual attention = Residual::kStream;
  Residual mlp = Residual::kStream;
  bool parallel = false;  // the MLP reads the layer's input, not attn_residual
  bool operator==(const BlockSpec&) const = default;
};

// A mixture of experts in place of the MLP (Qwen3-MoE): each token's output is the sum of those of
// its num_experts_per_tok experts, times their weights.
struct MoeSpec {
  std::int64_t num_experts = 0;  // 0: none
  std::int64_t num_experts_per_tok = 0;
  std::int64_t intermediate_size = 0;  // of each expert
  bool norm_topk_prob = false;         // the weights of a token's experts add up to 1
  bool sigmoid = false;                // in place of the softmax
  bool weighted = true;                // false: the experts' outputs are added as they are
  std::int64_t used = 0;               // only a token's first experts are added; 0: all
  std::int64_t expert_offset = 0;      // expert e's place is taken by e + this
  bool operator==(const MoeSpec&) const = default;
};

struct HeadSpec {
  double scale = 1;             // of the logits
  double softcap = 0;           // cap * tanh(logit / cap) (Gemma 2); 0: none
  std::int64_t row_offset = 0;  // logits of position p are made of position p + this
  bool operator==(const HeadSpec&) const = default;
};

}  // namespace assay
