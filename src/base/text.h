// Small texts that several rooms show.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace assay {

// "1.2 MB", "937 B"; decimal units.
std::string bytes_text(std::uint64_t bytes);

// A name or value from a file, fit for a message: one line of at most `most` bytes, '?' for control
// characters, valid UTF-8 if it was.
std::string shown(std::string_view text, std::size_t most = 100);

}  // namespace assay
