#include "candidate/expert_slots.h"

#include <gtest/gtest.h>

#include "candidate/expert_ids.h"

namespace assay {
namespace {

Array floats(std::vector<float> values, Shape shape) {
  Array array{"x", DType::kF32, std::move(shape), {}};
  array.bytes.resize(values.size() * 4);
  std::ranges::copy(values, array.as<float>().begin());
  return array;
}

TEST(ExpertSlots, ADifferentOrderIsCorrected) {
  const Array own = ids_of({5, 2, 7, 1, 0, 3});
  const Array other = ids_of({2, 5, 7, 3, 1, 0});
  const auto slots = match_experts(own.view(), other.view());
  ASSERT_TRUE(slots);
  EXPECT_TRUE(slots->other_experts.empty());
  const auto moved = in_order_of(*slots, other.view());
  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->bytes, own.bytes);
  // Two values per slot.
  const Array act = floats({20, 21, 50, 51, 70, 71, 30, 31, 10, 11, 0, 1}, {1, 2, 3, 2});
  const auto sorted = in_order_of(*slots, act.view());
  ASSERT_TRUE(sorted);
  const std::vector<float> expected = {50, 51, 20, 21, 70, 71, 10, 11, 0, 1, 30, 31};
  EXPECT_TRUE(std::ranges::equal(sorted->as<float>(), expected));
}

TEST(ExpertSlots, OfTheLastPositionAlone) {
  const Array own = ids_of({5, 2, 7, 1, 0, 3});
  const Array last = ids_of({3, 1, 0});
  const auto slots = match_experts(own.view(), last.view());
  ASSERT_TRUE(slots);
  const auto moved = in_order_of(*slots, last.view());
  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->bytes, ids_of({1, 0, 3}).bytes);
  // The experts of only one of the two positions are known.
  EXPECT_FALSE(in_order_of(*slots, own.view()));
  // The last of the known positions.
  const auto all = match_experts(own.view(), ids_of({5, 2, 7, 3, 1, 0}).view());
  EXPECT_EQ(in_order_of(*all, last.view())->bytes, moved->bytes);
}

TEST(ExpertSlots, SlotsInOrderAreLeftAlone) {
  const Array own = ids_of({5, 2, 7, 1, 0, 3});
  EXPECT_FALSE(in_order_of(*match_experts(own.view(), own.view()), own.view()));
}

TEST(ExpertSlots, OfOtherSizesAreLeftAlone) {
  const Array own = ids_of({5, 2, 7});
  const Array other = ids_of({5, 2, 7, 1, 0, 3});
  EXPECT_FALSE(match_experts(own.view(), other.view()));
}

}  // namespace
}  // namespace assay
