// render.py, which is embedded into the program.
#pragma once

#include <string_view>

namespace assay {

// Python: renders chat templates. Its first comment says what it reads and writes.
std::string_view render_script();

}  // namespace assay
