#include "verify/unsteady.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
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

// Positions, and all from one on. There is one for each array, so it is small.
class PositionSet {
 public:
  bool empty() const { return words_.empty() && from_ == kNever; }
  std::int64_t from() const { return from_; }
  bool contains(std::int64_t p) const {
    const auto word = static_cast<std::size_t>(p) / 64;
    return p >= from_ || (word < words_.size() && (words_[word] >> (p % 64) & 1) != 0);
  }
  void add(std::int64_t p) {
    const auto word = static_cast<std::size_t>(p) / 64;
    if (word >= words_.size()) words_.resize(word + 1);
    words_[word] |= std::uint64_t{1} << (p % 64);
  }
  void add(const PositionSet& other) {
    if (other.words_.size() > words_.size()) words_.resize(other.words_.size());
    for (std::size_t i = 0; i < other.words_.size(); ++i) words_[i] |= other.words_[i];
    from_ = std::min(from_, other.from_);
  }
  // To those that are computed from these.
  void spread(Reach reach) {
    if (empty() || reach == Reach::kPosition) return;
    const std::int64_t first = reach == Reach::kCausal ? this->first() : 0;
    clear();
    from_ = first;
  }
  void clear() {
    words_.clear();
    from_ = kNever;
  }

 private:
  std::int64_t first() const {
    for (std::size_t word = 0; word < words_.size(); ++word) {
      if (words_[word] != 0) {
        const auto first = static_cast<std::int64_t>(word * 64) + std::countr_zero(words_[word]);
        return std::min(from_, first);
      }
    }
    return from_;
  }

  std::vector<std::uint64_t> words_;
  std::int64_t from_ = kNever;
};

