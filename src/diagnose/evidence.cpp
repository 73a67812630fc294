#include "diagnose/evidence.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>

#include "assay/array_file.h"
#include "assay/error.h"
#include "base/half.h"
#include "candidate/ids.h"
#include "candidate/reading.h"
#include "metrics/rows.h"
#include "model/generate.h"

namespace assay {
namespace {

Site read_site(const ArrayFile& file, const std::string& name, const TapPlace& place,
               const ModelSpec& spec, std::size_t tokens) {
  const Shape shape = tap_shape(place.tap, std::max<std::int64_t>(place.layer, 0), spec,
                                static_cast<std::int64_t>(tokens));
  const std::size_t axis = position_axis(place.tap);
  const LoadedArray array = file.load(name);
  const std::vector<Reading> found = readings(shape, axis, array.view.shape);
  if (found.empty()) {
    throw input_error(
        fmt::format("{}: array '{}'", file.path().string(), name),
        "shape " + shape_text(array.view.shape),
        fmt::format("{} for {}", shape_text(shape), tap_name(place.tap, place.layer, spec)));
  }
  const Reading& reading = found.front();
  const Rows rows = rows_of(shape, axis);
  Site site;
  site.place = place;
  site.name = tap_name(place.tap, place.layer, spec);
  site.last_only = reading.last_position;
  const std::size_t count = reading.last_position ? rows.lead : rows.count();
  site.rows = reading.last_position ? 1 : site.is_attention() ? rows.lead : tokens;
  site.values.resize(count * rows.width);
  site.width = site.values.size() / site.rows;
  const CandidateRows source(array.view, reading, rows.width);
  for (std::size_t r = 0; r < count; ++r) {
    source.read(r, 0, std::span(&site.values[r * rows.width], rows.width));
  }
  return site;
}

// window: 0 is none.
bool is_hidden(std::size_t p, std::size_t j, std::size_t window) {
  return j > p || (window > 0 && p - j >= window);
}

// Many engines mask inside their softmax, or with a number that is no -inf (F16 has none as low as
// kHiddenScore): what their scores hold where the mask hides is of no meaning then. Rows of
// probabilities that add up to 1 without it say so.
bool masks_in_softmax(const Site& probs, std::size_t tokens, std::size_t window) {
  for (std::size_t row = 0; row < probs.values.size() / tokens; ++row) {
    const float* values = &probs.values[row * tokens];
    const std::size_t p = row % tokens;
    double sum = 0;
    for (std::size_t j = 0; j < tokens; ++j) {
      if (is_hidden(p, j, window) && values[j] != 0) return false;
      sum += static_cast<double>(values[j]);
    }
    if (!(std::abs(sum - 1) < 0.03)) return false;
  }
  return true;
}

void hide_unused_scores(Evidence& evidence, const ModelSpec& spec) {
  const std::size_t tokens = evidence.ids.size();
  for (Site& site : evidence.sites) {
    if (site.place.tap != Tap::kAttnScores || site.last_only) continue;
    const Site* probs = evidence.find(Tap::kAttnProbs, site.place.layer);
    const bool whole = probs != nullptr && !probs->last_only;
    auto window =
        static_cast<std::size_t>(spec.is_sliding(site.place.layer) ? spec.attention.window : 0);
    if (whole && !masks_in_softmax(*probs, tokens, window))
      window = 0;  // the candidate's is another
    const bool unused = whole && masks_in_softmax(*probs, tokens, window);
    for (std::size_t i = 0; i < site.values.size(); ++i) {
      const bool hidden = is_hidden(i / tokens % tokens, i % tokens, window);
      if ((unused && hidden) || static_cast<double>(site.values[i]) < kHiddenScore)
        site.values[i] = Bf16::kMasked;
    }
  }
}

}  // namespace

std::ptrdiff_t Evidence::index_of(Tap tap, std::int64_t layer) const {
  const TapPlace wanted{tap, is_layer_tap(tap) ? layer : -1};
  const auto found = std::ranges::lower_bound(sites, wanted, {}, &Site::place);
  return found != sites.end() && found->place == wanted ? found - sites.begin() : -1;
}

const Site* Evidence::find(Tap tap, std::int64_t layer) const {
  const std::ptrdiff_t i = index_of(tap, layer);
  return i < 0 ? nullptr : &sites[static_cast<std::size_t>(i)];
}

Evidence read_evidence(const std::filesystem::path& path, const NameMap& map, const ModelSpec& spec,
                       std::string id, const std::optional<std::vector<std::int64_t>>& ids) {
  const ArrayFile file(path);
  Evidence evidence;
  evidence.id = std::move(id);
  NameMap own_map = map;
  own_map.suit(spec);
  own_map.suit(file.names());
  std::map<std::string, std::string> names;  // tap -> array
  for (const std::string& name : file.names()) {
    if (own_map.ignores(name, spec.num_hidden_layers)) continue;
    const std::optional<std::string> tap = own_map.tap_of(name, spec.num_hidden_layers);
    const std::optional<TapPlace> place = tap ? parse_tap_name(*tap) : std::nullopt;
    if (tap && tap->starts_with("rope_")) continue;  // what they do shows in q_rope
    const bool known =
        tap && (*tap == "input_ids" || *tap == "generated_ids" ||
                (place && place->layer < spec.num_hidden_layers &&
                 has_tap(place->tap, std::max<std::int64_t>(place->layer, 0), spec)));
    if (!known) {
      evidence.unmatched.push_back(name);
    } else {
      names.emplace(*tap, name);
    }
  }
  if (const auto own = names.find("input_ids"); own != names.end()) {
    evidence.ids = read_ids(file, own->second);
  } else if (ids) {
    evidence.ids = *ids;
  } else {
    throw input_error(path.string(), "no input_ids: it does not say which tokens it ran",
                      "an array input_ids, or --reference with the prompt");
  }
  check_token_ids(evidence.ids, spec, fmt::format("{}: input_ids", path.string()));
  if (const auto own = names.find("generated_ids"); own != names.end()) {
    evidence.generated = read_ids(file, own->second);
    check_token_ids(*evidence.generated, spec, fmt::format("{}: generated_ids", path.string()));
  }
  for (const auto& [tap, name] : names) {
    const std::optional<TapPlace> place = parse_tap_name(tap);
    if (!place) continue;
    evidence.sites.push_back(read_site(file, name, *place, spec, evidence.ids.size()));
  }
  std::ranges::sort(evidence.sites, {}, &Site::place);
  if (evidence.sites.empty() && !evidence.generated) {
    throw input_error(path.string(), "none of its arrays is a tap",
                      "arrays named as taps, or a --map from their names");
  }
  hide_unused_scores(evidence, spec);
  return evidence;
}

namespace {

// Of the sites that are wanted.
template <class Wanted>
Grid grid_of_sites(const std::vector<Evidence>& all, const Wanted& wanted) {
  std::size_t count = 0;
  std::size_t bf16 = 0;
  std::size_t f16 = 0;
  for (const Evidence& evidence : all) {
    for (const Site& site : evidence.sites) {
      if (!wanted(site.place.tap)) continue;
      const std::size_t step = site.values.size() / 4096 + 1;
      for (std::size_t i = 0; i < site.values.size(); i += step) {
        const float x = site.values[i];
        if (x == 0 || x != x || static_cast<double>(x) < kHiddenScore) continue;
        ++count;
        bf16 += (std::bit_cast<std::uint32_t>(x) & 0xFFFFu) == 0 ? 1 : 0;
        f16 += f16_to_f32(f32_to_f16(x)) == x ? 1 : 0;
      }
    }
  }
  const auto most = [&](std::size_t part) { return part * 100 >= count * 98; };
  if (most(bf16)) return Grid::kBf16;
  return most(f16) ? Grid::kF16 : Grid::kF32;
}

}  // namespace

Grid grid_of(const std::vector<Evidence>& all) {
  // The embedding has the weights' own grid.
  return grid_of_sites(all, [](Tap tap) { return tap != Tap::kEmbeddingOutput; });
}

Grid grid_of(const std::vector<Evidence>& all, Tap tap) {
  return grid_of_sites(all, [tap](Tap other) { return other == tap; });
}

}  // namespace assay
