#include "tokenizer/pre_tokenizer.h"

#include <algorithm>

#include "base/utf8.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/fixed_classes.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/word_class.h"

namespace assay {
namespace {

struct Piece {
  std::string_view text;
  std::size_t from_start;
};

bool is_of(CharKind kind, char32_t c) {
  switch (kind) {
    case CharKind::kNumeric:
      return is_numeric(c);
    case CharKind::kWhiteSpace:
      return is_white_space(c);
    case CharKind::kPunctuation:
      return is_punctuation(c);
  }
  return false;
}

std::vector<Stretch> find(CharKind kind, std::string_view text) {
  std::vector<Stretch> stretches;
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    if (is_of(kind, step.code_point)) {
      if (done < at) stretches.push_back({done, at, false});
      done = at + step.length;
      stretches.push_back({at, done, true});
    }
    at += step.length;
  }
  if (done < text.size()) stretches.push_back({done, text.size(), false});
  return stretches;
}

// Runs of word characters and of others, without white space.
std::vector<Stretch> find_words(std::string_view text) {
  std::vector<Stretch> runs;
  bool in_run = false;
  bool of_words = false;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    const bool word = is_word(step.code_point);
    const bool space = !word && is_white_space(step.code_point);
    if (!space && !(in_run && word == of_words)) runs.push_back({at, at, false});
    at += step.length;
    if (!space) runs.back().end = at;
    in_run = !space;
    of_words = word;
  }
  return runs;
}

std::vector<Stretch> find_scripts(std::string_view text) {
  std::vector<Stretch> runs;
  unsigned last = kAnyScript;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    const unsigned script = script_of(step.code_point);
    if (script != kAnyScript && script != last) {
      runs.push_back({at, at, false});
      last = script;
    }
    at += step.length;
    if (!runs.empty()) runs.back().end = at;
  }
  return runs;
}

// Joins or removes the stretches, according to the behavior.
std::vector<Stretch> apply(SplitBehavior behavior, std::vector<Stretch> stretches) {
  const bool backwards = behavior == SplitBehavior::kMergedWithNext;
  if (backwards) std::ranges::reverse(stretches);
  std::vector<Stretch> result;
  bool previous_match = false;
  for (const Stretch& stretch : stretches) {
    bool joins = false;
    switch (behavior) {
      case SplitBehavior::kRemoved:
        if (stretch.is_match) continue;
        break;
      case SplitBehavior::kIsolated:
        break;
      case SplitBehavior::kContiguous:
        joins = stretch.is_match == previous_match;
        break;
      case SplitBehavior::kMergedWithPrevious:
      case SplitBehavior::kMergedWithNext:
        joins = stretch.is_match && !previous_match;
        break;
    }
    previous_match = stretch.is_match;
    if (!joins || result.empty()) {
      result.push_back(stretch);
    } else if (backwards) {
      result.back().begin = stretch.begin;
    } else {
      result.back().end = stretch.end;
    }
  }
  if (backwards) std::ranges::reverse(result);
  return result;
}

void cut(const Piece& piece, const std::vector<Stretch>& stretches, std::vector<Piece>& to) {
  for (const Stretch& stretch : stretches) {
    if (stretch.begin == stretch.end) continue;
    to.push_back({piece.text.substr(stretch.begin, stretch.end - stretch.begin),
                  piece.from_start - std::min(piece.from_start, stretch.begin)});
  }
}

class PreTokenizerRun {
 public:
  explicit PreTokenizerRun(std::deque<std::string>& made) : made_(made) {}

  void operator()(const SplitStep& step, const Piece& piece) {
    std::vector<Stretch> stretches;
    if (const auto* splitter = std::get_if<Splitter>(&step.at)) {
      stretches = splitter->find(piece.text);
    } else {
      stretches = find(std::get<CharKind>(step.at), piece.text);
    }
    if (step.invert) {
      for (Stretch& stretch : stretches) stretch.is_match = !stretch.is_match;
    }
    cut(piece, apply(step.behavior, std::move(stretches)), pieces);
  }

  void operator()(WordsStep, const Piece& piece) { cut(piece, find_words(piece.text), pieces); }

  void operator()(ScriptsStep, const Piece& piece) { cut(piece, find_scripts(piece.text), pieces); }

  void operator()(const MetaspaceStep& step, const Piece& piece) {
    std::string text = replaced(piece.text, " ", step.replacement);
    std::size_t from_start =
        replaced(piece.text.substr(0, piece.from_start), " ", step.replacement).size();
    using enum MetaspaceStep::Prepend;
    if ((step.prepend == kAlways || (step.prepend == kFirst && piece.from_start > 0)) &&
        !text.starts_with(step.replacement)) {
      text.insert(0, step.replacement);
      if (from_start > 0) from_start += step.replacement.size();
    }
    const Piece whole = {keep(std::move(text)), from_start};
    if (!step.split) {
      pieces.push_back(whole);
      return;
    }
    std::size_t begin = 0;
    while (begin < whole.text.size()) {
      const std::size_t end =
          std::min(whole.text.find(step.replacement, begin + 1), whole.text.size());
      cut(whole, {{begin, end, false}}, pieces);
      begin = end;
    }
  }

  void operator()(const ByteLevelStep& step, const Piece& piece) {
    Piece whole = piece;
    if (step.add_prefix_space && !piece.text.starts_with(' ')) {
      whole.text = keep(" " + std::string(piece.text));
      if (whole.from_start > 0) ++whole.from_start;
    }
    if (step.splitter) {
      cut(whole, step.splitter->find(whole.text), pieces);
    } else {
      pieces.push_back(whole);
    }
  }

  // Writes the pieces in the byte alphabet, as a ByteLevel step that is not the last one must.
  void spell_bytes() {
    for (Piece& piece : pieces) {
      std::string symbols;
      const std::size_t first = std::min(piece.from_start, piece.text.size());
      for (std::size_t i = 0; i < piece.text.size(); ++i) {
        if (i == first) piece.from_start = symbols.size();
        symbols += byte_symbol(static_cast<unsigned char>(piece.text[i]));
      }
      if (first == piece.text.size()) piece.from_start = symbols.size();
      piece.text = keep(std::move(symbols));
    }
  }

  std::vector<Piece> pieces;

 private:
  std::string_view keep(std::string text) { return made_.emplace_back(std::move(text)); }

  std::deque<std::string>& made_;
};

}  // namespace

std::vector<std::string_view> PreTokenizer::pieces(std::string_view text, std::size_t from_start,
                                                   std::deque<std::string>& made) const {
  std::vector<Piece> pieces;
  if (!text.empty()) pieces.push_back({text, from_start});
  for (const Step& step : steps) {
    PreTokenizerRun run(made);
    run.pieces.reserve(pieces.size());
    for (const Piece& piece : pieces) {
      std::visit([&](const auto& of_kind) { run(of_kind, piece); }, step);
    }
    if (std::holds_alternative<ByteLevelStep>(step) && (spells_bytes || &step != &steps.back())) {
      run.spell_bytes();
    }
    pieces = std::move(run.pieces);
  }
  std::vector<std::string_view> texts;
  texts.reserve(pieces.size());
  for (const Piece& piece : pieces) texts.push_back(piece.text);
  return texts;
}

}  // namespace assay
