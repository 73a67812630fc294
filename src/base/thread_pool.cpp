#include "base/thread_pool.h"

#include <sched.h>

#include <system_error>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace assay {
namespace {

// A decode step has hundreds of short jobs. Spinning briefly before waiting saves a system call
// each.
constexpr int kSpins = 4000;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns when value != old.
void wait_while(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

int available_threads() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

ThreadPool::ThreadPool(int threads)
    : rounds_(static_cast<std::size_t>((threads > 0 ? threads : available_threads()) - 1)) {
  workers_.reserve(rounds_.size());
  try {
    for (int w = 1; w <= static_cast<int>(rounds_.size()); ++w) {
      workers_.emplace_back([this, w] { work(w); });
    }
  } catch (const std::system_error&) {
    // The system has no more threads, so fewer workers do the same work.
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  for (int w = 1; w < size(); ++w) wake(w);
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::wake(int worker) {
  std::atomic<std::uint32_t>& round = rounds_[static_cast<std::size_t>(worker - 1)].count;
  round.fetch_add(1, std::memory_order_release);
  round.notify_one();
}

// Runs on workers [0, workers). The other workers are not woken, because they would take time from
// the work that has borrowed their cores.
void ThreadPool::start(Job job, int workers) {
  error_ = nullptr;
  job_ = job;
  if (workers > 1) {
    pending_.store(static_cast<std::uint32_t>(workers - 1), std::memory_order_relaxed);
    for (int w = 1; w < workers; ++w) wake(w);
  }
  call(0);
  for (std::uint32_t left = pending_.load(std::memory_order_acquire); left != 0;
       left = pending_.load(std::memory_order_acquire)) {
    wait_while(pending_, left);
  }
  if (error_) std::rethrow_exception(error_);
}

void ThreadPool::work(int worker) {
  const std::atomic<std::uint32_t>& round = rounds_[static_cast<std::size_t>(worker - 1)].count;
  std::uint32_t seen = 0;
  for (;;) {
    wait_while(round, seen);
    seen = round.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return;
    call(worker);
    if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) pending_.notify_one();
  }
}

void ThreadPool::call(int worker) noexcept {
  try {
    job_.call(job_.body, worker);
  } catch (...) {
    const std::lock_guard lock(error_mutex_);
    if (!error_) error_ = std::current_exception();
  }
}

}  // namespace assay
