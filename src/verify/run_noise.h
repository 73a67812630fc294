// Runs of the model itself, and the distance between those of one type and the oracle.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "assay/numerics.h"
#include "base/thread_pool.h"
#include "formats/array_file.h"
#include "model/model.h"
#include "models/taps.h"
#include "verify/precision.h"

namespace assay {

// Returns the oracle's array of that name.
using Truth64 = std::function<LoadedArray(const std::string&)>;

// Runs the prompt in that type (kQ8: FP32 with activations rounded to 8 bits before each matmul, as
// in llama.cpp with quantised weights) and measures the taps.
NoiseByTap run_noise(const Model& model, ExpectedType type, std::span<const std::int64_t> ids,
                     const TapSet& taps, const Truth64& truth, ThreadPool& pool);

// One prefill that passes each tap to `take` when it is complete.
void run_prompt(const Model& model, Numerics numerics, std::span<const std::int64_t> ids,
                const TapSet& taps, const std::function<void(Array)>& take, ThreadPool& pool);

}  // namespace assay
