// A fixed set of workers that run one job at a time, together with the calling thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace assay {

// The number of cores that this process may use (its CPU affinity), at least 1.
int available_threads();

// Not thread-safe: one thread owns a pool and calls it. Jobs must not call the pool again.
class ThreadPool {
 public:
  // threads: workers including the caller, or fewer if the system has no more threads; 0 means
  // available_threads().
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  // Lends a core to work outside the pool: jobs that begin meanwhile use one worker fewer (the
  // caller always works). May be called from any thread.
  void lend() noexcept { lent_.fetch_add(1, std::memory_order_relaxed); }
  void take_back() noexcept { lent_.fetch_sub(1, std::memory_order_relaxed); }

  // Calls body(worker) once for each worker in [0, size()) that is not lent, the caller being
  // worker 0, and returns when all are done. The first exception that a body threw is thrown again
  // here.
  template <class Body>
  void run(Body&& body) {
    run_on(free_workers(), body);
  }

  // Calls body(begin, end) for contiguous parts of [0, count) of at least `grain` items each.
  // Where the range is split depends on size(), so a body's result must not depend on that.
  template <class Body>
  void parallel_for(std::size_t count, std::size_t grain, Body&& body) {
    if (count == 0) return;
    const std::size_t parts =
        std::clamp<std::size_t>(count / std::max<std::size_t>(grain, 1), 1, free_workers());
    if (parts == 1) {
      body(std::size_t{0}, count);
      return;
    }
    run_on(static_cast<int>(parts), [&](int worker) {
      const auto w = static_cast<std::size_t>(worker);
      body(count * w / parts, count * (w + 1) / parts);
    });
  }

  // Calls body(item, worker) for every item in [0, count). The next free worker, of at most
  // `workers`, takes the next item: for items of unequal length, and for machines on which other
  // programs slow one core down.
  template <class Body>
  void share_items(std::size_t count, std::size_t workers, Body&& body) {
    const auto wanted = std::min<std::size_t>(std::min(count, workers), free_workers());
    if (wanted <= 1) {
      for (std::size_t i = 0; i < count; ++i) body(i, 0);
      return;
    }
    std::atomic<std::size_t> next{0};
    run_on(static_cast<int>(wanted), [&](int worker) {
      for (std::size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) body(i, worker);
    });
  }

  // Calls body(item) for every item in [0, count). The next free worker takes the next item.
  template <class Body>
  void for_each_item(std::size_t count, Body&& body) {
    share_items(count, count, [&](std::size_t i, int) { body(i); });
  }

 private:
  struct Job {
    void (*call)(void*, int) = nullptr;
    void* body = nullptr;
  };
  // A worker waits for its round to be incremented. Each is on its own cache line.
  struct alignas(64) Round {
    std::atomic<std::uint32_t> count{0};
  };

  template <class Body>
  void run_on(int workers, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    start({[](void* b, int worker) { (*static_cast<Plain*>(b))(worker); },
           const_cast<void*>(static_cast<const void*>(std::addressof(body)))},
          workers);
  }
  int free_workers() const noexcept {
    return std::max(1, size() - lent_.load(std::memory_order_relaxed));
  }
  void start(Job job, int workers);
  void wake(int worker);
  void work(int worker);
  void call(int worker) noexcept;

  Job job_;
  std::vector<Round> rounds_;  // of each worker but the caller
  std::atomic<int> lent_{0};
  std::atomic<std::uint32_t> pending_{0};  // workers that have not finished the current job
  std::atomic<bool> stop_{false};
  std::mutex error_mutex_;
  std::exception_ptr error_;
  std::vector<std::thread> workers_;
};

}  // namespace assay
