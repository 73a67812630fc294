#include "verify/rope_rows.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <vector>

#include "assay/error.h"
#include "base/sizes.h"
#include "candidate/ids.h"
#include "candidate/sequence.h"

namespace assay {

bool is_rope_table(std::string_view name, std::span<const std::int64_t> shape) {
  return name.starts_with("rope_") && shape.size() == 3 && shape[0] == 1 && shape[1] > 0;
}

std::int64_t common_rope_rows(std::span<const std::int64_t> table,
                              std::span<const std::int64_t> candidate, std::int64_t prompt,
                              std::int64_t padding) {
  const std::int64_t width = candidate.empty() ? 0 : candidate.back();
  if (width < 1 || (width != table[2] && 2 * width != table[2])) return table[1];
  const std::int64_t rows = element_count(candidate, "a rotary table") / width - padding;
  return prompt > 0 && rows >= prompt ? std::min(rows, table[1]) : table[1];
}

void cut_rows(ArrayView& table, std::int64_t rows) {
  const std::size_t row = table.bytes.size() / static_cast<std::size_t>(table.shape[1]);
  table.bytes = table.bytes.first(row * static_cast<std::size_t>(rows));
  table.shape[1] = rows;
}

std::int64_t RopeRowsInCommon::count(const std::string& tap, const Shape& table) const {
  const std::lock_guard lock(mutex_);
  const auto known = found_.find(tap);
  if (known != found_.end()) return known->second;
  return found_.emplace(tap, find(tap, table)).first->second;
}

void RopeRowsInCommon::cut(const std::string& tap, ArrayView& array) const {
  if (is_rope_table(tap, array.shape)) cut_rows(array, count(tap, array.shape));
}

std::int64_t RopeRowsInCommon::find(const std::string& tap, const Shape& table) const {
  for (const std::string& name : candidate_.names()) {
    const std::vector<NameClaim> claims = map_.meaning(name, layers_).singles();
    if (std::ranges::none_of(claims, [&](const NameClaim& c) { return c.taps.front() == tap; })) {
      continue;
    }
    const std::optional<Shape> shape = shape_if_readable(candidate_, name);
    if (!shape) continue;
    return common_rope_rows(table, *shape, std::ssize(prompt_.ids), padding_before_prompt());
  }
  return table[1];
}

// As far as the candidate's tokens alone tell, because the candidate is still being read.
std::int64_t RopeRowsInCommon::padding_before_prompt() const {
  for (const std::string& name : candidate_.names()) {
    if (map_.tap_of(name, layers_) != "input_ids") continue;
    try {
      const auto found = find_prompt(prompt_.ids, read_ids(candidate_, name), prompt_.text);
      if (found) return found->front;
    } catch (const Error&) {
      // Reported where the tokens are compared.
    }
  }
  return 0;
}

}  // namespace assay
