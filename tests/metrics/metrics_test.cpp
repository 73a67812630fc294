#include "metrics/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace assay {
namespace {

Array doubles(const std::vector<double>& values, Shape shape) {
  Array array{"x", DType::kF64, std::move(shape), {}};
  array.bytes.resize(values.size() * sizeof(double));
  std::ranges::copy(values, array.as<double>().begin());
  return array;
}

TensorMetrics measured(const Array& reference, const Array& candidate) {
  Layout layout;
  std::int64_t stride = 1;
  for (std::size_t a = reference.shape.size(); a-- > 0;) {
    layout.axes.insert(layout.axes.begin(), {reference.shape[a], stride});
    stride *= reference.shape[a];
  }
  return measure(reference.view(), 1, candidate.view(), layout, nullptr);
}

// Scale-independent metrics are the same for numbers whose squares are 0 or infinite.
TEST(Metrics, OfNumbersOfAnySizeAreTheSame) {
  std::mt19937 random(3);
  std::normal_distribution<double> normal;
  std::vector<double> x(3 * 70);
  std::vector<double> y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = std::abs(normal(random));  // values far below 0 would be masked scores
    y[i] = x[i] * (1 + 0.01 * normal(random));
  }
  const TensorMetrics plain = measured(doubles(x, {1, 3, 70}), doubles(y, {1, 3, 70}));
  for (const int power : {-1000, -600, -540, 540, 1000}) {
    std::vector<double> a(x.size());
    std::vector<double> b(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      a[i] = std::ldexp(x[i], power);
      b[i] = std::ldexp(y[i], power);
    }
    const TensorMetrics m = measured(doubles(a, {1, 3, 70}), doubles(b, {1, 3, 70}));
    EXPECT_NEAR(m.relative_l2 / plain.relative_l2, 1, 1e-12) << power;
    EXPECT_NEAR(m.cosine, plain.cosine, 1e-12) << power;
    EXPECT_NEAR(m.scale_difference / plain.scale_difference, 1, 1e-12) << power;
    EXPECT_NEAR(std::ldexp(m.rmse, -power) / plain.rmse, 1, 1e-12) << power;
    ASSERT_EQ(m.position_error.size(), 3U);
    for (std::size_t p = 0; p < 3; ++p) {
      EXPECT_NEAR(m.position_error[p] / plain.position_error[p], 1, 1e-12) << power;
    }
  }
}

TEST(Metrics, OfOneTinyPositionAmongOthersAreItsOwn) {
  std::vector<double> x = {1, 2, 3, 1e-170, 2e-170, 0, 4, 5, 6};
  std::vector<double> y = x;
  for (std::size_t i = 3; i < 6; ++i) y[i] *= -1000;
  TensorMetrics m = measured(doubles(x, {1, 3, 3}), doubles(y, {1, 3, 3}));
  EXPECT_NEAR(m.position_error[1], 1001, 1e-9);
  EXPECT_EQ(m.position_error[0], 0);
  EXPECT_GT(m.relative_l2, 0);
  EXPECT_LT(m.relative_l2, 1e-160);
  EXPECT_NEAR(m.cosine, 1, 1e-15);
  // NaN only in the candidate, and only in the reference.
  m = measured(doubles({1e-200, 0}, {1, 1, 2}), doubles({0, 0}, {1, 1, 2}));
  EXPECT_EQ(m.relative_l2, 1);
  EXPECT_EQ(m.cosine, 0);
  m = measured(doubles({0, 0}, {1, 1, 2}), doubles({0, 1e-200}, {1, 1, 2}));
  EXPECT_EQ(m.relative_l2, INFINITY);
  EXPECT_EQ(m.scale_difference, 1);
  // Masked scores stay masked, whatever the others' size.
  m = measured(doubles({1e-200, -1e39}, {1, 1, 2}), doubles({2e-200, -INFINITY}, {1, 1, 2}));
  EXPECT_EQ(m.relative_l2, 1);
}

}  // namespace
}  // namespace assay
