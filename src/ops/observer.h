// Observes a running forward pass, and may change its values.
#pragma once

#include <cstddef>
#include <cstdint>

#include "models/taps.h"

namespace assay {

// Scores or probabilities of one head: of queries [first_query, first_query + queries) with keys
// [first_key, first_key + keys). Rows are `stride` apart.
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

// Observes one sequence. The pass continues with the values as the observer leaves them. Layers are
// 0 for taps outside them.
template <class Real>
class Observer {
 public:
  virtual ~Observer() = default;

  // Whether it wants the tap; asked before each of the calls below.
  virtual bool wants(Tap tap, std::int64_t layer) const = 0;

  // Positions [first, first + count) as computed, [count, width]. Logits come through columns(),
  // scores and probabilities through attention().
  virtual void rows(Tap tap, std::int64_t layer, std::int64_t first, std::int64_t count,
                    std::size_t width, Real* values) = 0;

  // Columns [column, column + count) of the logits of one position, from the first columns to the
  // last.
  virtual void columns(std::int64_t position, std::int64_t column, std::int64_t count,
                       Real* values) = 0;

  // Called before attention(), for a wanted tap: entries that are not shown have the value
  // `masked`.
  virtual void begin_attention(Tap /*tap*/, std::int64_t /*layer*/, Real /*masked*/) {}
  // Several threads may call it for different rows.
  virtual void attention(Tap tap, std::int64_t layer, const AttentionRows<Real>& rows) = 0;
  // Called after attention(): `count` more positions are complete.
  virtual void end_attention(Tap /*tap*/, std::int64_t /*layer*/, std::int64_t /*count*/) {}

 protected:
  Observer() = default;
  Observer(const Observer&) = default;
  Observer& operator=(const Observer&) = default;
  Observer(Observer&&) noexcept = default;
  Observer& operator=(Observer&&) noexcept = default;
};

}  // namespace assay
