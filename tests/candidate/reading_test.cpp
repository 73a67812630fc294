#include "candidate/reading.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "candidate/choose.h"
#include "metrics/rows.h"

namespace assay {
namespace {

// The candidate's element numbers, row by row of the reference, in this reading.
std::vector<double> read_by(const Reading& reading, const Shape& reference, std::size_t axis,
                            const Shape& candidate) {
  Array array{"a", DType::kF64, candidate, {}};
  const auto size = static_cast<std::size_t>(element_count(candidate, "a"));
  array.bytes.resize(size * sizeof(double));
  std::iota(array.as<double>().begin(), array.as<double>().end(), 0.0);
  const Rows rows = rows_of(reference, axis);
  const CandidateRows candidates(array.view(), reading, rows.width);
  const std::size_t count = reading.last_position ? rows.lead : rows.count();
  std::vector<double> result(count * rows.width);
  for (std::size_t r = 0; r < count; ++r) {
    candidates.read(r, 0, std::span(result).subspan(r * rows.width, rows.width));
  }
  return result;
}

// In the n-th reading.
std::vector<double> read_as(const Shape& reference, std::size_t axis, const Shape& candidate,
                            std::size_t n = 0) {
  const std::vector<Reading> all = readings(reference, axis, candidate);
  if (n >= all.size()) return {};
  return read_by(all[n], reference, axis, candidate);
}

std::vector<double> counting(std::size_t n) {
  std::vector<double> result(n);
  std::iota(result.begin(), result.end(), 0.0);
  return result;
}

TEST(Readings, OfTheSameShape) {
  EXPECT_EQ(readings(Shape{1, 5, 64}, 1, Shape{1, 5, 64})[0].text, "");
  EXPECT_EQ(read_as({1, 5, 64}, 1, {1, 5, 64}), counting(320));
}

TEST(Readings, WithoutTheBatchAxisOrWithHeadsJoinedOrSplit) {
  for (const Shape& candidate : {Shape{5, 64}, Shape{1, 1, 5, 64}, Shape{5, 4, 16}, Shape{320}}) {
    const std::vector<Reading> all = readings(Shape{1, 5, 64}, 1, candidate);
    ASSERT_FALSE(all.empty()) << shape_text(candidate);
    EXPECT_EQ(all[0].rank, 0);
    EXPECT_NE(all[0].text, "");
    EXPECT_EQ(read_as({1, 5, 64}, 1, candidate), counting(320));
  }
  EXPECT_EQ(read_as({1, 5, 4, 16}, 1, {5, 64}), counting(320));
}

TEST(Readings, WithPermutedAxes) {
  // [H, S] for [S, H]: element (s, h) lies at h * S + s.
  EXPECT_EQ(read_as({1, 2, 3}, 1, {3, 2}), (std::vector<double>{0, 2, 4, 1, 3, 5}));
  // [N, S, D] for [S, N, D].
  const std::vector<double> heads_first = read_as({1, 2, 3, 4}, 1, {3, 2, 4});
  EXPECT_EQ(heads_first[0], 0);
  EXPECT_EQ(heads_first[4], 8);   // s 0, head 1
  EXPECT_EQ(heads_first[12], 4);  // s 1, head 0
  // The same for joined heads.
  EXPECT_EQ(read_as({1, 2, 12}, 1, {3, 2, 4}), heads_first);
  // [N * D, S]
  EXPECT_EQ(read_as({1, 2, 3, 4}, 1, {12, 2})[1], 2);
}

TEST(Readings, OfASquareMatrixAreTwo) {
  const std::vector<Reading> all = readings(Shape{1, 8, 8}, 1, Shape{8, 8});
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].rank, 0);
  EXPECT_EQ(read_as({1, 8, 8}, 1, {8, 8}, 1)[1], 8);
}

TEST(Readings, OfPaddedArrays) {
  // 5 positions padded to 8, after or before; the shape may be reversed.
  const std::vector<Reading> all = readings(Shape{1, 5, 4}, 1, Shape{8, 4});
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[1].order, AxisOrder::kSame);
  EXPECT_EQ(all[2].order, AxisOrder::kReversed);
  EXPECT_EQ(read_as({1, 5, 4}, 1, {8, 4}), counting(20));
  EXPECT_EQ(read_as({1, 5, 4}, 1, {8, 4}, 1)[0], 12);
  // A vocabulary of 250 padded to 256.
  EXPECT_EQ(read_as({1, 2, 250}, 1, {1, 2, 256})[250], 256);
  // Not a multiple of anything.
  EXPECT_TRUE(readings(Shape{1, 5, 4}, 1, Shape{1, 5, 7}).empty());
}

TEST(Readings, OfMorePositionsAreTheFirst) {
  const std::vector<Reading> all = readings(Shape{1, 5, 2, 3}, 1, Shape{7, 6});
  EXPECT_NE(all[0].text.find("the first 5 of 7 positions"), std::string::npos) << all[0].text;
  EXPECT_EQ(read_as({1, 5, 2, 3}, 1, {7, 6}), counting(30));
  EXPECT_EQ(read_as({1, 1, 2, 3}, 1, {4, 6}), counting(6));
}

TEST(Readings, OfAReversedShape) {
  // [H, S] laid out as [S, H].
  std::vector<Reading> all = readings(Shape{1, 2, 3}, 1, Shape{3, 2});
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[1].order, AxisOrder::kReversed);
  EXPECT_EQ(read_by(all[1], {1, 2, 3}, 1, {3, 2}), counting(6));
  prefer_reversed(all);
  EXPECT_EQ(all[0].order, AxisOrder::kReversed);
  // [D, N, S] of heads.
  all = readings(Shape{1, 2, 3, 4}, 1, Shape{4, 3, 2});
  const auto reversed = std::ranges::find(all, AxisOrder::kReversed, &Reading::order);
  ASSERT_NE(reversed, all.end());
  EXPECT_EQ(read_by(*reversed, {1, 2, 3, 4}, 1, {4, 3, 2}), counting(24));
}

