// Jobs that run alongside a thread pool's own work, on cores that the pool lends them.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/thread_pool.h"

namespace assay {

// One thread owns it and the pool, and calls both. Jobs begin in the order in which they were
// added; they may not call the pool or add jobs.
class Background {
 public:
  // Waiting and running jobs hold at most `bound` bytes in total, unless a single job holds more.
  // They use up to half of the pool's workers. With one worker they run inside add() and finish().
  Background(ThreadPool& pool, std::size_t bound);
  // Drops the jobs that have not begun, and waits for those that run.
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  // Adds a job that holds `bytes` until it is done. If that exceeds the bound, the calling thread
  // works on jobs together with the pool until the new job fits. Throws what an earlier job threw;
  // after that, no job begins.
  void add(std::size_t bytes, std::function<void()> job);

  // Works on jobs together with the pool until all are done. Throws what a job threw.
  void finish();

  // Called by the owner's thread while it works on jobs or waits for them: how many bytes are held.
  void on_wait(std::function<void(std::size_t bytes)> callback) { on_wait_ = std::move(callback); }

 private:
  struct Job {
    std::size_t bytes;
    std::function<void()> run;
  };
  void work();
  void help(std::size_t until);
  void tell(std::unique_lock<std::mutex>& lock);
  // Runs the oldest job. The lock is held before and after, but not while the job runs.
  void run_next(std::unique_lock<std::mutex>& lock);

  ThreadPool& pool_;
  const std::size_t bound_;
  std::mutex mutex_;
  std::condition_variable added_;  // signals a new job, or the end
  std::condition_variable done_;
  std::deque<Job> waiting_;
  std::size_t bytes_ = 0;    // held by waiting and running jobs
  std::size_t running_ = 0;  // number of jobs
  std::exception_ptr error_;
  bool stop_ = false;
  std::function<void(std::size_t)> on_wait_;
  std::vector<std::thread> threads_;
};

}  // namespace assay
