#define ASSAY_VECTOR_BYTES 16
#include "metrics/pair_sums_impl.h"

namespace assay {

PairSumsTable pair_sums_plain() { return {sums_of<float>, sums_of<double>}; }

}  // namespace assay
