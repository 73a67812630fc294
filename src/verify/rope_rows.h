// Rows of the rotary tables: the reference's and the candidate's may differ in number.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include "assay/array.h"
#include "candidate/candidate.h"
#include "candidate/name_map.h"
#include "formats/array_file.h"

namespace assay {

// Whether it is one of the reference's rotary tables, [1, P, R].
bool is_rope_table(std::string_view name, std::span<const std::int64_t> shape);
// How many rows of such a table are compared: all P, or the candidate's rows if they cover at least
// the prompt. In that case only the reference has decoded positions. padding: positions before the
// prompt, which may have rows in the candidate's table.
std::int64_t common_rope_rows(std::span<const std::int64_t> table,
                              std::span<const std::int64_t> candidate, std::int64_t prompt,
                              std::int64_t padding);
// Cuts a table to its first rows.
void cut_rows(ArrayView& table, std::int64_t rows);

// How many rows of the reference's tables the candidate also has. Threads may share it.
class RopeRowsInCommon {
 public:
  // candidate, map and prompt must outlive this object.
  RopeRowsInCommon(const ArrayFile& candidate, const NameMap& map, std::int64_t layers,
                   const KnownPrompt& prompt)
      : candidate_(candidate), map_(map), layers_(layers), prompt_(prompt) {}

  // tap: of a rotary table of the shape `table` in the reference.
  std::int64_t count(const std::string& tap, const Shape& table) const;
  // Cuts the reference's array to these rows. Other arrays stay as they are.
  void cut(const std::string& tap, ArrayView& array) const;

 private:
  std::int64_t find(const std::string& tap, const Shape& table) const;
  std::int64_t padding_before_prompt() const;

  const ArrayFile& candidate_;
  const NameMap& map_;
  std::int64_t layers_;
  const KnownPrompt& prompt_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::int64_t> found_;  // by tap
};

}  // namespace assay
