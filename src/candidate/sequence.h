// How the tokens that a candidate ran lie to a prompt's: a run may go on behind it, and be padded.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "candidate/reading.h"

namespace assay {

// A run's tokens: [padding][prompt][continuation][padding].
struct Sequence {
  std::int64_t front = 0;  // tokens of padding before the prompt
  std::int64_t prompt = 0;
  std::int64_t decoded = 0;  // tokens behind it that the engine went on with
  std::int64_t behind = 0;   // tokens of padding at the end
  // False where the tokens alone do not say it: what stands before the prompt may be padding that
  // the engine masks, or a part of its prompt (a BOS too many, a template).
  bool sure = true;

  std::int64_t total() const { return front + prompt + decoded + behind; }
  bool plain() const { return total() == prompt; }
  // Where the prompt's positions are, or with `whole` those of the continuation too.
  Window window() const { return {front, total()}; }
};

// None where the prompt's tokens do not stand in `ids` one after the other. What follows the prompt
// is taken for padding where it is one token again and again and the continuation that is known
// (prompt and what follows it; empty: none is) does not begin so.
std::optional<Sequence> find_prompt(std::span<const std::int64_t> prompt,
                                    std::span<const std::int64_t> ids,
                                    std::span<const std::int64_t> known_text = {});

// Where no prompt is known: the tokens as they stand, and without what is one token again and again
// in front (all of it, or all but the last, which may be the prompt's first), behind, or both.
std::vector<Sequence> possible_paddings(std::span<const std::int64_t> ids);

// The run's tokens without padding.
std::vector<std::int64_t> without_padding(const Sequence& sequence,
                                          std::span<const std::int64_t> ids);

// What is to be said of it, a line each. whole: the continuation is judged too. known_text: as
// above; the lines say whether the run goes on in the same way.
std::vector<std::string> about_sequence(const Sequence& sequence, std::span<const std::int64_t> ids,
                                        bool whole, std::span<const std::int64_t> known_text = {});

}  // namespace assay
