// Simple relations between what should have come out and what the candidate has.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "assay/diagnose.h"

namespace assay {

// A site's values under the right model and the candidate's: [rows, heads * channels].
struct Compared {
  std::span<const float> right;
  std::span<const float> candidate;
  std::size_t rows = 0;
  std::size_t heads = 1;  // in a row
};

// Those that leave less than a quarter of the error, best first, at most three.
std::vector<Relation> find_relations(const Compared& compared);

// Of rows, heads or channels with these errors, the ones that hold nearly all of it, where these
// are few; none where most do.
std::vector<std::int64_t> where_error_lives(std::span<const double> squares, double least);

}  // namespace assay
