#include "tokenizer/unigram.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "assay/error.h"
#include "base/text.h"
#include "base/utf8.h"

namespace assay {
namespace {

constexpr double kUnknownPenalty = 10;

}  // namespace

Unigram::Unigram(std::span<const Token> vocabulary, std::optional<TokenId> unknown, bool falls_back)
    : unknown_(unknown) {
  double lowest = std::numeric_limits<double>::infinity();
  scores_.reserve(vocabulary.size());
  for (const Token& token : vocabulary) {
    scores_.push_back(token.score);
    lowest = std::min(lowest, token.score);
  }
  unknown_score_ = lowest - kUnknownPenalty;
  grow(vocabulary);
  if (!falls_back) return;
  for (unsigned byte = 0; byte < 256; ++byte) {
    fallback_[byte] = find(fmt::format("<0x{:02X}>", byte)).value_or(kNoToken);
  }
}

// The tree, level by level: each node stands for a range of the sorted tokens.
void Unigram::grow(std::span<const Token> vocabulary) {
  struct Range {
    std::size_t begin;
    std::size_t end;
    std::size_t depth;
  };
  std::vector<TokenId> sorted(vocabulary.size());
  std::iota(sorted.begin(), sorted.end(), TokenId{0});
  std::ranges::sort(sorted, {}, [&](TokenId id) { return vocabulary[id].text; });
  std::vector<Range> ranges = {{0, sorted.size(), 0}};
  nodes_.resize(1);
  for (std::size_t n = 0; n < nodes_.size(); ++n) {
    auto [begin, end, depth] = ranges[n];
    if (begin < end && vocabulary[sorted[begin]].text.size() == depth) {
      nodes_[n].token = sorted[begin++];
    }
    nodes_[n].children = static_cast<std::uint32_t>(nodes_.size());
    while (begin < end) {
      const char byte = vocabulary[sorted[begin]].text[depth];
      const std::size_t first = begin;
      while (begin < end && vocabulary[sorted[begin]].text[depth] == byte) ++begin;
      ranges.push_back({first, begin, depth + 1});
      nodes_.push_back({.byte = static_cast<std::uint8_t>(byte)});
      ++nodes_[n].count;
    }
  }
}

// Null if there is none.
const Unigram::Node* Unigram::child(const Node& node, char byte) const {
  const auto children = std::span(nodes_).subspan(node.children, node.count);
  const auto wanted = static_cast<std::uint8_t>(byte);
  const auto found = std::ranges::lower_bound(children, wanted, {}, &Node::byte);
  return found != children.end() && found->byte == wanted ? &*found : nullptr;
}

// The token with exactly this text.
std::optional<TokenId> Unigram::find(std::string_view text) const {
  const Node* node = &nodes_[0];
  for (const char c : text) {
    node = child(*node, c);
    if (node == nullptr) return std::nullopt;
  }
  return node->token != kNoToken ? std::optional(node->token) : std::nullopt;
}

// The best path to each offset at which a character begins, and to the end.
std::vector<Unigram::Way> Unigram::best_ways(std::string_view piece) const {
  std::vector<Way> ways(piece.size() + 1);
  const auto consider = [&](std::size_t begin, std::size_t end, double score, TokenId token) {
    const double sum = score + ways[begin].score;
    if (ways[end].begin != kNowhere && !(sum > ways[end].score)) return false;
    ways[end] = {sum, begin, token};
    return true;
  };
  for (std::size_t begin = 0; begin < piece.size();) {
    const std::size_t length = utf8_step(piece, begin).length;
    bool is_token = false;
    const Node* node = &nodes_[0];
    for (std::size_t end = begin; end < piece.size();) {
      node = child(*node, piece[end++]);
      if (node == nullptr) break;
      if (node->token == kNoToken) continue;
      consider(begin, end, scores_[node->token], node->token);
      if (end - begin == length) is_token = true;
    }
    if (!is_token && consider(begin, begin + length, unknown_score_, unknown_.value_or(kNoToken)) &&
        !unknown_) {
      throw input_error(
          "tokenizer",
          fmt::format("'{}', which no token spells", shown(piece.substr(begin, length))),
          "text without it: the model has no unknown token (unk_id)");
    }
    begin += length;
  }
  return ways;
}

// Spells a stretch of unknown characters. Together they may still be a token.
void Unigram::spell_unknown(std::string_view text, std::vector<std::int64_t>& ids) const {
  if (const auto token = find(text)) {
    ids.push_back(*token);
    return;
  }
  const auto token_of = [&](char c) { return fallback_[static_cast<unsigned char>(c)]; };
  if (std::ranges::any_of(text, [&](char c) { return token_of(c) == kNoToken; })) {
    ids.push_back(*unknown_);
    return;
  }
  for (const char c : text) ids.push_back(token_of(c));
}

void Unigram::encode(std::string_view piece, std::vector<std::int64_t>& ids) const {
  const std::vector<Way> ways = best_ways(piece);
  std::vector<std::size_t> ends;
  for (std::size_t end = piece.size(); end > 0; end = ways[end].begin) ends.push_back(end);
  std::size_t begin = 0;
  while (!ends.empty()) {
    const Way& way = ways[ends.back()];
    if (way.token != unknown_) {
      ids.push_back(way.token);
      begin = ends.back();
      ends.pop_back();
      continue;
    }
    std::size_t end = begin;  // end of the adjacent unknown characters
    while (!ends.empty() && ways[ends.back()].token == unknown_) {
      end = ends.back();
      ends.pop_back();
    }
    spell_unknown(piece.substr(begin, end - begin), ids);
    begin = end;
  }
}

}  // namespace assay
