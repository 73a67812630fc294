#include "diagnose/fits.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "diagnose/read_off.h"

namespace assay {
namespace {

using Scale = Parameter::Scale;

// In a family of places the first look has this part of the points.
constexpr std::size_t kRough = 2;
// Points per closer look, between the neighbours of the best point so far.
constexpr std::size_t kZoom = 7;
constexpr int kZooms = 20;
// Zooming ends after this many rounds that save fewer bits: a point may be good by chance.
constexpr double kSettled = 0.02;
constexpr int kSettledRounds = 4;
// Parameters that are zoomed into, and returned.
constexpr std::size_t kClose = 4;
constexpr std::size_t kCloseOfWholeRuns = 2;
// Bits that a parameter must save at some point of its grid, and after kLooks closer looks, which
// bring a right one close to noise.
constexpr double kWorthIt = 0.3;
constexpr double kWorthMore = 2;
constexpr int kLooks = 4;
// Bits by which a rounder number may be worse and still be preferred.
constexpr double kRounder = 0.5;

struct Track {
  const Parameter* parameter;
  std::map<double, double> bits = {};  // cost at the values tried
  double best() const {
    // In a flat valley take the middle.
    double least = std::numeric_limits<double>::infinity();
    for (const auto& [value, cost] : bits) least = std::min(least, cost);
    std::vector<double> flat;
    for (const auto& [value, cost] : bits) {
      if (cost <= least + 1e-6) flat.push_back(value);
    }
    return flat[flat.size() / 2];
  }
  double cost() const { return bits.at(best()); }
};

double to_axis(const Parameter& p, double value) {
  return p.scale == Scale::kLog ? std::log(value) : value;
}
double from_axis(const Parameter& p, double at) {
  return p.scale == Scale::kLog ? std::exp(at) : p.scale == Scale::kWhole ? std::round(at) : at;
}

// Evenly spaced values between two, including both.
std::set<double> between(const Parameter& p, double least, double most, std::size_t count) {
  const double begin = to_axis(p, least);
  const double end = to_axis(p, most);
  std::set<double> all;
  for (std::size_t i = 0; i < count; ++i) {
    const double part = static_cast<double>(i) / static_cast<double>(count - 1);
    const double value = from_axis(p, begin + (end - begin) * part);
    all.insert(std::clamp(value, p.least, p.most));
  }
  return all;
}

// Adds points ever closer to the model's own number: a wrong one may differ little.
void add_around(const Parameter& p, std::set<double>& values) {
  constexpr double kNearest = 0.03;
  for (double step = kNearest; p.own > 0 && step < 4; step *= 2) {
    for (const double value : {p.own * std::exp(step), p.own * std::exp(-step)}) {
      if (value > p.least && value < p.most) values.insert(value);
    }
  }
}

class Fits {
 public:
  Fits(const Scene& scene, const Hypothesis& known, std::size_t segment)
      : scene_(scene), known_(known), segment_(segment) {}

  // Evaluates each track at its values.
  void look(std::vector<Track>& tracks, const std::vector<std::set<double>>& values) const {
    std::vector<std::pair<std::size_t, double>> jobs;
    for (std::size_t t = 0; t < tracks.size(); ++t) {
      for (const double value : values[t]) {
        if (!tracks[t].bits.contains(value)) jobs.emplace_back(t, value);
      }
    }
    const std::vector<Score> scores = scene_.evaluate_all(
        jobs.size(),
        [&](std::size_t i) {
          Hypothesis h = known_;
          // clang 14 cannot capture structured bindings.
          const std::size_t t = jobs[i].first;
          const double value = jobs[i].second;
          apply_in(
              {}, [&](Hypothesis& of) { tracks[t].parameter->apply(of, value); }, h);
          return h;
        },
        {segment_}, {});
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      tracks[jobs[i].first].bits[jobs[i].second] = scores[i].cost[segment_];
    }
  }

  static void keep_best(std::vector<Track>& tracks, std::size_t count) {
    std::ranges::stable_sort(tracks, {}, [](const Track& t) { return t.cost(); });
    if (tracks.size() > count) tracks.resize(count);
  }

