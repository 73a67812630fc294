// The ways in which dumps write the name of a module's output.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace assay {

// The name as the built-in maps have it, most literal form first: "/" becomes ".", and wrappers in
// front ("module.", "_orig_mod.") are removed; then without the part that says that it is an
// output, which of several ("model.norm.output.1" is "model.norm[1]", the first has no number), or
// which call of a shared module ("rope.call3" is "rope#4", the fourth).
std::vector<std::string> name_forms(std::string_view name);

}  // namespace assay
