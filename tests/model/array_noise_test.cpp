// The noise of a run, position by position, and its text in a manifest.
#include "model/array_noise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "numerics/noise.h"

namespace assay {
namespace {

constexpr double kFloor = one_rounding(Grid::kF32);

Array array_of(Shape shape, std::vector<float> values) {
  Array array{"a", DType::kF32, std::move(shape), {}};
  array.bytes.resize(values.size() * sizeof(float));
  std::ranges::copy(values, array.as<float>().begin());
  return array;
}

TEST(ArrayNoise, IsRelativePositionByPosition) {
  const Array run = array_of({1, 3, 2}, {3, 4, 3.5F, 4, 0, 0});
  const Array oracle = array_of({1, 3, 2}, {3, 4, 3, 4, 0, 0});
  const ArrayNoise noise = array_noise(run.view(), oracle.view(), 1);
  EXPECT_EQ(noise.positions, (std::vector<double>{kFloor, 0.1, kFloor}));
  EXPECT_DOUBLE_EQ(noise.whole, 0.5 / std::sqrt(50));
}

TEST(ArrayNoise, ScoresGoByQueryWithoutWhatTheMaskHides) {
  const float low = std::numeric_limits<float>::lowest();
  // Two heads, two queries, two keys.
  const Array run = array_of({1, 2, 2, 2}, {1, low, 1, 2, 1, low, 1, 1});
  const Array oracle = array_of({1, 2, 2, 2}, {1, low, 1, 1, 1, low, 1, 1});
  const ArrayNoise noise = array_noise(run.view(), oracle.view(), 2);
  EXPECT_EQ(noise.positions, (std::vector<double>{kFloor, 0.5}));
}

TEST(ArrayNoise, ANonzeroForAZeroIsInfinitelyFar) {
  const Array run = array_of({1, 1, 1}, {1});
  const Array oracle = array_of({1, 1, 1}, {0});
  const ArrayNoise noise = array_noise(run.view(), oracle.view(), 1);
  EXPECT_TRUE(std::isinf(noise.whole));
  EXPECT_EQ(positions_text(noise), "z");
}

TEST(ArrayNoise, TheTextHoldsHalfOctavesNeverTooLittle) {
  const ArrayNoise noise{0, {kFloor, kFloor * 1.01, kFloor * 3, kFloor * 1000, NAN}};
  const std::string text = positions_text(noise);
  EXPECT_EQ(text, "014kz");
  const auto read = read_positions(text);
  ASSERT_TRUE(read);
  for (std::size_t i = 0; i + 1 < read->size(); ++i) {
    EXPECT_GE((*read)[i], noise.positions[i]);
    EXPECT_LE((*read)[i], noise.positions[i] * 1.42);
  }
  EXPECT_EQ(read_positions(""), std::vector<double>());
  EXPECT_FALSE(read_positions("01 "));
  EXPECT_FALSE(read_positions("A"));
}

}  // namespace
}  // namespace assay
