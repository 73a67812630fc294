#include "candidate/fused_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "assay/error.h"
#include "base/text.h"
#include "candidate/choose.h"
#include "candidate/data_flow.h"
#include "candidate/expert_slots.h"
#include "models/taps.h"

namespace assay {
namespace {

constexpr std::string_view kPart = ": ";

// The parts of a fused array.
struct Parts {
  std::vector<std::string> taps;
  std::vector<std::int64_t> widths;
  std::int64_t head_dim = 0;  // 0 if the parts have no heads
};

std::optional<Parts> parts_in(std::string_view name, const NameMap& map, std::int64_t layers,
                              std::int64_t head_dim, const WidthOfTap& width_of) {
  const NameMeaning meaning = map.meaning(name, layers);
  const auto fused = std::ranges::find_if(
      meaning.claims, [](const NameClaim& claim) { return claim.taps.size() > 1; });
  if (fused == meaning.claims.end()) return std::nullopt;
  Parts parts;
  parts.taps = fused->taps;
  for (const std::string& tap : parts.taps) {
    const std::optional<std::int64_t> width = width_of(tap);
    if (!width) return std::nullopt;
    parts.widths.push_back(*width);
  }
  const std::optional<TapPlace> first = parse_tap_name(parts.taps.front());
  if (first && first->tap == Tap::kQProj) parts.head_dim = head_dim;
  return parts;
}

// The shape with the parts side by side in its last axis; none if it has no such axes. ggml writes
// dimensions from the innermost one.
std::optional<Shape> shape_for(const Parts& parts, Shape shape) {
  const std::int64_t all =
      std::accumulate(parts.widths.begin(), parts.widths.end(), std::int64_t{0});
  const auto fits = [&] {
    std::int64_t width = 1;
    for (std::size_t axis = shape.size(); axis > 0 && width < all; --axis) width *= shape[axis - 1];
    return width == all;
  };
  if (fits()) return shape;
  std::ranges::reverse(shape);
  if (fits()) return shape;
  return std::nullopt;
}

class PartsSource : public ArrayFile::Source {
 public:
  struct Part {
    std::string array;
    std::size_t index = 0;
    FusedOrder order = FusedOrder::kBeside;
    Parts parts;
    ArrayForm form;
  };

  explicit PartsSource(ArrayFile file) : file_(std::move(file)) {}

  void add(std::string name) { names_.push_back(std::move(name)); }
  void add(std::string name, Part part) {
    names_.push_back(name);
    parts_.emplace(std::move(name), std::move(part));
  }

  std::vector<std::string> names() const override { return names_; }
  std::uint64_t size_of(std::string_view name) const override {
    const Part* part = find(name);
    if (part == nullptr) return file_.size_of(name);
    return static_cast<std::uint64_t>(element_count(part->form.shape, name)) *
           dtype_size(part->form.dtype);
  }
  ArrayForm form_of(std::string_view name) const override {
    const Part* part = find(name);
    return part == nullptr ? file_.form_of(name) : part->form;
  }
  LoadedArray load(std::string_view name) const override {
    const Part* part = find(name);
    if (part == nullptr) return file_.load(name);
    LoadedArray whole = file_.load(part->array);
    const std::optional<Shape> shape = shape_for(part->parts, whole.view.shape);
    if (shape) whole.view.shape = *shape;
    std::optional<Array> own =
        fused_part(whole.view, part->parts.widths, part->index, part->order, part->parts.head_dim);
    if (!own)
      throw input_error(file_.path().string(), "an array's shape has changed since it was opened",
                        "a file that does not change while it is read");
    LoadedArray loaded;
    loaded.owned = std::move(own->bytes);
    loaded.view = {std::string(name), own->dtype, std::move(own->shape), loaded.owned, false};
    return loaded;
  }

 private:
  const Part* find(std::string_view name) const {
    const auto found = parts_.find(name);
    return found == parts_.end() ? nullptr : &found->second;
  }

