// Runs each operation of a hypothesis on the candidate's own inputs.
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

// How far a site's computed values are from the candidate's.
struct Distance {
  bool seen = false;
  // Root mean square over rows of |candidate - computed| / |computed|, each at most kFar: every
  // position has the same weight, however large its values. A NaN on only one side counts as kFar.
  double error = 0;
  double exact = 0;  // fraction of equal elements
};
inline constexpr double kFar = 1e3;

enum class Rounding : std::uint8_t { kBf16, kF16, kF32, kF64 };

struct ReplayResult {
  std::vector<Distance> sites;  // in the evidence's order
  // Set with ReplayOptions::keep: the errors of each site's rows, and its computed values.
  std::vector<std::vector<double>> row_errors;
  std::vector<std::vector<float>> computed;
};

struct ReplayOptions {
  // Increasing; the input of each is a site or computed, and so is what it imports.
  std::vector<std::int64_t> layers;
  bool head = true;   // final norm and logits
  bool keep = false;  // fill row_errors and computed
  // Compare with these (like ReplayResult::computed), not with the candidate.
  const std::vector<std::vector<float>>* against = nullptr;
  // Whether the pass continues with the candidate's values.
  bool forced = true;
};

// For a run of all the model's layers.
ReplayOptions all_layers(const ModelSpec& spec);

// Runs the hypothesis. Every tap that the candidate has is computed from the candidate's nearest
// taps before it, so one error does not hide the next.
ReplayResult replay(const Model& model, const Hypothesis& hypothesis, const Evidence& evidence,
                    Rounding rounding, const ReplayOptions& options, ThreadPool& pool);

// A run of the hypothesis by itself, in BF16 or FP32, as evidence with the taps that `wanted`
// accepts.
Evidence own_run(const Model& model, const Hypothesis& hypothesis,
                 const std::vector<std::int64_t>& ids,
                 const std::function<bool(Tap, std::int64_t)>& wanted, ThreadPool& pool,
                 Rounding rounding = Rounding::kBf16);

// |a - b| / |b| of one row, at most kFar; b is right. Elements that both mask are ignored.
template <class Real>
double row_error(std::span<const float> a, std::span<const Real> b, std::size_t& equal);

}  // namespace assay
