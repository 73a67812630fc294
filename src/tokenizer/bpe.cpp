#include "tokenizer/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <queue>
#include <tuple>

#include "assay/error.h"
#include "base/text.h"
#include "base/utf8.h"
#include "tokenizer/byte_alphabet.h"

namespace assay {
namespace {

// Up to here the quadratic scan beats the queue; nearly every piece of ordinary text is shorter.
constexpr std::size_t kShort = 48;

constexpr std::uint64_t pair_of(TokenId left, TokenId right) {
  return std::uint64_t{left} << 32 | right;
}

constexpr std::size_t hash(std::uint64_t pair) {
  pair *= 0x9E3779B97F4A7C15;  // Fibonacci hashing; the high half carries the mixed bits
  return static_cast<std::size_t>(pair ^ (pair >> 32));
}

}  // namespace

WholePieces::WholePieces(std::size_t count) : slots_(std::bit_ceil(count + count / 2 + 2)) {}

// The piece's slot, or the free one where it belongs.
std::size_t WholePieces::place(std::string_view piece) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t i = std::hash<std::string_view>()(piece) & mask;
  while (slots_[i].id != kNoToken &&
         std::string_view(texts_).substr(slots_[i].begin, slots_[i].length) != piece) {
    i = (i + 1) & mask;
  }
  return i;
}

void WholePieces::add(std::string_view piece, TokenId id) {
  slots_[place(piece)] = {static_cast<std::uint32_t>(texts_.size()),
                          static_cast<std::uint32_t>(piece.size()), id};
  texts_ += piece;
}

std::optional<TokenId> WholePieces::find(std::string_view piece) const {
  const TokenId id = slots_[place(piece)].id;
  return id != kNoToken ? std::optional(id) : std::nullopt;
}

Bpe::Bpe(Alphabet alphabet, std::size_t max_merges)
    : alphabet_(std::move(alphabet)),
      every_byte_(alphabet_.is_bytes &&
                  std::ranges::find(alphabet_.bytes, kNoToken) == alphabet_.bytes.end()),
      slots_(std::bit_ceil(max_merges + max_merges / 2 + 2)),
      mask_(slots_.size() - 1) {}

// The pair's slot, or the empty one where it belongs.
std::size_t Bpe::place(std::uint64_t pair) const {
  std::size_t i = hash(pair) & mask_;
  while (slots_[i].rank != kNoMerge && slots_[i].pair != pair) i = (i + 1) & mask_;
  return i;
}

const Bpe::Slot& Bpe::find(TokenId left, TokenId right) const {
  return slots_[place(pair_of(left, right))];
}

bool Bpe::add(TokenId left, TokenId right, TokenId result) {
  const std::uint64_t pair = pair_of(left, right);
  Slot& slot = slots_[place(pair)];
  if (slot.rank != kNoMerge) return false;
  slot = {pair, merges_++, result};
  return true;
}

void Bpe::encode(std::string_view piece, std::vector<std::int64_t>& ids) const {
  if (whole_) {
    if (const auto id = whole_->find(piece)) {
      ids.push_back(*id);
      return;
    }
  }
  if (every_byte_ && piece.size() <= kShort) {
    std::array<TokenId, kShort> symbols;
    for (std::size_t i = 0; i < piece.size(); ++i) {
      symbols[i] = alphabet_.bytes[static_cast<unsigned char>(piece[i])];
    }
    merge_short(std::span(symbols).first(piece.size()), ids);
    return;
  }
  std::vector<TokenId> symbols = spell(piece);
  if (symbols.size() <= kShort) {
    merge_short(symbols, ids);
  } else {
    merge_long(symbols, ids);
  }
}

std::vector<TokenId> Bpe::spell(std::string_view piece) const {
  std::vector<TokenId> symbols;
  symbols.reserve(piece.size());
  bool unknown_waits = false;
  for (std::size_t at = 0; at < piece.size();) {
    std::size_t length = 1;
    TokenId id = kNoToken;
    if (alphabet_.is_bytes) {
      id = alphabet_.bytes[static_cast<unsigned char>(piece[at])];
    } else {
      const Utf8Step step = utf8_step(piece, at);
      length = step.length;
      if (step.code_point < alphabet_.characters.size()) {
        id = alphabet_.characters[step.code_point];
      }
    }
    const std::string_view character = piece.substr(at, length);
    at += length;
    if (id != kNoToken) {
      if (std::exchange(unknown_waits, false)) symbols.push_back(alphabet_.unknown);
      symbols.push_back(id);
      continue;
    }
    // As in the tokenizers library, a pending unknown token comes after these.
    if (fall_back(character, symbols)) continue;
    if (!alphabet_.missing_unknown.empty()) {
      throw input_error("tokenizer", fmt::format("'{}', which no token spells", shown(character)),
                        fmt::format("text without it: the unknown token '{}' is not in the "
                                    "vocabulary",
                                    shown(alphabet_.missing_unknown)));
    }
    if (alphabet_.unknown == kNoToken) continue;
    if (unknown_waits && !alphabet_.fuse_unknown) symbols.push_back(alphabet_.unknown);
    unknown_waits = true;
  }
  if (unknown_waits) symbols.push_back(alphabet_.unknown);
  return symbols;
}

