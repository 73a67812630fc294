#include "numerics/softplus.h"

// sleef.h declares its FMA functions only where this is defined, which not every compiler does.
#ifndef FP_FAST_FMA
#define FP_FAST_FMA
#endif
#include <sleef.h>

namespace assay {

float softplus(float x) {
  if (x > 20) return x;
  return Sleef_finz_log1pf1_u10purecfma(Sleef_finz_expf1_u10purecfma(x));
}

double softplus(double x) {
  if (x > 20) return x;
  return Sleef_finz_log1pd1_u10purecfma(Sleef_finz_expd1_u10purecfma(x));
}

}  // namespace assay
