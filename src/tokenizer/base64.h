// Base64 (RFC 4648, section 4).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace assay {

// The bytes; none where the text is not base64, padded, with nothing between or behind.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace assay
