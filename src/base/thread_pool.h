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

// Threads this process may run on (its CPU affinity), at least 1.
int available_threads();

// Not thread-safe: one thread owns a pool and calls it. Jobs must not call the pool again.
class ThreadPool {
 public:
  // threads: workers including the caller, fewer where the system gives no more; 0 means
  // available_threads().
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(worker) once for each worker in [0, size()), the caller being worker 0, and returns
  // when all are done. The first exception that a body threw is thrown again here.
  template <class Body>
  void run(Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    start({[](void* b, int worker) { (*static_cast<Plain*>(b))(worker); },
           const_cast<void*>(static_cast<const void*>(std::addressof(body)))});
  }

  // Calls body(begin, end) for contiguous parts of [0, count) of at least `grain` items each.
  // Where it is split depends on size(): a body must not let its result depend on that.
  template <class Body>
  void parallel_for(std::size_t count, std::size_t grain, Body&& body) {
    if (count == 0) return;
    const std::size_t parts =
        std::clamp<std::size_t>(count / std::max<std::size_t>(grain, 1), 1, size());
    if (parts == 1) {
      body(std::size_t{0}, count);
      return;
    }
    run([&](int worker) {
      const auto w = static_cast<std::size_t>(worker);
      if (w < parts) body(count * w / parts, count * (w + 1) / parts);
    });
  }

  // Calls body(item, worker) for every item in [0, count), each taken by the next free worker of at
  // most `workers`: for items of unequal length, and for neighbours that slow one core down.
  template <class Body>
  void share_items(std::size_t count, std::size_t workers, Body&& body) {
    if (std::min(count, workers) <= 1 || size() == 1) {
      for (std::size_t i = 0; i < count; ++i) body(i, 0);
      return;
    }
    std::atomic<std::size_t> next{0};
    run([&](int worker) {
      if (static_cast<std::size_t>(worker) >= workers) return;
      for (std::size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) body(i, worker);
    });
  }

  // Calls body(item) for every item in [0, count), each taken by the next free worker.
  template <class Body>
  void for_each_item(std::size_t count, Body&& body) {
    share_items(count, count, [&](std::size_t i, int) { body(i); });
  }

 private:
  struct Job {
    void (*call)(void*, int) = nullptr;
    void* body = nullptr;
  };
  void start(Job job);
  void work(int worker);
  void call(int worker) noexcept;

  Job job_;
  std::atomic<std::uint32_t> round_{0};    // incremented for each job; workers wait for it
  std::atomic<std::uint32_t> pending_{0};  // workers that have not finished the current job
  std::atomic<bool> stop_{false};
  std::mutex error_mutex_;
  std::exception_ptr error_;
  std::vector<std::thread> workers_;
};

}  // namespace assay
