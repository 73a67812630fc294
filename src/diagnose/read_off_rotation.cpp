#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>
#include <numeric>

#include "diagnose/read_off.h"
#include "diagnose/rewrites.h"
#include "numerics/rope_table.h"

namespace assay {
namespace {

// 1 - cos of the largest angle error that rounding to BF16 causes, over all pairs of a position.
constexpr double kRounded = 2e-4;
// How far after the prompt's end positions are searched.
constexpr std::int64_t kFarther = 1024;

double wrapped(double angle) { return std::remainder(angle, 2 * std::numbers::pi); }

// The rotation that one layer's queries (or keys) show.
struct Turns {
  std::int64_t layer = 0;
  std::size_t positions = 0;
  std::size_t pairs = 0;
  std::vector<double> angle;   // [positions, pairs]
  std::vector<double> weight;  // of each angle; they add up to 1 at each position
};

// n: the first elements of each head that are rotated. None if the values are not a rotation of
// these pairs.
std::optional<Turns> turns(const Site& before, const Site& after, std::size_t head_dim,
                           std::size_t n, bool interleaved) {
  const std::size_t heads = before.width / head_dim;
  Turns t{after.place.layer, after.rows, n / 2, {}, {}};
  double turned = 0;
  double size = 0;
  for (std::size_t p = 0; p < t.positions; ++p) {
    double all = 0;
    for (std::size_t i = 0; i < t.pairs; ++i) {
      const std::size_t a = interleaved ? 2 * i : i;
      const std::size_t b = interleaved ? 2 * i + 1 : i + n / 2;
      std::complex<double> sum = 0;
      for (std::size_t h = 0; h < heads; ++h) {
        const std::size_t at = p * before.width + h * head_dim;
        const std::complex<double> x(before.values[at + a], before.values[at + b]);
        const std::complex<double> y(after.values[at + a], after.values[at + b]);
        sum += y * std::conj(x);
        size += std::abs(x) * std::abs(y);
      }
      turned += std::abs(sum);
      all += std::abs(sum);
      t.angle.push_back(std::arg(sum));
      t.weight.push_back(std::abs(sum));
    }
    for (std::size_t i = 0; i < t.pairs && all > 0; ++i) t.weight[p * t.pairs + i] /= all;
  }
  if (!(turned > 0.99 * size)) return std::nullopt;
  return t;
}

// Distance between the angles and those of the position, as 1 - cos.
double error_at(const Turns& t, std::size_t p, double position, std::span<const double> inv_freq) {
  double error = 0;
  for (std::size_t i = 0; i < t.pairs; ++i) {
    const std::size_t k = p * t.pairs + i;
    error += t.weight[k] * (1 - std::cos(t.angle[k] - position * inv_freq[i]));
  }
  return error;
}

// The position of each token; none unless all are integers.
std::optional<std::vector<std::int64_t>> positions_of(const Turns& t,
                                                      std::span<const double> inv_freq) {
  std::vector<std::int64_t> all;
  for (std::size_t p = 0; p < t.positions; ++p) {
    // Usually it is the next one.
    const std::int64_t next = all.empty() ? 0 : all.back() + 1;
    std::int64_t best = next;
    double least = error_at(t, p, static_cast<double>(next), inv_freq);
    const std::int64_t end = static_cast<std::int64_t>(t.positions) + kFarther;
    for (std::int64_t m = -8; m < end && least > kRounded; ++m) {
      const double error = error_at(t, p, static_cast<double>(m), inv_freq);
      if (error < least) {
        least = error;
        best = m;
      }
    }
    if (least > kRounded) return std::nullopt;
    all.push_back(best);
  }
  return all;
}

// "0 to 11 at 0 to 11, 12 to 29 at 0 to 17": tokens at positions.
std::string words_of(const std::vector<std::int64_t>& positions) {
  std::vector<std::string> pieces;
  for (std::size_t begin = 0; begin < positions.size();) {
    std::size_t end = begin + 1;
    while (end < positions.size() && positions[end] == positions[end - 1] + 1) ++end;
    if (pieces.size() == 4) {
      pieces.emplace_back("...");
      break;
    }
    pieces.push_back(end == begin + 1 ? fmt::format("{} at {}", begin, positions[begin])
                                      : fmt::format("{} to {} at {} to {}", begin, end - 1,
                                                    positions[begin], positions[end - 1]));
    begin = end;
  }
  return fmt::format("{}", fmt::join(pieces, ", "));
}

Suspect at_positions(const std::vector<std::int64_t>& positions) {
  Rotary rotary;
  rotary.position_of = positions;
  const auto n = static_cast<std::int64_t>(positions.size());
  std::int64_t from = 0;
  while (from < n && positions[static_cast<std::size_t>(from)] == from) ++from;
  const std::int64_t by = positions[static_cast<std::size_t>(from)] - from;
  bool jumps = true;
  for (std::int64_t p = from; p < n; ++p) {
    jumps = jumps && positions[static_cast<std::size_t>(p)] == p + by;
  }
  const auto apply = [rotary](Hypothesis& h) { set_rotary(h.program, rotary); };
  if (jumps && by != -from) {
    return {entry_of("pos-jump"), {fmt::format("by {:+} from position {} on", by, from), apply}};
  }
  return {entry_of("pos-restart"), {words_of(positions), apply}};
}

// The frequency of each pair, from increasing positions; none unless the angles grow with the
// position.
std::optional<std::vector<double>> frequencies_of(const Turns& t) {
  std::vector<double> all;
  for (std::size_t i = 0; i < t.pairs; ++i) {
    double frequency = 0;
    for (std::size_t p = 1; p < t.positions; ++p) {
      const auto x = static_cast<double>(p);
      const double off = wrapped(t.angle[p * t.pairs + i] - x * frequency);
      // Later positions are more accurate.
      frequency += off / x * (p < 3 ? 1.0 : 2.0 / x);
    }
    all.push_back(frequency);
  }
  for (std::size_t i = 0; i < t.pairs; ++i) {
    // Finally the least squares over all positions.
    double above = 0;
    double below = 0;
    for (std::size_t p = 1; p < t.positions; ++p) {
      const auto x = static_cast<double>(p);
      above += t.weight[p * t.pairs + i] * x * wrapped(t.angle[p * t.pairs + i] - x * all[i]);
      below += t.weight[p * t.pairs + i] * x * x;
    }
    if (below > 0) all[i] += above / below;
  }
  for (std::size_t p = 0; p < t.positions; ++p) {
    if (error_at(t, p, static_cast<double>(p), all) > kRounded) return std::nullopt;
  }
  return all;
}

std::string words_of(std::span<const double> found, std::span<const double> own) {
  // Join neighbouring pairs with the same ratio to the model's frequency.
  std::vector<std::string> pieces;
  for (std::size_t begin = 0; begin < found.size();) {
    const auto ratio = [&](std::size_t i) { return found[i] / own[i]; };
    std::size_t end = begin + 1;
    while (end < found.size() &&
           std::abs(ratio(end) - ratio(begin)) < 0.02 * std::abs(ratio(begin)))
      ++end;
    if (pieces.size() == 4) {
      pieces.emplace_back("...");
      break;
    }
    const std::string name =
        end == begin + 1 ? fmt::format("{}", begin) : fmt::format("{} to {}", begin, end - 1);
    const bool still = std::abs(ratio(begin)) < 1e-3;
    pieces.push_back(still ? fmt::format("{} not rotated", name)
                           : fmt::format("{} by {:.4g}", name, ratio(begin)));
    begin = end;
  }
  return fmt::format("pairs times: {}", fmt::join(pieces, ", "));
}

}  // namespace

std::vector<Suspect> read_off_rotation(const Scene& scene, const Hypothesis& known) {
  const Evidence& evidence = *std::ranges::max_element(
      scene.evidence(), {}, [](const Evidence& e) { return e.ids.size(); });
  const std::size_t e = static_cast<std::size_t>(&evidence - scene.evidence().data());
  const ReplayResult now = scene.look(known, e);
  for (std::size_t s = 0; s < evidence.sites.size(); ++s) {
    const Site& after = evidence.sites[s];
    const bool queries = after.place.tap == Tap::kQRope;
    if ((!queries && after.place.tap != Tap::kKRope) || after.last_only) continue;
    if (scene.state(e, s, now.sites[s]) != SiteState::kBad) continue;
    const std::int64_t l = after.place.layer;
    const ModelSpec& spec = scene.spec();
    const Block& layer = known.program.layers[static_cast<std::size_t>(l)];
    const Step& step = layer.steps[*layer.step_showing(after.place.tap)];
    const std::optional<OddRotate> rotation = OddRotate::of(step.operation);
    const std::optional<Tap> tap = layer.values[step.reads[0]].tap;
    if (!rotation || !tap) continue;
    const Site* before = evidence.find(*tap, l);
    if (before == nullptr || before->last_only) continue;
    const auto n = static_cast<std::size_t>(rotation->rotate.dims);
    const auto found = turns(*before, after, static_cast<std::size_t>(spec.heads(l).head_dim), n,
                             rotation->interleaved);
    if (!found) return {};
    const auto own = rope_frequencies<double>(known.program.ropes[rotation->rotate.table], n,
                                              evidence.ids.size());
    if (const auto positions = positions_of(*found, own.inv_freq)) {
      bool right = true;
      for (std::size_t p = 0; p < positions->size(); ++p) {
        right = right && std::cmp_equal((*positions)[p], p);
      }
      if (!right) return {at_positions(*positions)};
    }
    const auto frequencies = frequencies_of(*found);
    if (!frequencies) return {};
    Rotary rotary;
    rotary.inv_freq = *frequencies;
    // Full and sliding layers have different frequencies.
    if (spec.local_rope_parameters) {
      for (std::int64_t m = 0; m < spec.num_hidden_layers; ++m) {
        if (spec.is_sliding(m) == spec.is_sliding(l)) rotary.layers.push_back(m);
      }
    }
    return {{entry_of("rope-frequencies"),
             {words_of(*frequencies, own.inv_freq),
              [rotary](Hypothesis& h) { set_rotary(h.program, rotary); }}}};
  }
  return {};
}

}  // namespace assay
