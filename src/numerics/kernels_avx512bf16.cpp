#include "numerics/kernels.h"

#ifdef __AVX512BF16__
#include <bit>

#include "numerics/flush.h"
#include "numerics/kernels_impl.h"
#include "numerics/lanes_avx512bf16.h"
#endif

namespace assay {

#ifdef __AVX512BF16__
namespace {

// Accumulations of every kind, as many as the program's start can afford: a difference between CPUs
// would be systematic, not rare.
constexpr int kRounds = 256;

// Random bit patterns, or matching exponents: products that cancel the sum, and results around
// 2^-126.
struct Triples {
  std::uint64_t state = 0x9E3779B97F4A7C15;

  std::uint32_t next() {
    state = state * 6364136223846793005 + 1442695040888963407;
    return static_cast<std::uint32_t>(state >> 32);
  }
  // A BF16 value with an exponent in [low, low + 8).
  std::uint16_t near(std::uint32_t low) {
    const std::uint32_t bits = next();
    return static_cast<std::uint16_t>((bits & 0x807Fu) | ((low + (bits >> 16) % 8) << 7));
  }
  void fill(int round, std::uint32_t (&a)[16], std::uint32_t (&b)[16], float (&sum)[16]) {
    for (int i = 0; i < 16; ++i) {
      sum[i] = std::bit_cast<float>(next());
      a[i] = next();
      b[i] = next();
      if (round % 4 == 0) continue;
      // Biased exponents of factors that multiply to about that of the sum.
      const std::uint32_t of_sum = round % 4 == 1 ? 60 + next() % 120 : next() % 4;
      a[i] = std::uint32_t{near(60)} << 16 | near(60);
      const std::uint32_t other = (of_sum + 127 - 64) % 248;
      b[i] = std::uint32_t{near(other)} << 16 | near(other);
      sum[i] = std::bit_cast<float>((next() & 0x807FFFFFu) | (of_sum << 23));
      if (round % 4 == 3) {  // minus the product of the odd values, except for its last bits
        const float product = widen_bf16(static_cast<std::uint16_t>(a[i] >> 16)) *
                              widen_bf16(static_cast<std::uint16_t>(b[i] >> 16));
        sum[i] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(-product) ^ (next() & 3u));
      }
    }
  }
};

bool same(float x, float y) {
  return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y) || (x != x && y != y);
}

}  // namespace
#endif

bool avx512bf16_keeps_the_contract() {
#ifdef __AVX512BF16__
  Triples triples;
  for (int round = 0; round < kRounds; ++round) {
    std::uint32_t a[16], b[16];
    float sum[16], found[16];
    triples.fill(round, a, b, sum);
    _mm512_storeu_ps(found,
                     dot_bf16(_mm512_loadu_ps(sum), _mm512_loadu_si512(a), _mm512_loadu_si512(b)));
    for (int i = 0; i < 16; ++i) {
      const auto of = [](std::uint32_t pair, int half) {
        return widen_bf16(static_cast<std::uint16_t>(pair >> (16 * half)));
      };
      const float odd = flushing_fma(of(a[i], 1), of(b[i], 1), sum[i]);
      if (!same(found[i], flushing_fma(of(a[i], 0), of(b[i], 0), odd))) return false;
    }
  }
  return true;
#else
  return false;
#endif
}

const Kernels<Bf16>* avx512bf16_kernels() {
#ifdef __AVX512BF16__
  static constexpr Kernels<Bf16> kTable = [] {
    Kernels<Bf16> table = KernelSet<Bf16, WordLanes>::kTable;
    table.off_grid = avx512_kernels<Bf16>;
    return table;
  }();
  return &kTable;
#else
  return nullptr;
#endif
}

}  // namespace assay
