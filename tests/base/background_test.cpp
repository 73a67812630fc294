#include "base/background.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>

namespace assay {
namespace {

TEST(Background, DoesEveryJobAndBeginsThemInOrder) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    Background background(pool, 100);
    std::atomic<int> begun{0};
    std::vector<int> order(500, -1);
    for (int i = 0; i < 500; ++i) {
      background.add(static_cast<std::size_t>(i % 40), [&, i] { order[i] = begun++; });
      pool.for_each_item(3, [](std::size_t) {});  // the pool keeps working
    }
    background.finish();
    EXPECT_EQ(begun, 500);
    for (int i = 0; i < 500; ++i) {
      // One job may be delayed while many pass it, but never more run at once than allowed.
      EXPECT_GE(order[i], threads == 1 ? i : i - 2 * threads);
    }
  }
}

TEST(Background, HoldsNoMoreBytesThanItsBound) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    Background background(pool, 1000);
    std::atomic<long> held{0};
    long most = 0;
    for (int i = 0; i < 300; ++i) {
      const long bytes = 100 + i % 7 * 100;
      background.add(static_cast<std::size_t>(bytes), [&held, bytes] { held -= bytes; });
      held += bytes;
      most = std::max(most, held.load());
    }
    background.add(5000, [] {});  // larger than the bound, so it runs alone
    background.finish();
    EXPECT_EQ(held, 0);
    EXPECT_LE(most, 1000);
    EXPECT_GT(most, 300);
  }
}

TEST(Background, WhatAJobThrowsReachesTheOwnerAndNoOtherJobBegins) {
  for (const int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    std::atomic<int> after{0};
    {
      Background background(pool, 10);
      background.add(1, [] { throw std::runtime_error("job"); });
      EXPECT_THROW(background.finish(), std::runtime_error);
      EXPECT_THROW(background.add(1, [&] { ++after; }), std::runtime_error);
    }
    EXPECT_EQ(after, 0);
  }
}

TEST(Background, EndsWithoutJobsThatHaveNotBegun) {
  ThreadPool pool(1);
  int done = 0;
  {
    Background background(pool, 10);
    background.add(1, [&] { ++done; });
  }
  EXPECT_EQ(done, 0);
}

}  // namespace
}  // namespace assay
