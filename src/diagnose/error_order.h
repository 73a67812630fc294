// Whether errors have a pattern; rounding errors have none.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace assay {

// right, candidate: [rows, parts * width]; the parts are heads (or 1). Values that are masked or
// not finite in both are ignored. text() names the pattern: "larger at later positions", "of one
// sign", "proportional to the values", "in some heads", "in some channels"; empty if there is none.
struct ErrorOrder {
  std::span<const float> right;
  std::span<const float> candidate;
  std::size_t rows = 1;
  std::size_t parts = 1;
  bool rows_are_positions = true;

  std::string text() const;
};

}  // namespace assay
