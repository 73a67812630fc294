#include "base/background.h"

#include <chrono>
#include <system_error>
#include <utility>

namespace assay {

Background::Background(ThreadPool& pool, std::size_t bound) : pool_(pool), bound_(bound) {
  try {
    for (int t = 0; t < pool.size() / 2; ++t) threads_.emplace_back([this] { work(); });
  } catch (const std::system_error&) {
    // The system has no more threads, so add() and finish() do the work.
  }
}

Background::~Background() {
  {
    const std::lock_guard lock(mutex_);
    waiting_.clear();
    stop_ = true;
  }
  added_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Background::add(std::size_t bytes, std::function<void()> job) {
  std::unique_lock lock(mutex_);
  if (bytes_ > 0 && bytes_ + bytes > bound_) {
    lock.unlock();
    help(bytes < bound_ ? bound_ - bytes : 0);
    lock.lock();
  }
  if (error_) std::rethrow_exception(error_);
  bytes_ += bytes;
  waiting_.push_back({bytes, std::move(job)});
  lock.unlock();
  added_.notify_one();
}

void Background::finish() {
  help(0);
  const std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(error_);
}

// Works until at most this many bytes are held. For 0, until every job is done.
void Background::help(std::size_t until) {
  pool_.run([&](int worker) {
    std::unique_lock lock(mutex_);
    while (!waiting_.empty() && (until == 0 || bytes_ > until)) {
      run_next(lock);
      if (worker == 0) tell(lock);
    }
  });
  std::unique_lock lock(mutex_);
  while (running_ > 0 && (until == 0 || bytes_ > until)) {
    done_.wait_for(lock, std::chrono::milliseconds(100));
    tell(lock);
  }
}

void Background::tell(std::unique_lock<std::mutex>& lock) {
  if (!on_wait_) return;
  const std::size_t bytes = bytes_;
  lock.unlock();
  on_wait_(bytes);
  lock.lock();
}

void Background::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    added_.wait(lock, [&] { return stop_ || !waiting_.empty(); });
    if (stop_) return;
    pool_.lend();
    while (!waiting_.empty()) run_next(lock);
    pool_.take_back();
  }
}

void Background::run_next(std::unique_lock<std::mutex>& lock) {
  Job job = std::move(waiting_.front());
  waiting_.pop_front();
  ++running_;
  const bool failed = error_ != nullptr;
  lock.unlock();
  std::exception_ptr error;
  try {
    if (!failed) job.run();
    job.run = nullptr;  // releases what the job holds
  } catch (...) {
    error = std::current_exception();
  }
  lock.lock();
  if (error && !error_) error_ = error;
  bytes_ -= job.bytes;
  --running_;
  done_.notify_all();
}

}  // namespace assay