// What is known of the choices before an array.
struct State {
  PositionSet open;      // may depend on an unsteady choice of which it is unknown who chose what
  PositionSet other;     // may depend on a choice that the candidate made otherwise
  bool touched = false;  // whether rows may be in another order, however small the error
  bool empty() const { return open.empty() && other.empty(); }
  bool contains(std::int64_t p) const { return open.contains(p) || other.contains(p); }
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
      state.touched = !array.unsteady.empty();
      for (const std::size_t source : array.from) {
        state.open.add(states_[source].open);
        state.other.add(states_[source].other);
        state.touched = state.touched || states_[source].touched;
      }
      // An array without positions is passed over: those after it tell where its values go.
      if (array.counts_tokens) {
        state.open.spread(array.reach);
        state.other.spread(array.reach);
      }
      const auto found = by_name_.find(array.name);
      if (found != by_name_.end()) settle(*found->second, array, state);
    }
  }

 private:
  void settle(TensorResult& tensor, const ModuleArray& array, State& state) {
    if (tensor.verdict == Verdict::kError) {
      // The tokens of an expert: as many as were sent to it.
      if (state.touched && tensor.other_rows && !array.counts_tokens) leave_out(tensor);
    } else if (tensor.verdict == Verdict::kCoarse) {
      is_coarse_ = is_coarse_ || !state.touched;
      if (!is_coarse_) take_back(tensor, fmt::format("precision not judged: {}", kWhy));
    } else if (tensor.verdict != Verdict::kNotCompared) {
      if (array.is_integer) {
        settle_integers(tensor, array, state);
      } else if (state.touched) {
        settle_activations(tensor, array, state);
      }
    }
  }

  // Integers are right where they are the reference's or the oracle's.
  static void settle_integers(TensorResult& tensor, const ModuleArray& array, State& state) {
    if (tensor.metrics.compared == 0 || tensor.name == "input_ids") return;
    const std::vector<double>& own = tensor.metrics.position_error;
    std::set<std::int64_t> wrong;
    std::set<std::int64_t> other;  // than one of the two
    for (std::size_t at = 0; at < own.size(); ++at) {
      const auto p = static_cast<std::int64_t>(at);
      const bool knows = tensor.oracle_error && at < tensor.oracle_error->positions.size();
      const bool of_oracle = knows && tensor.oracle_error->positions[at] == 0;
      if (own[at] != 0 && !of_oracle) wrong.insert(p);
      if (own[at] != 0 || (knows && !of_oracle)) other.insert(p);
    }
    const bool explained = std::ranges::all_of(wrong, [&](std::int64_t p) {
      return array.counts_tokens ? state.contains(p) : state.touched;
    });
    tensor.verdict = explained ? Verdict::kPass : Verdict::kFail;
    tensor.reason = explained ? "" : fmt::format("other values at positions {}", list_of(wrong));
    if (!explained) return;
    if (!array.counts_tokens && !other.empty()) {
      if (!wrong.empty()) leave_out(tensor);
      return;
    }
    state.open.clear();
    state.touched = !other.empty() || !state.other.empty();
    if (!wrong.empty()) {
      add_reading(tensor, fmt::format("positions {} left out: {}", list_of(wrong), kWhy));
    }
    for (const std::int64_t p : other) state.other.add(p);
  }

  static void settle_activations(TensorResult& tensor, const ModuleArray& array, State& state) {
    const std::optional<OracleError>& error = tensor.oracle_error;
    const bool by_position = array.counts_tokens && error && !error->own.empty() &&
                             error->own.size() == error->positions.size() && tensor.limits &&
                             tensor.limits->noise_ratio;
    const bool failed = tensor.verdict == Verdict::kFail;
    if (failed && (tensor.metrics.nan_candidate > 0 || tensor.metrics.unlike > 0)) return;
    if (!by_position) {
      if (failed) leave_out(tensor);
      return;
    }
    const double ratio = *tensor.limits->noise_ratio;
    const double same = ratio * steady_noise(error->own, state);
    std::set<std::int64_t> left_out;
    std::set<std::int64_t> chosen;
    std::vector<double> own;
    std::vector<double> theirs;
    for (std::size_t at = 0; at < error->own.size(); ++at) {
      const auto p = static_cast<std::int64_t>(at);
      if (state.other.contains(p)) {
        if (p < state.other.from()) left_out.insert(p);
      } else if (state.open.contains(p) && !(error->positions[at] <= same)) {
        left_out.insert(p);
        chosen.insert(p);
      } else {
        own.push_back(error->own[at]);
        theirs.push_back(error->positions[at]);
      }
    }
    if (failed && !own.empty() && root_mean_square(theirs) > ratio * root_mean_square(own)) return;
    // Few values may be the same by chance, whatever was chosen.
    constexpr double kFew = 16;
    const auto positions = static_cast<double>(error->own.size());
    if (static_cast<double>(tensor.metrics.compared) >= kFew * positions) state.open.clear();
    for (const std::int64_t p : chosen) state.other.add(p);
    if (!failed) return;
    if (own.empty() || (left_out.empty() && state.other.from() == kNever)) {
      leave_out(tensor);
      return;
    }
    if (!left_out.empty()) {
      take_back(tensor, fmt::format("positions {} left out: {}", list_of(left_out), kWhy));
    }
    if (state.other.from() != kNever) {
      if (left_out.empty()) tensor.same_until = state.other.from();
      take_back(tensor, fmt::format("positions from {} on left out: {}", state.other.from(), kWhy));
    }
  }

  // The reference's own error where no choice is in doubt. It may itself have chosen otherwise than
  // the oracle: where all are in doubt, its least.
  static double steady_noise(std::span<const double> own, const State& state) {
    std::vector<double> steady;
    for (std::size_t at = 0; at < own.size(); ++at) {
      if (!state.contains(static_cast<std::int64_t>(at))) steady.push_back(own[at]);
    }
    return steady.empty() ? *std::ranges::min_element(own) : root_mean_square(steady);
  }

  static void take_back(TensorResult& tensor, const std::string& reading) {
    tensor.verdict = Verdict::kPass;
    tensor.reason.clear();
    add_reading(tensor, reading);
  }

  static void leave_out(TensorResult& tensor) {
    tensor.verdict = Verdict::kNotCompared;
    tensor.reason = kWhy;
  }

  static constexpr const char* kWhy = "nearly equal scores may have chosen otherwise before it";

  const ModuleFlow& modules_;
  std::unordered_map<std::string, TensorResult*> by_name_;
  std::vector<State> states_;
  bool is_coarse_ = false;  // before any choice
};

}  // namespace

void settle_choices(std::span<TensorResult> tensors, const ModuleFlow& modules) {
  Settlement(tensors, modules).run();
}

}  // namespace assay
