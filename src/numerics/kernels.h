// The kernels of the forward pass, and the order of operations that defines their bits.
//
// This comment is a contract; references on people's disks depend on it. fma is IEEE's fused
// multiply-add; everything rounds to nearest, ties to even.
//  * dot(a, b) of length K has 16 lanes, which begin as +0. Both are padded with +0 to whole blocks
//    of 32 elements; the padding is computed with. Of each block, in increasing order, lane j takes
//    two elements, the odd one first: lane[j] = fma(a[2j+1], b[2j+1], lane[j]), then
//    lane[j] = fma(a[2j], b[2j], lane[j]). Then the lanes are added as a tree: lane l with l + 8,
//    then l + 4, l + 2, l + 1, the lower one on the left.
//  * Probabilities times values: for each channel one accumulator, which begins as +0, over pairs
//  of
//    absolute positions (2j, 2j + 1) in increasing order, the odd one first:
//    acc = fma(p[2j], v[2j], fma(p[2j+1], v[2j+1], acc)). A position that the query does not see
//    (hidden by a window, later than its own, or of no token) counts as +0 times +0, whatever
//    memory holds; at the end +0 is added, so that pairs of such positions may be left out.
//  * Under numerics bf16 these accumulations, their tree, that last addition and the addition of a
//    bias flush: an operand that is subnormal counts as zero of its sign, and so does a result
//    whose magnitude is below 2^-126 after rounding to 24 bits with an unbounded exponent. It is
//    what AVX512-BF16's VDPBF16PS does, and FMA under MXCSR's FTZ and DAZ. (fmaf and a comparison
//    after it are another rule: that differs for results that round up to 2^-126. See flush.h.)
//    Nothing else flushes, and nothing at all under f32 and f64.
//  * A sum over elements (squares of a norm, softmax denominator): element i in lane i mod 16, fma
//    for squares, + for others, in increasing i; a short last block is padded with +0; then the
//    tree.
//  * exp and tanh are SLEEF's bit-identical `finz` variants (1 ULP); division and square root are
//    IEEE's.
//  * Everything else is elementwise, in the order written beside each kernel; round() is the
//    numerics policy's rounding (the identity but for bf16).
// The plain source (kernels_plain.cpp) is the definition; the others must equal it bit for bit.
// An x86-64 CPU must have FMA: require_fma() says so where it has not.
#pragma once

#include <cstddef>
#include <limits>
#include <span>
#include <string_view>

#include "assay/array.h"
#include "numerics/numerics.h"

namespace assay {

// A weight as it lies in the mapped file: row-major [rows, cols], BF16, F16 or F32, possibly
// unaligned. A vector has one row. Read as Real; with Bf16 numerics F16 and F32 are first rounded
// to BF16, as transformers does when it loads such a checkpoint with dtype=bfloat16.
struct Weight {
  const std::byte* data = nullptr;
  DType dtype = DType::kBF16;
  std::size_t rows = 0;
  std::size_t cols = 0;
};

// Where an RMSNorm rounds, with r = 1 / sqrt(sum(x * x) / n + eps).
enum class NormForm {
  kRoundedTwice,  // round(w * round(x * r)): Llama, Qwen, Mistral, Phi
  kRoundedOnce,   // round((x * r) * w): OLMo 2
  kOnePlus,       // round((x * r) * (1 + w)): Gemma
};

// How a head's keys and values lie in the KV cache: in pairs, as the dots take them, so that 16
// lanes of them are read at once.
//   keys: blocks of 16 positions, each [pair of channels][position][2 channels], the channels
//   filled
//     up with zeros to whole blocks of a dot;
//   values: [pair of positions][channel][2 positions], the channels filled up to whole lanes.
struct CacheLayout {
  std::size_t n;  // channels of a head

