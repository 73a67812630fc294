// What the program says about itself.
#pragma once

#include <string_view>

namespace assay {

// "assay 0.1.0", with the commit where the build knows it.
std::string_view version_text();

// LICENSE and THIRD_PARTY_NOTICES.md.
std::string_view license_text();
std::string_view notices_text();

}  // namespace assay