  ArrayFile file_;
  std::vector<std::string> names_;
  std::map<std::string, Part, std::less<>> parts_;
};

}  // namespace

std::optional<std::int64_t> width_in(Tap tap, const Shape& shape) {
  const bool has_slots = shape.size() == 4 && has_expert_slots(tap, true);
  std::int64_t width = 1;
  for (std::size_t axis = has_slots ? 3 : 2; axis < shape.size(); ++axis) width *= shape[axis];
  if (shape.size() < 3 || width < 1) return std::nullopt;
  return width;
}

std::optional<std::int64_t> width_of(const std::string& tap, const ModelSpec& model) {
  const std::optional<TapPlace> place = parse_tap_name(tap);
  const std::int64_t layer = place ? std::max<std::int64_t>(place->layer, 0) : 0;
  if (!place || layer >= model.num_hidden_layers || !has_tap(place->tap, layer, model)) {
    return std::nullopt;
  }
  return width_in(place->tap, tap_shape(place->tap, layer, model, 1));
}

WidthOfTap widths_of(const ArrayFile& reference, const ModelSpec& model) {
  return [&reference, &model](const std::string& tap) -> std::optional<std::int64_t> {
    if (!reference.contains(tap)) return width_of(tap, model);
    const std::optional<TapPlace> place = parse_tap_name(tap);
    if (!place) return std::nullopt;
    return width_in(place->tap, reference.form_of(tap).shape);
  };
}

std::string part_name(std::string_view array, std::string_view tap, FusedOrder order) {
  const std::optional<TapPlace> place = parse_tap_name(tap);
  std::string name(array);
  name += kPart;
  name += place ? tap_base_name(place->tap) : tap;
  if (order != FusedOrder::kBeside) (name += ", ") += fused_order_text(order);
  return name;
}

std::string_view array_of_part(std::string_view name) { return name.substr(0, name.rfind(kPart)); }

ArrayFile with_parts(ArrayFile file, const NameMap& map, std::int64_t layers, std::int64_t head_dim,
                     const WidthOfTap& width_of) {
  std::map<std::string, Parts> fused;
  for (const std::string& name : file.names()) {
    try {
      std::optional<Parts> parts = parts_in(name, map, layers, head_dim, width_of);
      if (parts && shape_for(*parts, file.form_of(name).shape)) {
        fused.emplace(name, std::move(*parts));
      }
    } catch (const Error&) {
      // It stays unchanged, and reading it will report the error.
    }
  }
  if (fused.empty()) return file;
  const std::filesystem::path path = file.path();
  const std::vector<std::string> names = file.names();
  std::map<std::string, ArrayForm> forms;
  for (const auto& [name, parts] : fused) forms[name] = file.form_of(name);
  auto source = std::make_unique<PartsSource>(std::move(file));
  for (const std::string& name : names) {
    const auto found = fused.find(name);
    if (found == fused.end()) {
      source->add(name);
      continue;
    }
    const Parts& parts = found->second;
    for (const FusedOrder order : fused_orders(parts.widths, parts.head_dim)) {
      for (std::size_t i = 0; i < parts.taps.size(); ++i) {
        const ArrayForm& whole = forms.at(name);
        Shape shape = *shape_for(parts, whole.shape);
        const std::int64_t all =
            std::accumulate(parts.widths.begin(), parts.widths.end(), std::int64_t{0});
        for (std::int64_t width = 1; width < all && !shape.empty();) {
          width *= shape.back();
          shape.pop_back();
        }
        shape.push_back(parts.widths[i]);
        source->add(part_name(name, parts.taps[i], order),
                    {name, i, order, parts, {whole.dtype, std::move(shape)}});
      }
    }
  }
  return {path, std::move(source)};
}

std::vector<Array> parts_of(const ArrayView& array, const NameMap& map, std::int64_t layers,
                            std::int64_t head_dim, const WidthOfTap& width_of,
                            const std::function<double(const ArrayView& part)>& error) {
  const std::optional<Parts> parts = parts_in(array.name, map, layers, head_dim, width_of);
  std::vector<Array> best;
  if (!parts) return best;
  const std::optional<Shape> shape = shape_for(*parts, array.shape);
  if (!shape) return best;
  ArrayView whole = array;
  whole.shape = *shape;
  double least = std::numeric_limits<double>::infinity();
  for (const FusedOrder order : fused_orders(parts->widths, parts->head_dim)) {
    std::vector<Array> own;
    double worst = 0;
    for (std::size_t i = 0; i < parts->taps.size(); ++i) {
      Array part = *fused_part(whole, parts->widths, i, order, parts->head_dim);
      part.name = part_name(array.name, parts->taps[i], order);
      worst = std::max(worst, error(part.view()));
      own.push_back(std::move(part));
    }
    // Keep the usual order unless another fits.
    if (best.empty() || (worst <= kFits && worst < least)) {
      best = std::move(own);
      least = worst;
    }
  }
  return best;
}

std::string why_not_split(std::string_view name, const Shape& shape, const NameMap& map,
                          std::int64_t layers, const WidthOfTap& width_of) {
  const std::optional<Parts> parts = parts_in(name, map, layers, 0, width_of);
  if (!parts || shape_for(*parts, shape)) return {};
  std::vector<std::string_view> taps;
  for (const std::string& tap : parts->taps) {
    const std::optional<TapPlace> place = parse_tap_name(tap);
    taps.push_back(place ? tap_base_name(place->tap) : tap);
  }
  return fmt::format("'{}' of shape {} is not split: {} together have {} values per position",
                     shown(name), shape_text(shape), fmt::join(taps, ", "),
                     std::accumulate(parts->widths.begin(), parts->widths.end(), std::int64_t{0}));
}

}  // namespace assay
