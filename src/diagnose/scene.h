// Model and evidence, and the distance of a hypothesis from the candidate.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "diagnose/evidence.h"
#include "diagnose/hypothesis.h"
#include "diagnose/replay.h"
#include "model/model.h"

namespace assay {

// A part of the forward pass that can be run by itself, because the candidate has its input: the
// embedding, each layer after a known output, the head.
struct Segment {
  std::vector<std::int64_t> layers;
  bool head = false;
};

// What a site's distance tells.
enum class SiteState : std::uint8_t {
  kUnseen,
  kClean,
  kOdd,    // within noise, but not the reference's own roundings
  kLoose,  // beyond the noise of the candidate's own type, within that of BF16
  kBad,
};

// Distances under one hypothesis for each evidence's sites, and their cost.
struct Score {
  std::vector<std::vector<Distance>> sites;  // [evidence][site]
  std::vector<double> cost;                  // [segment], bits; of the segments that ran
  std::vector<bool> ran;                     // [segment]
};

class Scene {
 public:
  // model and pool must outlive it. grid: of the candidate's values; none: detected.
  Scene(const Model& model, std::vector<Evidence> evidence, ThreadPool& pool,
        std::optional<Grid> grid = {});

  const Model& model() const { return model_; }
  const ModelSpec& spec() const { return model_.spec; }
  const std::vector<Evidence>& evidence() const { return evidence_; }
  const std::vector<Segment>& segments() const { return segments_; }
  std::size_t segment_of(const Site& site) const;
  Grid grid() const { return grid_; }
  Rounding rounding() const { return rounding_; }
  Hypothesis right() const { return {model_.program}; }

  // Runs the hypothesis in these segments (empty: all).
  Score evaluate(const Hypothesis& hypothesis, const std::set<std::size_t>& segments = {}) const;
  // Runs `count` hypotheses, several at a time. done() is called after each, by one thread at a
  // time.
  std::vector<Score> evaluate_all(std::size_t count,
                                  const std::function<Hypothesis(std::size_t)>& hypothesis,
                                  const std::set<std::size_t>& segments,
                                  const std::function<void(std::size_t)>& done) const;
  // Runs it over one evidence and keeps rows and values.
  ReplayResult look(const Hypothesis& hypothesis, std::size_t evidence) const;

  // Where two hypotheses that explain the evidence equally well would differ, in words: a tap that
  // the candidate does not have, or a longer prompt. layer: one that they affect.
  std::string separate(const Hypothesis& a, const Hypothesis& b, std::int64_t layer) const;

  // How far a correct engine of the candidate's type may be off: the distance between the right
  // model, rounded like that type, and double.
  double noise(std::size_t evidence, std::size_t site) const { return noise_[evidence][site]; }
  using Noise = std::vector<std::vector<double>>;  // [evidence][site]
  const Noise& noise() const { return noise_; }
  // The same for an engine with the hypothesis: it may be less well conditioned, and values that it
  // stores in a coarser type flip to the neighbour.
  Noise noise_of(const Hypothesis& hypothesis) const;

  SiteState state(std::size_t evidence, std::size_t site, const Distance& distance) const {
    return state(evidence, site, distance, noise_);
  }
  // The same with the noise of what is known so far.
  SiteState state(std::size_t evidence, std::size_t site, const Distance& distance,
                  const Noise& noise) const;
  // Bits by which the distance exceeds a small fraction of the noise.
  double cost(std::size_t evidence, std::size_t site, const Distance& distance) const;

  // What ggml rounds because of the model's file; empty unless it is a GGUF file.
  const std::vector<HeldValues>& ggml_operands() const { return ggml_operands_; }

  // Taps of an FP32 engine whose values are on a coarser type's grid.
  const std::vector<HeldValues>& coarse_taps() const { return coarse_taps_; }
  // The noise of an engine that computes in that type.
  double noise_in(OperandType type, std::size_t evidence, std::size_t site) const;

  std::int64_t runs() const { return runs_; }

 private:
  void find_segments();
  void find_coarse_taps();
  Score evaluate(const Hypothesis& hypothesis, const std::set<std::size_t>& segments,
                 ThreadPool& pool) const;
  Noise measure_noise(const Hypothesis& hypothesis, Rounding rounding) const;
  void add_coarse_roundings(const Hypothesis& hypothesis, Noise& noise) const;
  void share_over_layers(Noise& noise) const;

  const Model& model_;
  std::vector<Evidence> evidence_;
  ThreadPool& pool_;
  Grid grid_;
  Rounding rounding_;
  std::vector<Segment> segments_;
  std::vector<std::size_t> segment_of_layer_;
  Noise noise_;
  Noise coarse_noise_;  // of a BF16 engine
  std::vector<HeldValues> ggml_operands_;
  std::vector<HeldValues> coarse_taps_;
  mutable std::atomic<std::int64_t> runs_{0};
};

// The remaining error of a mistake is the candidate's own noise if it is at most this multiple of
// the measured noise, as root mean square over the places that it explains (docs/diagnose.md).
inline constexpr double kOwnNoise = 1.5;

}  // namespace assay
