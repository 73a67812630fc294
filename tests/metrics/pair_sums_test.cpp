#include "metrics/pair_sums.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/half.h"
#include "numerics/kernels.h"

namespace assay {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

std::vector<PairSumsTable> tables() {
  std::vector<PairSumsTable> all = {pair_sums_plain()};
  for (const Simd simd : supported_simd()) {
    if (simd == Simd::kAvx2) all.push_back(pair_sums_avx2());
    if (simd == Simd::kAvx512) all.push_back(pair_sums_avx512());
    if (simd == Simd::kAvx512Bf16 && supports_avx512bf16()) all.push_back(pair_sums_avx512bf16());
  }
  return all;
}

template <class Real>
struct Sums {
  PairSums total;
  std::vector<double> channel_error2;
};

// At an unaligned address.
template <class Real>
Sums<Real> run(const PairSumsTable& table, const std::vector<Real>& x, const std::vector<Real>& y) {
  Sums<Real> sums{{}, std::vector<double>(x.size())};
  std::vector<char> a(x.size() * sizeof(Real) + 1);
  std::vector<char> b(a.size());
  if (!x.empty()) {
    std::memcpy(&a[1], x.data(), a.size() - 1);
    std::memcpy(&b[1], y.data(), b.size() - 1);
  }
  const auto* p = reinterpret_cast<const Unaligned<Real>*>(a.data() + 1);
  const auto* q = reinterpret_cast<const Unaligned<Real>*>(b.data() + 1);
  if constexpr (sizeof(Real) == 4) {
    table.f32(p, q, x.size(), 1000, sums.channel_error2.data(), sums.total);
  } else {
    table.f64(p, q, x.size(), 1000, sums.channel_error2.data(), sums.total);
  }
  return sums;
}

enum class Mix {
  kOrdinary,
  kNasty,      // now and then NaN, infinities, masked values, the largest
  kDenormals,  // now and then
  kAnyBits,    // every finite float is equally likely; BF16 ties often
};

template <class Real>
Real any_finite_float(std::mt19937& random) {
  for (;;) {
    std::uint32_t bits = static_cast<std::uint32_t>(random());
    if (random() % 2 == 0) bits = (bits & 0xFFFF0000U) | (random() % 2 == 0 ? 0x8000U : 0x7FFFU);
    const auto value = std::bit_cast<float>(bits);
    if (std::isfinite(value) && value > -1e38F) return static_cast<Real>(value);
  }
}

template <class Real>
std::pair<std::vector<Real>, std::vector<Real>> pairs(std::size_t n, unsigned seed, Mix mix) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  const Real special[] = {std::numeric_limits<Real>::quiet_NaN(),
                          std::numeric_limits<Real>::infinity(),
                          -std::numeric_limits<Real>::infinity(),
                          std::numeric_limits<Real>::max(),
                          std::numeric_limits<Real>::lowest(),
                          std::numeric_limits<Real>::denorm_min(),
                          static_cast<Real>(-2e38),
                          Real{0},
                          -Real{0}};
  std::vector<Real> x(n);
  std::vector<Real> y(n);
  for (std::size_t i = 0; i < n; ++i) {
    x[i] = static_cast<Real>(normal(random) * std::exp(4 * normal(random)));
    y[i] = random() % 4 == 0 ? x[i] : static_cast<Real>(x[i] * (1 + 0.01 * normal(random)));
    switch (mix) {
      case Mix::kOrdinary:
        break;
      case Mix::kNasty:
        if (random() % 40 == 0) x[i] = special[random() % std::size(special)];
        if (random() % 40 == 0) y[i] = special[random() % std::size(special)];
        break;
      case Mix::kDenormals:
        if (random() % 300 == 0) x[i] = static_cast<Real>(normal(random) * 1e-39);
        if (random() % 300 == 0) y[i] = static_cast<Real>(normal(random) * 1e-39);
        break;
      case Mix::kAnyBits:
        x[i] = any_finite_float<Real>(random);
        y[i] = any_finite_float<Real>(random);
        break;
    }
  }
  return {x, y};
}

constexpr Mix kMixes[] = {Mix::kOrdinary, Mix::kNasty, Mix::kDenormals, Mix::kAnyBits};

template <class Real>
class PairSumsTest : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(PairSumsTest, Reals);

