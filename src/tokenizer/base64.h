// Base64 (RFC 4648, section 4).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace assay {

// The decoded bytes; none unless the whole text is padded base64 without anything else.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace assay
