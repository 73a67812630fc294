#include "candidate/expert_slots.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/widen.h"
#include "metrics/logits.h"

namespace assay {
namespace {

std::vector<double> values_of(const ArrayView& array) {
  std::vector<double> values(array.bytes.size() / dtype_size(array.dtype));
  widen(array.dtype, array.bytes.data(), static_cast<std::ptrdiff_t>(dtype_size(array.dtype)),
        std::span(values));
  return values;
}

// The last axis is a token's experts.
std::size_t experts_per_token(const ArrayView& ids) {
  return ids.shape.empty() ? 1 : static_cast<std::size_t>(ids.shape.back());
}

}  // namespace

std::optional<ExpertSlots> match_experts(const ArrayView& reference, const ArrayView& other) {
  const std::vector<double> own = values_of(reference);
  const std::vector<double> theirs = values_of(other);
  ExpertSlots slots;
  slots.per_token = experts_per_token(reference);
  const std::size_t k = slots.per_token;
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
  for (std::size_t i = 0; i < slots.from.size(); ++i) {
    slots.in_order = slots.in_order && slots.from[i] == i;
  }
  return slots;
}

Array in_order_of(const ExpertSlots& slots, const ArrayView& array) {
  Array result{array.name, array.dtype, array.shape, {}};
  result.bytes.resize(array.bytes.size());
  const std::size_t size = array.bytes.size() / slots.from.size();
  for (std::size_t i = 0; i < slots.from.size(); ++i) {
    std::memcpy(&result.bytes[i * size], &array.bytes[slots.from[i] * size], size);
  }
  return result;
}

std::string about_other_experts(const ExpertSlots& slots, const ArrayView& reference_ids,
                                const ArrayView& other_ids, const ArrayView* router_logits,
                                bool& wrong) {
  const std::vector<double> own = values_of(reference_ids);
  const std::vector<double> theirs = values_of(in_order_of(slots, other_ids).view());
  const std::vector<double> logits =
      router_logits != nullptr ? values_of(*router_logits) : std::vector<double>();
  const std::size_t k = slots.per_token;
  const std::size_t experts = logits.size() / (own.size() / k);
  wrong = logits.empty();
  for (const std::size_t token : slots.other_experts) {
    for (std::size_t i = token * k; i < (token + 1) * k; ++i) {
      if (own[i] == theirs[i]) continue;
      const bool valid = theirs[i] >= 0 && theirs[i] < static_cast<double>(experts) &&
                         own[i] >= 0 && own[i] < static_cast<double>(experts);
      if (!logits.empty() && valid) {
        const double a = logits[token * experts + static_cast<std::size_t>(own[i])];
        const double b = logits[token * experts + static_cast<std::size_t>(theirs[i])];
        if (std::abs(a - b) <= kTieSteps * bf16_step(a)) continue;
        wrong = true;
        return fmt::format(
            "position {} goes to expert {} and not {}: router logits {:.5g} and {:.5g}", token,
            theirs[i], own[i], b, a);
      }
      wrong = true;
      return fmt::format("position {} goes to expert {} and not {}", token, theirs[i], own[i]);
    }
  }
  return fmt::format("{} of {} positions go to other experts, of nearly equal router logits",
                     slots.other_experts.size(), own.size() / k);
}

}  // namespace assay
