// Unicode normalization form C as the tokenizers library does it.
#pragma once

#include <string>
#include <string_view>

namespace assay {

// NFC of valid UTF-8.
std::string nfc(std::string_view text);

}  // namespace assay
