// The kernels one by one: build/bench/kernels --benchmark_filter=matmul
//
// "of_peak" is multiply-adds over the peak that the same thread reaches in registers.
#include "numerics/kernels.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "base/aligned_vector.h"
#include "base/half.h"
#include "bench/probes.h"

namespace assay {
namespace {

template <class T>
AlignedVector<T> some_values(std::size_t n) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  AlignedVector<T> values(n);
  for (T& value : values) value = bf16_to_f32(f32_to_bf16(normal(random)));
  return values;
}

std::vector<std::byte> some_weights(std::size_t n) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<std::byte> bytes(n * 2);
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint16_t bits = f32_to_bf16(normal(random));
    std::memcpy(&bytes[2 * i], &bits, 2);
  }
  return bytes;
}

double peak() {
  static const double rate = [] {
    ThreadPool pool(1);
    dot_rate(pool);
    return dot_rate(pool);
  }();
  return rate;
}

void count_flops(benchmark::State& state, double flops) {
  state.counters["GFLOP/s"] =
      benchmark::Counter(flops / 1e9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["of_peak"] =
      benchmark::Counter(flops / peak(), benchmark::Counter::kIsIterationInvariantRate);
}

// tokens, rows, columns
template <class N>
void matmul(benchmark::State& state, const Kernels<N>& k) {
  const auto tokens = static_cast<std::size_t>(state.range(0));
  const auto rows = static_cast<std::size_t>(state.range(1));
  const auto columns = static_cast<std::size_t>(state.range(2));
  const auto x = some_values<typename N::Real>(tokens * columns);
  const auto bytes = some_weights(rows * columns);
  AlignedVector<typename N::Real> out(tokens * rows);
  const Weight w = {bytes.data(), DType::kBF16, rows, columns};
  AlignedVector<typename N::Real> packed(packed_size(tokens, columns));
  for (auto _ : state) {
    if (tokens > kFewTokens) {
      for (std::size_t tile = 0; tile < k.tiles(tokens); ++tile) {
        k.pack_tile(x.data(), tokens, columns, tile, packed.data());
      }
      k.packed_matmul(packed.data(), tokens, w, nullptr, 0, rows, out.data(), rows);
    } else {
      k.matmul(x.data(), tokens, w, nullptr, 0, rows, out.data(), rows);
    }
    benchmark::ClobberMemory();
  }
  count_flops(state, 2.0 * static_cast<double>(tokens * rows * columns));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes.size()));
}
BENCHMARK_CAPTURE(matmul, bf16, kernels<Bf16>(chosen_simd()))
    ->Args({512, 3072, 1024})
    ->Args({512, 1024, 3072})
    ->Args({512, 1024, 2048})
    ->Args({64, 3072, 1024})
    ->Args({5, 3072, 1024})
    ->Args({5, 1024, 3072})
    ->Args({1, 3072, 1024})
    ->Args({1, 1024, 3072})
    ->Args({1, 65536, 1024})
    ->UseRealTime();
BENCHMARK_CAPTURE(matmul, f64, kernels<F64>(chosen_simd()))->Args({64, 3072, 1024})->UseRealTime();

// One head of a block of queries over `positions`.
void attention(benchmark::State& state) {
  constexpr std::size_t kQueries = 12, kChannels = 128;
  const auto positions = static_cast<std::size_t>(state.range(0));
  const auto q = some_values<float>(kQueries * kChannels);
  const auto values = some_values<float>(positions * kChannels);
  const CacheLayout layout{kChannels};
  AlignedVector<Bf16::Cached> keys(layout.keys(positions)), rows(layout.values(positions));
  for (std::size_t p = 0; p < positions; ++p) {
    const auto channel = [&](std::size_t c) { return Bf16::cached(values[p * kChannels + c]); };
    put_key(layout, keys.data(), p, channel);
    put_value(layout, rows.data(), p, channel);
  }
  AlignedVector<float> scores(kQueries * positions), out(kQueries * kChannels);
  const Kernels<Bf16>& k = kernels<Bf16>(chosen_simd());
  for (auto _ : state) {
    k.scores(q.data(), kChannels, kQueries, keys.data(), positions, kChannels, 0.0884F,
             scores.data(), positions);
    for (std::size_t i = 0; i < kQueries; ++i) {
      k.softmax(&scores[i * positions], positions, &scores[i * positions]);
    }
    k.weighted_sum(scores.data(), positions, kQueries, {positions - kQueries + 1}, rows.data(),
                   kChannels, out.data(), kChannels);
    benchmark::ClobberMemory();
  }
  count_flops(state, 4.0 * static_cast<double>(kQueries * positions * kChannels));
}
BENCHMARK(attention)->Arg(64)->Arg(512);

void rms_norm(benchmark::State& state) {
  const auto n = static_cast<std::size_t>(state.range(0));
  const auto x = some_values<float>(n);
  const auto bytes = some_weights(n);
  AlignedVector<float> out(n);
  const Kernels<Bf16>& k = kernels<Bf16>(chosen_simd());
  for (auto _ : state) {
    k.rms_norm(x.data(), {bytes.data(), DType::kBF16, 1, n}, 1e-6F, NormForm::kRoundedTwice, n,
               out.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(rms_norm)->Arg(128)->Arg(1024);

void silu_mul(benchmark::State& state) {
  constexpr std::size_t kCount = 3072;
  const auto x = some_values<float>(kCount);
  AlignedVector<float> out(kCount);
  const Kernels<Bf16>& k = kernels<Bf16>(chosen_simd());
  for (auto _ : state) {
    k.silu_mul(x.data(), x.data(), kCount, out.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kCount));
}
BENCHMARK(silu_mul);

void rope(benchmark::State& state) {
  constexpr std::size_t kCount = 128;
  const auto x = some_values<float>(kCount);
  AlignedVector<float> out(kCount);
  const Kernels<Bf16>& k = kernels<Bf16>(chosen_simd());
  for (auto _ : state) {
    k.rope(x.data(), x.data(), x.data(), false, kCount, out.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kCount));
}
BENCHMARK(rope);

}  // namespace
}  // namespace assay

BENCHMARK_MAIN();
