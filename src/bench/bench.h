// The engine's speed. Each figure is measured alternately with its limit in one process: on a
// shared machine, only the ratios are meaningful.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace assay {

struct BenchOptions {
  std::filesystem::path model;    // checkpoint directory, with tokenizer.json
  std::filesystem::path program;  // the assay program, for start-up
  std::filesystem::path scratch;  // existing directory for files that extract and compare need
  int threads = 0;                // 0: all cores
  int runs = 5;                   // times that each figure is measured, taking turns
};

// `value` is the median over the runs, in `unit`. `ratio` is the median of each run's value (for
// times: of its inverse) over the limit measured in the same run.
struct BenchFigure {
  std::string name;  // "decode", "prefill 512", ...
  std::string unit;  // "tokens/s", "GB/s", "ms", ...
  double value = 0;
  double low = 0, high = 0;  // over the runs
  std::string limit;         // what bounds it; empty for the limits themselves
  double ratio = 0;
};

// Throws the errors of the measured parts (input errors of the checkpoint, system errors).
// on_progress: fraction of the work done.
std::vector<BenchFigure> bench(const BenchOptions& options,
                               const std::function<void(std::string_view, double)>& on_progress);

}  // namespace assay
