#include "tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <queue>
#include <tuple>

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

Bpe::Bpe(const std::array<TokenId, 256>& byte_ids, std::size_t max_merges)
    : byte_ids_(byte_ids),
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
  if (piece.size() <= kShort) {
    encode_short(piece, ids);
  } else {
    encode_long(piece, ids);
  }
}

void Bpe::encode_short(std::string_view piece, std::vector<std::int64_t>& ids) const {
  std::array<TokenId, kShort> symbols;
  std::array<Slot, kShort> merges;  // merges[i]: of symbols i and i + 1
  std::size_t count = piece.size();
  for (std::size_t i = 0; i < count; ++i) {
    symbols[i] = byte_ids_[static_cast<unsigned char>(piece[i])];
  }
  for (std::size_t i = 0; i + 1 < count; ++i) merges[i] = find(symbols[i], symbols[i + 1]);
  while (count > 1) {
    const auto best =
        std::min_element(merges.begin(), merges.begin() + static_cast<std::ptrdiff_t>(count - 1),
                         [](const Slot& a, const Slot& b) { return a.rank < b.rank; });
    if (best->rank == kNoMerge) break;
    const auto at = static_cast<std::size_t>(best - merges.begin());
    symbols[at] = best->result;
    std::copy(symbols.begin() + at + 2, symbols.begin() + count, symbols.begin() + at + 1);
    std::copy(merges.begin() + at + 1, merges.begin() + count - 1, merges.begin() + at);
    --count;
    if (at > 0) merges[at - 1] = find(symbols[at - 1], symbols[at]);
    if (at + 1 < count) merges[at] = find(symbols[at], symbols[at + 1]);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.begin() + count);
}

// The same for long pieces (a megabyte of spaces is one): a list of symbols linked by their
// neighbours, and a queue of the merges that were possible when they were queued.
void Bpe::encode_long(std::string_view piece, std::vector<std::int64_t>& ids) const {
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
  std::vector<Symbol> symbols(piece.size());
  std::priority_queue<Candidate> queue;
  const auto consider = [&](std::size_t at) {
    const std::size_t next = symbols[at].next;
    if (next == kNone) return;
    const TokenId left = symbols[at].id;
    const TokenId right = symbols[next].id;
    const Slot& merge = find(left, right);
    if (merge.rank != kNoMerge) queue.push({merge.rank, at, right, left, merge.result});
  };
  for (std::size_t i = 0; i < piece.size(); ++i) {
    symbols[i] = {byte_ids_[static_cast<unsigned char>(piece[i])], false, i == 0 ? kNone : i - 1,
                  i + 1 == piece.size() ? kNone : i + 1};
  }
  for (std::size_t i = 0; i < piece.size(); ++i) consider(i);
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
