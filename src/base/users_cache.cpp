#include "base/users_cache.h"

#include <cstdlib>

namespace assay {

namespace fs = std::filesystem;

fs::path users_cache() {
  const auto directory = [](const char* variable) -> fs::path {
    const char* value = std::getenv(variable);
    return value == nullptr ? fs::path() : fs::path(value);
  };
  // The XDG specification says that a relative path must be ignored.
  if (const fs::path cache = directory("XDG_CACHE_HOME"); cache.is_absolute()) {
    return cache / "assay";
  }
  const fs::path home = directory("HOME");
  return home.is_absolute() ? home / ".cache" / "assay" : fs::path();
}

}  // namespace assay
