#include "bench/probes.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "numerics/kernels.h"

namespace assay {
namespace {

// Results that nobody reads are stored here, so that the compiler does not drop the work.
std::atomic<std::uint64_t> sink;

// The size of a part. The next free worker takes the next part, as with the rows of a matrix.
constexpr std::size_t kPart = std::size_t{2} << 20;

template <bool kPrefetch>
std::uint64_t read_all(std::span<const std::byte> bytes) {
  std::uint64_t sum[16] = {};
  const std::byte* at = bytes.data();
  for (std::size_t left = bytes.size() / sizeof sum; left > 0; --left, at += sizeof sum) {
    if constexpr (kPrefetch) {
      __builtin_prefetch(at + 4096, 0, 3);
      __builtin_prefetch(at + 4096 + 64, 0, 3);
    }
    std::uint64_t words[16];
    std::memcpy(words, at, sizeof words);
    for (int i = 0; i < 16; ++i) sum[i] += words[i];
  }
  std::uint64_t total = 0;
  for (const std::uint64_t s : sum) total += s;
  return total;
}

}  // namespace

double read_rate(ThreadPool& pool, std::span<const std::byte> bytes) {
  const auto rate = [&](std::uint64_t (*read)(std::span<const std::byte>)) {
    const double time = seconds([&] {
      pool.for_each_item((bytes.size() + kPart - 1) / kPart, [&](std::size_t i) {
        const std::size_t begin = i * kPart;
        sink += read(bytes.subspan(begin, std::min(kPart, bytes.size() - begin)));
      });
    });
    return static_cast<double>(bytes.size()) / time;
  };
  return std::max(rate(read_all<true>), rate(read_all<false>));
}

double dot_rate(ThreadPool& pool) {
  const Kernels<Bf16>& set = kernels<Bf16>(chosen_simd());
  std::atomic<std::size_t> done{0};
  const double time = seconds([&] {
    pool.run([&](int) {
      float result;
      done += set.multiply_adds(std::size_t{1} << 20, &result);
      sink += static_cast<std::uint64_t>(result);
    });
  });
  return 2.0 * static_cast<double>(done) / time;
}

}  // namespace assay
