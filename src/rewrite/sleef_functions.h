// SLEEF's functions in double, with the same bits on every machine.
#pragma once

// sleef.h declares its FMA functions only if this is defined, which not every compiler does.
#ifndef FP_FAST_FMA
#define FP_FAST_FMA
#endif
#include <sleef.h>

namespace assay {

inline double exponential(double x) { return Sleef_finz_expd1_u10purecfma(x); }
inline double tangent(double x) { return Sleef_finz_tanhd1_u10purecfma(x); }
inline double error_function(double x) { return Sleef_finz_erfd1_u10purecfma(x); }
inline double cosine_of(double x) { return Sleef_finz_cosd1_u10purecfma(x); }
inline double sine_of(double x) { return Sleef_finz_sind1_u10purecfma(x); }

}  // namespace assay
