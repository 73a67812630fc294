// Deflated data, in pieces of a size that the first byte says: what libdeflate makes of it at once.
#include "formats/inflate.h"

#include <libdeflate.h>

#include "target.h"

namespace assay {

FUZZ_TARGET(inflate) {
  if (input.empty()) return;
  constexpr std::size_t kMost = std::size_t{1} << 18;
  const std::size_t piece = 1 + static_cast<std::size_t>(input[0]) * 37;
  const std::span<const std::byte> data = input.subspan(1);
  static libdeflate_decompressor* const decompressor = libdeflate_alloc_decompressor();
  static std::vector<std::byte> expected(kMost);
  std::size_t used = 0;
  std::size_t made = 0;
  const bool whole =
      libdeflate_deflate_decompress_ex(decompressor, data.data(), data.size(), expected.data(),
                                       kMost, &used, &made) == LIBDEFLATE_SUCCESS;
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
  require(count == made, "as many bytes as libdeflate makes");
  require(std::equal(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(count),
                     expected.begin()),
          "the bytes that libdeflate makes");
  require(inflater.is_at_end() == (used == data.size()), "where the data ends");
}

}  // namespace assay
