// The packed matmul of numerics `fast`, by the CPU's own BF16 dot products. Each instruction adds
// two products to each of sixteen sums, in an order and with roundings of its own, and takes
// subnormals for zero: not the reproducible order. A lane is a row here, so that nothing is left to
// be summed up.
#include "numerics/kernels.h"

#ifdef __AVX512BF16__
#include "numerics/lanes_avx512.h"
#include "numerics/matmul_impl.h"
#endif

namespace assay {

#ifdef __AVX512BF16__
namespace {

constexpr std::size_t kRegister = 16;  // sums in a register
constexpr std::size_t kRegisters = 4;
constexpr std::size_t kPanelRows = kRegister * kRegisters;
constexpr std::size_t kTile = 6;
constexpr std::size_t kPairs = kLanes / 2;
// As in matmul_packed_impl.h.
constexpr std::size_t kPanelBytes = 384 << 10;
constexpr std::size_t kPassTiles = 512 / kTile;

// 32 BF16 values of a row, in pairs.
struct Bf16Pairs {
  __m512i v;

  // Values on the BF16 grid: nothing is rounded.
  ASSAY_INLINE static Bf16Pairs load(const float* x) {
    return narrowed(_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16));
  }
  ASSAY_INLINE static Bf16Pairs load_bf16(const std::byte* w) { return {_mm512_loadu_si512(w)}; }
  ASSAY_INLINE static FloatLanes load_f16(const std::byte* w) { return FloatLanes::load_f16(w); }
  ASSAY_INLINE static FloatLanes load_f32(const std::byte* w) { return FloatLanes::load_f32(w); }
  ASSAY_INLINE static Bf16Pairs rounded_to_bf16(const FloatLanes& x) {
    const FloatLanes on_grid = FloatLanes::rounded_to_bf16(x);
    return narrowed(on_grid.v[0], on_grid.v[1]);
  }

 private:
  ASSAY_INLINE static Bf16Pairs narrowed(__m512 low, __m512 high) {
    return {reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low))};
  }
};

constexpr std::size_t steps_of(std::size_t k) { return (k + kLanes - 1) / kLanes; }

// Tile: [pair][token].
void pack_tile(const float* x, std::size_t tokens, std::size_t k, std::size_t tile, float* packed) {
  const std::size_t tiles = (tokens + kTile - 1) / kTile;
  const std::size_t first = tokens * tile / tiles;
  const std::size_t count = tokens * (tile + 1) / tiles - first;
  auto* to = reinterpret_cast<std::uint32_t*>(packed) + first * steps_of(k) * kPairs;
  for (std::size_t s = 0; s < steps_of(k); ++s) {
    const std::size_t left = k - s * kLanes;
    for (std::size_t t = 0; t < count; ++t) {
      const float* from = x + (first + t) * k + s * kLanes;
      const Bf16Pairs pairs =
          left >= kLanes ? Bf16Pairs::load(from) : load_tail<Bf16Pairs>(from, left);
      std::uint32_t values[kPairs];
      _mm512_storeu_si512(values, pairs.v);
      for (std::size_t i = 0; i < kPairs; ++i) to[i * count + t] = values[i];
    }
    to += kPairs * count;
  }
}

