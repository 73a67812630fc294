#include "assay/diagnose.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <map>
#include <numeric>
#include <set>

#include "assay/array_file.h"
#include "assay/error.h"
#include "base/text.h"
#include "candidate/ids.h"
#include "candidate/prompt_pairs.h"
#include "candidate/reference_files.h"
#include "diagnose/ask_dump.h"
#include "diagnose/catalog.h"
#include "diagnose/coarse_operations.h"
#include "diagnose/relations.h"
#include "diagnose/scene.h"
#include "diagnose/search.h"
#include "diagnose/text_mistakes.h"
#include "diagnose/whole_run.h"
#include "model/checkpoint.h"
#include "model/checkpoint_files.h"
#include "model/finite.h"
#include "verify/divergence.h"

namespace assay {
namespace {

Mistake mistake_of(const Entry& entry) {
  return {std::string(entry.id),          std::string(entry.group),   std::string(entry.name),
          std::string(entry.explanation), std::string(entry.look_at), entry.rounding};
}

// What the reference says of a prompt.
struct Expected {
  std::optional<std::vector<std::int64_t>> ids;
  std::optional<std::vector<std::int64_t>> generated;
};

// The candidate's files, one for each prompt.
std::vector<Evidence> read_all(const DiagnoseOptions& options, const Model& model,
                               std::vector<Expected>& expected, ThreadPool& pool) {
  const NameMap map(options.map);
  std::vector<Evidence> all;
  if (!options.reference.empty()) {
    const Pairing pairing = pair_prompts(options.reference, options.candidate, options.prompt, map);
    for (const PromptPair& pair : pairing.prompts) {
      if (!pair.candidate) continue;
      const ReferenceFiles files(pair);
      const ArrayFile& reference = files.arrays();
      Expected& own = expected.emplace_back();
      if (reference.contains("input_ids")) own.ids = read_ids(reference, "input_ids");
      if (reference.contains("generated_ids")) {
        own.generated = read_ids(reference, "generated_ids");
      }
      all.push_back(read_evidence(*pair.candidate, map, model, pair.id, &reference, pool));
    }
  } else {
    for (const PromptPair& pair : prompts_of(options.candidate)) {
      if (!options.prompt.empty() && pair.id != options.prompt) continue;
      all.push_back(read_evidence(*pair.candidate, map, model, pair.id, nullptr, pool));
    }
  }
  if (all.empty()) {
    throw usage_error("--prompt", "'" + options.prompt + "'",
                      "the name of one of the dump's files");
  }
  return all;
}

class Case {
 public:
  Case(const Scene& scene, const SearchResult& result) : scene_(scene), result_(result) {}

  std::vector<Finding> findings() const {
    std::vector<Finding> all;
    for (const Culprit& culprit : result_.culprits) all.push_back(finding(culprit));
    return all;
  }

  Finding finding(const CoarseOperation& operation) const {
    Finding finding;
    finding.mistake = mistake_of(
        *std::ranges::find(catalog(), std::string_view("computed-coarsely"), &Entry::id));
    finding.detail = fmt::format("{} {} computed in {}", tap_base_name(operation.tap),
                                 operation.tap == Tap::kLogits ? "are" : "is",
                                 operand_type_text(operation.type));
    finding.layers = operation.layers;
    finding.where = where(operation.layers, true);
    finding.taps = {std::string(tap_base_name(operation.tap))};
    finding.error_before = operation.error;
    finding.error_after = operation.error;
    finding.built_in = false;
    finding.noise = operation.noise;
    return finding;
  }

  // The first site that is wanted by its state under those distances.
  std::optional<std::pair<std::size_t, std::size_t>> first(
      const std::vector<std::vector<Distance>>& sites, const Scene::Noise& noise,
      const std::function<bool(SiteState, std::size_t, std::size_t)>& wanted) const {
    std::optional<std::pair<std::size_t, std::size_t>> found;
    for (std::size_t e = 0; e < sites.size(); ++e) {
      for (std::size_t i = 0; i < sites[e].size(); ++i) {
        if (!wanted(scene_.state(e, i, sites[e][i], noise), e, i)) continue;
        const TapPlace& place = site(e, i).place;
        if (!found || place < site(found->first, found->second).place) found = {e, i};
        break;
      }
    }
    return found;
  }