TYPED_TEST(PairSumsTest, EveryInstructionSetGivesTheSameBits) {
  for (const std::size_t n : {0, 1, 15, 63, 64, 65, 128, 1000, 4096, 65536}) {
    for (const Mix mix : kMixes) {
      const auto [x, y] = pairs<TypeParam>(n, static_cast<unsigned>(n), mix);
      const Sums<TypeParam> expected = run(pair_sums_plain(), x, y);
      for (const PairSumsTable& table : tables()) {
        const Sums<TypeParam> found = run(table, x, y);
        EXPECT_EQ(std::memcmp(&found.total, &expected.total, sizeof(PairSums)), 0) << n;
        EXPECT_EQ(found.channel_error2, expected.channel_error2) << n;
      }
    }
  }
}

TYPED_TEST(PairSumsTest, FollowTheirDefinitions) {
  for (const Mix mix : kMixes) {
    const auto [x, y] = pairs<TypeParam>(5000, 7, mix);
    long double error2 = 0;
    long double product = 0;
    double largest = -1;
    std::size_t at = 0;
    std::int64_t compared = 0;
    std::int64_t equal = 0;
    std::int64_t unlike = 0;
    std::uint64_t ulps = 0;
    const auto rank = [](double v) {
      const std::uint16_t bits = f32_to_bf16(static_cast<float>(v));
      return bits >> 15 ? -(bits & 0x7FFF) : bits & 0x7FFF;
    };
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double a = x[i];
      const double b = y[i];
      if (a < -1e38 && std::isfinite(a)) continue;
      if (!std::isfinite(a) || !std::isfinite(b)) {
        unlike += !((std::isnan(a) && std::isnan(b)) || a == b);
        continue;
      }
      ++compared;
      error2 += static_cast<long double>(a - b) * (a - b);
      product += static_cast<long double>(a) * b;
      if (std::abs(a - b) > largest) {
        largest = std::abs(a - b);
        at = i;
      }
      ulps += static_cast<std::uint64_t>(std::abs(rank(a) - rank(b)));
      equal += a == b;
    }
    const PairSums found = run(pair_sums_table(), x, y).total;
    EXPECT_EQ(found.compared, compared);
    EXPECT_EQ(found.equal, equal);
    EXPECT_EQ(found.unlike, unlike);
    EXPECT_EQ(found.ulp_sum, ulps);
    EXPECT_EQ(found.max_error, largest);
    EXPECT_EQ(found.max_index, at + 1000);
    EXPECT_GT(compared, 4000);
    if (std::isfinite(static_cast<double>(error2))) {
      EXPECT_NEAR(found.error2 / static_cast<double>(error2), 1, 1e-13);
      // With random bits the products cancel.
      const double scale = std::max(std::abs(static_cast<double>(product)),
                                    mix == Mix::kAnyBits ? found.reference2 : 0.0);
      EXPECT_NEAR(found.product, static_cast<double>(product), 1e-12 * scale);
    }
  }
}

TEST(PairSums, TheFirstOfEqualErrorsIsTheLargest) {
  std::vector<float> x(300, 0);
  std::vector<float> y(300, 0);
  y[290] = y[65] = y[70] = 2;  // in a group, and after the groups
  EXPECT_EQ(run(pair_sums_table(), x, y).total.max_index, 1065u);
}

TEST(PairSums, CountsWhatTheMaskHides) {
  const std::vector<double> x = {-3.4e38, -3.4e38, -3.4e38, -3.4e38, 1};
  const std::vector<double> y = {-3.4e38, -kInf, -1e4, 0.5, 1};
  const PairSums sums = run(pair_sums_table(), x, y).total;
  EXPECT_EQ(sums.hidden, 3);
  EXPECT_EQ(sums.not_hidden, 1);
  EXPECT_EQ(sums.compared, 1);
  EXPECT_EQ(sums.unlike, 0);
}

TEST(PairSums, CountsNanAndInfinityOnEachSide) {
  const double nan = std::nan("");
  const std::vector<double> x = {nan, nan, 1, kInf, kInf, -kInf, 3};
  const std::vector<double> y = {nan, 1, nan, kInf, -kInf, 2, 3};
  const PairSums sums = run(pair_sums_table(), x, y).total;
  EXPECT_EQ(sums.nan_reference, 2);
  EXPECT_EQ(sums.nan_candidate, 2);
  EXPECT_EQ(sums.inf_reference, 3);
  EXPECT_EQ(sums.inf_candidate, 2);
  EXPECT_EQ(sums.unlike, 4);
  EXPECT_EQ(sums.compared, 1);
}

}  // namespace
}  // namespace assay
