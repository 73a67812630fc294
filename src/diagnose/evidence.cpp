#include "diagnose/evidence.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "assay/error.h"
#include "base/text.h"
#include "base/widen.h"
#include "candidate/candidate.h"
#include "candidate/fused_file.h"
#include "candidate/ids.h"
#include "candidate/reading.h"
#include "diagnose/replay.h"
#include "formats/array_file.h"
#include "metrics/grid_count.h"
#include "model/generate.h"

namespace assay {
namespace {

// The model's own values, where a reference does not have them: one run per sequence of tokens.
class OwnRuns {
 public:
  OwnRuns(const Model& model, std::set<std::string> taps, ThreadPool& pool)
      : model_(model), taps_(std::move(taps)), pool_(pool) {}

  LoadedArray values(const std::string& tap, std::span<const std::int64_t> ids) {
    const std::optional<TapPlace> place = parse_tap_name(tap);
    if (!place || ids.empty()) return {};
    const std::vector<std::int64_t> text(ids.begin(), ids.end());
    check_token_ids(text, model_.spec, "input_ids");
    auto known = runs_.find(text);
    if (known == runs_.end()) {
      const auto wanted = [&](Tap of, std::int64_t layer) {
        return taps_.contains(tap_name(of, layer, model_.spec));
      };
      known = runs_.emplace(text, own_run(model_, {model_.program}, text, wanted, pool_)).first;
    }
    const Site* site = known->second.find(place->tap, place->layer);
    if (site == nullptr) return {};
    LoadedArray array;
    const auto bytes = std::as_bytes(std::span(site->values));
    array.owned.assign(bytes.begin(), bytes.end());
    array.view = {tap, DType::kF32,
                  tap_shape(place->tap, std::max<std::int64_t>(place->layer, 0), model_.spec,
                            std::ssize(text)),
                  array.owned, false};
    return array;
  }

