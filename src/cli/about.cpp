#include "cli/about.h"

#include "base/embed.h"

namespace assay {

std::string_view version_text() { return ASSAY_VERSION_TEXT; }

}  // namespace assay

ASSAY_EMBED(license_text, ASSAY_ROOT "/LICENSE")
ASSAY_EMBED(notices_text, ASSAY_ROOT "/THIRD_PARTY_NOTICES.md")
