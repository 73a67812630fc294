#include "base/memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>

namespace assay {
namespace {

namespace fs = std::filesystem;

// None if there is no such file, or no number in it: cgroups v2 write "max".
std::optional<std::uint64_t> read_number(const fs::path& path) {
  std::ifstream file(path);
  std::uint64_t number = 0;
  if (file >> number) return number;
  return std::nullopt;
}

// The limits of all parent groups apply too. In a container, the path in /proc may be outside of
// the mounted tree, whose root is then the container's own group.
std::uint64_t least_limit(const fs::path& tree, const fs::path& group, const char* file) {
  std::uint64_t least = UINT64_MAX;
  for (fs::path at = group;; at = at.parent_path()) {
    least = std::min(least, read_number(tree / at / file).value_or(UINT64_MAX));
    if (at.empty()) return least;
  }
}

}  // namespace

std::uint64_t usable_memory(const fs::path& root) {
  std::uint64_t usable = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                         static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  // Lines of hierarchy:controllers:/path; v2 has one line, 0::/path.
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const fs::path group = fs::path(line.substr(second + 1)).relative_path();
    const fs::path tree = root / "sys/fs/cgroup";
    if (controllers.empty()) {
      usable = std::min(usable, least_limit(tree, group, "memory.max"));
    } else if (("," + controllers + ",").find(",memory,") != std::string::npos) {
      usable = std::min(usable, least_limit(tree / "memory", group, "memory.limit_in_bytes"));
    }
  }
  return usable;
}

}  // namespace assay