 private:
  const Model& model_;
  std::set<std::string> taps_;
  ThreadPool& pool_;
  std::map<std::vector<std::int64_t>, Evidence> runs_;
};

Site read_site(const TapPlace& place, const ModelSpec& spec, const ArrayView& array,
               const Reading& reading, std::size_t tokens) {
  const Shape shape = tap_shape(place.tap, std::max<std::int64_t>(place.layer, 0), spec,
                                static_cast<std::int64_t>(tokens));
  const Array laid = laid_out(shape, position_axis(place.tap), array, reading);
  Site site = site_of(place, spec, tokens);
  site.last_only = reading.last_position;
  site.array_name = array.name;
  if (site.last_only) site.rows = 1;
  const std::size_t item = dtype_size(laid.dtype);
  site.values.resize(laid.bytes.size() / item);
  widen(laid.dtype, laid.bytes.data(), static_cast<std::ptrdiff_t>(item), std::span(site.values));
  site.width = site.values.size() / site.rows;
  return site;
}

// window: 0 is none.
bool is_hidden(std::size_t p, std::size_t j, std::size_t window) {
  return j > p || (window > 0 && p - j >= window);
}

// Many engines mask inside their softmax, or with a number that is not -inf (F16 has none as low as
// kHiddenScore). What their scores contain where the mask hides is then meaningless. Rows of
// probabilities that add up to 1 without those entries show it; to less, if sinks take a part.
bool masks_in_softmax(const Site& probs, std::size_t tokens, std::size_t window, bool sinks) {
  for (std::size_t row = 0; row < probs.values.size() / tokens; ++row) {
    const float* values = &probs.values[row * tokens];
    const std::size_t p = row % tokens;
    double sum = 0;
    for (std::size_t j = 0; j < tokens; ++j) {
      if (is_hidden(p, j, window) && values[j] != 0) return false;
      sum += static_cast<double>(values[j]);
    }
    if (!(sum < 1.03 && (sinks || sum > 0.97))) return false;
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
    const auto masks = [&] {
      return masks_in_softmax(*probs, tokens, window, spec.attention.sinks);
    };
    if (whole && !masks()) window = 0;  // the candidate's window differs
    const bool unused = whole && masks();
    for (std::size_t i = 0; i < site.values.size(); ++i) {
      const bool hidden = is_hidden(i / tokens % tokens, i % tokens, window);
      if ((unused && hidden) || static_cast<double>(site.values[i]) < kHiddenScore)
        site.values[i] = Bf16::kMasked;
    }
  }
}

}  // namespace

Site site_of(const TapPlace& place, const ModelSpec& spec, std::size_t tokens) {
  const std::int64_t layer = std::max<std::int64_t>(place.layer, 0);
  const Shape shape = tap_shape(place.tap, layer, spec, static_cast<std::int64_t>(tokens));
  Site site;
  site.place = place;
  site.name = tap_name(place.tap, layer, spec);
  site.rows = site.is_attention() ? static_cast<std::size_t>(spec.num_attention_heads) : tokens;
  site.width = static_cast<std::size_t>(element_count(shape, site.name)) / site.rows;
  return site;
}

std::ptrdiff_t Evidence::index_of(Tap tap, std::int64_t layer) const {
  const TapPlace wanted{tap, is_layer_tap(tap) ? layer : -1};
  const auto found = std::ranges::lower_bound(sites, wanted, {}, &Site::place);
  return found != sites.end() && found->place == wanted ? found - sites.begin() : -1;
}

const Site* Evidence::find(Tap tap, std::int64_t layer) const {
  const std::ptrdiff_t i = index_of(tap, layer);
  return i < 0 ? nullptr : &sites[static_cast<std::size_t>(i)];
}

Evidence read_evidence(const std::filesystem::path& path, const NameMap& map, const Model& model,
                       std::string id, const ArrayFile* reference, ThreadPool& pool) {
  const ModelSpec& spec = model.spec;
  ArrayFile file(path);
  NameMap own_map = map;
  own_map.adapt_to(spec);
  own_map.adapt_to(file.names());
  file = with_parts(std::move(file), own_map, spec.num_hidden_layers, spec.head_dim,
                    [&](const std::string& tap) { return width_of(tap, spec); });
  KnownPrompt known;
  known.model = spec;
  known.whole_run = true;
  const auto of_reference = [&](const char* name) -> std::vector<std::int64_t> {
    if (reference == nullptr || !reference->contains(name)) return {};
    return read_ids(*reference, name);
  };
  known.ids = of_reference("input_ids");
  known.text = of_reference("generated_ids");
  known.shape = [&](const std::string& tap, std::int64_t positions) -> std::optional<Shape> {
    const std::optional<TapPlace> place = parse_tap_name(tap);
    if (!place || place->layer >= spec.num_hidden_layers) return std::nullopt;
    const std::int64_t layer = std::max<std::int64_t>(place->layer, 0);
    if (!has_tap(place->tap, layer, spec)) return std::nullopt;
    return tap_shape(place->tap, layer, spec, positions);
  };
  std::set<std::string> taps;
  for (const std::string& name : file.names()) {
    for (const NameClaim& claim : own_map.meaning(name, spec.num_hidden_layers).singles()) {
      taps.insert(claim.taps.front());
    }
  }
  OwnRuns own_runs(model, std::move(taps), pool);
  known.values = [&](const std::string& tap, std::span<const std::int64_t> ids) {
    if (reference != nullptr && reference->contains(tap) && std::ranges::equal(ids, known.ids)) {
      LoadedArray values = reference->load(tap);
      if (known.shape(tap, std::ssize(ids)) == values.view.shape) return values;
    }
    return own_runs.values(tap, ids);
  };

  const Candidate dump(file, own_map, known);
  Evidence evidence;
  evidence.id = std::move(id);
  evidence.ids = dump.judged_ids();
  if (evidence.ids.empty()) {
    throw input_error(
        path.string(),
        dump.ids_problem().empty() ? "no input_ids: its tokens are unknown" : dump.ids_problem(),
        "an array input_ids, or --reference with the prompt");
  }
  check_token_ids(evidence.ids, spec, fmt::format("{}: input_ids", path.string()));
  evidence.prompt = evidence.ids.size();
  if (dump.sequence()) evidence.prompt = static_cast<std::size_t>(dump.sequence()->prompt);
  evidence.ran_other_tokens = dump.ids() && !known.ids.empty() && !dump.sequence();
  evidence.notes = dump.remarks();
  for (const std::string& problem : {dump.ids_problem(), dump.generated_problem()}) {
    if (!problem.empty()) evidence.unreadable.push_back(problem);
  }
  for (const std::string& name : dump.unmatched()) {
    // Errors in the rotary tables show in q_rope.
    const auto tap = own_map.tap_of(name, spec.num_hidden_layers);
    if (!tap || !tap->starts_with("rope_")) evidence.unmatched.push_back(name);
  }
  evidence.generated = dump.generated();
  struct ReadSo {
    std::string name;  // of the first array
    std::string text;
    std::size_t arrays = 0;
  };
  std::map<std::string, ReadSo> read_so;  // key: the reading's text without its numbers
  for (const CandidateArray& array : dump.arrays()) {
    std::string problem = array.problem;
    try {
      if (problem.empty()) {
        const LoadedArray loaded = file.load(array.name);
        const Reading reading = dump.reading_of(array, loaded.view);
        evidence.sites.push_back(
            read_site(*parse_tap_name(array.tap), spec, loaded.view, reading, evidence.ids.size()));
        evidence.sites.back().is_result = array.is_result;
        if (reading.rank > 0) {
          std::string kind = reading.text;
          std::erase_if(kind, [](char c) {
            return std::string_view("[0123456789, ]").find(c) != std::string_view::npos;
          });
          ReadSo& how = read_so.try_emplace(kind, ReadSo{array.name, reading.text}).first->second;
          ++how.arrays;
        }
      }
    } catch (const Error& error) {
      problem = error.what();
    }
    if (!problem.empty()) {
      (array.other_position ? evidence.notes : evidence.unreadable)
          .push_back(
              fmt::format("'{}' ({}) is not judged: {}", shown(array.name), array.tap, problem));
    }
  }
  for (const auto& [kind, how] : read_so) {
    evidence.notes.push_back(fmt::format("{} array{}, e.g. '{}': {}", how.arrays,
                                         how.arrays == 1 ? "" : "s", shown(how.name), how.text));
  }
  std::ranges::sort(evidence.sites, {}, &Site::place);
  if (evidence.sites.empty() && !evidence.generated) {
    const std::vector<std::string>& why =
        evidence.unreadable.empty() ? evidence.notes : evidence.unreadable;
    throw input_error(
        path.string(),
        why.empty() ? "none of its arrays is a tap" : "nothing to judge: " + why.front(),
        "arrays named as taps, or a --map from their names");
  }
  hide_unused_scores(evidence, spec);
  return evidence;
}

namespace {

template <class Wanted>
Grid grid_of_sites(const std::vector<Evidence>& all, const Wanted& wanted) {
  GridCount values;
  for (const Evidence& evidence : all) {
    for (const Site& site : evidence.sites) {
      if (!wanted(site.place.tap)) continue;
      const std::size_t step = site.values.size() / 4096 + 1;
      for (std::size_t i = 0; i < site.values.size(); i += step) {
        const float x = site.values[i];
        if (x == 0 || x != x || static_cast<double>(x) < kHiddenScore) continue;
        values.add(x);
      }
    }
  }
  return values.grid();
}

}  // namespace

Grid grid_of(const std::vector<Evidence>& all, const Program& program) {
  // The embedding may have another grid, that of the weights; and some taps are never rounded.
  std::vector<Tap> others = unrounded_taps(program);
  others.push_back(Tap::kEmbeddingOutput);
  return grid_of_sites(all, [&](Tap tap) { return std::ranges::count(others, tap) == 0; });
}

Grid grid_of(const std::vector<Evidence>& all, Tap tap) {
  return grid_of_sites(all, [tap](Tap other) { return other == tap; });
}

}  // namespace assay
