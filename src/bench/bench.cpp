#include "bench/bench.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <libdeflate.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>
#include <random>

#include "assay/compare.h"
#include "assay/error.h"
#include "assay/extract.h"
#include "assay/npz.h"
#include "base/half.h"
#include "bench/probes.h"
#include "model/executor.h"
#include "models/program.h"
#include "reference/statistics.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kDecodeSteps = 8;

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

// A figure's value and ratio in each run.
struct Series {
  std::string name, unit, limit;
  std::vector<double> values, ratios;
};

class Bench {
 public:
  Bench(const BenchOptions& options,
        const std::function<void(std::string_view, double)>& on_progress)
      : options_(options),
        on_progress_(on_progress),
        model_(load_model(options.model)),
        pool_(options.threads),
        bf16_(model_, pool_),
        sequence_(model_.program, 512) {
    count_step();
    activations_ = some_activations();
    write_npz(options.scratch / "candidate.npz", views(), Compression::kNone);
    write_npz(options.scratch / "reference.npz", views(), Compression::kNone);
  }

  std::vector<BenchFigure> run() {
    run_all(true);  // warms up pages, buffers and clocks
    series_.clear();
    for (int r = 0; r < options_.runs; ++r) run_all(false);
    std::vector<BenchFigure> figures;
    for (const Series& s : series_) {
      figures.push_back({s.name, s.unit, median(s.values), std::ranges::min(s.values),
                         std::ranges::max(s.values), s.limit,
                         s.ratios.empty() ? 0.0 : median(s.ratios)});
    }
    return figures;
  }

 private:
  void run_all(bool warming) {
    step("decode", warming);
    measure_decode();
    step("prefill", warming);
    measure_prefill();
    step("extract", warming);
    measure_extract();
    step("npz", warming);
    measure_npz();
    step("compare", warming);
    measure_compare();
    step("start-up", warming);
    measure_start();
  }

  void step(std::string_view what, bool warming) {
    if (on_progress_) {
      on_progress_(warming ? fmt::format("{} (warming up)", what) : std::string(what),
                   steps_done_ / (6.0 * (options_.runs + 1)));
    }
    steps_done_ += 1;
  }

  // Bytes per second at which the weights are read, in the same way as in the measured run.
  double read_weights() {
    const Weight& w = head_matrix(model_);
    return read_rate(pool_, {w.data, w.byte_count()});
  }

  void measure_decode() {
    sequence_.rewind(0);
    std::int64_t id = 1;
    bf16_.run({{Chunk<Bf16>{{&id, 1}, &sequence_}}});
    const double before = read_weights();
    const double time = seconds([&] {
      for (std::size_t i = 0; i < kDecodeSteps; ++i) {
        bf16_.run({{Chunk<Bf16>{{&id, 1}, &sequence_}}});
      }
    });
    read_ = (before + read_weights()) / 2;
    decode_seconds_ = time / kDecodeSteps;
    add("memory read", "GB/s", read_ / 1e9);
    add("decode", "tokens/s", 1 / decode_seconds_, "memory read",
        step_bytes_ / decode_seconds_ / read_);
  }

  void measure_prefill() {
    for (const std::size_t tokens : {5, 64, 512}) {
      const double before = dot_rate(pool_);
      const double time = prefill_seconds(bf16_, tokens);
      const double peak = (before + dot_rate(pool_)) / 2;
      if (tokens == 5) {
        add("BF16 peak", "GFLOP/s", peak / 1e9);
        add("prefill 5", "ms", time * 1e3, "a decode step", decode_seconds_ / time);
      } else {
        add(fmt::format("prefill {}", tokens), "tokens/s", static_cast<double>(tokens) / time,
            "BF16 peak", flops(tokens) / time / peak);
      }
    }
  }

  template <class N>
  double prefill_seconds(Executor<N>& executor, std::size_t tokens) {
    std::vector<std::int64_t> ids(tokens);
    for (std::size_t i = 0; i < tokens; ++i) {
      ids[i] = static_cast<std::int64_t>(i * 7919) % model_.spec.vocab_size;
    }
    sequence_.rewind(0);  // filled once: an engine keeps it
    const Chunk<N> chunk{ids, &sequence_};
    return seconds([&] { executor.run({&chunk, 1}); });
  }

  // Counts the matrices only: attention adds to the time, but not to this count. The head counts
  // for one position.
  double flops(std::size_t tokens) const {
    const Weight& w = head_matrix(model_);
    const double head = 2.0 * static_cast<double>(w.rows) * static_cast<double>(w.cols);
    return (step_flops_ - head) * static_cast<double>(tokens) + head;
  }

  void measure_extract() {
    ExtractOptions options;
    options.model = options_.model;
    options.out = options_.scratch / "extract";
    options.threads = options_.threads;
    const double time = seconds([&] { extract(options, default_prompts()); });
    // All prompts at once, then a pass for each further token.
    const auto passes = static_cast<double>(options.max_new_tokens);
    const double bound = passes * step_bytes_ / read_;
    add("extract", "s", time, "weight passes", bound / time);
  }

  void measure_npz() {
    const std::uint64_t bytes = total_bytes();
    const double bare = seconds([&] { deflate_all(); });
    const double time = seconds([&] {
      write_npz(options_.scratch / "out.npz", views(), Compression::kFast, pool_.size());
    });
    add("write npz", "MB/s", static_cast<double>(bytes) / time / 1e6, "libdeflate", bare / time);
  }

