// The kernels of the forward pass, and the order of operations that defines their bits.
//
// This comment is a contract: existing references depend on it. fma is IEEE's fused
// multiply-add; everything rounds to nearest, ties to even.
//  * dot(a, b) of length K has 16 lanes, which begin as +0. Both are padded with +0 to whole blocks
//    of 32 elements, and the padding takes part. From each block, in increasing order, lane j takes
//    two elements, the odd one first: lane[j] = fma(a[2j+1], b[2j+1], lane[j]), then
//    lane[j] = fma(a[2j], b[2j], lane[j]). Then the lanes are added as a tree: lane l with l + 8,
//    then l + 4, l + 2, l + 1, the lower one on the left.
//  * Probabilities times values: each channel has one accumulator, which begins as +0 and runs over
//    pairs of absolute positions (2j, 2j + 1) in increasing order, the odd one first:
//    acc = fma(p[2j], v[2j], fma(p[2j+1], v[2j+1], acc)). A position that the query does not see
//    (outside of a window, later than its own, or without a token) counts as +0 times +0, whatever
//    is in memory. At the end +0 is added, so that pairs of such positions may be skipped.
//  * Under numerics bf16 these accumulations, their tree, that last addition and the addition of a
//    bias flush: an operand that is subnormal counts as zero of its sign, and so does a result
//    whose magnitude is below 2^-126 after rounding to 24 bits with an unbounded exponent.
//    AVX512-BF16's VDPBF16PS does this, and so does FMA under MXCSR's FTZ and DAZ. (Comparing the
//    result of fmaf is a different rule: it differs for results that round up to 2^-126. See
//    flush.h.) Nothing else flushes, and nothing at all under f32 and f64.
//  * A sum over elements (squares of a norm, softmax denominator): element i in lane i mod 16, fma
//    for squares, + for others, in increasing i; a short last block is padded with +0; then the
//    tree.
//  * exp and tanh are SLEEF's bit-identical `finz` variants (1 ULP); division and square root are
//    IEEE's.
//  * Everything else is elementwise, in the order given at each kernel; round() is the numerics
//    policy's rounding (the identity except for bf16).
// The plain source (kernels_plain.cpp) is the definition; the others must equal it bit for bit.
// An x86-64 CPU must have FMA: require_fma() throws if it does not.
#pragma once

#include <cstddef>
#include <limits>
#include <span>
#include <string_view>

#include "assay/array.h"
#include "base/block_scales.h"
#include "numerics/numerics.h"

namespace assay {

// A weight as it lies in the mapped file: row-major [rows, cols], BF16, F16 or F32, possibly
// unaligned. A vector has one row. Read as Real; with Bf16 numerics F16 and F32 are first rounded
// to BF16, as transformers does when it loads such a checkpoint with dtype=bfloat16.
//
// Or MXFP4, which has scales: for each 32 elements of a row, 16 bytes of data (see mxfp4.h) and one
// of scales. cols is then a multiple of 32, and dtype U8.
//
// Or FP8 (dtype F8_E4M3), which has block_scales: an element is its FP32 product with its block's
// scale, read as F32 would be.
struct Weight {
  const std::byte* data = nullptr;
  DType dtype = DType::kBF16;
  std::size_t rows = 0;
  std::size_t cols = 0;
  const std::byte* scales = nullptr;
  std::size_t row_step = 1;  // of MXFP4: every how many stored rows is one of these
  const BlockScales* block_scales = nullptr;
  std::size_t first_row = 0;  // of FP8: which row of the matrix with these scales is the first one

  bool is_mxfp4() const { return scales != nullptr; }
  bool is_fp8() const { return block_scales != nullptr; }
  // Whether elements must be unpacked before they can be multiplied.
  bool is_packed() const { return is_mxfp4() || is_fp8(); }
  // Bytes of a row's data, without its scales.
  std::size_t row_bytes() const { return is_mxfp4() ? cols / 2 : cols * dtype_size(dtype); }
  // Of a row's scales.
  std::size_t scale_bytes() const { return is_mxfp4() ? cols / 32 : 0; }
  // From the first row's begin to the last one's end.
  std::size_t stored_rows() const { return rows == 0 ? 0 : (rows - 1) * row_step + 1; }
  // What all rows take.
  std::size_t byte_count() const { return rows * (row_bytes() + scale_bytes()); }
  // The rows from `first` on.
  Weight from_row(std::size_t first, std::size_t count) const {
    Weight part = *this;
    part.data += first * row_step * row_bytes();
    if (is_mxfp4()) part.scales += first * row_step * scale_bytes();
    part.first_row += first;
    part.rows = count;
    return part;
  }
};

// g * sigmoid(alpha * g) * u, see Kernels::swish_mul.
template <class Real>
struct SwishForm {
  Real alpha = 1;
  Real limit = std::numeric_limits<Real>::infinity();  // of gate above, of up on both sides
  bool up_plus_one = false;
};

// Where an RMSNorm rounds, with r = 1 / sqrt(sum(x * x) / n + eps).
enum class NormForm {
  kRoundedTwice,  // round(w * round(x * r)): Llama, Qwen, Mistral, Phi
  kRoundedOnce,   // round((x * r) * w): OLMo 2
  kOnePlus,       // round((x * r) * (1 + w)): Gemma
};

// The layout of a head's keys and values in the KV cache: in pairs, as the dots need them, so that
// 16 lanes are read at once.
//   keys: blocks of 16 positions, each [pair of channels][position][2 channels], with the channels
//     padded with zeros to whole blocks of a dot;
//   values: [pair of positions][channel][2 positions], with the channels padded to whole lanes.
struct CacheLayout {
  std::size_t n;  // channels of a head