TEST(Readings, WithPositionsBeforeIfTheIdsHaveThem) {
  const ReadingHints padded{{3, 7}};
  const std::vector<Reading> all = readings(Shape{1, 4, 2}, 1, Shape{7, 2}, padded);
  ASSERT_FALSE(all.empty());
  EXPECT_EQ(read_by(all[0], {1, 4, 2}, 1, {7, 2})[0], 6);
  // Scores: queries and keys begin at the same position, and the keys may have more padding.
  const std::vector<Reading> scores = readings(Shape{1, 1, 2, 2}, 2, Shape{1, 3, 8}, {{1, 3}});
  ASSERT_FALSE(scores.empty());
  ASSERT_TRUE(scores[0].all_keys);
  EXPECT_EQ(scores[0].all_keys->extent, 8);
  EXPECT_EQ(scores[0].first_key, 1);
  EXPECT_EQ(read_by(scores[0], {1, 1, 2, 2}, 2, {1, 3, 8}), (std::vector<double>{9, 10, 17, 18}));
  // The run continues, so its last position is not the prompt's.
  EXPECT_TRUE(readings(Shape{1, 4, 2}, 1, Shape{2}, {{0, 6}}).empty());
}

// A kernel that does not mask its padding, whatever the kept ones add up to.
TEST(Readings, OfProbabilitiesTellWhatIsOmitted) {
  const auto said = [](Shape reference, Shape shape, std::vector<float> values,
                       const ReadingHints& hints) {
    Array array{"layer_00_attn_probs", DType::kF32, shape, {}};
    array.bytes.resize(values.size() * sizeof(float));
    std::ranges::copy(values, array.as<float>().begin());
    const std::vector<Reading> all = readings(reference, 2, shape, hints);
    return all.empty() ? "none" : about_left_out_keys(array.name, reference, array.view(), all[0]);
  };
  EXPECT_EQ(said({1, 1, 2, 2}, {1, 1, 2, 3}, {1, 0, 0.2F, 0.5F, 0.5F, 0}, {}),
            "; the omitted keys hold up to 0.2 of a position's attention");
  EXPECT_EQ(said({1, 1, 2, 2}, {1, 1, 2, 3}, {1, 0, 0, 0.5F, 0.5F, 0}, {}), "");
  EXPECT_EQ(said({1, 1, 2, 2}, {1, 1, 2, 3}, {1, 0, NAN, 0.5F, 0.5F, 0}, {}),
            "; the omitted keys hold up to nan of a position's attention");
  // Padding before the prompt, and a prompt of one token.
  EXPECT_EQ(said({1, 1, 2, 2}, {1, 1, 3, 3}, {1, 0, 0, 0.25F, 1, 0, 0, 0.5F, 0.5F}, {{1, 3}}),
            "; the omitted keys hold up to 0.25 of a position's attention");
  EXPECT_EQ(said({1, 2, 1, 1}, {1, 2, 1, 3}, {1, 0, 0, 1, 0, 0.5F}, {}),
            "; the omitted keys hold up to 0.5 of a position's attention");
}

TEST(Readings, OfAVocabularyPaddedToAnySize) {
  const std::vector<Reading> all = readings_of("logits", Shape{1, 2, 5}, 1, Shape{1, 2, 6}, {});
  ASSERT_FALSE(all.empty());
  EXPECT_EQ(read_by(all[0], {1, 2, 5}, 1, {1, 2, 6})[5], 6);
  EXPECT_TRUE(readings_of("layer_00_output", Shape{1, 2, 5}, 1, Shape{1, 2, 6}, {}).empty());
}

TEST(Readings, OfTheLastPositionOnly) {
  const std::vector<Reading> all = readings(Shape{1, 5, 64}, 1, Shape{64});
  ASSERT_EQ(all.size(), 1u);
  EXPECT_TRUE(all[0].last_position);
  EXPECT_EQ(read_as({1, 5, 64}, 1, {64}), counting(64));
  EXPECT_EQ(read_as({1, 2, 5, 5}, 2, {2, 5}), counting(10));  // scores of the last query
}

TEST(Readings, OfRotaryTablesOfHalfTheWidth) {
  const std::vector<Reading> all = half_table_readings(Shape{1, 3, 4}, Shape{5, 2});
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(read_by(all[0], {1, 3, 4}, 1, {5, 2}),
            (std::vector<double>{0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5}));
  EXPECT_TRUE(half_table_readings(Shape{1, 3, 4}, Shape{2, 2}).empty());
  EXPECT_TRUE(half_table_readings(Shape{1, 3, 4}, Shape{3, 3}).empty());
  EXPECT_TRUE(half_table_readings(Shape{1, 3, 4}, Shape{3, 0}).empty());
}

TEST(Readings, OfWhatDoesNotFitAreNone) {
  EXPECT_TRUE(readings(Shape{1, 5, 64}, 1, Shape{5, 63}).empty());
  EXPECT_TRUE(readings(Shape{1, 5, 64}, 1, Shape{4, 64}).empty());
  EXPECT_TRUE(readings(Shape{1, 5, 64}, 1, Shape{0}).empty());
  EXPECT_TRUE(readings(Shape{1, 5, 64}, 1, Shape{}).empty());
}

}  // namespace
}  // namespace assay