  void zoom(std::vector<Track>& tracks, double bits_before) const {
    std::vector<int> settled(tracks.size());
    for (int round = 0; round < kZooms; ++round) {
      if (round == kLooks) {
        std::erase_if(tracks, [&](const Track& t) { return t.cost() > bits_before - kWorthMore; });
        settled.assign(tracks.size(), 0);
      }
      std::vector<std::set<double>> values(tracks.size());
      std::vector<double> before;
      for (std::size_t t = 0; t < tracks.size(); ++t) {
        const Track& track = tracks[t];
        before.push_back(track.cost());
        if (settled[t] == kSettledRounds) continue;
        const double best = track.best();
        const auto at = track.bits.find(best);
        const double below = at == track.bits.begin() ? best : std::prev(at)->first;
        const double above = std::next(at) == track.bits.end() ? best : std::next(at)->first;
        values[t] = between(*track.parameter, below, above, kZoom);
      }
      look(tracks, values);
      bool open = false;
      for (std::size_t t = 0; t < tracks.size(); ++t) {
        const bool saved = before[t] - tracks[t].cost() > kSettled;
        settled[t] = saved ? 0 : std::min(settled[t] + 1, kSettledRounds);
        open = open || settled[t] < kSettledRounds;
      }
      if (!open) return;
    }
  }

  // Prefers the number with the fewest digits that fits as well.
  void round(std::vector<Track>& tracks) const {
    std::vector<std::set<double>> values;
    for (const Track& track : tracks) {
      std::set<double>& own = values.emplace_back();
      for (int digits = 1; digits <= 6; ++digits) own.insert(shorter(track.best(), digits));
      const Parameter& p = *track.parameter;
      std::erase_if(own, [&p](double x) { return x < p.least || x > p.most; });
    }
    look(tracks, values);
  }

  static double shorter(double value, int digits) {
    return std::stod(fmt::format("{:.{}e}", value, digits - 1));
  }

  static double chosen(const Track& track) {
    const double best = track.best();
    for (int digits = 1; digits <= 6; ++digits) {
      const auto found = track.bits.find(shorter(best, digits));
      if (found != track.bits.end() && found->second <= track.cost() + kRounder) {
        return found->first;
      }
    }
    return best;
  }

 private:
  const Scene& scene_;
  const Hypothesis& known_;
  std::size_t segment_;
};

}  // namespace

std::vector<Suspect> fit(const Scene& scene, const Circumstances& at, const Hypothesis& known,
                         std::size_t segment, double before) {
  const std::vector<Parameter> parameters = open_parameters(at);
  const Fits fits(scene, known, segment);
  const auto grid = [&](std::vector<Track>& of, std::size_t rough) {
    std::vector<std::set<double>> values;
    for (const Track& t : of) {
      const Parameter& p = *t.parameter;
      values.push_back(between(p, p.least, p.most, p.grid / rough));
      if (rough == 1) add_around(p, values.back());
    }
    fits.look(of, values);
  };
  // In each family only the best place is followed.
  std::map<std::string_view, std::vector<Track>> families;
  std::vector<Track> tracks;
  const Segment& of = scene.segments()[segment];
  const auto is_here = [&](const Parameter& p) {
    return p.of == Parameter::Part::kEmbedding ? segment == 0
           : p.of == Parameter::Part::kHead    ? of.head
                                               : !of.layers.empty() || of.head;
  };
  for (const Parameter& p : parameters) {
    if (!is_here(p)) continue;
    if (p.place.empty()) {
      tracks.push_back({&p});
    } else {
      families[p.entry].push_back({&p});
    }
  }
  for (auto& [entry, places] : families) {
    grid(places, kRough);
    Fits::keep_best(places, 1);
    tracks.push_back(places.front());
  }
  grid(tracks, 1);
  std::erase_if(tracks, [&](const Track& t) { return t.cost() > before - kWorthIt; });
  Fits::keep_best(tracks, scene.segments().size() <= 2 ? kCloseOfWholeRuns : kClose);
  fits.zoom(tracks, before);
  fits.round(tracks);
  Fits::keep_best(tracks, kClose);
  std::vector<Suspect> suspects;
  for (const Track& track : tracks) {
    const double value = Fits::chosen(track);
    const Parameter& p = *track.parameter;
    suspects.push_back({entry_of(p.entry), {p.text(value), [apply = p.apply, value](Hypothesis& h) {
                                              apply(h, value);
                                            }}});
  }
  return suspects;
}

}  // namespace assay
