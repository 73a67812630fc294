// SLEEF's logarithm in double, with the same bits on every machine.
#pragma once

// sleef.h declares its FMA functions only where this is defined, which not every compiler does.
#ifndef FP_FAST_FMA
#define FP_FAST_FMA
#endif
#include <sleef.h>

namespace assay {

inline double natural_logarithm(double x) { return Sleef_finz_logd1_u10purecfma(x); }

}  // namespace assay