// Rows and columns of 16 x 16 pairs change places.
ASSAY_INLINE void transpose(__m512i (&m)[kRegister]) {
  __m512i a[kRegister];
  ASSAY_UNROLL
  for (std::size_t i = 0; i < kRegister; i += 2) {
    a[i] = _mm512_unpacklo_epi32(m[i], m[i + 1]);
    a[i + 1] = _mm512_unpackhi_epi32(m[i], m[i + 1]);
  }
  ASSAY_UNROLL
  for (std::size_t i = 0; i < kRegister; i += 4) {
    m[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
    m[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
    m[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
    m[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
  }
  ASSAY_UNROLL
  for (std::size_t i = 0; i < 4; ++i) {
    a[i] = _mm512_shuffle_i32x4(m[i], m[i + 4], 0x88);
    a[i + 4] = _mm512_shuffle_i32x4(m[i], m[i + 4], 0xDD);
    a[i + 8] = _mm512_shuffle_i32x4(m[i + 8], m[i + 12], 0x88);
    a[i + 12] = _mm512_shuffle_i32x4(m[i + 8], m[i + 12], 0xDD);
  }
  ASSAY_UNROLL
  for (std::size_t i = 0; i < 8; ++i) {
    m[i] = _mm512_shuffle_i32x4(a[i], a[i + 8], 0x88);
    m[i + 8] = _mm512_shuffle_i32x4(a[i], a[i + 8], 0xDD);
  }
}

// Panels of kPanelRows rows: [pair][row], the last one filled up with zeros.
template <class Rows>
void pack_panels(const std::byte* w, std::size_t rows, std::size_t k, std::uint32_t* to) {
  const std::size_t row_bytes = k * Rows::kSize;
  for (std::size_t panel = 0; panel < rows; panel += kPanelRows) {
    for (std::size_t first = panel; first < panel + kPanelRows; first += kRegister) {
      for (std::size_t s = 0; s < steps_of(k); ++s) {
        const std::size_t left = k - s * kLanes;
        __m512i m[kRegister];
        ASSAY_UNROLL
        for (std::size_t r = 0; r < kRegister; ++r) {
          const std::byte* at = w + (first + r) * row_bytes + s * kLanes * Rows::kSize;
          __builtin_prefetch(at + kRegister * row_bytes, 0, 2);
          if (first + r >= rows) {
            m[r] = _mm512_setzero_si512();
          } else {
            m[r] = (left >= kLanes ? Rows::load(at) : load_row_tail<Bf16Pairs, Rows>(at, left)).v;
          }
        }
        transpose(m);
        std::uint32_t* pairs = to + s * kPairs * kPanelRows + (first - panel);
        for (std::size_t i = 0; i < kPairs; ++i) {
          _mm512_storeu_si512(pairs + i * kPanelRows, m[i]);
        }
      }
    }
    to += steps_of(k) * kPairs * kPanelRows;
  }
}

// A panel against a tile of kTokens tokens; `rows` of its rows are wanted.
template <int kTokens>
void tile_of_dots(const std::uint32_t* x, const std::uint32_t* panel, std::size_t pairs,
                  std::size_t rows, const float* bias, float* out, std::size_t ldo) {
  __m512 sum[kRegisters][kTokens];
  ASSAY_UNROLL
  for (auto& of_rows : sum) {
    ASSAY_UNROLL
    for (__m512& s : of_rows) s = _mm512_setzero_ps();
  }
  for (std::size_t i = 0; i < pairs; ++i) {
    __m512bh weights[kRegisters];
    ASSAY_UNROLL
    for (std::size_t r = 0; r < kRegisters; ++r) {
      weights[r] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panel + r * kRegister));
    }
    ASSAY_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      const auto token = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(x[t])));
      ASSAY_UNROLL
      for (std::size_t r = 0; r < kRegisters; ++r) {
        sum[r][t] = _mm512_dpbf16_ps(sum[r][t], weights[r], token);
      }
    }
    x += kTokens;
    panel += kPanelRows;
  }
  ASSAY_UNROLL
  for (std::size_t r = 0; r < kRegisters; ++r) {
    const std::size_t first = r * kRegister;
    if (first >= rows) break;
    const auto mask = static_cast<__mmask16>((1u << std::min(kRegister, rows - first)) - 1u);
    const __m512 added =
        bias != nullptr ? _mm512_maskz_loadu_ps(mask, bias + first) : _mm512_setzero_ps();
    ASSAY_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      const __m512 dots = bias != nullptr ? _mm512_add_ps(sum[r][t], added) : sum[r][t];
      _mm512_mask_storeu_ps(out + static_cast<std::size_t>(t) * ldo + first, mask,
                            round_to_bf16(dots));
    }
  }
}

void packed_matmul(const float* packed, std::size_t tokens, const Weight& w, const float* bias,
                   std::size_t row_begin, std::size_t row_end, float* out, std::size_t ldo) {
  const auto* x = reinterpret_cast<const std::uint32_t*>(packed);
  const std::size_t pairs = steps_of(w.cols) * kPairs;
  const std::size_t tiles = (tokens + kTile - 1) / kTile;
  const std::size_t row_bytes = pairs * sizeof(std::uint32_t);
  const std::size_t block_rows =
      std::max(kPanelRows, kPanelBytes / row_bytes / kPanelRows * kPanelRows);
  auto* panels = reinterpret_cast<std::uint32_t*>(kernel_scratch(block_rows * row_bytes));
  for (std::size_t pass = 0; pass < tiles; pass += kPassTiles) {
    const std::size_t pass_end = std::min(pass + kPassTiles, tiles);
    for (std::size_t block = row_begin; block < row_end; block += block_rows) {
      const std::size_t block_end = std::min(block + block_rows, row_end);
      with_stored(w.dtype, [&]<DType kStored>() {
        using Rows = StoredWeights<Bf16, Bf16Pairs, kStored>;
        pack_panels<Rows>(w.data + block * w.cols * Rows::kSize, block_end - block, w.cols, panels);
      });
      for (std::size_t tile = pass; tile < pass_end; ++tile) {
        const std::size_t first = tokens * tile / tiles;
        const std::size_t count = tokens * (tile + 1) / tiles - first;
        with_tokens<static_cast<int>(kTile)>(count, [&]<int kTokens>() {
          for (std::size_t row = block; row < block_end; row += kPanelRows) {
            tile_of_dots<kTokens>(x + first * pairs, panels + (row - block) * pairs, pairs,
                                  std::min(kPanelRows, block_end - row),
                                  bias != nullptr ? bias + row : nullptr, out + first * ldo + row,
                                  ldo);
          }
        });
      }
    }
  }
}

}  // namespace
#endif

bool take_avx512bf16_matmul(Kernels<Bf16>& kernels) {
#ifdef __AVX512BF16__
  kernels.token_tile = kTile;
  kernels.pack_tile = pack_tile;
  kernels.packed_matmul = packed_matmul;
  return true;
#else
  static_cast<void>(kernels);
  return false;
#endif
}

}  // namespace assay
