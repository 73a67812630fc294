// Simple relations between the right values and the candidate's.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "assay/diagnose.h"

namespace assay {

// The values of a site in the right model and in the candidate: [rows, heads * channels].
struct Compared {
  std::span<const float> right;
  std::span<const float> candidate;
  std::size_t rows = 0;
  std::size_t heads = 1;  // per row
};

// The relations that leave less than a quarter of the error, best first, at most three.
std::vector<Relation> find_relations(const Compared& compared);

// The rows, heads or channels that have nearly all of the error, if they are few, or all from one
// of them on; empty if most of them have it. squares: the error of each.
std::vector<std::int64_t> where_error_lives(std::span<const double> squares, double least);

}  // namespace assay
