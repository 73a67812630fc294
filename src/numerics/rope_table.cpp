#include "numerics/rope_table.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numbers>

#include "numerics/logarithm.h"

namespace assay {
namespace {

float power(float base, float exponent) { return Sleef_finz_powf1_u10purecfma(base, exponent); }
double power(double base, double exponent) { return Sleef_finz_powd1_u10purecfma(base, exponent); }

// Computed in double for both types: rounding to FP32 gives the nearest FP32 in all but a few of
// 10^8 cases.
double cosine(double x) { return Sleef_finz_cosd1_u10purecfma(x); }
double sine(double x) { return Sleef_finz_sind1_u10purecfma(x); }

// theta^(2i / dims).
template <class Real>
std::vector<Real> wavelengths(double theta, std::size_t dims) {
  std::vector<Real> w(dims / 2);
  for (std::size_t i = 0; i < w.size(); ++i) {
    w[i] = power(static_cast<Real>(theta), static_cast<Real>(2 * i) / static_cast<Real>(dims));
  }
  return w;
}

// The index of the frequency that rotates `rotations` times over the original length.
double correction_dim(const RopeParameters& rope, double rotations, std::size_t dims) {
  return static_cast<double>(dims) *
         natural_logarithm(rope.original_length / (rotations * 2 * std::numbers::pi)) /
         (2 * natural_logarithm(rope.theta));
}

template <class Real>
void yarn(const RopeParameters& rope, std::size_t dims, std::vector<Real>& inv_freq) {
  double low = correction_dim(rope, rope.beta_fast, dims);
  double high = correction_dim(rope, rope.beta_slow, dims);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dims) - 1);
  if (low == high) high += 0.001;  // avoids a division by zero
  const std::vector<Real> w = wavelengths<Real>(rope.theta, dims);
  for (std::size_t i = 0; i < inv_freq.size(); ++i) {
    const Real ramp =
        std::clamp((static_cast<Real>(i) - static_cast<Real>(low)) / static_cast<Real>(high - low),
                   Real{0}, Real{1});
    const Real kept = Real{1} - ramp;
    const Real stretched = Real{1} / (static_cast<Real>(rope.factor) * w[i]);
    inv_freq[i] = stretched * (Real{1} - kept) + Real{1} / w[i] * kept;
  }
}

template <class Real>
void proportional(const RopeParameters& rope, std::size_t dims, std::vector<Real>& inv_freq) {
  const auto turned = static_cast<std::size_t>(rope.part * static_cast<double>(dims)) / 2;
  for (std::size_t i = 0; i < inv_freq.size(); ++i) {
    inv_freq[i] = i < turned ? inv_freq[i] / static_cast<Real>(rope.factor) : Real{0};
  }
}

template <class Real>
void llama3(const RopeParameters& rope, std::vector<Real>& inv_freq) {
  const auto factor = static_cast<Real>(rope.factor);
  const auto low_wavelength = static_cast<Real>(rope.original_length / rope.low_freq_factor);
  const auto high_wavelength = static_cast<Real>(rope.original_length / rope.high_freq_factor);
  const auto spread = static_cast<Real>(rope.high_freq_factor - rope.low_freq_factor);
  for (Real& f : inv_freq) {
    // torch divides a number by a tensor as the tensor's reciprocal times the number.
    const Real wavelength = Real{1} / f * static_cast<Real>(2 * std::numbers::pi);
    if (wavelength > low_wavelength) {
      f = f / factor;
    } else if (!(wavelength < high_wavelength)) {
      const Real smooth = (Real{1} / wavelength * static_cast<Real>(rope.original_length) -
                           static_cast<Real>(rope.low_freq_factor)) /
                          spread;
      f = (Real{1} - smooth) * f / factor + smooth * f;
    }
  }
}

// transformers computes the base in FP32 once a sequence is longer.
template <class Real>
Real dynamic_theta(const RopeParameters& rope, std::size_t dims, std::size_t length) {
  if (static_cast<double>(length) <= rope.original_length) return static_cast<Real>(rope.theta);
  const auto factor = static_cast<Real>(rope.factor);
  const Real stretch =
      factor * static_cast<Real>(length) / static_cast<Real>(rope.original_length) -
      static_cast<Real>(rope.factor - 1);
  const double exponent = static_cast<double>(dims) / (static_cast<double>(dims) - 2);
  return static_cast<Real>(rope.theta) * power(stretch, static_cast<Real>(exponent));
}

}  // namespace

template <class Real>
RopeFrequencies<Real> rope_frequencies(const RopeParameters& rope, std::size_t dims,
                                       std::size_t length) {
  RopeFrequencies<Real> result{wavelengths<Real>(rope.theta, dims),
                               static_cast<Real>(rope.attention_factor)};
  std::vector<Real>& f = result.inv_freq;
  switch (rope.scaling) {
    case RopeScaling::kDynamic:
      f = wavelengths<Real>(dynamic_theta<Real>(rope, dims, length), dims);
      break;
    case RopeScaling::kLongrope: {
      const bool is_long = static_cast<double>(length) > rope.original_length;
      const std::vector<double>& factors = is_long ? rope.long_factor : rope.short_factor;
      assert(factors.size() == f.size());
      for (std::size_t i = 0; i < f.size(); ++i) f[i] *= static_cast<Real>(factors[i]);
      break;
    }
    default:
      break;
  }
  for (Real& x : f) x = Real{1} / x;
  if (rope.scaling == RopeScaling::kLinear) {
    for (Real& x : f) x /= static_cast<Real>(rope.factor);
  }
  if (rope.scaling == RopeScaling::kProportional) proportional(rope, dims, f);
  if (rope.scaling == RopeScaling::kYarn) yarn(rope, dims, f);
  if (rope.scaling == RopeScaling::kLlama3) llama3(rope, f);
  return result;
}

double yarn_attention_factor(double factor, double mscale) {
  return factor <= 1 ? 1 : 0.1 * mscale * natural_logarithm(factor) + 1;
}

double longrope_attention_factor(double factor, double original_length) {
  return factor <= 1
             ? 1
             : std::sqrt(1 + natural_logarithm(factor) / natural_logarithm(original_length));
}

double position_factor(double growth, double length, double position) {
  return 1 + growth * natural_logarithm(1 + std::floor(position / length));
}

template <class Real>
void rope_row(const RopeFrequencies<Real>& frequencies, std::size_t position, Real* cos,
              Real* sin) {
  for (std::size_t i = 0; i < frequencies.inv_freq.size(); ++i) {
    const Real angle = static_cast<Real>(position) * frequencies.inv_freq[i];
    cos[i] = static_cast<Real>(cosine(angle)) * frequencies.attention_factor;
    sin[i] = static_cast<Real>(sine(angle)) * frequencies.attention_factor;
  }
}

template RopeFrequencies<float> rope_frequencies(const RopeParameters&, std::size_t, std::size_t);
template RopeFrequencies<double> rope_frequencies(const RopeParameters&, std::size_t, std::size_t);
template void rope_row(const RopeFrequencies<float>&, std::size_t, float*, float*);
template void rope_row(const RopeFrequencies<double>&, std::size_t, double*, double*);

}  // namespace assay
