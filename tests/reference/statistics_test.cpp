#include "reference/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/half.h"

namespace assay {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

template <class T>
Array array_of(DType dtype, Shape shape, const std::vector<T>& values) {
  Array array{"a", dtype, std::move(shape), {}};
  array.bytes.resize(values.size() * sizeof(T));
  std::ranges::copy(values, array.as<T>().begin());
  return array;
}

Array f64(const std::vector<double>& values, Shape shape = {}) {
  if (shape.empty()) shape = {static_cast<std::int64_t>(values.size())};
  return array_of(DType::kF64, std::move(shape), values);
}

TEST(Statistics, FollowTheirFormulas) {
  const Statistics s = statistics(f64({1, 0, -3, 6, -0.0}).view());
  EXPECT_EQ(s.min, -3);
  EXPECT_EQ(s.max, 6);
  EXPECT_DOUBLE_EQ(s.mean, 0.8);
  EXPECT_DOUBLE_EQ(s.std, std::sqrt((1 + 9 + 36) / 5.0 - 0.64));  // population, not sample
  EXPECT_EQ(s.zeros, 2);
  EXPECT_EQ(s.nan + s.inf, 0);
}

TEST(Statistics, CountNanAndInfAndLeaveThemOut) {
  const Statistics s = statistics(f64({kNan, 2, kInf, 4, -kInf, kNan}).view());
  EXPECT_EQ(s.nan, 2);
  EXPECT_EQ(s.inf, 2);
  EXPECT_EQ(s.min, 2);
  EXPECT_EQ(s.max, 4);
  EXPECT_EQ(s.mean, 3);
  EXPECT_EQ(s.std, 1);
}

TEST(Statistics, OfNothingAreZero) {
  for (const Array& array : {f64({}, {0}), f64({kNan, kInf})}) {
    const Statistics s = statistics(array.view());
    EXPECT_EQ(s.min, 0);
    EXPECT_EQ(s.max, 0);
    EXPECT_EQ(s.mean, 0);
    EXPECT_EQ(s.std, 0);
  }
}

TEST(Statistics, ReadEveryDtype) {
  const auto expect = [](const Array& array) {
    const Statistics s = statistics(array.view());
    EXPECT_EQ(s.min, 1) << dtype_name(array.dtype);
    EXPECT_EQ(s.max, 3) << dtype_name(array.dtype);
    EXPECT_EQ(element(array.view(), 1), 3) << dtype_name(array.dtype);
  };
  expect(array_of<std::uint8_t>(DType::kU8, {2}, {1, 3}));
  expect(array_of<std::int8_t>(DType::kI8, {2}, {1, 3}));
  expect(array_of<std::int16_t>(DType::kI16, {2}, {1, 3}));
  expect(array_of<std::int32_t>(DType::kI32, {2}, {1, 3}));
  expect(array_of<std::int64_t>(DType::kI64, {2}, {1, 3}));
  expect(array_of<std::uint16_t>(DType::kBF16, {2}, {f32_to_bf16(1), f32_to_bf16(3)}));
  expect(array_of<std::uint16_t>(DType::kF16, {2}, {0x3C00, 0x4200}));
  expect(array_of<float>(DType::kF32, {2}, {1, 3}));
  expect(f64({1, 3}));
  EXPECT_EQ(element(array_of<std::int8_t>(DType::kI8, {1}, {-1}).view(), 0), -1);
}

TEST(LargestChannels, AreByMagnitudeWithTheirPosition) {
  // Three positions of four channels.
  const Array array = f64({1, -9, 0, 2, 3, 4, 0, -2, 1, 5, 0, kNan}, {1, 3, 4});
  const std::vector<Channel> channels = largest_channels(array.view(), 3);
  ASSERT_EQ(channels.size(), 3u);
  EXPECT_EQ(channels[0].index, 1u);
  EXPECT_EQ(channels[0].value, -9);
  EXPECT_EQ(channels[0].position, 0u);
  EXPECT_EQ(channels[1].index, 0u);
  EXPECT_EQ(channels[1].value, 3);
  EXPECT_EQ(channels[1].position, 1u);
  EXPECT_EQ(channels[2].index, 3u);
  EXPECT_EQ(channels[2].value, 2);
  EXPECT_EQ(largest_channels(array.view(), 9).size(), 4u);
}

TEST(Histogram, CountsFiniteElementsAndClosesTheLastBin) {
  const Array array = f64({0, 0.24, 0.25, 0.5, 0.99, 1, 1.01, -0.1, kNan, kInf});
  EXPECT_EQ(histogram(array.view(), 0, 1, 4), (std::vector<std::int64_t>{2, 1, 1, 2}));
  // All elements equal.
  EXPECT_EQ(histogram(f64({7, 7}).view(), 7, 7, 3), (std::vector<std::int64_t>{2, 0, 0}));
}

TEST(RelativeL2, IsTheErrorOverTheSecondsNorm) {
  EXPECT_DOUBLE_EQ(relative_l2(f64({3, 5}).view(), f64({3, 4}).view(), 2), 1.0 / 5);
  EXPECT_EQ(relative_l2(f64({0, 0}).view(), f64({0, 0}).view(), 2), 0);
  EXPECT_EQ(relative_l2(f64({1, 9}).view(), f64({1, 4}).view(), 1), 0);
  EXPECT_TRUE(std::isnan(relative_l2(f64({kNan}).view(), f64({1}).view(), 1)));
  const Array single = array_of<float>(DType::kF32, {2}, {3, 5});
  EXPECT_DOUBLE_EQ(relative_l2(single.view(), f64({3, 4}).view(), 2), 1.0 / 5);
}

TEST(RelativeL2, LeavesOutWhatTheMaskHides) {
  // The lowest BF16 against the lowest float: each is its type's masked value, not an error.
  EXPECT_DOUBLE_EQ(relative_l2(f64({-3.3895314e38, 3}).view(), f64({-3.4028235e38, 4}).view(), 2),
                   0.25);
  // Masked in only one of them is an error.
  EXPECT_GT(relative_l2(f64({0, 4}).view(), f64({-3.4028235e38, 4}).view(), 2), 0.9);
}

}  // namespace
}  // namespace assay
