// How a run rounds; see docs/architecture.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace assay {

enum class Numerics : std::uint8_t {
  kBf16,  // as transformers does with a BF16 model
  kF32,   // every intermediate in FP32
  kF64,   // the oracle: every intermediate in double
};

// "bf16", "f32", "f64"
std::string_view numerics_name(Numerics numerics);
// The one of that name, if any.
std::optional<Numerics> find_numerics(std::string_view name);
// The same for a command's --numerics: throws a usage error for any other name.
Numerics parse_numerics(std::string_view name);

}  // namespace assay
