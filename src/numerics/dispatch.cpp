#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <type_traits>
#include <vector>

#include "assay/error.h"
#include "base/aligned_vector.h"
#include "numerics/kernels.h"

namespace assay {
namespace {

// Whether both the CPU and the build support it.
bool has_avx512bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") && avx512bf16_kernels() != nullptr;
#else
  return false;
#endif
}

std::vector<Simd> detect() {
  std::vector<Simd> found = {Simd::kPlain};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {  // F16C came before AVX2
    found.push_back(Simd::kAvx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
      found.push_back(Simd::kAvx512);
      if (has_avx512bf16() && avx512bf16_keeps_the_contract()) found.push_back(Simd::kAvx512Bf16);
    }
  }
#elif defined(__aarch64__)
  found.push_back(Simd::kNeon);  // every AArch64 CPU has it
#endif
  return found;
}

}  // namespace

void require_fma() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("fma")) {
    throw system_error("CPU",
                       "no fused multiply-add (FMA); Assay needs an x86-64 CPU of 2013 or "
                       "later, or AArch64");
  }
#endif
}

std::byte* kernel_scratch(std::size_t bytes) {
  thread_local AlignedVector<std::byte> memory;
  // Large enough for huge pages: panels of weights would need hundreds of small ones.
  if (memory.size() < bytes) memory.resize(std::max(bytes, std::size_t{4} << 20));
  return memory.data();
}

std::byte* widened_scratch(std::size_t bytes) {
  thread_local AlignedVector<std::byte> memory;
  if (memory.size() < bytes) memory.resize(bytes);
  return memory.data();
}

std::string_view simd_name(Simd simd) {
  switch (simd) {
    case Simd::kPlain:
      return "plain";
    case Simd::kAvx2:
      return "avx2";
    case Simd::kAvx512:
      return "avx512";
    case Simd::kAvx512Bf16:
      return "avx512bf16";
    case Simd::kNeon:
      return "neon";
  }
  return "?";
}

std::span<const Simd> supported_simd() {
  static const std::vector<Simd> found = detect();
  return found;
}

bool refused_avx512bf16() { return has_avx512bf16() && supported_simd().back() == Simd::kAvx512; }

bool on_bf16_grid(const float* x, std::size_t n) {
  std::uint32_t low = 0;
  for (std::size_t i = 0; i < n; ++i) low |= std::bit_cast<std::uint32_t>(x[i]);
  return (low & 0xFFFFu) == 0;
}

Simd chosen_simd() {
  const char* wanted = std::getenv("ASSAY_SIMD");
  if (wanted == nullptr || *wanted == '\0') return supported_simd().back();
  std::string names;
  for (const Simd simd : supported_simd()) {
    if (simd_name(simd) == wanted) return simd;
    names.append(names.empty() ? "" : ", ").append(simd_name(simd));
  }
  throw usage_error("environment variable ASSAY_SIMD", "'" + std::string(wanted) + "'",
                    "one that this CPU runs: " + names);
}

template <class N>
const Kernels<N>& kernels(Simd simd) {
  switch (simd) {
    case Simd::kNeon:
      return *neon_kernels<N>();
    case Simd::kAvx512Bf16:
      if constexpr (std::is_same_v<N, Bf16>) return *avx512bf16_kernels();
      [[fallthrough]];
    case Simd::kAvx512:
      return *avx512_kernels<N>();
    case Simd::kAvx2:
      return *avx2_kernels<N>();
    case Simd::kPlain:
      break;
  }
  return *plain_kernels<N>();
}

template const Kernels<Bf16>& kernels<Bf16>(Simd);
template const Kernels<F32>& kernels<F32>(Simd);
template const Kernels<F64>& kernels<F64>(Simd);

}  // namespace assay
