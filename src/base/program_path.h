// Where the running program lies.
#pragma once

#include <filesystem>

namespace assay {

// The absolute path of the program's file, with links resolved. Empty if neither /proc nor the
// kernel's auxiliary vector tells, as in a library's caller whose program was deleted.
std::filesystem::path program_path();

}  // namespace assay
