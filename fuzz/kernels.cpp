// Every instruction set that this CPU has against the plain source, on any bit patterns: the same
// bits come out. Two NaNs are equal whatever their payload.
#include "numerics/kernels.h"

#include <cmath>

#include "base/aligned_vector.h"
#include "base/half.h"
#include "metrics/pair_sums.h"
#include "target.h"

namespace assay {
namespace {

// Values of any bits, or of sizes that networks have: one byte says which.
class Values {
 public:
  explicit Values(Choices& choices)
      : tame_(choices.byte()), state_(choices.take<std::uint32_t>()), bits_(choices.bytes(64)) {}

  template <class Real>
  Real next() {
    using Bits = std::conditional_t<sizeof(Real) == 8, std::uint64_t, std::uint32_t>;
    Bits bits = 0;
    for (std::size_t i = 0; i < sizeof(Bits); ++i) bits = bits << 8 | byte();
    // Exponents from -8 to 7 for all but some of them.
    constexpr int kMantissa = sizeof(Real) == 8 ? 52 : 23;
    constexpr Bits kOne = sizeof(Real) == 8 ? 1023 : 127;
    if (byte() < tame_) {
      const Bits exponent = kOne - 8 + (bits >> kMantissa & 15);
      constexpr Bits kField = (sizeof(Real) == 8 ? Bits{0x7FF} : Bits{0xFF}) << kMantissa;
      bits = (bits & ~kField) | exponent << kMantissa;
    }
    Real value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }

  // The input's own bytes, changed a little from one round to the next.
  std::uint8_t byte() {
    state_ = state_ * 1664525 + 1013904223;
    if (bits_.empty()) return static_cast<std::uint8_t>(state_ >> 24);
    const auto own = static_cast<std::uint8_t>(bits_[at_ % bits_.size()]);
    const bool changes = at_++ >= bits_.size();
    return static_cast<std::uint8_t>(own ^ (changes ? state_ >> 24 : 0));
  }