  Place place(std::size_t e, std::size_t i, const std::vector<std::vector<Distance>>& sites,
              const Scene::Noise& noise, const Hypothesis& hypothesis) const {
    const Site& at = site(e, i);
    Place place;
    place.prompt = scene_.evidence()[e].id;
    place.tap = at.name;
    const Evidence& evidence = scene_.evidence()[e];
    const Upstream before = upstream_of(at.place, scene_.spec(), [&](const TapPlace& other) {
      const Site* found = evidence.find(other.tap, other.layer);
      return found != nullptr && !found->last_only;
    });
    place.operation = operation_of(at.place, before, scene_.spec());
    place.is_one_operation = !before.gap;
    place.error = sites[e][i].error;
    place.noise = noise[e][i];
    const SiteState state = scene_.state(e, i, sites[e][i], noise);
    std::set<std::int64_t> bad;
    std::set<std::int64_t> seen;
    for (std::size_t f = 0; f < sites.size(); ++f) {
      for (std::size_t j = 0; j < sites[f].size(); ++j) {
        const TapPlace& other = site(f, j).place;
        if (other.tap != at.place.tap || other.layer < 0 || !sites[f][j].seen) continue;
        seen.insert(other.layer);
        if (scene_.state(f, j, sites[f][j], noise) == state) bad.insert(other.layer);
      }
    }
    place.layers.assign(bad.begin(), bad.end());
    place.layer_count = std::ssize(seen);
    describe(place, e, i, hypothesis);
    return place;
  }

 private:
  const Site& site(std::size_t e, std::size_t i) const { return scene_.evidence()[e].sites[i]; }

  Finding finding(const Culprit& culprit) const {
    Finding finding;
    finding.mistake = mistake_of(*culprit.suspect.entry);
    finding.detail = culprit.suspect.variant.detail;
    std::set<std::int64_t> layers;
    std::set<std::string> taps;
    for (const auto& [e, i] : culprit.sites) {
      taps.insert(std::string(tap_base_name(site(e, i).place.tap)));
      if (site(e, i).place.layer >= 0) layers.insert(site(e, i).place.layer);
    }
    finding.layers.assign(layers.begin(), layers.end());
    finding.taps.assign(taps.begin(), taps.end());
    finding.where = where(finding.layers, finding.mistake.rounding);
    const std::vector<std::int64_t>& made_in = culprit.suspect.layers;
    if (scene_.segments().size() <= 2 && !made_in.empty()) {
      finding.layers = made_in;
      finding.where = fmt::format("in layers {}", fmt::join(made_in, ", "));
    }
    finding.error_before = culprit.error_before;
    finding.error_after = culprit.error_after;
    finding.noise = culprit.noise;
    finding.exact_after = culprit.exact_after;
    for (std::size_t a = 0; a < culprit.alternatives.size(); ++a) {
      const Suspect& other = culprit.alternatives[a];
      Hypothesis one = scene_.right();
      Hypothesis two = scene_.right();
      culprit.suspect.apply(one);
      other.apply(two);
      finding.alternatives.push_back(
          {mistake_of(*other.entry), other.variant.detail, culprit.alternative_errors[a],
           scene_.separate(one, two, layers.empty() ? 0 : *layers.begin())});
    }
    return finding;
  }

  // Of roundings it is said where they are; of mistakes, where they were seen.
  std::string where(const std::vector<std::int64_t>& layers, bool rounding) const {
    std::string text = where(layers);
    if (!rounding || !text.starts_with("seen ")) return text;
    return text == "seen in every layer" ? "in all layers" : text.substr(5);
  }

  std::string where(const std::vector<std::int64_t>& layers) const {
    const std::int64_t all = scene_.spec().num_hidden_layers;
    if (scene_.segments().size() <= 2) return "in the whole run";
    if (layers.empty()) return "outside the layers";
    if (std::ssize(layers) == all) return "seen in every layer";
    if (layers.size() == 1) return fmt::format("seen in layer {}", layers.front());
    if (layers.back() - layers.front() + 1 == std::ssize(layers)) {
      return layers.back() == all - 1
                 ? fmt::format("seen from layer {} on", layers.front())
                 : fmt::format("seen in layers {} to {}", layers.front(), layers.back());
    }
    return std::ssize(layers) * 2 > all ? fmt::format("seen in {} of {} layers", layers.size(), all)
                                        : fmt::format("seen in layers {}", fmt::join(layers, ", "));
  }

