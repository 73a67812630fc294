#include "tokenizer/vocab_table.h"

#include <bit>
#include <functional>
#include <string>

namespace assay {

VocabTable::VocabTable(std::size_t count) : slots_(std::bit_ceil(count + count / 2 + 2)) {
  entries_.reserve(count);
}

VocabTable::Place VocabTable::place(std::string_view text) const {
  const std::uint64_t hash = std::hash<std::string_view>()(text);
  const auto check = static_cast<std::uint32_t>(hash >> 32);
  const std::size_t mask = slots_.size() - 1;
  std::size_t i = hash & mask;
  while (slots_[i].entry != 0 &&
         (slots_[i].check != check || entries_[slots_[i].entry - 1].text != text)) {
    i = (i + 1) & mask;
  }
  return {i, check};
}

bool VocabTable::insert(std::string_view text, TokenId id) {
  const Place at = place(text);
  Slot& slot = slots_[at.slot];
  if (slot.entry != 0) return false;
  entries_.push_back({text, id});
  slot = {at.check, static_cast<std::uint32_t>(entries_.size())};
  return true;
}

std::optional<TokenId> VocabTable::find(std::string_view text) const {
  const std::uint32_t entry = slots_[place(text).slot].entry;
  return entry != 0 ? std::optional(entries_[entry - 1].id) : std::nullopt;
}

std::optional<TokenId> VocabTable::find_joined(std::string_view left, std::string_view right) {
  if (next_joined_ < entries_.size()) {
    const std::string_view next = entries_[next_joined_].text;
    if (next.size() == left.size() + right.size() && next.starts_with(left) &&
        next.ends_with(right)) {
      return entries_[next_joined_++].id;
    }
  }
  const std::uint32_t entry = slots_[place(std::string(left).append(right)).slot].entry;
  if (entry == 0) return std::nullopt;
  next_joined_ = entry;  // the one after it
  return entries_[entry - 1].id;
}

}  // namespace assay
