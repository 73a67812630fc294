#include "assay/numerics.h"

#include <string>
#include <vector>

#include "assay/error.h"
#include "base/nearest_name.h"

namespace assay {

std::string_view numerics_name(Numerics numerics) {
  switch (numerics) {
    case Numerics::kBf16:
      return "bf16";
    case Numerics::kF32:
      return "f32";
    case Numerics::kF64:
      return "f64";
  }
  return "?";
}

std::optional<Numerics> find_numerics(std::string_view name) {
  for (const Numerics numerics : {Numerics::kBf16, Numerics::kF32, Numerics::kF64}) {
    if (numerics_name(numerics) == name) return numerics;
  }
  return std::nullopt;
}

Numerics parse_numerics(std::string_view name) {
  if (const std::optional<Numerics> found = find_numerics(name)) return *found;
  const std::vector<std::string> known = {"bf16", "f32", "f64"};
  throw usage_error("--numerics", "'" + std::string(name) + "'",
                    "bf16, f32 or f64" + did_you_mean(name, known));
}

}  // namespace assay
