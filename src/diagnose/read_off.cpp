#include "diagnose/read_off.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <map>

#include "diagnose/rewrites.h"
#include "numerics/kernels.h"

namespace assay {
namespace {

// With more wrong rows than this it is a different mistake.
constexpr std::size_t kMostRows = 16;
// Number of positions that must agree on a bias.
constexpr std::size_t kFewestPositions = 4;
// List items shown.
constexpr std::size_t kShown = 4;

std::vector<float> row_of(const Weight& w, std::size_t r) {
  std::vector<float> values(w.cols);
  kernels<F32>(chosen_simd()).load_row(w, r, values.data());
  return values;
}

// The row of the table that equals these values up to a factor; -1: zeros. None: no such row.
std::optional<std::int64_t> row_like(const Weight& table, std::span<const float> values) {
  double size = 0;
  for (const float x : values) size += static_cast<double>(x) * static_cast<double>(x);
  if (size == 0) return -1;
  std::optional<std::int64_t> best;
  double most = 0.9999;  // cosine; a BF16 row times a rounded scale is closer
  for (std::size_t r = 0; r < table.rows; ++r) {
    const std::vector<float> row = row_of(table, r);
    double dot = 0;
    double own = 0;
    for (std::size_t i = 0; i < row.size(); ++i) {
      dot += static_cast<double>(row[i]) * static_cast<double>(values[i]);
      own += static_cast<double>(row[i]) * static_cast<double>(row[i]);
    }
    const double cosine = own > 0 ? dot / std::sqrt(own * size) : 0;
    if (cosine > most) {
      most = cosine;
      best = static_cast<std::int64_t>(r);
    }
  }
  return best;
}

void add_rows(const Scene& scene, const std::vector<EmbeddingRow>& rows,
              std::vector<Suspect>& suspects) {
  std::vector<std::string> words;
  for (const EmbeddingRow& row : rows) {
    if (words.size() == kShown) {
      words.push_back("...");
      break;
    }
    words.push_back(row.from < 0 ? fmt::format("token {} has zeros", row.id)
                                 : fmt::format("token {} has that of token {}", row.id, row.from));
  }
  const auto add = [&](std::string_view where, bool in_head) {
    suspects.push_back(
        {entry_of("embed-rows"),
         {fmt::format("{}{}", fmt::join(words, ", "), where), [rows, in_head](Hypothesis& h) {
            h.embedding_rows = rows;
            h.rows_in_head = in_head;
          }}});
  };
  add("", false);
  if (is_tied(scene.model())) add(", also in the head", true);
}

void embedding_rows(const Scene& scene, const Circumstances& at, const Hypothesis& known,
                    std::vector<Suspect>& suspects) {
  std::map<std::int64_t, std::vector<float>> wrong;  // id -> the candidate's row
  bool seen = false;
  for (std::size_t e = 0; e < scene.evidence().size(); ++e) {
    const Evidence& evidence = scene.evidence()[e];
    const std::ptrdiff_t i = evidence.index_of(Tap::kEmbeddingOutput, 0);
    if (i < 0 || evidence.sites[static_cast<std::size_t>(i)].last_only) continue;
    seen = true;
    const auto s = static_cast<std::size_t>(i);
    const Site& site = evidence.sites[s];
    const std::vector<double> errors = scene.look(known, e).row_errors[s];
    for (std::size_t p = 0; p < errors.size(); ++p) {
      if (errors[p] <= kBeyondNoise * scene.noise(e, s)) continue;
      const auto begin = site.values.begin() + static_cast<std::ptrdiff_t>(p * site.width);
      wrong[evidence.ids[p]].assign(begin, begin + static_cast<std::ptrdiff_t>(site.width));
    }
  }
  std::vector<EmbeddingRow> rows;
  if (!seen) {
    // The first error is at the token with the wrong row.
    const Evidence& longest = *std::ranges::max_element(
        scene.evidence(), {}, [](const Evidence& e) { return e.ids.size(); });
    const auto p = static_cast<std::size_t>(at.first_bad_position.value_or(0));
    if (p < longest.ids.size()) rows.push_back({longest.ids[p], -1});
  } else if (wrong.size() <= kMostRows) {
    for (const auto& [id, values] : wrong) {
      const auto from = row_like(scene.model().weights.embedding.front().front(), values);
      if (!from || *from == id) return;
      rows.push_back({id, *from});
    }
  }
  if (!rows.empty()) add_rows(scene, rows, suspects);
}

void logit_bias(const Scene& scene, const Hypothesis& known, std::vector<Suspect>& suspects) {
  for (std::size_t e = 0; e < scene.evidence().size(); ++e) {
    const Evidence& evidence = scene.evidence()[e];
    const std::ptrdiff_t i = evidence.index_of(Tap::kLogits, 0);
    if (i < 0) continue;
    const auto s = static_cast<std::size_t>(i);
    const Site& site = evidence.sites[s];
    if (site.rows < kFewestPositions) continue;
    const std::vector<float> right = scene.look(known, e).computed[s];
    double squares = 0;
    for (const float x : right) squares += static_cast<double>(x) * static_cast<double>(x);
    const double noise = scene.noise(e, s) * std::sqrt(squares / static_cast<double>(right.size()));
    const auto n = static_cast<double>(site.rows);
    std::vector<std::pair<std::int64_t, double>> bias;
    for (std::size_t v = 0; v < site.width; ++v) {
      double sum = 0;
      double square = 0;
      std::size_t hidden = 0;
      for (std::size_t p = 0; p < site.rows; ++p) {
        const auto x = static_cast<double>(site.values[p * site.width + v]);
        hidden += x < -1e30 ? 1 : 0;
        const double d = x - static_cast<double>(right[p * site.width + v]);
        sum += d;
        square += d * d;
      }
      const double mean = sum / n;
      const double deviation = std::sqrt(std::max(square / n - mean * mean, 0.0));
      if (hidden == site.rows) {
        bias.emplace_back(static_cast<std::int64_t>(v), -std::numeric_limits<double>::infinity());
      } else if (std::abs(mean) > 4 * std::max(deviation, noise)) {
        bias.emplace_back(static_cast<std::int64_t>(v), mean);
      }
    }
    if (bias.empty()) continue;
    std::vector<std::string> words;
    for (std::size_t k = 0; k < std::min(bias.size(), kShown); ++k) {
      words.push_back(fmt::format("{:+.4g} for id {}", bias[k].second, bias[k].first));
    }
    if (bias.size() > kShown) words.push_back(fmt::format("{} ids in total", bias.size()));
    suspects.push_back({entry_of("logit-bias"),
                        {fmt::format("{}", fmt::join(words, ", ")),
                         [bias](Hypothesis& h) { bias_logits(h.program, bias); }}});
    return;
  }
}

}  // namespace

const Entry* entry_of(std::string_view id) {
  const auto found = std::ranges::find(catalog(), id, &Entry::id);
  assert(found != catalog().end());
  return &*found;
}

std::vector<Suspect> read_off(const Scene& scene, const Circumstances& at,
                              const Hypothesis& known) {
  std::vector<Suspect> suspects;
  embedding_rows(scene, at, known, suspects);
  logit_bias(scene, known, suspects);
  for (Suspect& s : read_off_rotation(scene, known)) suspects.push_back(std::move(s));
  return suspects;
}

}  // namespace assay
