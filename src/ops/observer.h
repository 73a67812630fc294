// A look at a running forward pass, which may change what it sees.
#pragma once

#include <cstddef>
#include <cstdint>

#include "models/taps.h"

namespace assay {

// Scores or probabilities of one head: of queries [first_query, first_query + queries) with keys
// [first_key, first_key + keys). Rows lie `stride` apart.
template <class Real>
struct AttentionRows {
  std::int64_t head = 0;
  std::int64_t first_query = 0;
  std::int64_t queries = 0;
  std::int64_t first_key = 0;
  std::int64_t keys = 0;
  Real* values = nullptr;
  std::size_t stride = 0;
};

// Of one sequence. What it leaves in the values is what the pass goes on with. Layers are 0 for
// taps outside of them.
template <class Real>
class Observer {
 public:
  virtual ~Observer() = default;

  // Whether it looks at the tap; asked before each of the calls below.
  virtual bool wants(Tap tap, std::int64_t layer) const = 0;

  // Positions [first, first + count) as computed, [count, width]. Logits come through columns(),
  // scores and probabilities through attention().
  virtual void rows(Tap tap, std::int64_t layer, std::int64_t first, std::int64_t count,
                    std::size_t width, Real* values) = 0;

  // Columns [column, column + count) of the logits of one position; its last ones last.
  virtual void columns(std::int64_t position, std::int64_t column, std::int64_t count,
                       Real* values) = 0;

  // Called before attention(), of a tap that is wanted: what is not shown has the value `masked`.
  virtual void begin_attention(Tap /*tap*/, std::int64_t /*layer*/, Real /*masked*/) {}
  // Several threads may call it for different rows.
  virtual void attention(Tap tap, std::int64_t layer, const AttentionRows<Real>& rows) = 0;
  // Called after it: `count` more positions are complete.
  virtual void end_attention(Tap /*tap*/, std::int64_t /*layer*/, std::int64_t /*count*/) {}

 protected:
  Observer() = default;
  Observer(const Observer&) = default;
  Observer& operator=(const Observer&) = default;
  Observer(Observer&&) noexcept = default;
  Observer& operator=(Observer&&) noexcept = default;
};

}  // namespace assay
