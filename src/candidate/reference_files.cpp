#include "candidate/reference_files.h"

#include <fmt/format.h>

#include <algorithm>

#include "assay/error.h"
#include "base/text.h"
#include "candidate/data_flow.h"

namespace assay {
namespace {

bool has_shape_of_tap(const std::optional<TapPlace>& place, const Shape& shape) {
  const std::size_t axis = place ? position_axis(place->tap) : 1;
  if (shape.size() <= axis || std::ranges::find(shape, 0) != shape.end()) return false;
  return axis == 1 || (shape.size() == 4 && shape[2] == shape[3]);
}

}  // namespace

void expect_shapes_of_taps(const ArrayFile& reference, const ArrayFile* oracle) {
  for (const std::string& name : reference.names()) {
    const std::optional<TapPlace> place = parse_tap_name(name);
    if (!place && !name.starts_with("rope_")) continue;
    const Shape shape = reference.form_of(name).shape;
    const auto where = [&](const ArrayFile& file) {
      return fmt::format("{}: array '{}'", file.path().string(), shown(name));
    };
    if (!has_shape_of_tap(place, shape)) {
      const bool has_keys = place && position_axis(place->tap) == 2;
      throw input_error(where(reference), fmt::format("shape {}", shape_text(shape)),
                        has_keys ? "[1, heads, S, S] of S tokens, as a reference has it"
                                 : "[1, S, ...] of S tokens, as a reference has it");
    }
    if (!place || oracle == nullptr || !oracle->contains(name)) continue;
    const Shape exact = oracle->form_of(name).shape;
    if (exact != shape) {
      throw input_error(where(*oracle), fmt::format("shape {}", shape_text(exact)),
                        fmt::format("{}, as {} has it: of one run of `assay extract`",
                                    shape_text(shape), reference.path().string()));
    }
  }
}

ReferenceFiles::ReferenceFiles(const PromptPair& pair) : arrays_(pair.reference) {
  if (pair.oracle) oracle_.emplace(*pair.oracle);
  expect_shapes_of_taps(arrays_, oracle());
}

LoadedArray ReferenceFiles::exact(const std::string& tap) const {
  return oracle_ && parse_tap_name(tap) && oracle_->contains(tap) ? oracle_->load(tap)
                                                                  : LoadedArray{};
}

}  // namespace assay
