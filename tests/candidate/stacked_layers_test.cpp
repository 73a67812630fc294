#include "candidate/stacked_layers.h"

#include <gtest/gtest.h>

#include <cmath>

namespace assay {
namespace {

using Layers = std::vector<std::size_t>;

TEST(AssignLayers, TakesTheNearestInOrder) {
  EXPECT_EQ(assign_layers({{0.9, 0.0, 0.5, 0.9}, {0.9, 0.5, 0.4, 0.0}}), (Layers{1, 3}));
  EXPECT_EQ(assign_layers({{0.0}}), (Layers{0}));
  // Both are nearest to layer 1, but it can be only one of them.
  EXPECT_EQ(assign_layers({{0.9, 0.0, 0.1}, {0.9, 0.1, 0.2}}), (Layers{1, 2}));
  // Never backwards, although each alone would fit better so.
  EXPECT_EQ(assign_layers({{9, 9, 0}, {0, 9, 9}, {9, 9, 9}}), (Layers{0, 1, 2}));
}

TEST(AssignLayers, SurvivesWhatIsNoNumber) {
  const double nan = std::nan("");
  const double inf = HUGE_VAL;
  EXPECT_EQ(assign_layers({{nan, 0.0, inf}, {inf, nan, nan}}), (Layers{1, 2}));
  EXPECT_EQ(assign_layers({{nan, nan, nan}, {nan, nan, nan}}), (Layers{0, 1}));
  // A single array that is far off does not move the others.
  EXPECT_EQ(assign_layers({{1e300, 1e299, 1e301}, {9, 0.0, 9}}), (Layers{0, 1}));
}

TEST(AssignLayers, RefusesMoreArraysThanLayers) {
  EXPECT_FALSE(assign_layers({{0}, {0}}));
  EXPECT_FALSE(assign_layers({}));
}

}  // namespace
}  // namespace assay
