#include "numerics/kernels.h"

#ifdef __AVX512BF16__
#include "numerics/lanes_avx512bf16.h"
#include "numerics/matmul_impl.h"
#endif

namespace assay {

#ifdef __AVX512BF16__
namespace {

void matmul(const float* x, std::size_t tokens, const Weight& w, std::size_t row_begin,
            std::size_t row_end, float* out, std::size_t ldo) {
  weights_dots<Bf16, Bf16DotLanes>(x, tokens, w, row_begin, row_end, out, ldo);
}

}  // namespace
#endif

decltype(Kernels<Bf16>::matmul) avx512bf16_matmul() {
#ifdef __AVX512BF16__
  return matmul;
#else
  return nullptr;
#endif
}

}  // namespace assay
