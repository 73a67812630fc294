#include "base/program_path.h"

#include <sys/auxv.h>

#include <system_error>

namespace assay {

namespace fs = std::filesystem;

fs::path program_path() {
  std::error_code error;
  fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) return program;
  // A container or chroot may have no /proc. This is the path that execve was given, relative to
  // the directory that the program was started in; the kernel passes its address as a number.
  const auto* given = reinterpret_cast<const char*>(  // NOLINT(performance-no-int-to-ptr)
      ::getauxval(AT_EXECFN));
  if (given == nullptr) return {};
  program = fs::canonical(given, error);
  return error ? fs::path() : program;
}

}  // namespace assay