  void measure_compare() {
    CompareOptions options;
    options.reference = options_.scratch / "reference.npz";
    options.candidate = options_.scratch / "candidate.npz";
    options.threads = options_.threads;
    const double read = read_weights();
    const double time = seconds([&] { compare(options, {}); });
    const double rate = 2 * static_cast<double>(total_bytes()) / time;
    add("compare", "GB/s", rate / 1e9, "memory read", rate / read);
  }

  // From the start of the program to its first token, without the one pass over the weights.
  void measure_start() {
    const std::string threads = std::to_string(pool_.size());
    const std::string model = options_.model.string();
    const double time = program_seconds(
        {"generate", "Hello", "--model", model, "--max-new-tokens", "1", "--threads", threads});
    add("first token", "ms", (time - decode_seconds_) * 1e3);
    add("tokenize", "ms", program_seconds({"tokenize", "Hello", "--model", model}) * 1e3);
  }

  double program_seconds(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), options_.program.string());
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    int status = 0;
    const double time = seconds([&] {
      posix_spawn_file_actions_t actions;
      posix_spawn_file_actions_init(&actions);
      posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
      pid_t child = 0;
      const int failed = ::posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), environ);
      posix_spawn_file_actions_destroy(&actions);
      if (failed != 0) throw system_error(argv[0], "cannot start", failed);
      ::waitpid(child, &status, 0);
    });
    if (status != 0) {
      throw system_error(argv[0], fmt::format("'{}' failed, status {}", arguments[1], status));
    }
    return time;
  }

  // Values like those of a BF16 run, widened to FP32, and the ids that compare needs.
  static std::vector<Array> some_activations() {
    constexpr std::int64_t kArrays = 8, kRows = 2048, kColumns = 1024;
    std::vector<Array> arrays;
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (std::int64_t a = 0; a < kArrays; ++a) {
      Array array{fmt::format("layer_{:02}_output", a), DType::kF32, {1, kRows, kColumns}, {}};
      array.bytes.resize(kRows * kColumns * 4);
      for (float& value : array.as<float>()) {
        value = bf16_to_f32(f32_to_bf16(normal(random)));
      }
      arrays.push_back(std::move(array));
    }
    return arrays;
  }

  std::vector<ArrayView> views() const {
    std::vector<ArrayView> all;
    for (const Array& array : activations_) all.push_back(array.view());
    return all;
  }
  std::uint64_t total_bytes() const {
    std::uint64_t bytes = 0;
    for (const Array& array : activations_) bytes += array.bytes.size();
    return bytes;
  }

  // The lower bound for writing an npz: only libdeflate, on all cores.
  void deflate_all() {
    pool_.for_each_item(activations_.size(), [&](std::size_t i) {
      const auto& bytes = activations_[i].bytes;
      const std::unique_ptr<libdeflate_compressor, void (*)(libdeflate_compressor*)> compressor(
          libdeflate_alloc_compressor(1), libdeflate_free_compressor);
      const std::size_t bound = libdeflate_deflate_compress_bound(compressor.get(), bytes.size());
      const auto out = std::make_unique_for_overwrite<std::byte[]>(bound);
      libdeflate_deflate_compress(compressor.get(), bytes.data(), bytes.size(), out.get(), bound);
    });
  }

  // What one token reads and computes. In an MoE model, only its chosen experts count. The state of
  // a delta rule is also written.
  void count_step() {
    const auto count = [&](const Weight& w, double part) {
      const double elements = static_cast<double>(w.rows * w.cols) * part;
      step_bytes_ += static_cast<double>(w.byte_count()) * part;
      step_flops_ += 2.0 * elements;
    };
    const auto count_block = [&](const Block& block, const BlockWeights& weights) {
      for (std::size_t s = 0; s < block.steps.size(); ++s) {
        const Step& step = block.steps[s];
        // A token reads one row of a table.
        if (std::holds_alternative<Lookup>(step.operation)) continue;
        const auto* experts = std::get_if<ExpertLinear>(&step.operation);
        const double part = experts == nullptr ? 1.0
                                               : static_cast<double>(experts->per_token) /
                                                     static_cast<double>(experts->experts);
        for (std::size_t i = 0; i < weights[s].size(); ++i) {
          if (step.tensors[i % step.tensors.size()].rows > 0) count(weights[s][i], part);
        }
        if (const auto* rule = std::get_if<DeltaRule>(&step.operation)) {
          const auto state =
              static_cast<double>(rule->value_heads * rule->key_dim * rule->value_dim);
          step_bytes_ += 2 * sizeof(float) * state;
        }
      }
    };
    for (std::size_t l = 0; l < model_.program.layers.size(); ++l) {
      count_block(model_.program.layers[l], model_.weights.layers[l]);
    }
    count_block(model_.program.head, model_.weights.head);
  }

  void add(const std::string& name, const std::string& unit, double value,
           const std::string& limit = {}, std::optional<double> ratio = {}) {
    auto at = std::ranges::find(series_, name, &Series::name);
    if (at == series_.end()) at = series_.insert(at, {name, unit, limit, {}, {}});
    at->values.push_back(value);
    if (ratio) at->ratios.push_back(*ratio);
  }

  const BenchOptions& options_;
  const std::function<void(std::string_view, double)>& on_progress_;
  Model model_;
  ThreadPool pool_;
  Executor<Bf16> bf16_;
  SequenceState<Bf16> sequence_;
  double step_bytes_ = 0;
  double step_flops_ = 0;
  std::vector<Array> activations_;
  std::vector<Series> series_;
  double steps_done_ = 0;
  double read_ = 0;
  double decode_seconds_ = 0;
};

}  // namespace

std::vector<BenchFigure> bench(const BenchOptions& options,
                               const std::function<void(std::string_view, double)>& on_progress) {
  return Bench(options, on_progress).run();
}

}  // namespace assay
