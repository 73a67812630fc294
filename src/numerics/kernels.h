// The kernels of the forward pass, and the order of operations that defines their bits.
//
// This comment is a contract; references on people's disks depend on it.
//  * dot(a, b) of length K: element k is accumulated into lane k mod 32 by fused multiply-add in
//    increasing k; a short tail is padded with zeros; then the 32 lanes are added as a tree: lane l
//    with l+16, then l+8, l+4, l+2, l+1.
//  * A sum over elements (squares of a norm, softmax denominator) uses the same lanes and tree,
//    element i in lane i mod 32.
//  * Probabilities times values: for each channel one fused multiply-add per position, in
//    increasing position. Positions after the query's own are not visited at all.
//  * exp and tanh are SLEEF's bit-identical `finz` variants (1 ULP); division and square root are
//  IEEE's.
//  * Everything else is elementwise, in the order written beside each kernel; round() is the
//    numerics policy's rounding (the identity but for bf16).
// The plain source (kernels_plain.cpp) is the definition; the others must equal it bit for bit.
// An x86-64 CPU must have FMA: require_fma() says so where it has not.
#pragma once

#include <cstddef>
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

template <class N>
struct Kernels {
  using Real = typename N::Real;
  using Cached = typename N::Cached;

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

  // out[i * ldo + j] = round(round(dot(q[i], keys[j])) * scale) for `queries` rows of q, ldq apart.
  // keys: [count, n].
  void (*scores)(const Real* q, std::size_t ldq, std::size_t queries, const Cached* keys,
                 std::size_t count, std::size_t n, Real scale, Real* out, std::size_t ldo);

  // e[j] = exp(x[j] - max(x)); out[j] = round(e[j] / sum(e)). In place is allowed.
  void (*softmax)(const Real* x, std::size_t count, Real* out);
  // The same without rounding: a mixture's router goes on in FP32.
  void (*router_softmax)(const Real* x, std::size_t count, Real* out);

  // out[i * ldo + c] = round(sum over j < first + i of probs[i * ldp + j] * values[j][c]): each
  // query sees one position more than the one before. values: [first + queries - 1, n].
  void (*weighted_sum)(const Real* probs, std::size_t ldp, std::size_t queries, std::size_t first,
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

  // Multiply-adds in registers and nothing else: the peak that matmul is measured against. Returns
  // how many; *out keeps them from being optimised away.
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
enum class Simd { kPlain, kAvx2, kAvx512, kNeon };
std::string_view simd_name(Simd simd);

// What this CPU can run, plainest first; kPlain is always there.
std::span<const Simd> supported_simd();

// The best supported one, unless the environment variable ASSAY_SIMD (plain, avx2, avx512, neon)
// asks for another; an unknown or unsupported value is a usage error.
Simd chosen_simd();

template <class N>
const Kernels<N>& kernels(Simd simd);

// Numerics `fast`: bf16 whose packed matmul uses the CPU's own BF16 dot products (AVX512-BF16), at
// twice the rate, with sums in an order of their own: not the same bits elsewhere, nor
// transformers' roundings more closely or less. On other CPUs, or with ASSAY_SIMD below avx512,
// those of bf16.
const Kernels<Bf16>& fast_kernels();
// Whether fast_kernels() are any other than those of bf16.
bool has_fast_kernels();

// One per source file; null tables where the build has none.
template <class N>
const Kernels<N>* plain_kernels();
template <class N>
const Kernels<N>* avx2_kernels();
template <class N>
const Kernels<N>* avx512_kernels();
template <class N>
const Kernels<N>* neon_kernels();
// Puts the packed matmul of BF16 dot products into the table; false where the build has none.
bool take_avx512bf16_matmul(Kernels<Bf16>& kernels);

}  // namespace assay
