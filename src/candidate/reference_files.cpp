#include "candidate/reference_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "assay/error.h"
#include "base/text.h"
#include "candidate/data_flow.h"
#include "candidate/ids.h"

namespace assay {
namespace {

constexpr std::string_view kOneRun = "both from one run of `assay extract`";

bool has_shape_of_tap(const std::optional<TapPlace>& place, const Shape& shape) {
  const std::size_t axis = place ? position_axis(place->tap) : 1;
  if (shape.size() <= axis || std::ranges::find(shape, 0) != shape.end()) return false;
  return axis == 1 || (shape.size() == 4 && shape[2] == shape[3]);
}

}  // namespace

void expect_shapes_of_taps(const ArrayFile& reference, const ArrayFile* oracle,
                           const ModuleFlow* modules) {
  if (modules != nullptr) {
    for (const ModuleArray& array : modules->arrays()) {
      if (reference.contains(array.name)) continue;
      throw input_error(reference.path().string(), fmt::format("no array '{}'", shown(array.name)),
                        "all that the manifest lists");
    }
  }
  for (const std::string& name : reference.names()) {
    const ModuleArray* own = modules != nullptr ? modules->find(name) : nullptr;
    const std::optional<TapPlace> place = parse_tap_name(name);
    if (own == nullptr && !place && !name.starts_with("rope_")) continue;
    const Shape shape = reference.form_of(name).shape;
    const auto where = [&](const ArrayFile& file) {
      return fmt::format("{}: array '{}'", file.path().string(), shown(name));
    };
    if (own != nullptr) {
      if (shape.size() <= own->axis || std::ranges::find(shape, 0) != shape.end()) {
        throw input_error(
            where(reference), fmt::format("shape {}", shape_text(shape)),
            fmt::format("elements, and {} axes or more, as in the manifest", own->axis + 1));
      }
    } else if (!has_shape_of_tap(place, shape)) {
      const bool has_keys = place && position_axis(place->tap) == 2;
      throw input_error(where(reference), fmt::format("shape {}", shape_text(shape)),
                        has_keys ? "[1, heads, S, S] of S tokens, as a reference has it"
                                 : "[1, S, ...] of S tokens, as a reference has it");
    }
    if ((own == nullptr && !place) || oracle == nullptr) continue;
    if (!oracle->contains(name)) {
      throw input_error(oracle->path().string(), fmt::format("no array '{}'", shown(name)),
                        fmt::format("all of {}: {}", reference.path().string(), kOneRun));
    }
    const Shape exact = oracle->form_of(name).shape;
    if (exact != shape) {
      throw input_error(where(*oracle), fmt::format("shape {}", shape_text(exact)),
                        fmt::format("{}, as {} has it: {}", shape_text(shape),
                                    reference.path().string(), kOneRun));
    }
  }
}

// With another prompt of the same length, an earlier run's shapes would be the same.
void expect_same_ids(const ArrayFile& reference, const ArrayFile& oracle) {
  constexpr const char* kIds = "input_ids";
  if (!reference.contains(kIds) || !oracle.contains(kIds)) return;
  if (read_ids(reference, kIds) == read_ids(oracle, kIds)) return;
  throw input_error(fmt::format("{}: array '{}'", oracle.path().string(), kIds),
                    "the tokens of another prompt",
                    fmt::format("those of {}: {}", reference.path().string(), kOneRun));
}

ReferenceFiles::ReferenceFiles(const PromptPair& pair)
    : arrays_(pair.reference), modules_(pair.modules), end_tokens_(pair.end_tokens) {
  if (pair.oracle) oracle_.emplace(*pair.oracle);
  expect_shapes_of_taps(arrays_, oracle(), modules());
  if (oracle_) expect_same_ids(arrays_, *oracle_);
  if (pair.noise) noise_ = *pair.noise;
}

void ReferenceFiles::expect_own_oracle(const std::string& tap, const TensorMetrics& own,
                                       bool whole) const {
  if (!oracle_) return;
  const std::string where = fmt::format("{}: array '{}'", oracle_->path().string(), shown(tap));
  if (own.unlike > 0) {
    throw WrongReference(
        where,
        fmt::format("{} values that are NaN or infinite in only one of it and the reference",
                    own.unlike),
        fmt::format("finite values where {} has them", arrays_.path().string()));
  }
  const auto recorded = noise_.find(tap);
  if (!whole || recorded == noise_.end()) return;
  // The manifest's number is rounded, and its sum of squares may have had another order.
  constexpr double kAlike = 1e-3;
  const double difference = std::abs(own.relative_l2 - recorded->second);
  if (difference <= kAlike * std::max(own.relative_l2, recorded->second)) return;
  throw WrongReference(
      where, fmt::format("a relative L2 of {:.3g} from the reference", own.relative_l2),
      fmt::format("{:.3g}, as in the manifest: files as `assay extract` wrote them",
                  recorded->second));
}

std::vector<std::int64_t> ReferenceFiles::exact_text() const {
  if (!oracle_ || !oracle_->contains("generated_ids")) return {};
  return read_ids(*oracle_, "generated_ids");
}

double ReferenceFiles::least_noise(const std::string& name) const {
  constexpr double kMany = 512;
  const ModuleArray* array = modules_ ? modules_->find(name) : nullptr;
  if (array == nullptr) return 0;
  const auto count = static_cast<double>(element_count(arrays_.form_of(name).shape, name));
  if (count > kMany) return 0;
  double least = 0;
  for (const std::size_t source : array->from) {
    const auto found = noise_.find(modules_->arrays()[source].name);
    if (found != noise_.end()) least = std::max(least, found->second);
  }
  // A sum whose terms cancel is relatively further off than they are. Over many values that is
  // known from the reference's own error, over few (the scores of two classes) it is not.
  return least * std::max(1.0, 16 / std::sqrt(count));
}

bool ReferenceFiles::judges_positions(const std::string& name) const {
  constexpr std::int64_t kFew = 16;
  const ModuleArray* array = modules_ ? modules_->find(name) : nullptr;
  if (array == nullptr) return true;
  const Shape shape = arrays_.form_of(name).shape;
  return element_count(shape, name) / shape.at(array->axis) >= kFew;
}

LoadedArray ReferenceFiles::exact(const std::string& tap) const {
  const bool has_truth = parse_tap_name(tap) || (modules_ && modules_->find(tap) != nullptr);
  return oracle_ && has_truth && oracle_->contains(tap) ? oracle_->load(tap) : LoadedArray{};
}

}  // namespace assay
