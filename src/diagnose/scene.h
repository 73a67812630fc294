// Model and evidence, and how far a hypothesis lies from what the candidate did.
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

// A stretch of the forward pass that begins with something the candidate gives and so can be run
// by itself: the embedding, each layer that follows on a known output, the head.
struct Segment {
  std::vector<std::int64_t> layers;
  bool head = false;
};

// What a site's distance means.
enum class SiteState : std::uint8_t {
  kUnseen,
  kClean,
  kOdd,    // within noise, and yet not the reference's own roundings
  kLoose,  // beyond the noise of the candidate's own type, within that of BF16
  kBad,
};

// Distances under one hypothesis, for each evidence's sites; and what they add up to.
struct Score {
  std::vector<std::vector<Distance>> sites;  // [evidence][site]
  std::vector<double> cost;                  // [segment], bits; of segments that were run
  std::vector<bool> ran;                     // [segment]
};

class Scene {
 public:
  // model, pool must outlive it. grid: of the candidate's values; none: found by looking.
  Scene(const Model& model, std::vector<Evidence> evidence, ThreadPool& pool,
        std::optional<Grid> grid = {});

  const ModelSpec& spec() const { return model_.spec; }
  const std::vector<Evidence>& evidence() const { return evidence_; }
  const std::vector<Segment>& segments() const { return segments_; }
  std::size_t segment_of(const Site& site) const;
  Grid grid() const { return grid_; }
  Hypothesis right() const { return {model_.spec}; }

  // Runs it in the segments (empty: in all).
  Score evaluate(const Hypothesis& hypothesis, const std::set<std::size_t>& segments = {}) const;
  // Many of them, several at a time: hypothesis(i) for i in [0, count). done() counts them, from
  // one thread at a time.
  std::vector<Score> evaluate_all(std::size_t count,
                                  const std::function<Hypothesis(std::size_t)>& hypothesis,
                                  const std::set<std::size_t>& segments,
                                  const std::function<void(std::size_t)>& done) const;
  // The same with everything kept, of one evidence.
  ReplayResult look(const Hypothesis& hypothesis, std::size_t evidence) const;

  // Where two hypotheses that explain the evidence alike would differ: a tap that the candidate
  // does not have, or a longer prompt; in words. layer: one that they concern.
  std::string separate(const Hypothesis& a, const Hypothesis& b, std::int64_t layer) const;

  // How far a correct engine of the candidate's type may lie: the distance of the right model,
  // rounded as the candidate's type rounds, from double.
  double noise(std::size_t evidence, std::size_t site) const { return noise_[evidence][site]; }
  // Takes the larger of that and the hypothesis's own, which may be less well conditioned.
  std::vector<std::vector<double>> noise_of(const Hypothesis& hypothesis) const;

  SiteState state(std::size_t evidence, std::size_t site, const Distance& distance) const;
  // Bits by which the distance is larger than a small part of the noise.
  double cost(std::size_t evidence, std::size_t site, const Distance& distance) const;

  std::int64_t runs() const { return runs_; }

 private:
  void find_segments();
  Score evaluate(const Hypothesis& hypothesis, const std::set<std::size_t>& segments,
                 ThreadPool& pool) const;
  std::vector<std::vector<double>> measure_noise(const Hypothesis& hypothesis,
                                                 Rounding rounding) const;
  ReplayOptions all_of_it() const;

  const Model& model_;
  std::vector<Evidence> evidence_;
  ThreadPool& pool_;
  Grid grid_;
  Rounding rounding_;
  std::vector<Segment> segments_;
  std::vector<std::size_t> segment_of_layer_;
  std::vector<std::vector<double>> noise_;
  std::vector<std::vector<double>> coarse_noise_;  // of a BF16 engine
  mutable std::atomic<std::int64_t> runs_{0};
};

}  // namespace assay