  static constexpr std::size_t kBlock = 16;  // positions
  constexpr std::size_t key_width() const { return (n + 31) / 32 * 32; }
  constexpr std::size_t value_width() const { return (n + 15) / 16 * 16; }
  // The number of positions in whole blocks: the length of a row of scores.
  static constexpr std::size_t whole_blocks(std::size_t positions) {
    return (positions + kBlock - 1) / kBlock * kBlock;
  }
  // The number of elements for this many positions.
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

// The positions that a block's queries see: query i sees [begin(i), end + i).
struct Seen {
  std::size_t end = 1;
  std::size_t window =
      std::numeric_limits<std::size_t>::max();  // the most positions that a query sees
  constexpr std::size_t begin(std::size_t i) const {
    return end + i > window ? end + i - window : 0;
  }
};

// Under bf16, kernels that multiply (matmul, pack_tile, packed_matmul, scores, weighted_sum) take
// operands on the BF16 grid; the weights and the cache always are. The kernels of `off_grid` take
// any operands.
template <class N>
struct Kernels {
  using Real = typename N::Real;
  using Cached = typename N::Cached;

  // Kernels for operands off the BF16 grid; on the grid they give the same bits. Null when this
  // table itself takes any operands.
  const Kernels* (*off_grid)();
  const Kernels& any_operands() const { return off_grid != nullptr ? *off_grid() : *this; }

  // Tokens of a tile; pack_tile() has the tiles 0, 1, ..., tiles(tokens) - 1.
  std::size_t token_tile;
  std::size_t tiles(std::size_t tokens) const { return (tokens + token_tile - 1) / token_tile; }

  // out[t * ldo + r] = round(dot(x[t], w[r]) + bias[r]) for t in [0, tokens), r in [row_begin,
  // row_end). x: [tokens, w.cols]; bias: [w.rows], or null. Meant for few tokens: the weights are
  // read as one stream.
  void (*matmul)(const Real* x, std::size_t tokens, const Weight& w, const Real* bias,
                 std::size_t row_begin, std::size_t row_end, Real* out, std::size_t ldo);

  // The same for many tokens, which pack_tile() has packed once for all threads and matrices.
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
  // With rounded_once, as in OLMo 2: out[i] = round(x[i] * cos + rot(x)[i] * sin). out may be x.
  void (*rope)(const Real* x, const Real* cos, const Real* sin, bool rounded_once, std::size_t n,
               Real* out);

  // out[i * ldo + j] = round(round(dot(q[i], keys[j])) * scale) for `queries` rows of q, ldq apart,
  // and the first `count` positions of a head's keys, n channels each. Rows of out must hold whole
  // blocks of 16 positions (ldo >= count rounded up); entries from `count` on are undefined.
  void (*scores)(const Real* q, std::size_t ldq, std::size_t queries, const Cached* keys,
                 std::size_t count, std::size_t n, Real scale, Real* out, std::size_t ldo);

  // e[j] = exp(x[j] - max(x)); out[j] = round(e[j] / sum(e)). In place is allowed.
  void (*softmax)(const Real* x, std::size_t count, Real* out);
  // With one more score that belongs to no position, the sink: m = max(max(x), sink), e[j] =
  // exp(round(x[j] - m)), out[j] = round(e[j] / (sum(e) + exp(round(sink - m)))).
  void (*sink_softmax)(const Real* x, std::size_t count, Real sink, Real* out);
  // The first one without rounding, because an MoE router continues in FP32.
  void (*router_softmax)(const Real* x, std::size_t count, Real* out);
  // out[i] = 1 / (1 + exp(-x[i])), not rounded either. In place is allowed.
  void (*sigmoid)(const Real* x, std::size_t count, Real* out);

  // out[i * ldo + c] = round(sum over the positions j that query i sees of
  // probs[i * ldp + j] * values[j][c]), c < n. Positions count from the first of `values`, whose
  // position in the sequence is even.
  void (*weighted_sum)(const Real* probs, std::size_t ldp, std::size_t queries, Seen seen,
                       const Cached* values, std::size_t n, Real* out, std::size_t ldo);

