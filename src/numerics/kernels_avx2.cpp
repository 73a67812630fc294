#include "numerics/kernels.h"

#ifdef __AVX2__
#include <type_traits>

#include "numerics/kernels_impl.h"
#include "numerics/lanes_avx2.h"
#endif

namespace assay {

template <class N>
const Kernels<N>* avx2_kernels() {
#ifdef __AVX2__
  using Lanes = std::conditional_t<sizeof(typename N::Real) == 4, FloatLanes, DoubleLanes>;
  return &KernelSet<N, Lanes>::kTable;
#else
  return nullptr;
#endif
}

template const Kernels<Bf16>* avx2_kernels<Bf16>();
template const Kernels<F32>* avx2_kernels<F32>();
template const Kernels<F64>* avx2_kernels<F64>();

}  // namespace assay
