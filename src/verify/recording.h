// What an engine hands over, kept for an .npz.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "assay/array.h"
#include "candidate/positions.h"

namespace assay {

// Arrays by name, in the order of their first coming. Held in memory until they are written.
class Recording {
 public:
  // Without positions only the first array of a name is kept; with positions those that follow on
  // the ones before are kept too, to be joined.
  void add(const ArrayView& array, const std::optional<Positions>& positions);

  // BF16 and FP8, which numpy lacks, as F32. Throws as write_npz; as join_positions when all others
  // are written.
  void write(const std::filesystem::path& path) const;

 private:
  struct Entry {
    std::vector<Array> pieces;
    std::vector<std::int64_t> counts;  // positions of each
    std::int64_t next = 0;             // the position that follows
  };
  std::vector<std::string> order_;
  std::map<std::string, Entry> entries_;
};

}  // namespace assay
