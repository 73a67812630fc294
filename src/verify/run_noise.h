// The model's own runs: what they give, and how far those of one type lie from the oracle.
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

// The oracle's array of that name.
using Truth64 = std::function<LoadedArray(const std::string&)>;

// Runs the prompt in that type (of kQ8: FP32 with activations rounded to 8 bits before each matmul,
// as llama.cpp does with quantised weights) and measures the taps.
NoiseByTap run_noise(const Model& model, ExpectedType type, std::span<const std::int64_t> ids,
                     const TapSet& taps, const Truth64& truth, ThreadPool& pool);

// One prefill, whose taps go to `take` as they are complete.
void run_prompt(const Model& model, Numerics numerics, std::span<const std::int64_t> ids,
                const TapSet& taps, const std::function<void(Array)>& take, ThreadPool& pool);

}  // namespace assay