  static constexpr std::size_t kBlock = 16;  // positions
  constexpr std::size_t key_width() const { return (n + 31) / 32 * 32; }
  constexpr std::size_t value_width() const { return (n + 15) / 16 * 16; }
  // Whole blocks of positions: what a row of scores has room for.
  static constexpr std::size_t whole_blocks(std::size_t positions) {
    return (positions + kBlock - 1) / kBlock * kBlock;
  }
  // Elements that so many positions take.
  constexpr std::size_t keys(std::size_t positions) const {
    return whole_blocks(positions) * key_width();
  }
  constexpr std::size_t values(std::size_t positions) const {
    return (positions + 1) / 2 * 2 * value_width();
  }
  constexpr std::size_t key(std::size_t position, std::size_t channel) const {
    return position / kBlock * kBlock * key_width() +
           (channel / 2 * kBlock + position % kBlock) * 2 + channel % 2;
  }
  constexpr std::size_t value(std::size_t position, std::size_t channel) const {
    return (position / 2 * value_width() + channel) * 2 + position % 2;
  }
};

// Writes a position's key or value, n channels of the cache's type, into a head's keys or values.
template <class Cached, class Channel>
void put_key(CacheLayout layout, Cached* keys, std::size_t position, const Channel& channel) {
  Cached* to = keys + layout.key(position, 0);
  for (std::size_t c = 0; c < layout.key_width(); ++c) {
    to[c / 2 * CacheLayout::kBlock * 2 + c % 2] = c < layout.n ? channel(c) : Cached{0};
  }
}
template <class Cached, class Channel>
void put_value(CacheLayout layout, Cached* values, std::size_t position, const Channel& channel) {
  Cached* to = values + layout.value(position, 0);
  for (std::size_t c = 0; c < layout.n; ++c) to[2 * c] = channel(c);
}

// Which positions the queries of a block see: query i those in [begin(i), end + i).
struct Seen {
  std::size_t end = 1;
  std::size_t window = std::numeric_limits<std::size_t>::max();  // how many it sees at most
  constexpr std::size_t begin(std::size_t i) const {
    return end + i > window ? end + i - window : 0;
  }
};

// Under bf16, kernels that multiply (matmul, pack_tile, packed_matmul, scores, weighted_sum) take
// operands on the BF16 grid; the weights and the cache always are. Those of `off_grid` take any.
template <class N>
struct Kernels {
  using Real = typename N::Real;
  using Cached = typename N::Cached;

  // For operands that are not on the BF16 grid, with the same bits where they are. Null: these do.
  const Kernels* (*off_grid)();
  const Kernels& any_operands() const { return off_grid != nullptr ? *off_grid() : *this; }

  // Tokens of a tile; pack_tile() has the tiles 0, 1, ..., tiles(tokens) - 1.
  std::size_t token_tile;
  std::size_t tiles(std::size_t tokens) const { return (tokens + token_tile - 1) / token_tile; }

  // out[t * ldo + r] = round(dot(x[t], w[r]) + bias[r]) for t in [0, tokens), r in [row_begin,
  // row_end). x: [tokens, w.cols]; bias: [w.rows], or null. For few tokens: one stream of weights.
  void (*matmul)(const Real* x, std::size_t tokens, const Weight& w, const Real* bias,
                 std::size_t row_begin, std::size_t row_end, Real* out, std::size_t ldo);

  // The same for many tokens, which pack_tile() has laid out once for all threads and matrices.
  // packed: packed_size(tokens, k) Reals from a cache line on; each tile fills its own part.
  void (*pack_tile)(const Real* x, std::size_t tokens, std::size_t k, std::size_t tile,
                    Real* packed);
  void (*packed_matmul)(const Real* packed, std::size_t tokens, const Weight& w, const Real* bias,
                        std::size_t row_begin, std::size_t row_end, Real* out, std::size_t ldo);

  // Row `row` of w as Reals: out[w.cols].
  void (*load_row)(const Weight& w, std::size_t row, Real* out);

  // RMSNorm of n elements. In place is allowed.
  void (*rms_norm)(const Real* x, const Weight& w, Real eps, NormForm form, std::size_t n,
                   Real* out);

  // Rotary embedding of the n rotated elements of one head, pairs (i, i + n/2), cos and sin: [n/2].
  // out[i] = round(round(x[i] * cos) + round(rot(x)[i] * sin)), rot(x) = (-x[n/2..], x[..n/2]);
  // with rounded_once, as OLMo 2 has it: round(x[i] * cos + rot(x)[i] * sin).
  void (*rope)(const Real* x, const Real* cos, const Real* sin, bool rounded_once, std::size_t n,
               Real* out);

