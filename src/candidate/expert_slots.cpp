#include "candidate/expert_slots.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "base/widen.h"

namespace assay {
namespace {

// The last axis counts a token's experts.
std::size_t experts_per_token(const ArrayView& ids) {
  return ids.shape.empty() ? 1 : static_cast<std::size_t>(ids.shape.back());
}

}  // namespace

std::optional<ExpertSlots> match_experts(const ArrayView& reference, const ArrayView& other) {
  std::vector<double> own = widened(reference);
  const std::vector<double> theirs = widened(other);
  ExpertSlots slots;
  slots.per_token = experts_per_token(reference);
  const std::size_t k = slots.per_token;
  if (theirs.size() == k && own.size() > k) own.erase(own.begin(), own.end() - std::ptrdiff_t(k));
  if (own.size() != theirs.size() || k == 0 || own.empty()) return std::nullopt;
  constexpr std::size_t kNone = ~std::size_t{0};
  slots.from.assign(own.size(), kNone);
  for (std::size_t token = 0; token < own.size() / k; ++token) {
    std::vector<bool> taken(k);
    for (std::size_t i = token * k; i < (token + 1) * k; ++i) {
      for (std::size_t j = 0; j < k; ++j) {
        if (taken[j] || theirs[token * k + j] != own[i]) continue;
        taken[j] = true;
        slots.from[i] = token * k + j;
        break;
      }
    }
    bool all = true;
    for (std::size_t i = token * k; i < (token + 1) * k; ++i) {
      if (slots.from[i] != kNone) continue;
      all = false;
      const auto free = std::ranges::find(taken, false) - taken.begin();
      taken[static_cast<std::size_t>(free)] = true;
      slots.from[i] = token * k + static_cast<std::size_t>(free);
    }
    if (!all) slots.other_experts.push_back(token);
  }
  return slots;
}

std::optional<Array> in_order_of(const ExpertSlots& slots, const ArrayView& array) {
  const std::size_t tokens = slots.from.size() / slots.per_token;
  const auto kept = static_cast<std::size_t>(array.shape.at(1));
  if (kept != tokens && kept != 1) return std::nullopt;
  const std::size_t first = (tokens - kept) * slots.per_token;
  const auto from = std::span(slots.from).subspan(first);
  const std::size_t size = array.bytes.size() / from.size();
  Array result{array.name, array.dtype, array.shape, {}};
  result.bytes.resize(array.bytes.size());
  bool moved = false;
  for (std::size_t i = 0; i < from.size(); ++i) {
    const std::size_t other = from[i] - first;
    moved = moved || other != i;
    std::memcpy(&result.bytes[i * size], &array.bytes[other * size], size);
  }
  if (!moved) return std::nullopt;
  return result;
}

}  // namespace assay
