// Attention of a whole sequence with all rows in full: hidden entries are masked, not omitted.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "models/program.h"
#include "ops/foreign.h"
#include "rewrite/rotary.h"
#include "rewrite/store.h"

namespace assay {

enum class Mask : std::uint8_t {
  kCausal,
  kNone,          // every query sees every position
  kZero,          // hidden scores are 0, not the lowest value
  kAfterSoftmax,  // hidden probabilities are 0, and the others are not renormalised
};

// Faults that affect only tokens decoded one by one after a prompt.
enum class DecodeFault : std::uint8_t {
  kNone,
  kAlone,         // the cache is not read: a token sees only itself
  kFirstOnly,     // the mask begins at the wrong corner: a token sees only position 0
  kNotItself,     // the cache is read before the token's own key and value are in it
  kSlot,          // keys and values are written `amount` slots too far; the skipped one is zero
  kNotRotated,    // keys of the prompt are cached before their rotary embedding
  kRotatedAgain,  // keys of the prompt are rotated again when read
  kNoWindow,      // a token sees all positions before it
};

struct Decoding {
  DecodeFault fault = DecodeFault::kNone;
  std::int64_t from = 0;  // position of the first decoded token, or kAfterPrompt
  std::int64_t amount = 0;
  bool operator==(const Decoding&) const = default;
};

// A type in which probabilities or scores are stored.
struct HeldRows {
  OperandType type = OperandType::kOwn;
  bool before_division = false;  // relative to the row's greatest exponential
  double exponential_error = 0;  // relative error of the exponentials before they are rounded
  bool operator==(const HeldRows&) const = default;
};

// What happens to the model's own sinks.
enum class OwnSinks : std::uint8_t {
  kUsed,
  kLeftOut,
  kOnFirstKey,  // a sink's probability is added to that of the first key that the query sees
  kUnrounded,   // used, but differences from the greatest score are not rounded
};

// Scores, softmax and context in one step. It reads queries, keys and values, and then the keys
// before their rotation. It shows scores and probabilities to the observer itself, for all keys of
// a head's queries at once.
struct OddAttention {
  Scores scores;
  bool modulo_heads = false;  // query head h reads key/value head h % n, not h / group
  bool keys_modulo = false;   // the same, only for keys
  Mask mask = Mask::kCausal;
  std::int64_t mask_offset = 0;  // the query at p sees positions up to p + this
  OwnSinks own_sinks = OwnSinks::kUsed;
  std::vector<double> sinks = {};  // one more score in each head's softmax; a single one: in all
  std::vector<std::int64_t> cuts = {};  // no token sees across these positions
  bool over_queries = false;            // softmax along the other axis
  DType softmax = DType::kF32;          // type of exponentials and their sum
  bool joins_heads = true;    // false: context stored as [heads, tokens, head_dim], read as rows
  DType cache = DType::kF32;  // keys and values pass through kI8 (by row) or kF8E4M3
  Decoding decoding = {};
  OddRotate again = {};  // the rotation of kRotatedAgain
  // Types in which these are stored: as shown, and probabilities also as the context reads them.
  std::vector<OperandType> scores_held = {};
  std::vector<OperandType> probs_held = {};
  std::vector<HeldRows> probs_read = {};
  Store store = Store::kOwn;
  bool operator==(const OddAttention&) const = default;

  template <class N>
  void compute(ForeignRun<N>& with) const;
};

}  // namespace assay
