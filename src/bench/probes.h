// Measures what this machine can do: the limits for the other figures.
#pragma once

#include <chrono>
#include <cstddef>
#include <span>

#include "base/thread_pool.h"

namespace assay {

// The time that body() takes, in seconds.
template <class Body>
double seconds(Body&& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Bytes per second at which all workers read `bytes` once, each in parts of 2 MB as one stream:
// with or without prefetch, whichever is faster.
double read_rate(ThreadPool& pool, std::span<const std::byte> bytes);

// Floating-point operations per second (a fused multiply-add counts as two) at which the bf16
// kernels compute dots in registers on the instruction set in use, with all workers at once.
double dot_rate(ThreadPool& pool);

}  // namespace assay
