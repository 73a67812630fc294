// Unicode's normalization forms and small letters as the tokenizers library has them.
#pragma once

#include <string>
#include <string_view>

namespace assay {

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

// The form of valid UTF-8.
std::string in_form(UnicodeForm form, std::string_view text);

// Each character's small letter, whatever stands beside it.
std::string lower_case(std::string_view text);

}  // namespace assay
