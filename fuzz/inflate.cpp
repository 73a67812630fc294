// Deflated data in pieces: what zlib makes of it at once. The input is the data, or contents that
// zlib deflates for us and whose data is then altered in one place: a fuzzer seldom finds valid
// codes.
#include "formats/inflate.h"

#include <zlib.h>

#include "target.h"

namespace assay {

namespace {

constexpr std::size_t kMost = std::size_t{1} << 18;

const Bytef* bytes_of(std::span<const std::byte> data) {
  return reinterpret_cast<const Bytef*>(data.data());
}

// how: level, strategy and where the altered byte is.
std::vector<std::byte> deflated(std::span<const std::byte> contents, unsigned how) {
  std::vector<std::byte> data(contents.size() * 2 + 64);
  z_stream stream{};
  const int level = static_cast<int>(how % 10);
  const int strategy = static_cast<int>(how / 10 % 5);
  require(deflateInit2(&stream, level, Z_DEFLATED, -MAX_WBITS, 1, strategy) == Z_OK, "zlib starts");
  stream.next_in = const_cast<Bytef*>(bytes_of(contents));
  stream.avail_in = static_cast<uInt>(contents.size());
  stream.next_out = reinterpret_cast<Bytef*>(data.data());
  stream.avail_out = static_cast<uInt>(data.size());
  require(deflate(&stream, Z_FINISH) == Z_STREAM_END, "zlib deflates");
  data.resize(std::min<std::size_t>(data.size(), stream.total_out));
  deflateEnd(&stream);
  data[how / 50 % data.size()] ^= static_cast<std::byte>(how >> 24);
  return data;
}

}  // namespace

FUZZ_TARGET(inflate) {
  if (input.size() < 6) return;
  const std::size_t piece = 1 + static_cast<std::size_t>(input[0]) * 37;
  std::span<const std::byte> data = input.subspan(6);
  std::vector<std::byte> made_here;
  if (input[1] != std::byte{0}) {
    unsigned how = 0;
    std::memcpy(&how, input.data() + 2, sizeof how);
    made_here = deflated(data, how);
    data = made_here;
  }
  static std::vector<std::byte> expected(kMost);
  z_stream stream{};
  require(inflateInit2(&stream, -MAX_WBITS) == Z_OK, "zlib starts");
  stream.next_in = const_cast<Bytef*>(bytes_of(data));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(expected.data());
  stream.avail_out = static_cast<uInt>(kMost);
  const bool whole = inflate(&stream, Z_FINISH) == Z_STREAM_END;
  const std::size_t used = data.size() - stream.avail_in;
  const std::size_t made = kMost - stream.avail_out;
  inflateEnd(&stream);
  static std::vector<std::byte> found(kMost);
  Inflater inflater(data);
  std::size_t count = 0;
  while (count < kMost) {
    const std::size_t asked = std::min(piece, kMost - count);
    const std::size_t got = inflater.read(std::span(found).subspan(count, asked));
    count += got;
    if (got < asked) break;
  }
  if (!whole) return;
  require(count == made, "as many bytes as zlib makes");
  require(std::equal(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(count),
                     expected.begin()),
          "the bytes that zlib makes");
  require(inflater.is_at_end() == (used == data.size()), "where the data ends");
}

}  // namespace assay
