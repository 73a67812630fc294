// An exchange that carries out a hypothesis's operations in a running forward pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "diagnose/hypothesis.h"
#include "model/exchange.h"
#include "numerics/rope_table.h"

namespace assay {

// What a tap shows goes to `inner` as the operations have made it.
template <class N>
class Operating : public Exchange<typename N::Real> {
 public:
  using Real = typename N::Real;
  // hypothesis and inner must outlive it.
  Operating(const Hypothesis& hypothesis, Exchange<Real>& inner);

  void rows(Tap tap, std::int64_t layer, std::size_t tokens, std::size_t width,
            Real* values) override;
  void attention(Tap tap, std::int64_t layer, std::size_t head, std::size_t queries,
                 std::size_t keys, Real* values) override;
  void logits(std::size_t position, std::size_t first, std::size_t count,
              const Real* values) override;
  void operand(Operand operand, std::int64_t layer, std::size_t rows, std::size_t width,
               Real* values) override;
  void stream_into(std::int64_t layer, Real* hidden) override;

 private:
  struct Table {
    std::vector<Real> cos, sin;  // [tokens, dims / 2]
  };
  const Table& table(std::int64_t layer, std::size_t tokens);
  bool rotates(std::int64_t layer) const;
  void rotate(std::int64_t layer, std::size_t tokens, std::size_t width,
              const std::vector<Real>& from, Real* to);
  void limit(Tap tap, std::size_t count, Real* values) const;
  void softmax_with_sink(double sink, std::span<const Real> scores, Real* probs) const;

  const Hypothesis& hypothesis_;
  const Operations& operations_;
  Exchange<Real>& inner_;
  std::vector<Real> queries_, keys_;       // before their rotation
  std::vector<std::vector<Real>> scores_;  // [head], of the layer that runs
  std::map<const RopeParameters*, Table> tables_;
  std::vector<Real> biased_;
};

}  // namespace assay
