// Whether errors have an order: those of rounding have none.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace assay {

// right, candidate: [rows, parts * width], the parts being heads (or 1). What both hide, or is not
// finite, is left out. In words what is in order: "larger at later rows", "in one sign",
// "proportional to the values", "in some heads", "in some channels"; empty where nothing is.
struct ErrorOrder {
  std::span<const float> right;
  std::span<const float> candidate;
  std::size_t rows = 1;
  std::size_t parts = 1;
  bool rows_are_positions = true;

  std::string text() const;
};

}  // namespace assay
