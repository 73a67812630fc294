// Products of matrices and tokens.
#include <algorithm>

#include "ops/cpu/ops.h"

namespace assay {

template <class N>
void Ops<N>::linear(const Linear& of, std::span<const Real> x,
                    std::span<const Projection> projections) {
  if (!of.rounded && N::kRoundsWeights) return unrounded_linear(x, projections);
  lay_out(x, projections.front().w.cols);
  if (stream_ == nullptr) return project(x, projections);
  for (const Projection& p : projections) {
    for_each_block(p.w, [&](const Weight& block, std::size_t row) {
      const Projection part{block, p.bias, p.out + row, p.ldo, row};
      project(x, {&part, 1});
    });
  }
}

// As FP32 computes it from the rounded operands.
template <class N>
void Ops<N>::unrounded_linear(std::span<const Real> x, std::span<const Projection> projections) {
  if constexpr (N::kRoundsWeights) {
    Ops<F32> wide(pool_, assay::kernels<F32>(chosen_simd()));
    wide.lay_out(x, projections.front().w.cols);
    AlignedVector<float> rounded;
    for (const Projection& p : projections) {
      assert(p.bias.data == nullptr);
      for_each_block(p.w, [&](Weight block, std::size_t row) {
        if (block.dtype != DType::kBF16) {
          rounded.resize(block.rows * block.cols);
          for (std::size_t r = 0; r < block.rows; ++r) {
            kernels_.load_row(block, r, &rounded[r * block.cols]);
          }
          block.data = reinterpret_cast<const std::byte*>(rounded.data());
          block.dtype = DType::kF32;
        }
        const Ops<F32>::Projection part{block, {}, p.out + row, p.ldo, row};
        wide.project(x, {&part, 1});
      });
    }
  }
}

// Few tokens are read without laying them out.
template <class N>
void Ops<N>::lay_out(std::span<const Real> x, std::size_t cols) {
  const std::size_t tokens = x.size() / cols;
  if (tokens <= kFewTokens) return;
  packed_.resize(packed_size(tokens, cols));
  pool_.for_each_item(kernels_.tiles(tokens), [&](std::size_t tile) {
    kernels_.pack_tile(x.data(), tokens, cols, tile, packed_.data());
  });
}

// The rows of all matrices are distributed together.
template <class N>
void Ops<N>::project(std::span<const Real> x, std::span<const Projection> projections) {
  const std::size_t cols = projections.front().w.cols;
  const std::size_t tokens = x.size() / cols;
  std::size_t rows = 0;
  for (const Projection& p : projections) rows += p.w.rows;
  // Parts of whole panels, so small that other threads can take the work of a delayed one.
  const auto threads = static_cast<std::size_t>(pool_.size());
  const std::size_t part = std::clamp<std::size_t>(rows / (8 * threads) / 64 * 64, 64, 1152);
  const auto parts_of = [part](const Projection& p) { return (p.w.rows + part - 1) / part; };
  std::size_t parts = 0;
  for (const Projection& p : projections) parts += parts_of(p);
  // The rows of all projections are numbered consecutively.
  std::vector<Real> biases;
  std::size_t before = 0;
  for (const Projection& p : projections) {
    if (p.bias.data != nullptr) {
      if (biases.empty()) biases.resize(rows);
      std::vector<Real> whole(p.bias.cols);
      kernels_.load_row(p.bias, 0, whole.data());
      std::copy_n(whole.begin() + static_cast<std::ptrdiff_t>(p.first_row), p.w.rows,
                  biases.begin() + static_cast<std::ptrdiff_t>(before));
    }
    before += p.w.rows;
  }
  const bool many = tokens > kFewTokens;
  const auto kernel = many ? kernels_.packed_matmul : kernels_.matmul;
  const Real* from = many ? packed_.data() : x.data();
  pool_.share_items(parts, rows * cols * tokens / kGrain + 1, [&](std::size_t i, int) {
    const Projection* p = projections.data();
    std::size_t first = 0;
    for (; i >= parts_of(*p); ++p) {
      i -= parts_of(*p);
      first += p->w.rows;
    }
    const Real* bias = p->bias.data == nullptr ? nullptr : &biases[first];
    kernel(from, tokens, p->w, bias, i * part, std::min((i + 1) * part, p->w.rows), p->out, p->ldo);
  });
}

#define ASSAY_INSTANTIATE(N)                                            \
  template void Ops<N>::linear(const Linear&, std::span<const N::Real>, \
                               std::span<const Ops<N>::Projection>);    \
  template void Ops<N>::lay_out(std::span<const N::Real>, std::size_t); \
  template void Ops<N>::project(std::span<const N::Real>, std::span<const Ops<N>::Projection>)
ASSAY_INSTANTIATE(Bf16);
ASSAY_INSTANTIATE(F32);
ASSAY_INSTANTIATE(F64);
#undef ASSAY_INSTANTIATE

}  // namespace assay