bool Bpe::fall_back(std::string_view character, std::vector<TokenId>& symbols) const {
  const std::string symbol =
      alphabet_.is_bytes ? byte_symbol(static_cast<unsigned char>(character[0])) : std::string();
  const std::string_view bytes = alphabet_.is_bytes ? symbol : character;
  const auto token_of = [&](char c) { return alphabet_.fallback[static_cast<unsigned char>(c)]; };
  if (std::ranges::any_of(bytes, [&](char c) { return token_of(c) == kNoToken; })) return false;
  for (const char c : bytes) symbols.push_back(token_of(c));
  return true;
}

void Bpe::merge_short(std::span<TokenId> symbols, std::vector<std::int64_t>& ids) const {
  std::array<Slot, kShort> merges;  // merges[i]: of symbols i and i + 1
  std::size_t count = symbols.size();
  for (std::size_t i = 0; i + 1 < count; ++i) merges[i] = find(symbols[i], symbols[i + 1]);
  while (count > 1) {
    const auto best =
        std::min_element(merges.begin(), merges.begin() + static_cast<std::ptrdiff_t>(count - 1),
                         [](const Slot& a, const Slot& b) { return a.rank < b.rank; });
    if (best->rank == kNoMerge) break;
    const auto at = static_cast<std::size_t>(best - merges.begin());
    symbols[at] = best->result;
    std::copy(symbols.data() + at + 2, symbols.data() + count, symbols.data() + at + 1);
    std::copy(merges.begin() + at + 1, merges.begin() + count - 1, merges.begin() + at);
    --count;
    if (at > 0) merges[at - 1] = find(symbols[at - 1], symbols[at]);
    if (at + 1 < count) merges[at] = find(symbols[at], symbols[at + 1]);
  }
  ids.insert(ids.end(), symbols.data(), symbols.data() + count);
}

// The same for long pieces (a megabyte of spaces is one): a list of symbols linked by their
// neighbours, and a queue of the merges that were possible when they were queued.
void Bpe::merge_long(std::span<const TokenId> start, std::vector<std::int64_t>& ids) const {
  constexpr std::size_t kNone = ~std::size_t{0};
  struct Symbol {
    TokenId id;
    bool gone;  // merged into the one before
    std::size_t previous;
    std::size_t next;
  };
  struct Candidate {
    std::uint32_t rank;
    std::size_t at;
    TokenId right;  // with left, tells whether the pair is still there
    TokenId left;
    TokenId result;
    bool operator<(const Candidate& other) const {  // the queue gives its greatest first
      return std::tie(rank, at) > std::tie(other.rank, other.at);
    }
  };
  std::vector<Symbol> symbols(start.size());
  std::priority_queue<Candidate> queue;
  const auto consider = [&](std::size_t at) {
    const std::size_t next = symbols[at].next;
    if (next == kNone) return;
    const TokenId left = symbols[at].id;
    const TokenId right = symbols[next].id;
    const Slot& merge = find(left, right);
    if (merge.rank != kNoMerge) queue.push({merge.rank, at, right, left, merge.result});
  };
  for (std::size_t i = 0; i < start.size(); ++i) {
    symbols[i] = {start[i], false, i == 0 ? kNone : i - 1, i + 1 == start.size() ? kNone : i + 1};
  }
  for (std::size_t i = 0; i < start.size(); ++i) consider(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& symbol = symbols[best.at];
    if (symbol.gone || symbol.id != best.left || symbol.next == kNone ||
        symbols[symbol.next].id != best.right) {
      continue;
    }
    Symbol& right = symbols[symbol.next];
    right.gone = true;
    symbol.id = best.result;
    symbol.next = right.next;
    if (symbol.next != kNone) symbols[symbol.next].previous = best.at;
    if (symbol.previous != kNone) consider(symbol.previous);
    consider(best.at);
  }
  for (std::size_t i = 0; i != kNone && i < symbols.size(); i = symbols[i].next) {
    ids.push_back(symbols[i].id);
  }
}

}  // namespace assay
