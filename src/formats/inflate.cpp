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
    : state_(std::make_unique<inflate_state>()), rest_(data) {
  isal_inflate_init(state_.get());
}

std::size_t Inflater::read(std::span<std::byte> room) {
  std::size_t made = 0;
  while (made < room.size() && !is_damaged_ && state_->block_state != ISAL_BLOCK_FINISH) {
    // ISA-L only reads what it is given as writable.
    state_->next_in =
        const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(rest_.data()));
    state_->avail_in = piece(rest_.size());
    state_->next_out = reinterpret_cast<std::uint8_t*>(room.data() + made);
    state_->avail_out = piece(room.size() - made);
    const std::uint32_t given = state_->avail_in;
    const std::uint32_t asked = state_->avail_out;
    is_damaged_ = isal_inflate(state_.get()) != ISAL_DECOMP_OK;
    rest_ = rest_.subspan(given - state_->avail_in);
    made += asked - state_->avail_out;
    // Nothing taken and nothing made: the data is cut off.
    is_damaged_ |= state_->avail_in == given && state_->avail_out == asked &&
                   state_->block_state != ISAL_BLOCK_FINISH;
  }
  return made;
}

bool Inflater::is_at_end() {
  std::byte more{};
  if (read({&more, 1}) != 0 || is_damaged_) return false;
  // Whole bytes that ISA-L took in advance are left over as well.
  return state_->block_state == ISAL_BLOCK_FINISH && rest_.empty() && state_->read_in_length < 8;
}

}  // namespace assay
