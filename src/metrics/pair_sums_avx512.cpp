#define ASSAY_VECTOR_BYTES 64
#include "metrics/pair_sums_impl.h"

namespace assay {

PairSumsTable pair_sums_avx512() { return {sums_of<float>, sums_of<double>}; }

}  // namespace assay
