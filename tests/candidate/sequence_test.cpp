// Token ids in every form, and finding a prompt in them.
#include "candidate/sequence.h"

#include <gtest/gtest.h>

#include "base/expect_error.h"
#include "candidate/ids.h"

namespace assay {
namespace {

using Ids = std::vector<std::int64_t>;

template <class T>
Ids read(std::vector<T> values, DType dtype) {
  const auto bytes = std::as_bytes(std::span(values));
  return read_ids(ArrayView{"ids", dtype, {std::ssize(values)}, bytes}, "ids");
}

TEST(Ids, OfAnyTypeThatHoldsIntegers) {
  const Ids ids = {1, 2, 100};
  EXPECT_EQ(read<std::int64_t>({1, 2, 100}, DType::kI64), ids);
  EXPECT_EQ(read<std::int32_t>({1, 2, 100}, DType::kI32), ids);
  EXPECT_EQ(read<std::int8_t>({1, 2, 100}, DType::kI8), ids);
  EXPECT_EQ(read<std::uint16_t>({1, 2, 100}, DType::kU16), ids);
  EXPECT_EQ(read<std::uint32_t>({1, 2, 100}, DType::kU32), ids);
  EXPECT_EQ(read<std::uint64_t>({1, 2, 100}, DType::kU64), ids);
  EXPECT_EQ(read<float>({1, 2, 100}, DType::kF32), ids);
  EXPECT_EQ(read<std::uint32_t>({4'000'000'000}, DType::kU32), Ids{4'000'000'000});
  expect_error(ErrorKind::kInput, {"F32 1.5 at 1", "integers"}, [] {
    read<float>({1, 1.5F}, DType::kF32);
  });
}

TEST(Sequence, FindsThePrompt) {
  const Ids prompt = {5, 6, 7};
  const auto find = [&](const Ids& ids, const Ids& text = {}) {
    return find_prompt(prompt, ids, text).value_or(Sequence{-1});
  };
  EXPECT_TRUE(find({5, 6, 7}).plain());
  EXPECT_EQ(find({5, 6, 8}).front, -1);
  EXPECT_EQ(find({5, 6}).front, -1);
  EXPECT_EQ(find({5, 6, 7, 1, 2}).decoded, 2);
  EXPECT_EQ(find({5, 6, 7, 1, 1}).back, 2);
  // The text may repeat one token.
  EXPECT_EQ(find({5, 6, 7, 1, 1}, {5, 6, 7, 1, 1, 1}).decoded, 2);
  const Sequence padded = find({0, 0, 5, 6, 7, 1, 2, 3});
  EXPECT_TRUE(padded.sure);
  EXPECT_EQ(padded.front, 2);
  EXPECT_EQ(padded.decoded, 3);
  // A template or an extra token: only the values can decide.
  EXPECT_FALSE(find({3, 4, 5, 6, 7}).sure);
  EXPECT_FALSE(find({4, 5, 6, 7}).sure);
  EXPECT_EQ(without_padding(padded, Ids{0, 0, 5, 6, 7, 1, 2, 3}), (Ids{5, 6, 7, 1, 2, 3}));
}

// A search that restarts at every place would take hours.
TEST(Sequence, IsFoundInLinearTime) {
  Ids prompt(400'000, 0);
  prompt.back() = 1;
  Ids ids(1'000'000, 0);
  EXPECT_FALSE(find_prompt(prompt, ids));
  ids[ids.size() - 10] = 1;
  const std::optional<Sequence> found = find_prompt(prompt, ids);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->front, 599'991);
}

TEST(Sequence, TellsWhetherTheRunContinuesAsTheReference) {
  const Ids prompt = {5, 6, 7};
  const Ids text = {5, 6, 7, 1, 2, 3};
  const auto lines = [&](const Ids& ids) {
    return about_sequence(*find_prompt(prompt, ids, text), ids, false, text).back();
  };
  EXPECT_NE(lines({5, 6, 7, 1, 2}).find("its tokens are the reference's"), std::string::npos);
  EXPECT_NE(lines({5, 6, 7, 1, 9}).find("differs from the reference's text from position 4 on"),
            std::string::npos);
}

}  // namespace
}  // namespace assay
