#include "formats/inflate.h"

#include <algorithm>
#include <cstdint>

namespace assay {
namespace {

// ISA-L counts in 32 bits.
std::uint32_t piece(std::size_t bytes) {
  return static_cast<std::uint32_t>(std::min<std::size_t>(bytes, std::size_t{1} << 30));
}

}  // namespace

Inflater::Inflater(std::span<const std::byte> data)
    : state_(std::make_unique<inflate_state>()), data_(data) {
  isal_inflate_init(state_.get());
}

std::size_t Inflater::read(std::span<std::byte> room) {
  std::size_t made = 0;
  while (made < room.size() && !is_damaged_ && state_->block_state != ISAL_BLOCK_FINISH) {
    const std::span<const std::byte> rest = data_.subspan(position_);
    // ISA-L takes a non-const pointer but only reads from it.
    auto* const from =
        const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(rest.data()));
    state_->next_in = from;
    state_->avail_in = piece(rest.size());
    state_->next_out = reinterpret_cast<std::uint8_t*>(room.data() + made);
    state_->avail_out = piece(room.size() - made);
    const std::uint32_t asked = state_->avail_out;
    is_damaged_ = isal_inflate(state_.get()) != ISAL_DECOMP_OK;
    // At the end, ISA-L gives back bytes that it took in advance, perhaps in an earlier call.
    const std::ptrdiff_t taken = state_->next_in - from;
    position_ = static_cast<std::size_t>(static_cast<std::ptrdiff_t>(position_) + taken);
    const std::uint32_t got = asked - state_->avail_out;
    made += got;
    // No input was consumed and no output was made: the data is cut off.
    is_damaged_ |= taken == 0 && got == 0 && state_->block_state != ISAL_BLOCK_FINISH;
  }
  return made;
}

bool Inflater::is_at_end() {
  std::byte more{};
  if (read({&more, 1}) != 0 || is_damaged_) return false;
  // Whole bytes that ISA-L took in advance count as left over.
  return state_->block_state == ISAL_BLOCK_FINISH && position_ == data_.size() &&
         state_->read_in_length < 8;
}

}  // namespace assay
