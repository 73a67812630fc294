// The bundled model inside the program, for a program that is one file (ASSAY_EMBED_MODEL).
#pragma once

#include <filesystem>

namespace assay {

// The directory in the user's cache where the bundled model's files are. What is missing there or
// does not equal the program's bytes is written; every file appears only when complete. Throws a
// system error when a file cannot be written.
std::filesystem::path unpacked_model();

}  // namespace assay