  // out[i] = round(round(g / (1 + exp(-g))) * up[i]), g = gate[i]. out may be gate or up.
  void (*silu_mul)(const Real* gate, const Real* up, std::size_t n, Real* out);
  // out[i] = round(x[i] * (g / (1 + exp(-g)))), g = gate[i]. out may be x.
  void (*mul_silu)(const Real* x, const Real* gate, std::size_t n, Real* out);
  // out[i] = round(round(0.5 * g * (1 + tanh(sqrt(2 / pi) * (g + 0.044715 * (g * g * g))))) *
  // up[i]). out may be gate or up.
  void (*gelu_tanh_mul)(const Real* gate, const Real* up, std::size_t n, Real* out);
  // g = min(gate, limit), u = max(min(up, limit), -limit), s = round(1 / (1 + exp(-round(g *
  // alpha)))), v = round(u + 1) or u; out = round(v * round(g * s)). NaNs stay. As silu_mul's
  // arguments.
  void (*swish_mul)(const Real* gate, const Real* up, const SwishForm<Real>& form, std::size_t n,
                    Real* out);

  // out[c] = round(y / (1 + exp(-y))), y = round(w[0][c] * rows[0][c] + w[1][c] * rows[1][c] +
  // ...): products and additions from the left, not fused. w: [taps, ldw].
  void (*causal_conv)(const Real* const* rows, const Real* w, std::size_t ldw, std::size_t taps,
                      std::size_t n, Real* out);
  // out[i] = (x[i] * (1 / sqrt(sum(x * x) + eps))) * scale. In place is allowed.
  void (*unit)(const Real* x, Real eps, Real scale, std::size_t n, Real* out);
  // One token of one head of the delta rule, whose state [n, m] it brings forward. Each column c:
  //   s[i][c] = s[i][c] * factor; d = beta * (v[c] - (s[0][c] * k[0] + s[1][c] * k[1] + ...));
  //   s[i][c] = s[i][c] + k[i] * d; out[c] = round(s[0][c] * q[0] + s[1][c] * q[1] + ...),
  // products and additions from the left, not fused. q and k: [n]; v and out: [m].
  void (*delta_rule)(const Real* q, const Real* k, const Real* v, Real factor, Real beta,
                     std::size_t n, std::size_t m, Real* state, Real* out);
  // out[i] = exp(x[i]), not rounded. In place is allowed.
  void (*exp)(const Real* x, std::size_t n, Real* out);

  // out[i] = round(round(tanh(round(x[i] / cap))) * cap). In place is allowed.
  void (*softcap)(const Real* x, Real cap, std::size_t n, Real* out);

  // out[i] = round(a[i] + b[i]). In place is allowed.
  void (*add)(const Real* a, const Real* b, std::size_t n, Real* out);

  // Only multiply-adds in registers, as matmul does them: the peak against which matmul is
  // measured. Returns their number; *out keeps them from being optimised away.
  std::size_t (*multiply_adds)(std::size_t rounds, Real* out);
};

// Up to this many tokens Kernels::matmul is faster; above it, packed_matmul.
constexpr std::size_t kFewTokens = 24;

// The number of Reals for the packed tokens of Kernels::packed_matmul.
constexpr std::size_t packed_size(std::size_t tokens, std::size_t k) {
  return tokens * ((k + 31) / 32 * 32);
}

// Throws a system error when this CPU has no fused multiply-add, which all kernels need.
void require_fma();

// This thread's working memory for a kernel, aligned to a cache line, valid until the next call. It
// is not defined in the kernels' own sources, because the linker could use what they instantiate
// for AVX-512 everywhere.
std::byte* kernel_scratch(std::size_t bytes);
// The same for weights that are widened before a kernel reads them.
std::byte* widened_scratch(std::size_t bytes);

// The instruction sets that kernels exist for.
enum class Simd { kPlain, kAvx2, kAvx512, kAvx512Bf16, kNeon };
std::string_view simd_name(Simd simd);

// The instruction sets that this CPU can run, plainest first; kPlain is always among them.
// AVX512-BF16 is left out if the CPU's instruction breaks the contract: see refused_avx512bf16().
std::span<const Simd> supported_simd();
bool refused_avx512bf16();

// The best supported one, unless the environment variable ASSAY_SIMD (plain, avx2, avx512,
// avx512bf16, neon) asks for another; an unknown or unsupported value is a usage error.
Simd chosen_simd();

// Whether all n values are on the BF16 grid.
bool on_bf16_grid(const float* x, std::size_t n);

template <class N>
const Kernels<N>& kernels(Simd simd);

// One function per source file. The tables are null if the build does not have that instruction
// set.
template <class N>
const Kernels<N>* plain_kernels();
template <class N>
const Kernels<N>* avx2_kernels();
template <class N>
const Kernels<N>* avx512_kernels();
template <class N>
const Kernels<N>* neon_kernels();
// Kernels that use the CPU's BF16 dot products; null if the build has none.
const Kernels<Bf16>* avx512bf16_kernels();
// Whether this CPU's VDPBF16PS, which it must have, accumulates as the contract says. Tests some
// thousands of accumulations (subnormal, cancelling, at the border of flushing) against flush.h.
bool avx512bf16_keeps_the_contract();

}  // namespace assay