  // Positions, heads and channels, and what relates the values.
  void describe(Place& place, std::size_t e, std::size_t i, const Hypothesis& hypothesis) const {
    const Site& at = site(e, i);
    const ReplayResult kept = scene_.look(hypothesis, e);
    if (kept.computed[i].empty()) return;
    const std::span<const float> right = kept.computed[i];
    const std::span<const float> candidate = at.values;
    const auto positions = scene_.evidence()[e].ids.size();
    const ModelSpec& spec = scene_.spec();
    const bool has_heads =
        at.place.tap >= Tap::kQProj && at.place.tap <= Tap::kAttnContext && !at.is_attention();
    const auto heads = has_heads ? at.width / static_cast<std::size_t>(spec.head_dim) : 1;
    const std::size_t per_head = at.width / heads;
    std::vector<double> of_position(positions);
    std::vector<double> of_head(at.is_attention() ? at.rows : heads);
    std::vector<double> of_channel(at.is_attention() ? 0 : at.width);
    double total = 0;
    double size = 0;
    for (std::size_t k = 0; k < candidate.size(); ++k) {
      const double x = right[k];
      const double y = candidate[k];
      if (x < kHiddenScore || y < kHiddenScore) continue;
      const double square = std::isfinite(y) ? (y - x) * (y - x) : 1e30;
      total += square;
      size += x * x;
      if (at.is_attention()) {
        of_position[k / positions % positions] += square;
        of_head[k / at.width] += square;
      } else {
        if (!at.last_only) of_position[k / at.width] += square;
        of_head[k % at.width / per_head] += square;
        of_channel[k % at.width] += square;
      }
    }
    const double noise = std::pow(kBeyondNoise * place.noise, 2) * size;
    const auto least = [&](std::size_t parts) {
      return std::max(noise, total / 1000) / static_cast<double>(parts);
    };
    if (!at.last_only && positions > 1) {
      place.positions = where_error_lives(of_position, least(positions));
    }
    if (of_head.size() > 1) place.heads = where_error_lives(of_head, least(of_head.size()));
    if (!of_channel.empty()) {
      place.channels = where_error_lives(of_channel, least(of_channel.size()));
      if (place.channels.size() > 16) place.channels.clear();
    }
    place.relations = relations(place, at, right, heads, positions);
  }

  // Of the positions and heads where the error lives alone: a factor of one head is no factor of
  // all of them.
  static std::vector<Relation> relations(const Place& place, const Site& at,
                                         std::span<const float> right, std::size_t heads,
                                         std::size_t positions) {
    if (at.is_attention() || at.last_only) {
      const std::size_t rows = at.is_attention() ? at.rows * positions : at.rows;
      return find_relations({right, at.values, rows, 1});
    }
    std::vector<std::int64_t> rows = place.positions;
    std::vector<std::int64_t> parts = place.heads;
    const auto all = [](std::vector<std::int64_t>& list, std::size_t count) {
      if (!list.empty()) return;
      list.resize(count);
      std::iota(list.begin(), list.end(), 0);
    };
    all(rows, at.rows);
    all(parts, heads);
    const std::size_t n = at.width / heads;
    std::vector<float> x;
    std::vector<float> y;
    for (const std::int64_t r : rows) {
      for (const std::int64_t h : parts) {
        const auto begin = static_cast<std::ptrdiff_t>(static_cast<std::size_t>(r) * at.width +
                                                       static_cast<std::size_t>(h) * n);
        const auto end = begin + static_cast<std::ptrdiff_t>(n);
        x.insert(x.end(), right.begin() + begin, right.begin() + end);
        y.insert(y.end(), at.values.begin() + begin, at.values.begin() + end);
      }
    }
    std::vector<Relation> found = find_relations({x, y, rows.size(), parts.size()});
    if (!found.empty() || parts.size() == heads) return found;
    // A head may be another one's, whose own values are right.
    return find_relations({right, at.values, at.rows, heads});
  }

