// What this machine can do, measured: the limits that other figures are held against.
#pragma once

#include <chrono>
#include <cstddef>
#include <span>

#include "base/thread_pool.h"

namespace assay {

// Seconds that body() takes.
template <class Body>
double seconds(Body&& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Bytes per second at which all workers read `bytes` once, each a part of 2 MB as one stream at a
// time: with prefetch and without, whichever is faster on this machine today.
double read_rate(ThreadPool& pool, std::span<const std::byte> bytes);

// Floating-point operations per second (a fused multiply-add is two) at which the kernels of bf16
// add up dots on the instruction set in use, in registers, all workers at once.
double dot_rate(ThreadPool& pool);

}  // namespace assay
