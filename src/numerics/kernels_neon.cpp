#include "numerics/kernels.h"

#ifdef __aarch64__
#include <type_traits>

#include "numerics/kernels_impl.h"
#include "numerics/lanes_neon.h"
#endif

namespace assay {

template <class N>
const Kernels<N>* neon_kernels() {
#ifdef __aarch64__
  using Lanes = std::conditional_t<sizeof(typename N::Real) == 4, FloatLanes, DoubleLanes>;
  return &KernelSet<N, Lanes>::kTable;
#else
  return nullptr;
#endif
}

template const Kernels<Bf16>* neon_kernels<Bf16>();
template const Kernels<F32>* neon_kernels<F32>();
template const Kernels<F64>* neon_kernels<F64>();

}  // namespace assay
