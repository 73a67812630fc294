// What somebody probably meant to type.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace assay {

// The name in `known` that `given` is probably a misspelling or the beginning of; the first of
// several that are as near. Case does not count. Empty when none is near. Texts of more than 100
// bytes are near to nothing.
std::string nearest_name(std::string_view given, std::span<const std::string> known);

// "; did you mean 'NAME'?" with the nearest name, to be put after an error's `expected`; empty when
// none is near.
std::string did_you_mean(std::string_view given, std::span<const std::string> known);

}  // namespace assay
