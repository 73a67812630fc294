// Which layers' outputs a dump stacked, when it does not say so.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace assay {

// errors[i][l]: the distance of the stack's array i from the residual stream after l layers (0: the
// embedding). Stacks are in the order of the layers, none twice. Returns for each array the number
// of layers that makes the sum of the errors least; none if there are more arrays than layers. An
// error that is not finite counts as very large.
std::optional<std::vector<std::size_t>> assign_layers(
    const std::vector<std::vector<double>>& errors);

}  // namespace assay
