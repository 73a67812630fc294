#include "verify/unsteady.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "metrics/metrics.h"

namespace assay {
namespace {

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

// A set of positions; one for each array, so it is small.
class PositionSet {
 public:
  bool empty() const { return words_.empty(); }
  bool contains(std::int64_t p) const {
    const auto word = static_cast<std::size_t>(p) / 64;
    return word < words_.size() && (words_[word] >> (p % 64) & 1) != 0;
  }
  void add(std::int64_t p) {
    const auto word = static_cast<std::size_t>(p) / 64;
    if (word >= words_.size()) words_.resize(word + 1);
    words_[word] |= std::uint64_t{1} << (p % 64);
  }
  void add(const PositionSet& other) {
    if (other.words_.size() > words_.size()) words_.resize(other.words_.size());
    for (std::size_t i = 0; i < other.words_.size(); ++i) words_[i] |= other.words_[i];
  }
  void clear() { words_.clear(); }

 private:
  std::vector<std::uint64_t> words_;
};

// What is known of the choices before an array.
struct State {
  PositionSet open;                  // unsteady positions of which it is unknown who chose what
  std::int64_t same_until = kNever;  // the first position at which the candidate chose otherwise
};

std::string list_of(const std::set<std::int64_t>& positions) {
  constexpr std::size_t kMost = 8;
  const auto end =
      std::next(positions.begin(), static_cast<std::ptrdiff_t>(std::min(kMost, positions.size())));
  return fmt::format("{}{}", fmt::join(positions.begin(), end, ", "),
                     positions.size() > kMost ? ", ..." : "");
}

void add_reading(TensorResult& tensor, const std::string& text) {
  if (!tensor.reading.empty()) tensor.reading += "; ";
  tensor.reading += text;
}

class Settlement {
 public:
  Settlement(std::span<TensorResult> tensors, const ModuleFlow& modules)
      : modules_(modules), states_(modules.arrays().size()) {
    for (TensorResult& tensor : tensors) by_name_.emplace(tensor.name, &tensor);
  }

  void run() {
    for (std::size_t i = 0; i < states_.size(); ++i) {
      const ModuleArray& array = modules_.arrays()[i];
      State& state = states_[i];
      for (const std::int64_t p : array.unsteady) state.open.add(p);
      for (const std::size_t source : array.from) {
        const State& before = states_[source];
        state.open.add(before.open);
        state.same_until = std::min(state.same_until, before.same_until);
      }
      const auto found = by_name_.find(array.name);
      if (found == by_name_.end()) continue;
      TensorResult& tensor = *found->second;
      if (tensor.verdict == Verdict::kNotCompared || tensor.verdict == Verdict::kError) continue;
      if (array.is_integer) {
        settle_integers(tensor, state);
      } else if (!state.open.empty() || state.same_until != kNever) {
        settle_activations(tensor, array, state);
      }
    }
  }

 private:
  // Integers are right where they are the reference's or the oracle's.
  void settle_integers(TensorResult& tensor, State& state) const {
    if (tensor.metrics.compared == 0 || tensor.name == "input_ids") return;
    const std::vector<double>& own = tensor.metrics.position_error;
    std::set<std::int64_t> wrong;
    for (std::size_t p = 0; p < own.size(); ++p) {
      const bool of_oracle = tensor.oracle_error && p < tensor.oracle_error->positions.size() &&
                             tensor.oracle_error->positions[p] == 0;
      if (own[p] != 0 && !of_oracle) wrong.insert(static_cast<std::int64_t>(p));
    }
    const bool explained = std::ranges::all_of(
        wrong, [&](std::int64_t p) { return state.open.contains(p) || p >= state.same_until; });
    tensor.verdict = explained ? Verdict::kPass : Verdict::kFail;
    tensor.reason = explained ? "" : fmt::format("other values at positions {}", list_of(wrong));
    if (!explained) return;
    state.open.clear();
    if (wrong.empty()) return;
    add_reading(tensor, fmt::format("positions {} left out: {}", list_of(wrong), kWhy));
    state.same_until = std::min(state.same_until, *wrong.begin());
  }

  void settle_activations(TensorResult& tensor, const ModuleArray& array, State& state) const {
    // Few values may be the same by chance, whatever was chosen.
    constexpr double kFew = 16;
    const bool by_position = array.counts_tokens && tensor.oracle_error && tensor.position_ratio &&
                             tensor.limits && tensor.limits->noise_ratio;
    if (tensor.verdict != Verdict::kFail) {
      const auto positions = static_cast<double>(tensor.metrics.position_error.size());
      const bool tells =
          by_position && static_cast<double>(tensor.metrics.compared) >= kFew * positions;
      if (tells) state.open.clear();
      return;
    }
    if (tensor.metrics.nan_candidate > 0 || tensor.metrics.unlike > 0) return;
    if (!by_position) {
      leave_out(tensor);
      return;
    }
    const std::vector<double>& errors = tensor.oracle_error->positions;
    const double limit =
        *tensor.limits->noise_ratio * root_mean_square(errors) / *tensor.position_ratio;
    std::set<std::int64_t> chosen;
    std::vector<double> kept;
    for (std::size_t at = 0; at < errors.size(); ++at) {
      const auto p = static_cast<std::int64_t>(at);
      if (p >= state.same_until) continue;
      if (state.open.contains(p) && !(errors[at] <= limit)) {
        chosen.insert(p);
      } else {
        kept.push_back(errors[at]);
      }
    }
    if (kept.empty()) {
      leave_out(tensor);
    } else if (root_mean_square(kept) <= limit) {
      tensor.verdict = Verdict::kPass;
      tensor.reason.clear();
      if (!chosen.empty()) {
        add_reading(tensor, fmt::format("positions {} left out: {}", list_of(chosen), kWhy));
      }
      if (state.same_until != kNever) {
        tensor.same_until = state.same_until;
        add_reading(tensor,
                    fmt::format("positions from {} on left out: {}", state.same_until, kWhy));
      }
    } else {
      return;
    }
    state.open.clear();
    if (!chosen.empty()) state.same_until = std::min(state.same_until, *chosen.begin());
  }

  static void leave_out(TensorResult& tensor) {
    tensor.verdict = Verdict::kNotCompared;
    tensor.reason = kWhy;
  }

  static constexpr const char* kWhy = "nearly equal scores may have chosen otherwise before it";

  const ModuleFlow& modules_;
  std::unordered_map<std::string, TensorResult*> by_name_;
  std::vector<State> states_;
};

}  // namespace

void settle_choices(std::span<TensorResult> tensors, const ModuleFlow& modules) {
  Settlement(tensors, modules).run();
}

}  // namespace assay
