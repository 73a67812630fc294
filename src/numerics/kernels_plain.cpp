#include "numerics/kernels_impl.h"
#include "numerics/lanes_plain.h"

namespace assay {

template <class N>
const Kernels<N>* plain_kernels() {
  return &KernelSet<N, PlainLanes<N>>::kTable;
}

template const Kernels<Bf16>* plain_kernels<Bf16>();
template const Kernels<F32>* plain_kernels<F32>();
template const Kernels<F64>* plain_kernels<F64>();

}  // namespace assay
