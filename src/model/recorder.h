// Collects the tapped values of one prompt into named arrays.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "assay/array.h"
#include "models/taps.h"
#include "ops/observer.h"

namespace assay {

// Stores values as FP32 whatever the run's numerics (as F64 on request), expert_ids as I64; values
// beyond FP32's range are clamped. Rows may arrive in pieces: a prompt run in chunks gives the same
// arrays as one run whole.
template <class Real>
class Recorder : public Observer<Real> {
 public:
  // Receives each array when it is complete, in data-flow order if a prompt is run whole.
  using Sink = std::function<void(Array)>;

  // store: kF32 or kF64. Without a sink, arrays are kept for take().
  Recorder(const ModelSpec& spec, TapSet taps, std::int64_t tokens, DType store = DType::kF32,
           Sink sink = {});

  bool wants(Tap tap, std::int64_t layer) const override { return taps_.wants(tap, layer); }
  void rows(Tap tap, std::int64_t layer, std::int64_t first, std::int64_t count, std::size_t width,
            Real* values) override;
  void columns(std::int64_t position, std::int64_t column, std::int64_t count,
               Real* values) override;
  void begin_attention(Tap tap, std::int64_t layer, Real masked) override;
  void attention(Tap tap, std::int64_t layer, const AttentionRows<Real>& rows) override;
  void end_attention(Tap tap, std::int64_t layer, std::int64_t count) override {
    add_positions(tap, layer, count);
  }

  // The arrays that no sink has taken, in data-flow order; the recorder is empty afterwards.
  std::vector<Array> take();

 private:
  struct Slot {
    Array array;                 // no bytes until first recorded
    std::int64_t positions = 0;  // that are present
  };
  Slot& slot(Tap tap, std::int64_t layer);
  Array& array(Tap tap, std::int64_t layer);
  void add_positions(Tap tap, std::int64_t layer, std::int64_t count);

  ModelSpec spec_;
  TapSet taps_;
  std::int64_t tokens_;
  DType store_;
  Sink sink_;
  std::vector<Slot> slots_;  // [layer][tap]
};

}  // namespace assay