 private:
  int tame_;
  std::uint32_t state_;
  std::span<const std::byte> bits_;
  std::size_t at_ = 0;
};

template <class N>
std::vector<typename N::Real> take(Values& values, std::size_t n) {
  std::vector<typename N::Real> x(n);
  for (auto& value : x) value = N::round(values.next<typename N::Real>());
  return x;
}

template <class N>
std::vector<typename N::Cached> take_cached(Values& values, std::size_t n) {
  std::vector<typename N::Cached> x(n);
  for (auto& value : x) value = N::cached(N::round(values.next<typename N::Real>()));
  return x;
}

template <class Real>
bool same(Real a, Real b) {
  return (std::isnan(a) && std::isnan(b)) || std::memcmp(&a, &b, sizeof a) == 0;
}

// run(kernels, out) of every instruction set.
template <class N, class Run>
void hold_to_plain(std::string_view what, std::size_t size, const Run& run) {
  using Real = typename N::Real;
  std::vector<Real> expected(size, Real{-7});
  run(*plain_kernels<N>(), expected.data());
  for (const Simd simd : supported_simd()) {
    if (simd == Simd::kPlain) continue;
    std::vector<Real> found(size, Real{-7});
    run(kernels<N>(simd), found.data());
    for (std::size_t i = 0; i < size; ++i) {
      if (same(expected[i], found[i])) continue;
      std::fprintf(stderr, "element %zu of %zu on %s: %a, plain %a\n", i, size,
                   std::string(simd_name(simd)).c_str(), static_cast<double>(found[i]),
                   static_cast<double>(expected[i]));
      require(false, what);
    }
  }
}

struct StoredWeight {
  std::vector<std::byte> bytes;
  Weight weight;
};

// At an odd address: files promise no alignment.
StoredWeight take_weight(Choices& choices, Values& values, std::size_t rows, std::size_t cols) {
  constexpr std::array kTypes = {DType::kBF16, DType::kF16, DType::kF32};
  const DType dtype = choices.one_of(kTypes);
  const std::size_t item = dtype_size(dtype);
  StoredWeight stored;
  stored.bytes.resize(1 + rows * cols * item);
  for (std::size_t i = 0; i < rows * cols; ++i) {
    const auto value = values.next<float>();
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (dtype == DType::kBF16) bits >>= 16;
    if (dtype == DType::kF16) bits >>= 12;
    std::memcpy(&stored.bytes[1 + i * item], &bits, item);
  }
  stored.weight = {stored.bytes.data() + 1, dtype, rows, cols};
  return stored;
}

template <class N>
void run_matmul(Choices& choices, bool packed) {
  using Real = typename N::Real;
  const std::size_t tokens = 1 + choices.below(packed ? 40 : 26);
  const std::size_t rows = 1 + choices.below(40);
  const std::size_t cols = 1 + choices.below(100);
  const std::size_t begin = choices.below(rows);
  const std::size_t end = begin + 1 + choices.below(rows - begin);
  const bool with_bias = choices.flag();
  Values values(choices);
  const StoredWeight stored = take_weight(choices, values, rows, cols);
  const std::vector<Real> x = take<N>(values, tokens * cols);
  const std::vector<Real> bias = take<N>(values, rows);
  const std::size_t ldo = rows + 3;
  hold_to_plain<N>(packed ? "packed_matmul" : "matmul", tokens * ldo,
                   [&](const Kernels<N>& k, Real* out) {
                     const Real* b = with_bias ? bias.data() : nullptr;
                     if (!packed) {
                       k.matmul(x.data(), tokens, stored.weight, b, begin, end, out, ldo);
                       return;
                     }
                     AlignedVector<Real> laid(packed_size(tokens, cols));
                     for (std::size_t tile = k.tiles(tokens); tile-- > 0;) {
                       k.pack_tile(x.data(), tokens, cols, tile, laid.data());
                     }
                     k.packed_matmul(laid.data(), tokens, stored.weight, b, begin, end, out, ldo);
                   });
}

template <class N>
void run_attention(Choices& choices, bool scores) {
  using Real = typename N::Real;
  const std::size_t n = 1 + choices.below(80);
  const std::size_t queries = 1 + choices.below(9);
  const std::size_t count = queries + choices.below(40);
  Values values(choices);
  const CacheLayout layout{n};
  const auto cached = take_cached<N>(values, scores ? layout.keys(count) : layout.values(count));
  const std::size_t ldo = scores ? CacheLayout::whole_blocks(count) : n + 5;
  const std::size_t ldx = (scores ? n : count) + 2;
  const std::size_t window = choices.flag() ? 1 + choices.below(count) : Seen{}.window;
  const std::vector<Real> x = take<N>(values, queries * ldx);
  const auto scale = values.next<Real>();
  hold_to_plain<N>(scores ? "scores" : "weighted_sum", queries * ldo,
                   [&](const Kernels<N>& k, Real* out) {
                     if (scores) {
                       k.scores(x.data(), ldx, queries, cached.data(), ldo, n, scale, out, ldo);
                     } else {
                       k.weighted_sum(x.data(), ldx, queries, {count - queries + 1, window},
                                      cached.data(), n, out, ldo);
                     }
                   });
}

template <class N>
void run_rows(Choices& choices, std::size_t which) {
  using Real = typename N::Real;
  const std::size_t n = 2 * (1 + choices.below(80));
  const std::size_t form = choices.below(3);
  Values values(choices);
  const StoredWeight stored = take_weight(choices, values, 3, n);
  const StoredWeight row = take_weight(choices, values, 1, n);
  const std::vector<Real> x = take<N>(values, n);
  const std::vector<Real> y = take<N>(values, n);
  const auto number = std::abs(values.next<Real>());
  hold_to_plain<N>("row kernel " + std::to_string(which), n, [&](const Kernels<N>& k, Real* out) {
    switch (which) {
      case 0:
        return k.load_row(stored.weight, form, out);
      case 1:
        return k.rms_norm(x.data(), row.weight, number, static_cast<NormForm>(form), n, out);
      case 2:
        return k.rope(x.data(), y.data(), y.data() + n / 2, form == 0, n, out);
      case 3:
        return k.softmax(x.data(), n - form, out);
      case 4:
        return k.router_softmax(x.data(), n - form, out);
      case 5:
        return k.silu_mul(x.data(), y.data(), n - form, out);
      case 6:
        return k.gelu_tanh_mul(x.data(), y.data(), n - form, out);
      case 7:
        return k.softcap(x.data(), number, n - form, out);
      case 8:
        return k.swish_mul(x.data(), y.data(), {y[0], number, form == 1}, n - form, out);
      case 9:
        return k.sink_softmax(x.data(), n - form, y[0], out);
      default:
        return k.add(x.data(), y.data(), n - form, out);
    }
  });
}

template <class N>
void run(Choices& choices) {
  const std::size_t which = choices.below(15);
  if (which < 11) return run_rows<N>(choices, which);
  if (which < 13) return run_matmul<N>(choices, which == 12);
  run_attention<N>(choices, which == 13);
}

std::vector<PairSumsTable> sums_of_this_cpu() {
  std::vector<PairSumsTable> tables;
  for (const Simd simd : supported_simd()) {
    if (simd == Simd::kAvx2) tables.push_back(pair_sums_avx2());
    if (simd == Simd::kAvx512) tables.push_back(pair_sums_avx512());
    if (simd == Simd::kAvx512Bf16 && supports_avx512bf16())
      tables.push_back(pair_sums_avx512bf16());
  }
  return tables;
}

template <class Real>
void run_sums(Choices& choices) {
  static const std::vector<PairSumsTable> tables = sums_of_this_cpu();
  const std::size_t n = choices.below(700);
  const bool alike = choices.flag();
  Values values(choices);
  std::vector<Real> x(n);
  std::vector<Real> y(n);
  for (std::size_t i = 0; i < n; ++i) {
    x[i] = values.next<Real>();
    const auto other = values.next<Real>();
    y[i] = alike && (i % 7) != 0 ? x[i] : other;
  }
  const auto sums = [&](const PairSumsTable& table, std::vector<double>& channels) {
    PairSums made;
    const auto* a = reinterpret_cast<const Unaligned<Real>*>(x.data());
    const auto* b = reinterpret_cast<const Unaligned<Real>*>(y.data());
    if constexpr (sizeof(Real) == 8) {
      table.f64(a, b, n, 5, channels.data(), made);
    } else {
      table.f32(a, b, n, 5, channels.data(), made);
    }
    return made;
  };
  std::vector<double> plain_channels(n);
  const PairSums p = sums(pair_sums_plain(), plain_channels);
  for (const PairSumsTable& table : tables) {
    std::vector<double> channels(n);
    const PairSums s = sums(table, channels);
    require(same(s.error2, p.error2) && same(s.reference2, p.reference2) &&
                same(s.candidate2, p.candidate2) && same(s.product, p.product),
            "the sums of pairs");
    require(same(s.max_error, p.max_error) && s.max_index == p.max_index, "the largest error");
    require(s.ulp_sum == p.ulp_sum && s.ulp_max == p.ulp_max, "the BF16 steps");
    require(s.compared == p.compared && s.equal == p.equal && s.unlike == p.unlike &&
                s.nan_reference == p.nan_reference && s.nan_candidate == p.nan_candidate &&
                s.inf_reference == p.inf_reference && s.inf_candidate == p.inf_candidate &&
                s.hidden == p.hidden && s.not_hidden == p.not_hidden,
            "the counts");
    for (std::size_t i = 0; i < n; ++i) require(same(channels[i], plain_channels[i]), "channels");
  }
}

}  // namespace

FUZZ_TARGET(kernels) {
  Choices choices(input);
  switch (choices.below(5)) {
    case 0:
      return run<Bf16>(choices);
    case 1:
      return run<F32>(choices);
    case 2:
      return run<F64>(choices);
    case 3:
      return run_sums<float>(choices);
    default:
      return run_sums<double>(choices);
  }
}

}  // namespace assay
