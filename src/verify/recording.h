// Keeps an engine's arrays for an .npz.
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

// Arrays by name, in the order of their first appearance, in memory until they are written.
class Recording {
 public:
  // Without positions only the first array of a name is kept. With positions, those that continue
  // the previous ones are kept too, and joined later.
  void add(const ArrayView& array, const std::optional<Positions>& positions);

  // Writes BF16 and FP8, which numpy lacks, as F32. Throws as write_npz; or as join_positions after
  // all other arrays are written.
  void write(const std::filesystem::path& path) const;

 private:
  struct Entry {
    std::vector<Array> pieces;
    std::vector<std::int64_t> counts;  // positions per piece
    std::int64_t next = 0;             // the next expected position
  };
  std::vector<std::string> order_;
  std::map<std::string, Entry> entries_;
};

}  // namespace assay
