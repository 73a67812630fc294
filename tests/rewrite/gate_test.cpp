#include "rewrite/gate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/thread_pool.h"
#include "numerics/numerics.h"

namespace assay {
namespace {

const std::vector<float> kGates = {-5, -0.75F, -0.3125F, 0, 0.1875F, 0.5F, 0.625F, 4};
const std::vector<float> kUps = {0.375F, 9, -0.8125F, 1, -0.15625F, 0.0625F, -9, 0.6875F};
const Gate kSwish{Activation::kSwish, 1.702, 0.7, true};

template <class N>
std::vector<float> stored_swish(Store store) {
  ThreadPool pool(1);
  Ops<N> ops(pool, kernels<N>(Simd::kPlain));
  std::vector<float> gates = kGates;
  std::vector<float> ups = kUps;
  std::vector<float> out(gates.size());
  ForeignRun<N> with{.ops = ops, .ids = {}};
  with.reads = {gates, ups};
  with.writes = {out};
  StoredSwish{kSwish, store}.compute(with);
  return out;
}

TEST(StoredSwish, RoundsWhereTheModelsOwnDoes) {
  ThreadPool pool(1);
  Ops<Bf16> ops(pool, kernels<Bf16>(Simd::kPlain));
  std::vector<float> own(kGates.size());
  ops.gate(kSwish, kGates, kUps, own);
  EXPECT_EQ(stored_swish<Bf16>(Store::kOwn), own);
}

TEST(StoredSwish, StoresEachResultInF16) {
  const auto f16 = [](double x) { return rounded_to(DType::kF16, x); };
  const std::vector<float> out = stored_swish<F32>(Store::kF16);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const double limit = f16(0.7);
    const double gate = std::min<double>(kGates[i], limit);
    const double up = f16(std::clamp<double>(kUps[i], -limit, limit) + 1.0);
    const double sigmoid = f16(1 / (1 + std::exp(-f16(gate * 1.702))));
    EXPECT_EQ(out[i], f16(up * f16(gate * sigmoid))) << i;
  }
}

}  // namespace
}  // namespace assay
