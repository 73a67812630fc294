#include "metrics/pair_sums.h"

#include <algorithm>

#include "numerics/kernels.h"

namespace assay {

void PairSums::add(const PairSums& other) {
  error2 += other.error2;
  reference2 += other.reference2;
  candidate2 += other.candidate2;
  product += other.product;
  if (other.max_error > max_error) {
    max_error = other.max_error;
    max_index = other.max_index;
  }
  ulp_sum += other.ulp_sum;
  ulp_max = std::max(ulp_max, other.ulp_max);
  compared += other.compared;
  equal += other.equal;
  nan_reference += other.nan_reference;
  nan_candidate += other.nan_candidate;
  inf_reference += other.inf_reference;
  inf_candidate += other.inf_candidate;
  unlike += other.unlike;
  hidden += other.hidden;
  not_hidden += other.not_hidden;
}

bool supports_avx512bf16() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

PairSumsTable pair_sums_table() {
  switch (chosen_simd()) {
    case Simd::kAvx512Bf16:
      if (supports_avx512bf16()) return pair_sums_avx512bf16();
      [[fallthrough]];
    case Simd::kAvx512:
      return pair_sums_avx512();
    case Simd::kAvx2:
      return pair_sums_avx2();
    case Simd::kNeon:  // the plain source's vectors are as wide
    case Simd::kPlain:
      break;
  }
  return pair_sums_plain();
}

}  // namespace assay
