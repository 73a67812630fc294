#include "candidate/near_choice.h"

#include <gtest/gtest.h>

#include <vector>

namespace assay {
namespace {

// Four groups of three; the sums of the two best are 1.5, 1.49, 1.6 and 0.5.
const std::vector<double> kScores = {0.9, 0.6, 0.1, 0.8, 0.69, 0.2, 0.85, 0.75, 0.3, 0.4, 0.1, 0.0};
constexpr ExpertGroups kGroups{4, 2};

bool is_near(std::vector<std::size_t> ids, double tolerance) {
  return is_near_choice(kScores, kGroups, ids, tolerance);
}

TEST(NearChoice, TheBestOfTheKeptGroups) {
  EXPECT_TRUE(is_near({0, 6, 7}, 0));
  EXPECT_FALSE(is_near({0, 6, 1}, 0)) << "7 is better than 1";
  EXPECT_FALSE(is_near({0, 6, 3}, 0)) << "of three groups";
}

TEST(NearChoice, OfGroupsWithNearlyEqualSums) {
  EXPECT_FALSE(is_near({6, 3, 7}, 0.001));
  EXPECT_TRUE(is_near({6, 3, 7}, 0.006)) << "1.49 may be as good as 1.5";
  EXPECT_FALSE(is_near({6, 3, 4}, 0.006)) << "7 is better than 4 in any case";
  EXPECT_FALSE(is_near({6, 7, 9}, 0.006)) << "0.5 is far off";
  EXPECT_FALSE(is_near({0, 3, 6}, 0.006)) << "three groups, of which two are kept";
  EXPECT_TRUE(is_near({6, 7}, 0.06)) << "with the group whose best expert is 0.8";
}

TEST(NearChoice, NothingFitsImpossibleGroups) {
  EXPECT_FALSE(is_near_choice(kScores, {5, 2}, std::vector<std::size_t>{0}, 1));
  EXPECT_FALSE(is_near_choice(kScores, {4, 0}, std::vector<std::size_t>{0}, 1));
}

}  // namespace
}  // namespace assay
