#include "numerics/kernels.h"

#ifdef __AVX512F__
#include <type_traits>

#include "numerics/kernels_impl.h"
#include "numerics/lanes_avx512.h"
#endif

namespace assay {

template <class N>
const Kernels<N>* avx512_kernels() {
#ifdef __AVX512F__
  using Lanes = std::conditional_t<sizeof(typename N::Real) == 4, FloatLanes, DoubleLanes>;
  return &KernelSet<N, Lanes>::kTable;
#else
  return nullptr;
#endif
}

template const Kernels<Bf16>* avx512_kernels<Bf16>();
template const Kernels<F32>* avx512_kernels<F32>();
template const Kernels<F64>* avx512_kernels<F64>();

}  // namespace assay
