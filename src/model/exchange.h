// A look at a running forward pass that may change what it sees.
#pragma once

#include <cstddef>
#include <cstdint>

#include "assay/taps.h"

namespace assay {

// What a matmul of the pass reads.
enum class Operand : std::uint8_t {
  kQkv,      // of the projections of queries, keys and values
  kQueries,  // behind norm and rotary embedding
  kKeys,     // the same, as the cache keeps them
  kValues,   // as the cache keeps them
  kProbs,
  kO,
  kRouter,
  kGateUp,
  kDown,
  kHead,
};

// What it leaves in the values is what the pass goes on with: each operation can be run on another
// engine's own inputs.
template <class Real>
class Exchange {
 public:
  Exchange() = default;
  virtual ~Exchange() = default;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // A tap's values as computed, [tokens, width]. Logits come in blocks, through logits().
  virtual void rows(Tap tap, std::int64_t layer, std::size_t tokens, std::size_t width,
                    Real* values) = 0;
  // Scores or probabilities of one head, [queries, keys]; what the mask hides is there, too.
  // Several threads may call it for different heads.
  virtual void attention(Tap tap, std::int64_t layer, std::size_t head, std::size_t queries,
                         std::size_t keys, Real* values) = 0;
  // Columns [first, first + count) of the logits of one position.
  virtual void logits(std::size_t position, std::size_t first, std::size_t count,
                      const Real* values) = 0;
  // What a matmul is about to read, [rows, width] in its own memory: what it leaves there reaches
  // that matmul alone. Of kProbs: one head's, [queries, keys], as attention().
  virtual void operand(Operand, std::int64_t /*layer*/, std::size_t /*rows*/, std::size_t /*width*/,
                       Real* /*values*/) {}
  // Fills in the residual stream that enters `layer`, [tokens, hidden]: asked for where the layer
  // before was not computed. One behind the last layer asks for what enters the final norm.
  virtual void stream_into(std::int64_t layer, Real* hidden) = 0;
};

}  // namespace assay
