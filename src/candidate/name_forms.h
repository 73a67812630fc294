// The ways in which dumps write the name of one module's output.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace assay {

// The name as the maps that come along have it, most literal form first: "/" is ".", wrappers in
// front ("module.", "_orig_mod.") are left out; then without what says that it is an output, which
// of several ("model.norm.output.1" is "model.norm[1]", the first has no number), or of which call
// of a shared module ("rope.call3" is "rope#3").
std::vector<std::string> name_forms(std::string_view name);

}  // namespace assay
