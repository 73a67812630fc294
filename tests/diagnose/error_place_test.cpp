// Which positions, heads or channels an error is said to be in.
#include <gtest/gtest.h>

#include <vector>

#include "diagnose/relations.h"

namespace assay {
namespace {

using Parts = std::vector<std::int64_t>;

TEST(ErrorPlace, IsTheFewPartsThatHaveIt) {
  EXPECT_EQ(where_error_lives(std::vector<double>{0, 3, 0, 0, 5, 0}, 1), (Parts{1, 4}));
}

// An error of decode begins after the prompt, which may be short.
TEST(ErrorPlace, IsAllPartsFromOneOn) {
  EXPECT_EQ(where_error_lives(std::vector<double>{0, 0, 2, 4, 3, 9, 5, 7, 8, 6}, 1),
            (Parts{2, 3, 4, 5, 6, 7, 8, 9}));
}

// A rotation changes nothing at position 0.
TEST(ErrorPlace, IsNothingToSayIfMostHaveIt) {
  EXPECT_EQ(where_error_lives(std::vector<double>{0, 2, 4, 3, 9, 5}, 1), Parts());
  EXPECT_EQ(where_error_lives(std::vector<double>{2, 2, 0, 3, 9, 5}, 1), Parts());
  EXPECT_EQ(where_error_lives(std::vector<double>{0, 0, 0}, 1), Parts());
}

}  // namespace
}  // namespace assay
