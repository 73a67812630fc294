#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <numeric>
#include <stdexcept>

namespace assay {
namespace {

TEST(ThreadPool, EveryItemIsDoneOnceWhateverTheThreadCount) {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.size(), threads);
    for (const std::size_t count : {0u, 1u, 2u, 5u, 6u, 1000u}) {
      std::vector<int> done(count, 0);
      pool.parallel_for(count, 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) ++done[i];
      });
      pool.for_each_item(count, [&](std::size_t i) { ++done[i]; });
      for (const int n : done) ASSERT_EQ(n, 2);
    }
  }
}

TEST(ThreadPool, SharedItemsGoToAtMostTheRequestedWorkers) {
  ThreadPool pool(4);
  for (const std::size_t workers : {1, 2, 9}) {
    std::vector<std::atomic<int>> done(1000);
    std::atomic<int> highest{0};
    pool.share_items(done.size(), workers, [&](std::size_t i, int worker) {
      ++done[i];
      int seen = highest;
      while (seen < worker && !highest.compare_exchange_weak(seen, worker)) {
      }
    });
    for (const auto& count : done) EXPECT_EQ(count, 1);
    EXPECT_LT(highest, std::min<int>(static_cast<int>(workers), 4));
  }
}

TEST(ThreadPool, DoesWithoutWorkersThatAreLent) {
  ThreadPool pool(3);
  for (const int lent : {0, 1, 2, 3}) {
    for (int i = 0; i < lent; ++i) pool.lend();
    std::atomic<int> calls{0};
    pool.run([&](int worker) {
      EXPECT_LT(worker, std::max(1, 3 - lent));
      ++calls;
    });
    EXPECT_EQ(calls, std::max(1, 3 - lent));
    std::vector<std::atomic<int>> done(100);
    pool.parallel_for(done.size(), 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) ++done[i];
    });
    pool.for_each_item(done.size(), [&](std::size_t i) { ++done[i]; });
    for (const auto& count : done) EXPECT_EQ(count, 2);
    for (int i = 0; i < lent; ++i) pool.take_back();
  }
}

TEST(ThreadPool, ManyShortJobsInARow) {
  ThreadPool pool(3);
  std::vector<long> sums(3, 0);
  for (int i = 0; i < 5000; ++i) pool.run([&](int worker) { sums[worker] += worker + 1; });
  EXPECT_EQ(std::accumulate(sums.begin(), sums.end(), 0L), 5000L * 6);
}

TEST(ThreadPool, AnExceptionReachesTheCallerAndThePoolContinues) {
  ThreadPool pool(2);
  for (const int thrower : {0, 1}) {
    EXPECT_THROW(pool.run([&](int worker) {
      if (worker == thrower) throw std::runtime_error("worker");
    }),
                 std::runtime_error);
  }
  std::atomic<int> calls{0};
  pool.run([&](int) { ++calls; });
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace assay
