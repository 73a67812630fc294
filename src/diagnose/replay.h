// Each operation of a hypothesis, run on the candidate's own inputs.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "diagnose/evidence.h"
#include "diagnose/hypothesis.h"
#include "model/model.h"

namespace assay {

// How one site's computed values lie to the candidate's.
struct Distance {
  bool seen = false;
  // Root mean square over rows of |candidate - computed| / |computed|, each at most kFar: every
  // position counts alike, however large its values. A NaN on one side alone is far.
  double error = 0;
  double exact = 0;  // part of the elements that are equal
};
inline constexpr double kFar = 1e3;

enum class Rounding : std::uint8_t { kBf16, kF16, kF32, kF64 };

struct ReplayResult {
  std::vector<Distance> sites;  // as the evidence's
  // Of each site's rows, and its computed values, where asked for.
  std::vector<std::vector<double>> row_errors;
  std::vector<std::vector<float>> computed;
};

struct ReplayOptions {
  std::vector<std::int64_t> layers;  // increasing; what enters each is a site or computed
  bool head = true;                  // final norm and logits
  bool keep = false;                 // row_errors and computed
  // Distances from these (as ReplayResult::computed), not from the candidate.
  const std::vector<std::vector<float>>* against = nullptr;
  // Whether the pass goes on with the candidate's values.
  bool forced = true;
};

// Runs the hypothesis. Every tap that the candidate has is computed from the candidate's nearest
// taps before it, so that one error does not hide the next.
ReplayResult replay(const Model& model, const Hypothesis& hypothesis, const Evidence& evidence,
                    Rounding rounding, const ReplayOptions& options, ThreadPool& pool);

// What the hypothesis computes by itself in BF16 or FP32, as evidence: the taps that `wanted` says.
Evidence own_run(const Model& model, const Hypothesis& hypothesis,
                 const std::vector<std::int64_t>& ids,
                 const std::function<bool(Tap, std::int64_t)>& wanted, ThreadPool& pool,
                 Rounding rounding = Rounding::kBf16);

// |a - b| / |b| of one row, at most kFar; b is what is right. What both hide is left out.
template <class Real>
double row_error(std::span<const float> a, std::span<const Real> b, std::size_t& equal);

}  // namespace assay
