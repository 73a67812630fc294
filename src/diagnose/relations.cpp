#include "diagnose/relations.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <set>

#include "base/half.h"

namespace assay {
namespace {

class RelationFits {
 public:
  explicit RelationFits(const Compared& c) : c_(c), width_(c.right.size() / c.rows) {
    for (std::size_t i = 0; i < c.right.size(); ++i) {
      total_ += square(x(i));
      error_ += square(y(i) - x(i));
    }
  }

  std::vector<Relation> run() {
    if (!std::isfinite(error_)) {
      not_finite();
      return std::move(found_);
    }
    if (total_ == 0 || error_ == 0) return {};
    zero();
    scale();
    per_channel_scale();
    constant_vector();
    shifted_rows();
    shifted_channels();
    permuted_heads();
    permuted_channels();
    coarser_type();
    clamped();
    std::ranges::stable_sort(found_, {}, &Relation::error);
    if (found_.size() > 3) found_.resize(3);
    return std::move(found_);
  }

 private:
  static double square(double v) { return v * v; }
  double x(std::size_t i) const { return static_cast<double>(c_.right[i]); }
  double y(std::size_t i) const { return static_cast<double>(c_.candidate[i]); }

  // left: the sum of squares that the relation leaves unexplained.
  void add(std::string text, double left) {
    if (left * 16 > error_) return;  // more than a quarter of the error would be left
    found_.push_back({std::move(text), std::sqrt(left / total_)});
  }

  void not_finite() {
    std::size_t nan = 0;
    std::size_t infinite = 0;
    for (const float v : c_.candidate) {
      nan += std::isnan(v) ? 1 : 0;
      infinite += std::isinf(v) ? 1 : 0;
    }
    found_.push_back({fmt::format("the candidate has {} NaN and {} infinite values", nan, infinite),
                      std::sqrt(error_ / total_)});
  }

  void zero() {
    double sum = 0;
    for (const float v : c_.candidate) sum += square(v);
    if (sum == 0) found_.push_back({"the candidate is all zero", 0});
  }

  void scale() {
    double xy = 0;
    for (std::size_t i = 0; i < c_.right.size(); ++i) xy += x(i) * y(i);
    const double a = xy / total_;
    double left = 0;
    for (std::size_t i = 0; i < c_.right.size(); ++i) left += square(y(i) - a * x(i));
    if (std::abs(a + 1) < 0.01) {
      add("the sign is flipped", left);
    } else {
      add(fmt::format("a constant factor: {:.6g} times the right values", a), left);
    }
    // A different factor for each row (token).
    double left_rows = 0;
    for (std::size_t r = 0; r < c_.rows; ++r) {
      double own = 0;
      double size = 0;
      for (std::size_t i = r * width_; i < (r + 1) * width_; ++i) {
        own += x(i) * y(i);
        size += square(x(i));
      }
      const double factor = size > 0 ? own / size : 0;
      for (std::size_t i = r * width_; i < (r + 1) * width_; ++i) {
        left_rows += square(y(i) - factor * x(i));
      }
    }
    if (left_rows < left / 4) {
      add("a different factor for each row", left_rows);
    }
  }

  void per_channel_scale() {
    if (c_.rows < 3) return;
    double left = 0;
    for (std::size_t j = 0; j < width_; ++j) {
      double xy = 0;
      double xx = 0;
      for (std::size_t r = 0; r < c_.rows; ++r) {
        xy += x(r * width_ + j) * y(r * width_ + j);
        xx += square(x(r * width_ + j));
      }
      const double a = xx > 0 ? xy / xx : 0;
      for (std::size_t r = 0; r < c_.rows; ++r) {
        left += square(y(r * width_ + j) - a * x(r * width_ + j));
      }
    }
    if (found_.empty()) add("a different factor for each channel", left);
  }

  void constant_vector() {
    if (c_.rows < 2) return;
    double left = 0;
    for (std::size_t j = 0; j < width_; ++j) {
      double mean = 0;
      for (std::size_t r = 0; r < c_.rows; ++r) mean += y(r * width_ + j) - x(r * width_ + j);
      mean /= static_cast<double>(c_.rows);
      for (std::size_t r = 0; r < c_.rows; ++r) {
        left += square(y(r * width_ + j) - x(r * width_ + j) - mean);
      }
    }
    add("the same vector is added to every row (a bias?)", left);
  }

  void shifted_rows() {
    for (const int by : {1, -1}) {
      if (c_.rows < 3) continue;
      double left = 0;
      double total = 0;
      for (std::size_t r = 0; r < c_.rows; ++r) {
        const auto from = static_cast<std::ptrdiff_t>(r) + by;
        if (from < 0 || from >= static_cast<std::ptrdiff_t>(c_.rows)) continue;
        for (std::size_t j = 0; j < width_; ++j) {
          const double right = x(static_cast<std::size_t>(from) * width_ + j);
          left += square(y(r * width_ + j) - right);
          total += square(y(r * width_ + j) - x(r * width_ + j));
        }
      }
      if (left * 4 < total) {
        add(fmt::format("shifted by {:+} position", by), left * error_ / total);
      }
    }
  }

