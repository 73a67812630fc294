#include "tokenizer/charsmap.h"

#include <fmt/format.h>

#include <utility>

#include "assay/error.h"
#include "base/utf8.h"
#include "tokenizer/graphemes.h"

namespace assay {
namespace {

// Longer ones are looked up character by character.
constexpr std::size_t kClusterBytes = 6;

// The parts of a unit.
bool has_value(std::uint32_t unit) { return (unit >> 8 & 1u) != 0; }
std::uint32_t label(std::uint32_t unit) { return unit & (1u << 31 | 0xFFu); }
std::size_t offset(std::uint32_t unit) { return std::size_t{unit >> 10} << ((unit >> 9 & 1u) * 8); }
std::size_t value(std::uint32_t unit) { return unit & ~(1u << 31); }

std::uint32_t read_u32(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

std::size_t characters(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); at += utf8_step(text, at).length) ++count;
  return count;
}

// The copy while it is made, and for each of its characters what tokenizers counts it as: 0 in
// place of one of the text, 1 added after it, -n in place of one and of n more.
struct Copy {
  struct Character {
    std::size_t length;
    std::ptrdiff_t change;
  };
  std::string text;
  std::vector<Character> characters;

  void keep(std::string_view character) {
    text += character;
    characters.push_back({character.size(), 0});
  }

  void replace(std::string_view from, std::string_view to) {
    text += to;
    std::size_t count = 0;
    for (std::size_t at = 0; at < to.size(); ++count) {
      const std::size_t length = utf8_step(to, at).length;
      characters.push_back({length, 0});
      at += length;
    }
    const auto more =
        static_cast<std::ptrdiff_t>(count) - static_cast<std::ptrdiff_t>(assay::characters(from));
    if (more > 0) {
      for (std::size_t i = 0; i < static_cast<std::size_t>(more); ++i) {
        characters[characters.size() - 1 - i].change = 1;
      }
    } else if (more < 0 && !characters.empty()) {
      characters.back().change += more;
    }
  }

  // How many bytes stand for one of the first `first` characters of the text.
  std::size_t bytes_of(std::size_t first) const {
    std::size_t bytes = 0;
    std::size_t taken = 0;
    for (const Character& character : characters) {
      const bool added = character.change > 0;
      const std::size_t origin = added && taken > 0 ? taken - 1 : taken;
      if (origin >= first && !(added && taken == 0)) break;
      bytes += character.length;
      if (!added) taken += 1 + static_cast<std::size_t>(-character.change);
    }
    return bytes;
  }
};

}  // namespace

Charsmap::Charsmap(std::string_view bytes, std::string_view where) {
  if (bytes.size() < 4) {
    throw input_error(where, fmt::format("{} bytes", bytes.size()), "4 and more");
  }
  const std::size_t count = read_u32(bytes, 0) / 4;
  if (count == 0 || count > (bytes.size() - 4) / 4) {
    throw input_error(where, fmt::format("a trie of {} units in {} bytes", count, bytes.size()),
                      "1 and more, within the bytes");
  }
  units_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) units_.push_back(read_u32(bytes, 4 + 4 * i));
  texts_ = bytes.substr(4 + 4 * count);
  if (const std::size_t bad = utf8_valid_prefix(texts_); bad < texts_.size()) {
    throw input_error(where, fmt::format("invalid UTF-8 at offset {} of its texts", bad), "UTF-8");
  }
  check(where);
}

// Goes to every node once. A unit with a label is the child of one base alone, since the label says
// which.
void Charsmap::check(std::string_view where) const {
  constexpr std::uint32_t kNone = ~std::uint32_t{0};
  std::vector<std::uint32_t> first(units_.size(), kNone);  // by base: a child
  std::vector<std::uint32_t> next(units_.size(), kNone);   // by child: another of its base
  for (std::uint32_t i = 0; i < units_.size(); ++i) {
    const std::uint32_t byte = label(units_[i]);
    if (byte == 0 || byte > 0xFF || (i ^ byte) >= units_.size()) continue;
    next[i] = std::exchange(first[i ^ byte], i);
  }
  std::vector<std::size_t> bases = {offset(units_[0])};
  while (!bases.empty()) {
    const std::size_t base = bases.back();
    bases.pop_back();
    if ((base | 0xFFu) >= units_.size()) {
      throw input_error(where, fmt::format("a node at {} of {} units", base, units_.size()),
                        "nodes within the trie");
    }
    // What was gone to has no children left.
    for (std::uint32_t i = first[base]; i != kNone; i = next[i]) {
      const std::size_t target = i ^ offset(units_[i]);
      bases.push_back(target);
      if (!has_value(units_[i]) || target >= units_.size()) continue;
      const std::size_t at = value(units_[target]);
      if (at > texts_.size() ||
          (at < texts_.size() && (static_cast<unsigned char>(texts_[at]) & 0xC0u) == 0x80u)) {
        throw input_error(where, fmt::format("a value of {}", at),
                          fmt::format("where a character begins in {} bytes", texts_.size()));
      }
    }
    first[base] = kNone;
  }
}

// What the shortest key that the text begins with becomes.
std::optional<std::string_view> Charsmap::find(std::string_view text) const {
  std::size_t at = offset(units_[0]);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) break;
    at ^= byte;
    const std::uint32_t unit = units_[at];
    if (label(unit) != byte) break;
    at ^= offset(unit);
    if (!has_value(unit)) continue;
    const std::string_view rest = std::string_view(texts_).substr(value(units_[at]));
    return rest.substr(0, rest.find('\0'));
  }
  return std::nullopt;
}

std::size_t Charsmap::longest() const {
  std::size_t most = 1;
  for (std::size_t at = 0; at < texts_.size();) {
    const std::size_t end = std::min(texts_.find('\0', at), texts_.size());
    most = std::max(most, end - at);
    at = end + 1;
  }
  return most;
}

// A short cluster becomes what a key at its beginning becomes, whole as it is; SentencePiece itself
// does otherwise.
Charsmap::Rewritten Charsmap::rewrite(std::string_view text, std::size_t from_start) const {
  Copy copy;
  const auto try_replace = [&](std::string_view part) {
    const auto found = find(part);
    if (found) copy.replace(part, *found);
    return found.has_value();
  };
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = grapheme_end(text, at);
    const std::string_view cluster = text.substr(at, end - at);
    if (cluster.size() >= kClusterBytes || !try_replace(cluster)) {
      for (std::size_t inner = 0; inner < cluster.size();) {
        const std::string_view character = cluster.substr(inner, utf8_step(cluster, inner).length);
        if (!try_replace(character)) copy.keep(character);
        inner += character.size();
      }
    }
    at = end;
  }
  const std::size_t bytes = copy.bytes_of(characters(text.substr(0, from_start)));
  return {std::move(copy.text), bytes};
}

}  // namespace assay