  const Scene& scene_;
  const SearchResult& result_;
};

std::string what_is_seen(const Scene& scene) {
  const std::size_t layers = static_cast<std::size_t>(scene.spec().num_hidden_layers);
  std::size_t sites = 0;
  bool within_layers = false;
  bool outputs = false;
  for (const Evidence& e : scene.evidence()) {
    sites = std::max(sites, e.sites.size());
    for (const Site& site : e.sites) {
      const bool of_layer = is_layer_tap(site.place.tap);
      outputs = outputs || (site.place.tap == Tap::kLayerOutput &&
                            site.place.layer + 1 < scene.spec().num_hidden_layers);
      within_layers = within_layers || (of_layer && site.place.tap != Tap::kLayerOutput);
    }
  }
  if (sites == 0) return "text only";
  if (sites > layers * 8) return "every operation";
  if (within_layers) return "some operations";
  if (scene.segments().size() > layers) return "layer outputs";
  if (outputs) return "some layer outputs";
  return sites == 1 ? "logits only" : "the end of the run only";
}

std::string summary_of(const Diagnosis& d) {
  const auto named = [&] {
    std::vector<std::string> names;
    for (const Finding& f : d.findings) {
      if (f.mistake.rounding && !f.detail.empty()) {
        std::string detail = f.detail;
        for (const Finding::Alternative& other : f.alternatives) {
          if (other.mistake.id == f.mistake.id) detail += fmt::format(" (or {})", other.detail);
        }
        names.push_back(fmt::format("{}, {}", detail, f.where));
        continue;
      }
      std::string name =
          fmt::format("{}{}{}", f.mistake.name, f.detail.empty() ? "" : ": ", f.detail);
      // The same in other layers is said once.
      if (std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
    }
    return fmt::format("{}", fmt::join(names, "; and "));
  };
  switch (d.verdict) {
    case DiagnosisVerdict::kCorrect:
      return "nothing is wrong: every array is what a correct engine computes, within rounding";
    case DiagnosisVerdict::kRounding:
      return "no logic is wrong: " + named();
    case DiagnosisVerdict::kNamed:
      return named();
    case DiagnosisVerdict::kPartlyNamed:
      return named() + "; and something that no known mistake explains";
    case DiagnosisVerdict::kUnexplained:
      return fmt::format("no known mistake explains it; it begins {}",
                         d.first->is_one_operation
                             ? fmt::format("at {} ({})", d.first->tap, d.first->operation)
                             : d.first->operation);
    case DiagnosisVerdict::kIncomplete:
      break;  // said of what can be read
  }
  return {};
}

// An array that cannot be read is no success: nobody knows what it holds.
void count_unreadable(Diagnosis& d) {
  const bool correct = d.verdict == DiagnosisVerdict::kCorrect;
  if (d.unreadable.empty() || (!correct && d.verdict != DiagnosisVerdict::kRounding)) return;
  d.verdict = DiagnosisVerdict::kIncomplete;
  d.summary = fmt::format(
      "{} cannot be read; in the others {}",
      d.unreadable.size() == 1 ? "an array" : fmt::format("{} arrays", d.unreadable.size()),
      correct ? "nothing is wrong" : d.summary);
}

void judge(Diagnosis& d, const Scene& scene, const SearchResult& result) {
  const Case the_case(scene, result);
  d.findings = the_case.findings();
  // What is left of the right model's type is a rounding where it is seen to be one.
  std::set<Tap> rounded;
  for (const CoarseOperation& operation : coarse_operations(scene, result)) {
    rounded.insert(operation.tap);
    d.findings.push_back(the_case.finding(operation));
  }
  const auto is_bad = [](SiteState state, std::size_t, std::size_t) {
    return state == SiteState::kBad;
  };
  const auto is_open = [&](SiteState state, std::size_t e, std::size_t i) {
    const Tap tap = scene.evidence()[e].sites[i].place.tap;
    return state == SiteState::kBad || (state == SiteState::kLoose && !rounded.contains(tap));
  };
  auto first = the_case.first(result.before.sites, scene.noise(), is_bad);
  if (first) {
    d.first = the_case.place(first->first, first->second, result.before.sites, scene.noise(),
                             scene.right());
  }
  auto left = the_case.first(result.sites, result.noise, is_bad);
  if (!left) left = the_case.first(result.sites, result.noise, is_open);
  if (left) {
    d.unexplained.push_back(
        the_case.place(left->first, left->second, result.sites, result.noise, result.best));
    if (!d.first) d.first = d.unexplained.back();
  }
  const bool logic =
      std::ranges::any_of(d.findings, [](const Finding& f) { return !f.mistake.rounding; });
  if (left) {
    d.verdict =
        d.findings.empty() ? DiagnosisVerdict::kUnexplained : DiagnosisVerdict::kPartlyNamed;
  } else if (logic) {
    d.verdict = DiagnosisVerdict::kNamed;
  } else if (!d.findings.empty()) {
    d.verdict = DiagnosisVerdict::kRounding;
  }
}

// Tokens before the forward pass, and the text behind it.
class TextRoom {
 public:
  TextRoom(const Model& model, const Scene& scene, const std::vector<Expected>& expected,
           ThreadPool& pool)
      : model_(model), scene_(scene), expected_(expected), pool_(pool) {}

  void add_to(Diagnosis& d) const {
    bool wrong = false;
    std::optional<Tokenizer> tokenizer;
    for (std::size_t e = 0; e < scene_.evidence().size(); ++e) {
      const Evidence& own = scene_.evidence()[e];
      if (!expected_[e].ids || !own.ran_other_tokens) continue;
      wrong = true;
      if (!tokenizer) tokenizer = try_load_tokenizer(model_.directory);
      const auto found = explain_ids(*expected_[e].ids, own.ids, tokenizer ? &*tokenizer : nullptr);
      if (found) {
        add(d, *found, fmt::format("in the tokens of prompt {}", own.id), "input_ids");
      } else {
        unexplained(d, own.id, "input_ids", "tokenization",
                    fmt::format("{} tokens, {} in the reference", own.ids.size(),
                                expected_[e].ids->size()));
      }
    }
    // With a wrong forward pass another text is no surprise.
    const bool right =
        d.verdict == DiagnosisVerdict::kCorrect || d.verdict == DiagnosisVerdict::kRounding;
    for (std::size_t e = 0; e < scene_.evidence().size() && right; ++e) {
      const Evidence& own = scene_.evidence()[e];
      if (!own.generated) continue;
      const bool same = !wrong && expected_[e].generated;
      const std::span<const std::int64_t> prompt = std::span(own.ids).first(own.prompt);
      const std::optional<std::vector<std::int64_t>> whole = whole_text(
          prompt, *own.generated, same ? *expected_[e].generated : std::vector<std::int64_t>());
      const auto foreign = std::ranges::find_if(
          *own.generated, [&](std::int64_t id) { return id < 0 || id >= model_.spec.vocab_size; });
      if (foreign != own.generated->end()) {
        unexplained(
            d, own.id, "generated_ids", "the choice of the token",
            fmt::format("token {} is none of the model's {}", *foreign, model_.spec.vocab_size));
        continue;
      }
      if (!whole) {
        d.notes.push_back(
            fmt::format("{}: generated_ids begins neither with the prompt's tokens nor with the "
                        "reference's first new one; it was not looked at",
                        own.id));
        continue;
      }
      const std::size_t judged =
          std::min(whole->size(), static_cast<std::size_t>(model_.spec.longest_sequence()));
      const TextVerdict text = explain_text(model_, std::span(*whole).first(judged), prompt.size(),
                                            own.find(Tap::kLogits, 0) != nullptr,
                                            same ? expected_[e].generated : std::nullopt, pool_);
      if (text.good) continue;
      if (text.mistake) {
        add(d, *text.mistake, fmt::format("in the text of prompt {}", own.id), "generated_ids");
      } else {
        unexplained(d, own.id, "generated_ids", "the forward pass or the choice of the token",
                    fmt::format("not the best token at position {}; dump logits to see whether "
                                "they are right",
                                text.position));
      }
    }
  }

 private:
  // Once for each mistake: what follows is of the same make.
  static void add(Diagnosis& d, const TextMistake& found, std::string where, std::string tap) {
    const bool known = std::ranges::any_of(
        d.findings, [&](const Finding& f) { return f.mistake.id == found.entry->id; });
    if (known) return;
    Finding finding;
    finding.mistake = mistake_of(*found.entry);
    finding.detail = found.detail;
    finding.where = std::move(where);
    finding.taps = {std::move(tap)};
    finding.of_text = true;
    const bool first = found.entry->group == "tokens";
    d.findings.insert(first ? d.findings.begin() : d.findings.end(), std::move(finding));
    const bool open =
        d.verdict == DiagnosisVerdict::kUnexplained || d.verdict == DiagnosisVerdict::kPartlyNamed;
    d.verdict = open ? DiagnosisVerdict::kPartlyNamed : DiagnosisVerdict::kNamed;
  }

  static void unexplained(Diagnosis& d, const std::string& prompt, std::string tap,
                          std::string operation, std::string text) {
    Place place;
    place.prompt = prompt;
    place.tap = std::move(tap);
    place.operation = std::move(operation);
    place.relations.push_back({std::move(text), 0});
    if (!d.first) d.first = place;
    d.unexplained.push_back(std::move(place));
    d.verdict =
        d.findings.empty() ? DiagnosisVerdict::kUnexplained : DiagnosisVerdict::kPartlyNamed;
  }

  const Model& model_;
  const Scene& scene_;
  const std::vector<Expected>& expected_;
  ThreadPool& pool_;
};

}  // namespace

std::string_view verdict_name(DiagnosisVerdict verdict) {
  switch (verdict) {
    case DiagnosisVerdict::kCorrect:
      return "correct";
    case DiagnosisVerdict::kRounding:
      return "rounding";
    case DiagnosisVerdict::kNamed:
      return "named";
    case DiagnosisVerdict::kPartlyNamed:
      return "partly named";
    case DiagnosisVerdict::kUnexplained:
      return "unexplained";
    case DiagnosisVerdict::kIncomplete:
      return "incomplete";
  }
  return "?";
}

std::vector<Mistake> known_mistakes() {
  std::vector<Mistake> all;
  const auto add = [&](const Entry& entry) { all.push_back(mistake_of(entry)); };
  for (const Entry& entry : text_catalog()) {
    if (entry.group == "tokens") add(entry);
  }
  for (const Entry& entry : catalog()) add(entry);
  for (const Entry& entry : text_catalog()) {
    if (entry.group != "tokens") add(entry);
  }
  return all;
}

Diagnosis diagnose(const DiagnoseOptions& options, const OnDiagnoseProgress& on_progress) {
  const std::optional<ExpectedType> as = parse_expected(options.as);
  const std::string numerics =
      options.reference.empty() ? "bf16" : read_reference(options.reference).numerics;
  Model model = load_model(options.model);
  if (!options.reference.empty()) expect_checkpoint_of(options.reference, options.model);
  require_finite(model.files);  // of what NaN does, no mistake could be told
  model.stream.reset();         // layers are run in any order
  ThreadPool pool(options.threads);
  if (on_progress) on_progress("reading", 0);
  std::vector<Expected> expected;
  std::vector<Evidence> evidence = read_all(options, model, expected, pool);
  expected.resize(evidence.size());
  Diagnosis d;
  d.candidate = options.candidate.string();
  for (const Evidence& e : evidence) {
    d.prompts.push_back(e.id);
    d.arrays += std::ssize(e.sites);
    const auto of_prompt = [&](const std::string& line) {
      return fmt::format("{}: {}", shown(e.id), line);
    };
    std::ranges::transform(e.notes, std::back_inserter(d.notes), of_prompt);
    std::ranges::transform(e.unreadable, std::back_inserter(d.unreadable), of_prompt);
    if (!e.unmatched.empty()) {
      const bool one = e.unmatched.size() == 1;
      d.notes.push_back(fmt::format("{}: {} {} of this model{} {}", shown(e.id), e.unmatched.size(),
                                    one ? "array is no tap" : "arrays are no taps",
                                    one ? ":" : ", e.g.", shown(e.unmatched.front())));
    }
  }
  if (on_progress) on_progress("replaying", 0);
  AskedDump asked =
      ask_dump(model, std::move(evidence), pool, as ? std::optional(grid_of(*as)) : std::nullopt);
  d.dump = std::move(asked.findings);
  const Scene& scene = *asked.scene;
  d.rounding = grid_name(scene.grid());
  d.seen = what_is_seen(scene);
  const bool tied = model.outer.lm_head.data == model.outer.embed_tokens.data;
  const SearchResult result = search(scene, tied, [&](double fraction) {
    if (on_progress) on_progress("trying mistakes", fraction);
  });
  d.hypotheses = scene.runs();
  judge(d, scene, result);
  TextRoom(model, scene, expected, pool).add_to(d);
  d.summary = summary_of(d);
  std::vector<std::vector<TensorResult>> runs;
  for (const Evidence& e : scene.evidence()) {
    runs.push_back(compare_whole_run(model, e, numerics, as, pool));
  }
  agree_with_compare(d, runs);
  count_unreadable(d);
  return d;
}

}  // namespace assay
