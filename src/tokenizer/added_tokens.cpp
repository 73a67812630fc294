#include "tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"
#include "tokenizer/word_class.h"

namespace assay {
namespace {

std::size_t begin_of_trailing_space(std::string_view text) {
  std::size_t begin = text.size();
  while (begin > 0) {
    const std::size_t last = utf8_step_back(text, begin);
    if (!is_white_space(utf8_step(text, last).code_point)) break;
    begin = last;
  }
  return begin;
}

std::size_t end_of_leading_space(std::string_view text) {
  std::size_t end = 0;
  while (end < text.size()) {
    const Utf8Step step = utf8_step(text, end);
    if (!is_white_space(step.code_point)) break;
    end += step.length;
  }
  return end;
}

bool stands_alone(std::string_view before, std::string_view after) {
  return (before.empty() ||
          !is_word(utf8_step(before, utf8_step_back(before, before.size())).code_point)) &&
         (after.empty() || !is_word(utf8_step(after, 0).code_point));
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    groups_[tokens_[i].normalized].places.push_back(i);
  }
  for (Group& group : groups_) {
    std::ranges::sort(group.places, {}, [&](std::size_t i) { return tokens_[i].pattern; });
    for (std::size_t i = 0; i < group.places.size(); ++i) {
      const char first = tokens_[group.places[i]].pattern[0];
      Range& range = group.by_first_byte[static_cast<unsigned char>(first)];
      if (range.end == 0) range.begin = i;
      range.end = i + 1;
    }
  }
}

std::optional<AddedTokens::Match> AddedTokens::find(const Group& group, std::string_view text,
                                                    std::size_t from) const {
  for (std::size_t at = from; at < text.size(); ++at) {
    Range range = group.by_first_byte[static_cast<unsigned char>(text[at])];
    const AddedToken* longest = nullptr;
    // The range: patterns that begin with the `length` bytes at `at`. Sorted, the one that is
    // these bytes comes first.
    for (std::size_t length = 1; range.begin < range.end; ++length) {
      const AddedToken& first = tokens_[group.places[range.begin]];
      if (first.pattern.size() == length) longest = &first;
      if (at + length >= text.size()) break;
      const auto byte_of = [&](std::size_t place) {
        const std::string& pattern = tokens_[place].pattern;
        return length < pattern.size() ? static_cast<unsigned char>(pattern[length]) : -1;
      };
      const int next = static_cast<unsigned char>(text[at + length]);
      const auto places = group.places.begin();
      const auto begin = places + static_cast<std::ptrdiff_t>(range.begin);
      const auto end = places + static_cast<std::ptrdiff_t>(range.end);
      const auto first_with = std::ranges::lower_bound(begin, end, next, {}, byte_of);
      const auto last_with = std::ranges::upper_bound(first_with, end, next, {}, byte_of);
      range = {static_cast<std::size_t>(first_with - places),
               static_cast<std::size_t>(last_with - places)};
    }
    if (longest != nullptr) return Match{at, longest};
  }
  return std::nullopt;
}

std::vector<AddedTokens::Part> AddedTokens::split(std::string_view text, bool normalized) const {
  const Group& group = groups_[normalized];
  std::vector<Part> parts;
  std::size_t done = 0;
  const auto add = [&](std::size_t begin, std::size_t end, const AddedToken* token) {
    parts.push_back({begin, text.substr(begin, end - begin), token});
  };
  std::size_t from = 0;
  while (const auto match = find(group, text, from)) {
    const AddedToken& token = *match->token;
    std::size_t begin = match->begin;
    std::size_t end = from = begin + token.pattern.size();
    if (token.single_word && !stands_alone(text.substr(0, begin), text.substr(end))) continue;
    if (token.lstrip) begin = std::max(begin_of_trailing_space(text.substr(0, begin)), done);
    if (token.rstrip) end += end_of_leading_space(text.substr(end));
    if (done < begin) add(done, begin, nullptr);
    add(begin, end, &token);
    done = end;
  }
  if (done < text.size()) add(done, text.size(), nullptr);
  return parts;
}

}  // namespace assay