  // Find the shift in the first row, then check it over all rows.
  void shifted_channels() {
    std::set<std::ptrdiff_t> shifts = {1, -1};
    const auto n = static_cast<std::ptrdiff_t>(width_);
    if (width_ <= 4096) {
      double least = INFINITY;
      std::ptrdiff_t best = 0;
      for (std::ptrdiff_t by = 1; by < n; ++by) {
        double sum = 0;
        for (std::ptrdiff_t j = 0; j < n; ++j) {
          sum += square(y(static_cast<std::size_t>(j)) - x(static_cast<std::size_t>((j + by) % n)));
        }
        if (sum < least) {
          least = sum;
          best = by;
        }
      }
      if (best != 0) shifts.insert(best > n / 2 ? best - n : best);
    }
    for (const std::ptrdiff_t by : shifts) {
      double left = 0;
      for (std::size_t r = 0; r < c_.rows; ++r) {
        for (std::size_t j = 0; j < width_; ++j) {
          const auto w = static_cast<std::ptrdiff_t>(width_);
          const auto from = ((static_cast<std::ptrdiff_t>(j) + by) % w + w) % w;
          left += square(y(r * width_ + j) - x(r * width_ + static_cast<std::size_t>(from)));
        }
      }
      add(fmt::format("shifted by {:+} channel{}", by, by == 1 || by == -1 ? "" : "s"), left);
    }
  }

  // Compares each of the candidate's channels with every channel, over all rows.
  void permuted_channels() {
    if (c_.rows < 3 || width_ > 2048 || !found_.empty()) return;
    double left = 0;
    for (std::size_t j = 0; j < width_; ++j) {
      double least = INFINITY;
      for (std::size_t k = 0; k < width_; ++k) {
        double sum = 0;
        for (std::size_t r = 0; r < c_.rows && sum < least; ++r) {
          sum += square(y(r * width_ + j) - x(r * width_ + k));
        }
        least = std::min(least, sum);
      }
      left += least;
    }
    add("channels in a different order", left);
  }

  // Compares each of the candidate's heads with every head.
  void permuted_heads() {
    const std::size_t n = width_ / c_.heads;
    if (c_.heads < 2 || c_.heads > 128) return;
    std::vector<std::size_t> best(c_.heads);
    double left = 0;
    for (std::size_t h = 0; h < c_.heads; ++h) {
      double least = INFINITY;
      for (std::size_t g = 0; g < c_.heads; ++g) {
        double sum = 0;
        for (std::size_t r = 0; r < c_.rows; ++r) {
          for (std::size_t i = 0; i < n; ++i) {
            sum += square(y(r * width_ + h * n + i) - x(r * width_ + g * n + i));
          }
        }
        if (sum < least) {
          least = sum;
          best[h] = g;
        }
      }
      left += least;
    }
    bool same = true;
    for (std::size_t h = 0; h < c_.heads; ++h) same = same && best[h] == h;
    if (!same) {
      best.resize(std::min<std::size_t>(best.size(), 16));
      add(fmt::format("heads in a different order: {}", fmt::join(best, ", ")), left);
    }
  }

  void coarser_type() {
    const auto through = [&](std::string_view name, auto round) {
      double left = 0;
      double coarse = 0;
      for (std::size_t i = 0; i < c_.right.size(); ++i) {
        left += square(y(i) - round(x(i)));
        coarse += square(y(i) - round(y(i)));
      }
      if (coarse == 0) add(fmt::format("rounded to {}", name), left);
    };
    through("BF16",
            [](double v) { return double{bf16_to_f32(f32_to_bf16(static_cast<float>(v)))}; });
    through("F16", [](double v) { return double{f16_to_f32(f32_to_f16(static_cast<float>(v)))}; });
    through("integers", [](double v) { return std::nearbyint(v); });
  }

  void clamped() {
    double most = 0;
    for (const float v : c_.candidate) most = std::max(most, std::abs(static_cast<double>(v)));
    double left = 0;
    std::size_t cut = 0;
    for (std::size_t i = 0; i < c_.right.size(); ++i) {
      const double right = std::clamp(x(i), -most, most);
      cut += right != x(i) ? 1 : 0;
      left += square(y(i) - right);
    }
    if (cut > 0) add(fmt::format("clamped at {:.4g}", most), left);
    double negative = 0;
    for (std::size_t i = 0; i < c_.right.size(); ++i) negative += square(y(i) - std::abs(x(i)));
    add("the absolute values", negative);
  }

  const Compared& c_;
  std::size_t width_;
  double total_ = 0;
  double error_ = 0;
  std::vector<Relation> found_;
};

}  // namespace

std::vector<Relation> find_relations(const Compared& compared) {
  return RelationFits(compared).run();
}

std::vector<std::int64_t> where_error_lives(std::span<const double> squares, double least) {
  std::vector<std::size_t> order(squares.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, [&](std::size_t a, std::size_t b) { return squares[a] > squares[b]; });
  std::vector<std::int64_t> holders;
  for (const std::size_t i : order) {
    if (!(squares[i] > least)) break;
    holders.push_back(static_cast<std::int64_t>(i));
  }
  std::ranges::sort(holders);
  // From one part on to the end, as in decode. Position 0 is often right by itself.
  const bool is_tail = !holders.empty() && holders.front() >= 2 &&
                       static_cast<std::size_t>(holders.front()) + holders.size() == squares.size();
  if (!is_tail && holders.size() * 4 > squares.size() * 3) return {};
  return holders;
}

}  // namespace assay
