// Small texts that several rooms show.
#pragma once

#include <cstdint>
#include <string>

namespace assay {

// "1.2 MB", "937 B"; decimal units.
std::string bytes_text(std::uint64_t bytes);

}  // namespace assay