  // out[i * ldo + j] = round(round(dot(q[i], keys[j])) * scale) for `queries` rows of q, ldq apart,
  // and the first `count` positions of a head's keys, n channels each. Rows of out have room for
  // whole blocks of 16 positions (ldo >= count rounded up); what lies behind count is undefined.
  void (*scores)(const Real* q, std::size_t ldq, std::size_t queries, const Cached* keys,
                 std::size_t count, std::size_t n, Real scale, Real* out, std::size_t ldo);

  // e[j] = exp(x[j] - max(x)); out[j] = round(e[j] / sum(e)). In place is allowed.
  void (*softmax)(const Real* x, std::size_t count, Real* out);
  // The same without rounding: a mixture's router goes on in FP32.
  void (*router_softmax)(const Real* x, std::size_t count, Real* out);

  // out[i * ldo + c] = round(sum over the positions j that query i sees of
  // probs[i * ldp + j] * values[j][c]), c < n. Positions count from the first of `values`, which is
  // an even one of the sequence.
  void (*weighted_sum)(const Real* probs, std::size_t ldp, std::size_t queries, Seen seen,
                       const Cached* values, std::size_t n, Real* out, std::size_t ldo);

  // out[i] = round(round(g / (1 + exp(-g))) * up[i]), g = gate[i].
  void (*silu_mul)(const Real* gate, const Real* up, std::size_t n, Real* out);
  // out[i] = round(round(0.5 * g * (1 + tanh(sqrt(2 / pi) * (g + 0.044715 * (g * g * g))))) *
  // up[i]).
  void (*gelu_tanh_mul)(const Real* gate, const Real* up, std::size_t n, Real* out);

  // out[i] = round(round(tanh(round(x[i] / cap))) * cap). In place is allowed.
  void (*softcap)(const Real* x, Real cap, std::size_t n, Real* out);

  // out[i] = round(a[i] + b[i]). In place is allowed.
  void (*add)(const Real* a, const Real* b, std::size_t n, Real* out);

  // Multiply-adds in registers and nothing else, as matmul does them: the peak that it is measured
  // against. Returns how many; *out keeps them from being optimised away.
  std::size_t (*multiply_adds)(std::size_t rounds, Real* out);
};

// Tokens up to which Kernels::matmul is the faster one, and packed_matmul from there on.
constexpr std::size_t kFewTokens = 24;

// Reals that the packed tokens of Kernels::packed_matmul take.
constexpr std::size_t packed_size(std::size_t tokens, std::size_t k) {
  return tokens * ((k + 31) / 32 * 32);
}

// Throws a system error when this CPU has no fused multiply-add: nothing here runs on it.
void require_fma();

// This thread's memory for a kernel at work, aligned to a cache line, valid until the next call.
// Not in the kernels' own sources: what they instantiate for AVX-512, the linker could give to
// everybody.
std::byte* kernel_scratch(std::size_t bytes);

// The instruction sets that kernels exist for.
enum class Simd { kPlain, kAvx2, kAvx512, kAvx512Bf16, kNeon };
std::string_view simd_name(Simd simd);

// What this CPU can run, plainest first; kPlain is always there. AVX512-BF16 is left out where the
// CPU's instruction does not keep the contract: refused_avx512bf16().
std::span<const Simd> supported_simd();
bool refused_avx512bf16();

// The best supported one, unless the environment variable ASSAY_SIMD (plain, avx2, avx512,
// avx512bf16, neon) asks for another; an unknown or unsupported value is a usage error.
Simd chosen_simd();

// Whether all n values are on the BF16 grid.
bool on_bf16_grid(const float* x, std::size_t n);

template <class N>
const Kernels<N>& kernels(Simd simd);

// One per source file; null tables where the build has none.
template <class N>
const Kernels<N>* plain_kernels();
template <class N>
const Kernels<N>* avx2_kernels();
template <class N>
const Kernels<N>* avx512_kernels();
template <class N>
const Kernels<N>* neon_kernels();
// By the CPU's own BF16 dot products; null where the build has none.
const Kernels<Bf16>* avx512bf16_kernels();
// Whether this CPU's VDPBF16PS, which it must have, accumulates as the contract says: some
// thousands of them, subnormal, cancelling and at the border of flushing, against flush.h.
bool avx512bf16_keeps_the_contract();

}  // namespace assay
