// Work that takes seconds, on a thread of its own: Python's other threads go on, and Ctrl-C stops
// it.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <future>
#include <string>
#include <string_view>

#include "report/progress.h"

namespace assay::python {

class Run {
 public:
  // on_progress: Python's f(what: str, fraction: float), or None for a bar on a terminal.
  explicit Run(nanobind::object on_progress) : on_progress_(std::move(on_progress)) {}

  // What the work calls; it throws to stop the work.
  void progress(std::string_view what, double fraction) {
    if (interrupted_) throw Interrupted();
    if (on_progress_.is_none()) {
      bar_.update(what, fraction);
    } else {
      const nanobind::gil_scoped_acquire held;
      on_progress_(nanobind::str(what.data(), what.size()), fraction);
    }
  }

  // The work's result. Throws what it throws, and KeyboardInterrupt. Needs the GIL, which the work
  // does not have.
  template <class Work>
  auto result_of(const Work& work) {
    auto future = std::async(std::launch::async, work);
    bool interrupted = false;
    while (!is_ready(future)) {
      if (!interrupted && PyErr_CheckSignals() != 0) interrupted = interrupted_ = true;
    }
    if (!interrupted) return future.get();
    nanobind::python_error signal;  // takes what PyErr_CheckSignals has set
    try {
      future.get();
    } catch (const std::exception&) {  // Interrupted, or what went wrong at the same time
    }
    throw signal;
  }

 private:
  struct Interrupted : std::exception {};

  template <class Future>
  static bool is_ready(const Future& future) {
    const nanobind::gil_scoped_release released;
    return future.wait_for(std::chrono::milliseconds(50)) == std::future_status::ready;
  }

  nanobind::object on_progress_;
  ProgressBar bar_;
  std::atomic<bool> interrupted_ = false;
};

}  // namespace assay::python
