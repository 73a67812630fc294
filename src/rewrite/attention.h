// Attention of a whole sequence, each row of it in full: what is hidden is masked, not left out.
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
  kAfterSoftmax,  // hidden probabilities are 0, the others not scaled up again
};

// What goes wrong only in tokens that are decoded one by one after a prompt.
enum class DecodeFault : std::uint8_t {
  kNone,
  kAlone,         // the cache is not read: a token sees itself only
  kFirstOnly,     // the mask begins at the wrong corner: a token sees position 0 only
  kNotItself,     // the cache is read before the token's own key and value are in it
  kSlot,          // keys and values are written `amount` slots too far; the one left out is zero
  kNotRotated,    // keys of the prompt are cached before their rotary embedding
  kRotatedAgain,  // keys of the prompt are rotated a second time when read
};

struct Decoding {
  DecodeFault fault = DecodeFault::kNone;
  std::int64_t from = 0;  // position of the first decoded token
  std::int64_t amount = 0;
  bool operator==(const Decoding&) const = default;
};

// A type that probabilities or scores are held in.
struct HeldRows {
  OperandType type = OperandType::kOwn;
  bool before_division = false;  // in parts of the row's greatest
  double exponential_error = 0;  // by which those are off before they are rounded
  bool operator==(const HeldRows&) const = default;
};

// Scores, softmax and context in one step. It reads queries, keys and values, and after them the
// keys before their rotation; it shows scores and probabilities to the observer itself, all keys of
// a head's queries together.
struct OddAttention {
  Scores scores;
  bool modulo_heads = false;  // query head h reads key/value head h % n, not h / group
  bool keys_modulo = false;   // the same of keys alone
  Mask mask = Mask::kCausal;
  std::int64_t mask_offset = 0;         // the query at p sees positions up to p + this
  bool sink = false;                    // one more score, 0, in the softmax's denominator
  std::vector<double> sinks = {};       // one more score in each head's softmax; one: in all heads
  std::vector<std::int64_t> cuts = {};  // no token sees across these positions
  bool over_queries = false;            // softmax along the other axis
  DType softmax = DType::kF32;          // type in which exponentials and their sum are held
  bool joins_heads = true;    // false: context stored as [heads, tokens, head_dim], read as rows
  DType cache = DType::kF32;  // keys and values pass through kI8 (by row) or kF8E4M3
  Decoding decoding = {};
  OddRotate again = {};  // what kRotatedAgain rotates by
  // What these are held in: as they are shown, and probabilities as the context reads them.
  std::vector<OperandType> scores_held = {};
  std::vector<OperandType> probs_held = {};
  std::vector<HeldRows> probs_read = {};
  Store store = Store::kOwn;
  bool operator==(const OddAttention&) const = default;

  template <class N>
  void compute(ForeignRun<N>& with) const;
};

}  // namespace assay
