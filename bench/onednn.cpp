// Numerics bf16 against oneDNN's BF16 matmul: 512 tokens, the matrices of Qwen3-0.6B.
//
//   OMP_WAIT_POLICY=passive build/bench/onednn
//
// Every iteration runs both, one after the other. The counters are medians: "assay" and "oneDNN" in
// floating-point operations per second, "ratio" the first over the second of each iteration; the
// time is Assay's. oneDNN has its weights packed ahead in the layout of its choice, reads x in BF16
// and writes BF16. Assay takes the weights as they lie in a checkpoint and packs them each time,
// reads x in FP32 and writes FP32.
// The variable keeps oneDNN's threads from spinning while Assay is at work.
#include <benchmark/benchmark.h>
#include <omp.h>

#include <algorithm>
#include <oneapi/dnnl/dnnl.hpp>
#include <random>
#include <unordered_map>
#include <vector>

#include "base/aligned_vector.h"
#include "base/half.h"
#include "base/thread_pool.h"
#include "bench/probes.h"
#include "numerics/kernels.h"

namespace assay {
namespace {

constexpr std::size_t kTokens = 512;

using Bf16Vector = AlignedVector<std::uint16_t>;

Bf16Vector some_values(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Bf16Vector values(n);
  for (std::uint16_t& value : values) value = f32_to_bf16(normal(random));
  return values;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::ranges::nth_element(values, middle);
  return *middle;
}

// x [kTokens, columns] times the transpose of w [rows, columns], by oneDNN.
class OneDnn {
 public:
  OneDnn(Bf16Vector& x, Bf16Vector& w, std::size_t rows, std::size_t columns) {
    using dnnl::memory;
    const auto m = static_cast<memory::dim>(kTokens);
    const auto n = static_cast<memory::dim>(rows);
    const auto k = static_cast<memory::dim>(columns);
    constexpr auto kBf16 = memory::data_type::bf16;
    const memory::desc x_desc({m, k}, kBf16, memory::format_tag::ab);
    const memory::desc any_w({k, n}, kBf16, memory::format_tag::any);
    const memory::desc out_desc({m, n}, kBf16, memory::format_tag::ab);
#if DNNL_VERSION_MAJOR < 3
    const dnnl::matmul::primitive_desc matmul({x_desc, any_w, out_desc}, engine_);
#else
    const dnnl::matmul::primitive_desc matmul(engine_, x_desc, any_w, out_desc);
#endif
    // Column k of row n is where w^T has row k of column n.
    memory plain({{k, n}, kBf16, memory::format_tag::ba}, engine_, w.data());
    memory packed(matmul.weights_desc(), engine_);
    dnnl::reorder(plain, packed).execute(stream_, plain, packed);
    stream_.wait();
    out_.resize(kTokens * rows);
    arguments_ = {{DNNL_ARG_SRC, memory(x_desc, engine_, x.data())},
                  {DNNL_ARG_WEIGHTS, packed},
                  {DNNL_ARG_DST, memory(out_desc, engine_, out_.data())}};
    matmul_ = dnnl::matmul(matmul);
  }

  void run() {
    matmul_.execute(stream_, arguments_);
    stream_.wait();
  }

  const Bf16Vector& out() const { return out_; }

 private:
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  dnnl::matmul matmul_;
  std::unordered_map<int, dnnl::memory> arguments_;
  Bf16Vector out_;
};

// Packed and shared among the threads as Ops::project does it.
void our_matmul(ThreadPool& pool, const AlignedVector<float>& x, const Weight& w,
                AlignedVector<float>& packed, AlignedVector<float>& out) {
  const Kernels<Bf16>& k = kernels<Bf16>(chosen_simd());
  pool.for_each_item(k.tiles(kTokens), [&](std::size_t tile) {
    k.pack_tile(x.data(), kTokens, w.cols, tile, packed.data());
  });
  const auto threads = static_cast<std::size_t>(pool.size());
  const std::size_t part = std::clamp<std::size_t>(w.rows / (8 * threads) / 64 * 64, 64, 1152);
  pool.for_each_item((w.rows + part - 1) / part, [&](std::size_t i) {
    k.packed_matmul(packed.data(), kTokens, w, nullptr, i * part, std::min((i + 1) * part, w.rows),
                    out.data(), w.rows);
  });
}

// Whether both computed the same but for the roundings of sums of `columns` products.
bool agree(const AlignedVector<float>& ours, const Bf16Vector& theirs) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    const double difference = ours[i] - bf16_to_f32(theirs[i]);
    error += difference * difference;
    size += static_cast<double>(ours[i]) * ours[i];
  }
  return error < 1e-5 * size;
}

// rows, columns, threads
void matmul(benchmark::State& state) {
  const auto rows = static_cast<std::size_t>(state.range(0));
  const auto columns = static_cast<std::size_t>(state.range(1));
  const auto threads = static_cast<int>(state.range(2));
  if (chosen_simd() != Simd::kAvx512Bf16) {
    state.SkipWithError("this CPU has no BF16 dot products");
    return;
  }
  Bf16Vector x = some_values(kTokens * columns, 1);
  Bf16Vector w = some_values(rows * columns, 2);
  AlignedVector<float> wide(x.size()), packed(packed_size(kTokens, columns)), out(kTokens * rows);
  std::ranges::transform(x, wide.begin(), bf16_to_f32);
  const Weight weight = {reinterpret_cast<const std::byte*>(w.data()), DType::kBF16, rows, columns};
  ThreadPool pool(threads);
  omp_set_num_threads(threads);
  OneDnn onednn(x, w, rows, columns);

  our_matmul(pool, wide, weight, packed, out);
  onednn.run();
  if (!agree(out, onednn.out())) {
    state.SkipWithError("the results differ");
    return;
  }
  std::vector<double> ours, theirs, ratios;
  for (auto _ : state) {
    // Each once untimed: its threads are awake and its weights in the cache as far as they go.
    our_matmul(pool, wide, weight, packed, out);
    ours.push_back(seconds([&] { our_matmul(pool, wide, weight, packed, out); }));
    onednn.run();
    theirs.push_back(seconds([&] { onednn.run(); }));
    ratios.push_back(theirs.back() / ours.back());
    state.SetIterationTime(ours.back());
  }
  const double flops = 2.0 * static_cast<double>(kTokens * rows * columns);
  state.counters["assay"] = flops / median(ours);
  state.counters["oneDNN"] = flops / median(theirs);
  state.counters["ratio"] = median(ratios);
}

void shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"rows", "columns", "threads"});
  for (const int threads : {1, 2}) {
    benchmark->Args({2048, 1024, threads});  // q_proj
    benchmark->Args({1024, 1024, threads});  // k_proj, v_proj
    benchmark->Args({1024, 2048, threads});  // o_proj
    benchmark->Args({3072, 1024, threads});  // gate_proj, up_proj
    benchmark->Args({1024, 3072, threads});  // down_proj
  }
}
BENCHMARK(matmul)->Apply(shapes)->UseManualTime();

}  // namespace
}  // namespace assay

BENCHMARK_MAIN();
