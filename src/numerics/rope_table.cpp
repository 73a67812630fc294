#include "numerics/rope_table.h"

// sleef.h declares its FMA functions only where this is defined, which not every compiler does.
#ifndef FP_FAST_FMA
#define FP_FAST_FMA
#endif
#include <sleef.h>

namespace assay {
namespace {

float power(float base, float exponent) { return Sleef_finz_powf1_u10purecfma(base, exponent); }
double power(double base, double exponent) { return Sleef_finz_powd1_u10purecfma(base, exponent); }

// In double for both: rounded to FP32 that is the nearest FP32 in all but a few cases in 10^8.
double cosine(double x) { return Sleef_finz_cosd1_u10purecfma(x); }
double sine(double x) { return Sleef_finz_sind1_u10purecfma(x); }

}  // namespace

template <class Real>
RopeTable<Real> make_rope_table(double theta, std::size_t head_dim, std::size_t positions) {
  const std::size_t half = head_dim / 2;
  std::vector<Real> inv_freq(half);
  for (std::size_t i = 0; i < half; ++i) {
    const Real exponent = static_cast<Real>(2 * i) / static_cast<Real>(head_dim);
    inv_freq[i] = Real{1} / power(static_cast<Real>(theta), exponent);
  }
  RopeTable<Real> table{head_dim, std::vector<Real>(positions * head_dim),
                        std::vector<Real>(positions * head_dim)};
  for (std::size_t p = 0; p < positions; ++p) {
    for (std::size_t i = 0; i < half; ++i) {
      const Real angle = static_cast<Real>(p) * inv_freq[i];
      const std::size_t at = p * head_dim + i;
      table.cos[at] = table.cos[at + half] = static_cast<Real>(cosine(angle));
      table.sin[at] = table.sin[at + half] = static_cast<Real>(sine(angle));
    }
  }
  return table;
}

template RopeTable<float> make_rope_table(double, std::size_t, std::size_t);
template RopeTable<double> make_rope_table(double, std::size_t, std::size_t);

}  // namespace assay
