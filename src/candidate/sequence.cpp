#include "candidate/sequence.h"

#include <fmt/format.h>

#include <algorithm>

namespace assay {
namespace {

using Ids = std::span<const std::int64_t>;

// In a shorter continuation a repeated token is no evidence of padding.
constexpr std::size_t kLeastPadding = 2;

bool all_the_same(Ids ids) {
  return std::ranges::all_of(ids, [&](std::int64_t id) { return id == ids.front(); });
}

// The last place of the prompt in ids, found in linear time (Knuth, Morris and Pratt), since both
// may be of any length and from anybody.
std::optional<std::size_t> last_place(Ids prompt, Ids ids) {
  const std::size_t n = prompt.size();
  std::vector<std::size_t> border(n, 0);  // of each prefix of the prompt
  for (std::size_t i = 1, k = 0; i < n; ++i) {
    while (k > 0 && prompt[i] != prompt[k]) k = border[k - 1];
    if (prompt[i] == prompt[k]) ++k;
    border[i] = k;
  }
  std::optional<std::size_t> last;
  for (std::size_t i = 0, k = 0; i < ids.size(); ++i) {
    while (k > 0 && (k == n || ids[i] != prompt[k])) k = border[k - 1];
    if (ids[i] == prompt[k]) ++k;
    if (k == n) last = i + 1 - n;
  }
  return last;
}

std::string plural(std::int64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

}  // namespace

std::optional<Sequence> find_prompt(Ids prompt, Ids ids, Ids known_text) {
  if (prompt.empty() || ids.size() < prompt.size()) return std::nullopt;
  // The prompt is at the beginning or else as late as possible: padding may repeat its tokens.
  std::size_t at = 0;
  if (!std::ranges::equal(prompt, ids.first(prompt.size()))) {
    const std::optional<std::size_t> last = last_place(prompt, ids);
    if (!last) return std::nullopt;
    at = *last;
  }
  Sequence sequence;
  sequence.front = static_cast<std::int64_t>(at);
  sequence.prompt = std::ssize(prompt);
  sequence.sure = at == 0 || (at >= kLeastPadding && all_the_same(ids.first(at)));
  const Ids rest = ids.subspan(at + prompt.size());
  const bool goes_on = known_text.size() > prompt.size() && !rest.empty() &&
                       known_text[prompt.size()] == rest.front();
  if (rest.size() >= kLeastPadding && all_the_same(rest) && !goes_on) {
    sequence.back = std::ssize(rest);
  } else {
    sequence.decoded = std::ssize(rest);
  }
  return sequence;
}

std::vector<Sequence> possible_paddings(Ids ids) {
  const std::int64_t size = std::ssize(ids);
  std::int64_t front = 0;
  while (front < size && ids[static_cast<std::size_t>(front)] == ids.front()) ++front;
  std::int64_t back = 0;
  while (back < size && ids[static_cast<std::size_t>(size - 1 - back)] == ids.back()) ++back;
  std::vector<std::int64_t> fronts = {0};
  if (front >= static_cast<std::int64_t>(kLeastPadding))
    fronts.insert(fronts.end(), {front, front - 1});
  std::vector<std::int64_t> ends = {0};
  if (back >= static_cast<std::int64_t>(kLeastPadding)) ends.push_back(back);
  std::vector<Sequence> all;
  for (const std::int64_t end : ends) {
    for (const std::int64_t begin : fronts) {
      if (begin + end < size) all.push_back({begin, size - begin - end, 0, end});
    }
  }
  return all;
}

std::vector<std::int64_t> without_padding(const Sequence& sequence, Ids ids) {
  return {ids.begin() + sequence.front, ids.end() - sequence.back};
}

std::vector<std::string> about_sequence(const Sequence& sequence, Ids ids, bool whole,
                                        Ids known_text) {
  std::vector<std::string> lines;
  const auto padding = [&](std::int64_t count, std::string_view where, std::int64_t id) {
    lines.push_back(fmt::format("{} of padding {} the prompt (token {}): left out",
                                plural(count, "position"), where, id));
  };
  if (sequence.front > 0) padding(sequence.front, "before", ids.front());
  if (sequence.back > 0) padding(sequence.back, "after", ids.back());
  if (sequence.decoded == 0) return lines;
  std::string line =
      fmt::format("the run goes on after the prompt: {} of the prompt and {} more, {}",
                  plural(sequence.prompt, "position"), sequence.decoded,
                  whole ? "all judged" : "of which only the prompt's are compared");
  const auto prompt = static_cast<std::size_t>(sequence.prompt);
  if (known_text.size() > prompt) {
    const Ids own = ids.subspan(static_cast<std::size_t>(sequence.front) + prompt,
                                static_cast<std::size_t>(sequence.decoded));
    const Ids known = known_text.subspan(prompt);
    const std::size_t common = std::min(own.size(), known.size());
    const auto [a, b] = std::ranges::mismatch(own.first(common), known.first(common));
    const auto same = static_cast<std::size_t>(a - own.begin());
    line += same == common
                ? fmt::format("; its {} the reference's text",
                              common == own.size() ? "tokens are" : "first tokens are")
                : fmt::format("; it differs from the reference's text from position {} on",
                              prompt + same);
  }
  lines.push_back(std::move(line));
  return lines;
}

}  // namespace assay
