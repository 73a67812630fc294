// Lines that differ only in their layers.
#pragma once

#include <string>
#include <vector>

namespace assay {

// The first line of each kind, in order; "(and N like it)" is added where several differ only in
// the numbers of layers ("layer_07_", ".7.").
std::vector<std::string> one_of_each_kind(const std::vector<std::string>& lines);

}  // namespace assay
