// Where a prompt is in a candidate's tokens: the run may continue after it, and be padded.
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
  std::int64_t decoded = 0;  // tokens after it that the engine generated
  std::int64_t back = 0;     // tokens of padding at the end
  // False if the tokens alone do not decide: those before the prompt may be padding that the engine
  // masks, or part of its prompt (an extra BOS, a template).
  bool sure = true;

  std::int64_t total() const { return front + prompt + decoded + back; }
  bool plain() const { return total() == prompt; }
  // Where the reference's positions are.
  Window window() const { return {front, total()}; }
};

// None if `ids` does not contain the prompt. One repeated token after the prompt is taken for
// padding unless the known text (prompt and continuation; empty: none) continues with it.
std::optional<Sequence> find_prompt(std::span<const std::int64_t> prompt,
                                    std::span<const std::int64_t> ids,
                                    std::span<const std::int64_t> known_text = {});

// If no prompt is known: the tokens as they are, and without one repeated token at the front (all
// of it, or all but the last, which may be the prompt's first), at the end, or both.
std::vector<Sequence> possible_paddings(std::span<const std::int64_t> ids);

// The run's tokens without padding.
std::vector<std::int64_t> without_padding(const Sequence& sequence,
                                          std::span<const std::int64_t> ids);

// Remarks on it, one per line. whole: the continuation is judged too. known_text: as above; the
// lines tell whether the run continues in the same way.
std::vector<std::string> about_sequence(const Sequence& sequence, std::span<const std::int64_t> ids,
                                        bool whole, std::span<const std::int64_t> known_text = {});

}  // namespace assay
