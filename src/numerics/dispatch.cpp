#include <algorithm>
#include <cstdlib>
#include <vector>

#include "assay/error.h"
#include "base/aligned_vector.h"
#include "numerics/kernels.h"

namespace assay {
namespace {

std::vector<Simd> detect() {
  std::vector<Simd> found = {Simd::kPlain};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {  // F16C came before AVX2
    found.push_back(Simd::kAvx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
      found.push_back(Simd::kAvx512);
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
  // Large enough for huge pages: panels of weights lie on hundreds of small ones.
  if (memory.size() < bytes) memory.resize(std::max(bytes, std::size_t{4} << 20));
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
    case Simd::kNeon:
      return "neon";
  }
  return "?";
}

std::span<const Simd> supported_simd() {
  static const std::vector<Simd> found = detect();
  return found;
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

namespace {

struct Fast {
  Kernels<Bf16> kernels;
  bool other = false;  // than those of bf16
};

Fast make_fast() {
  Fast fast{kernels<Bf16>(chosen_simd())};
#if defined(__x86_64__)
  fast.other = chosen_simd() == Simd::kAvx512 && __builtin_cpu_supports("avx512bf16") &&
               take_avx512bf16_matmul(fast.kernels);
#endif
  return fast;
}

const Fast& fast() {
  static const Fast made = make_fast();
  return made;
}

}  // namespace

bool has_fast_kernels() { return fast().other; }

const Kernels<Bf16>& fast_kernels() { return fast().kernels; }

}  // namespace assay
