// Inflates deflated data (RFC 1951) in pieces, without trusting any claimed size.
#pragma once

#include <isa-l/igzip_lib.h>

#include <cstddef>
#include <memory>
#include <span>

namespace assay {

class Inflater {
 public:
  // data: must outlive this object.
  explicit Inflater(std::span<const std::byte> data);

  // Reads the next bytes of the contents. They are fewer than `room` at the end of the contents, or
  // where the data is damaged or cut off.
  std::size_t read(std::span<std::byte> room);
  // Whether all contents were read, and the data ends there too.
  bool is_at_end();

 private:
  std::unique_ptr<inflate_state> state_;
  std::span<const std::byte> data_;
  std::size_t position_ = 0;  // in data_: what ISA-L reads next
  bool is_damaged_ = false;
};

}  // namespace assay
