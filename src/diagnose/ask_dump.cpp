#include "diagnose/ask_dump.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/half.h"
#include "candidate/dump_forms.h"
#include "rewrite/edit.h"

namespace assay {
namespace {

using SiteId = std::pair<std::size_t, std::size_t>;  // evidence, site

// The most forms and unused taps that are reported for one dump.
constexpr int kMostForms = 8;
// An array fits a form if it is closer than this to what the form contains, and much closer than it
// is to its own tap. The arrays after it decide; the engine's own errors may have added up here.
constexpr double kAlike = 0.1;
constexpr double kMuchCloser = 0.3;
// Bits of the search's cost over all arrays that follow: a form that saves so many is accepted, a
// change within kSilentBits is no evidence.
constexpr double kTellingBits = 3;
constexpr double kSilentBits = 0.5;
constexpr double kMoved = 0.02;

// Rounds as the candidate did.
float on_grid(Grid grid, float x) {
  if (grid == Grid::kBf16) return bf16_to_f32(f32_to_bf16(x));
  return grid == Grid::kF16 ? f16_to_f32(f32_to_f16(x)) : x;
}

class Asking {
 public:
  Asking(const Model& model, std::vector<Evidence> evidence, ThreadPool& pool,
         std::optional<Grid> as)
      : model_(model), pool_(pool), as_(as) {
    result_.scene = std::make_unique<Scene>(model, std::move(evidence), pool, as);
  }

  AskedDump run() {
    for (int i = 0; i < kMostForms; ++i) {
      find_bad();
      if (bad_.empty() || !(find_form() || find_unused())) break;
    }
    return std::move(result_);
  }

 private:
  const Scene& scene() const { return *result_.scene; }
  const std::vector<Evidence>& evidence() const { return scene().evidence(); }
  const Site& site(const SiteId& id) const { return evidence()[id.first].sites[id.second]; }

  static bool is_bad(SiteState state) {
    return state == SiteState::kBad || state == SiteState::kLoose;
  }

  void find_bad() {
    bad_.clear();
    base_ = scene().evaluate(scene().right());
    for (std::size_t e = 0; e < evidence().size(); ++e) {
      for (std::size_t i = 0; i < evidence()[e].sites.size(); ++i) {
        if (is_bad(scene().state(e, i, base_.sites[e][i]))) bad_.insert({e, i});
      }
    }
  }

  // The model's values at the doubtful sites and at the taps that these may hold, for each
  // evidence.
  using Computed = std::vector<std::map<TapPlace, std::vector<float>>>;
  Computed computed() const {
    Computed all;
    for (std::size_t e = 0; e < evidence().size(); ++e) {
      Evidence watched = evidence()[e];
      std::set<TapPlace> wanted;
      for (const SiteId& id : bad_) {
        if (id.first != e) continue;
        Site& own = watched.sites[id.second];
        own.taken = false;
        for (const DumpForm& form : forms_of(own.place, model_.spec)) {
          if (form.holds) wanted.insert(*form.holds);
        }
      }
      for (const TapPlace& place : wanted) {
        if (watched.find(place.tap, place.layer) == nullptr) {
          Site& site = watched.sites.emplace_back(site_of(place, model_.spec, watched.ids.size()));
          site.values.resize(site.rows * site.width);
          site.taken = false;
          std::ranges::sort(watched.sites, {}, &Site::place);
        }
      }
      ReplayOptions options = all_layers(model_.spec);
      options.keep = true;
      ReplayResult run =
          replay(model_, scene().right(), watched, scene().rounding(), options, pool_);
      auto& values = all.emplace_back();
      for (std::size_t i = 0; i < watched.sites.size(); ++i) {
        values[watched.sites[i].place] = std::move(run.computed[i]);
      }
    }
    return all;
  }

  // The norm's weight as a factor: with 1 added where the model adds it.
  std::vector<float> weight_of(const TapPlace& place) const {
    const auto l = static_cast<std::size_t>(std::max<std::int64_t>(place.layer, 0));
    const bool of_layer = is_layer_tap(place.tap);
    const Block& block = of_layer ? model_.program.layers[l] : model_.program.head;
    const BlockWeights& weights = of_layer ? model_.weights.layers[l] : model_.weights.head;
    const std::optional<std::size_t> step = block.step_showing(place.tap);
    const auto* norm = step ? std::get_if<RmsNorm>(&block.steps[*step].operation) : nullptr;
    if (norm == nullptr) return {};
    const Weight& weight = weights[*step].front();
    std::vector<float> values(weight.cols);
    kernels<F32>(chosen_simd()).load_row(weight, 0, values.data());
    if (norm->one_plus) {
      for (float& x : values) x += 1;
    }
    return values;
  }

  // The site in that form. A form that holds another tap moves the site there.
  Site in_form(const Site& own, const DumpForm& form, std::size_t tokens) const {
    Site made = own;
    if (form.holds) {
      made.place = *form.holds;
      made.name =
          tap_name(made.place.tap, std::max<std::int64_t>(made.place.layer, 0), model_.spec);
      return made;
    }
    apply_form(form, model_.spec, own.place, weight_of(own.place),
               own.is_attention() ? tokens : own.width, made.values);
    for (float& x : made.values) x = on_grid(scene().grid(), x);
    return made;
  }

  // The same as Distance: every row has the same weight.
  static double distance(const Site& site, const std::vector<float>& right) {
    if (right.size() < site.values.size()) return kFar;
    const std::size_t skipped = right.size() - site.values.size();  // only the last position
    double squares = 0;
    for (std::size_t r = 0; r < site.rows; ++r) {
      std::size_t equal = 0;
      const double error =
          row_error(std::span(&site.values[r * site.width], site.width),
                    std::span<const float>(&right[skipped + r * site.width], site.width), equal);
      squares += error * error;
    }
    return std::sqrt(squares / static_cast<double>(site.rows));
  }

  bool fits(const SiteId& id, const DumpForm& form, const Computed& right) const {
    const Site& own = site(id);
    const auto& values = right[id.first];
    const Site made = in_form(own, form, evidence()[id.first].ids.size());
    const auto found = values.find(made.place);
    if (found == values.end()) return false;
    const auto plain = values.find(own.place);
    const double before = plain == values.end() ? kFar : distance(own, plain->second);
    return distance(made, found->second) <= std::min(kAlike, kMuchCloser * before);
  }

  // Accepts a form in which nearly all bad arrays of a tap become right, and those after them too.
  bool find_form() {
    const Computed right = computed();
    std::map<std::pair<int, std::string>, std::vector<SiteId>> groups;
    std::vector<std::pair<std::pair<int, std::string>, DumpForm>> order;
    for (const SiteId& id : bad_) {
      const TapPlace& place = site(id).place;
      std::vector<DumpForm> forms = forms_of(place, model_.spec);
      if (has_rotary_pairs(place.tap)) forms.insert(forms.begin(), paired_channels());
      for (const DumpForm& form : forms) {
        const auto key = std::pair(family_of(place.tap, form), form.text);
        if (!groups.contains(key)) order.emplace_back(key, form);
        groups[key].push_back(id);
      }
    }
    return std::ranges::any_of(order, [&](const auto& entry) {
      return try_form(entry.second, groups.at(entry.first), right);
    });
  }

  bool try_form(const DumpForm& wanted, const std::vector<SiteId>& family, const Computed& right) {
    std::map<SiteId, DumpForm> forms;
    for (const SiteId& id : family) {
      if (wanted.pairs) {
        if (fits(id, wanted, right)) forms[id] = wanted;
        continue;
      }
      for (const DumpForm& form : forms_of(site(id).place, model_.spec)) {
        if (form == wanted && fits(id, form, right)) forms[id] = form;
      }
    }
    if (forms.empty() || (wanted.pairs && forms.size() * 10 < family.size() * 9)) return false;
    std::vector<Evidence> turned = evidence();
    std::vector<TapPlace> places;
    for (auto& [id, form] : forms) {
      Site& own = turned[id.first].sites[id.second];
      places.push_back(own.place);
      own = in_form(own, form, turned[id.first].ids.size());
    }
    // Drop moved arrays where the candidate also has the tap that they hold.
    std::vector<std::set<TapPlace>> moved(turned.size());
    for (const auto& [id, form] : forms) {
      if (form.holds) moved[id.first].insert(*form.holds);
    }
    for (std::size_t e = 0; e < turned.size(); ++e) {
      std::vector<Site> kept;
      for (std::size_t i = 0; i < turned[e].sites.size(); ++i) {
        const Site& own = turned[e].sites[i];
        const bool is_moved = forms.contains({e, i}) && forms.at({e, i}).holds.has_value();
        const bool has_own = std::ranges::any_of(turned[e].sites, [&](const Site& other) {
          const auto j = static_cast<std::size_t>(&other - turned[e].sites.data());
          return other.place == own.place && j != i && !forms.contains({e, j});
        });
        if (!is_moved || !has_own) kept.push_back(own);
      }
      turned[e].sites = std::move(kept);
      std::ranges::sort(turned[e].sites, {}, &Site::place);
    }
    auto after = std::make_unique<Scene>(model_, std::move(turned), pool_, as_);
    const Score score = after->evaluate(after->right());
    if (!is_believed(forms, *after, score)) return false;
    note(wanted.text, places);
    result_.scene = std::move(after);
    if (!wanted.holds && !wanted.pairs) leave_out(places);
    return true;
  }

  // Drops arrays that we multiplied or capped: they are right, and no longer have the engine's
  // roundings.
  void leave_out(const std::vector<TapPlace>& places) {
    std::vector<Evidence> rest = evidence();
    for (Evidence& e : rest) {
      std::vector<Site> kept;
      for (const Site& own : e.sites) {
        if (std::ranges::find(places, own.place) == places.end()) kept.push_back(own);
      }
      if (!kept.empty()) e.sites = std::move(kept);
    }
    result_.scene = std::make_unique<Scene>(model_, std::move(rest), pool_, as_);
  }

  // Whether the forms make the other arrays right, and the arrays that have the forms too.
  bool is_believed(const std::map<SiteId, DumpForm>& forms, const Scene& after,
                   const Score& score) const {
    std::set<std::pair<std::size_t, TapPlace>> own;  // places that forms are of, or make
    for (const auto& [id, form] : forms) {
      own.insert({id.first, site(id).place});
      if (!form.holds) continue;
      // An array of that tap itself is a witness, unless it is moved too.
      const std::ptrdiff_t other =
          evidence()[id.first].index_of(form.holds->tap, form.holds->layer);
      if (other < 0 || forms.contains({id.first, static_cast<std::size_t>(other)})) {
        own.insert({id.first, *form.holds});
      }
    }
    std::size_t clean = 0;
    std::size_t made = 0;
    double bits_after = 0;
    for (std::size_t e = 0; e < after.evidence().size(); ++e) {
      for (std::size_t i = 0; i < after.evidence()[e].sites.size(); ++i) {
        const Distance& distance = score.sites[e][i];
        if (own.contains({e, after.evidence()[e].sites[i].place})) {
          ++made;
          clean += is_bad(after.state(e, i, distance)) ? 0 : 1;
        } else {
          bits_after += after.cost(e, i, distance);
        }
      }
    }
    double bits_before = 0;
    for (std::size_t e = 0; e < evidence().size(); ++e) {
      for (std::size_t i = 0; i < evidence()[e].sites.size(); ++i) {
        if (own.contains({e, evidence()[e].sites[i].place})) continue;
        bits_before += scene().cost(e, i, base_.sites[e][i]);
      }
    }
    // Pairs of channels show any other error or rounding as well: fits() has checked them.
    const bool all_pairs =
        std::ranges::all_of(forms, [](const auto& entry) { return entry.second.pairs; });
    if (!all_pairs && clean * 10 < made * 9) return false;
    if (bits_after <= bits_before - kTellingBits) return true;
    // Nothing that follows decides. Then accept only a module's own name, which shows that the
    // array is not the tap, or contents that no engine computes there. Paired channels also change
    // the order of sums, which moves other errors a little.
    const double silent = kSilentBits + (all_pairs ? kMoved * bits_before : 0);
    if (bits_after > bits_before + silent) return false;
    return std::ranges::all_of(forms, [&](const auto& entry) {
      if (entry.second.pairs)
        return true;  // q and k are permuted alike, so the scores stay the same
      const Site& of = site(entry.first);
      if (of.is_result && !entry.second.holds) return false;
      return is_known_trap(of.place, of.array_name, entry.second);
    });
  }

  // The nearest dumped taps that are computed from the candidate's value at `place`.
  std::set<std::size_t> followers(std::size_t e, const TapPlace& place) const {
    std::set<std::size_t> all;
    for (std::size_t i = 0; i < evidence()[e].sites.size(); ++i) {
      const TapPlace& at = evidence()[e].sites[i].place;
      if (at != place && reads(e, at, place)) all.insert(i);
    }
    return all;
  }
  bool reads(std::size_t e, const TapPlace& at, const TapPlace& from) const {
    std::vector<TapPlace> open = {at};
    std::set<TapPlace> seen;  // paths through the residual stream double with every layer
    while (!open.empty()) {
      const TapPlace place = open.back();
      open.pop_back();
      for (const TapPlace& before : computed_from(place, model_.spec)) {
        if (before == from) return true;
        const bool is_dumped = evidence()[e].find(before.tap, before.layer) != nullptr;
        if (!is_dumped && seen.insert(before).second) open.push_back(before);
      }
    }
    return false;
  }

  // Finds arrays that the engine did not compute with: what follows is wrong with the candidate's
  // arrays and right without them. They are all bad arrays of one tap, or the fewest of them that
  // must go.
  bool find_unused() {
    std::map<Tap, std::set<SiteId>> taps;
    for (const SiteId& id : bad_) taps[site(id).place.tap].insert(id);
    for (const auto& [tap, ids] : taps) {
      if (try_unused(ids)) return true;
      std::set<SiteId> few;
      for (int i = 0; i < kMostForms && few.size() < ids.size(); ++i) {
        const auto next = std::ranges::find_if(ids, [&](const SiteId& id) {
          return !few.contains(id) && (i == 0 || still_bad_.contains(id));
        });
        if (next == ids.end()) break;
        few.insert(*next);
        if (try_unused(few)) return true;
      }
    }
    return false;
  }

  bool try_unused(const std::set<SiteId>& ids) {
    std::vector<Evidence> without = evidence();
    for (const auto& [e, i] : ids) without[e].sites[i].taken = false;
    const Scene after(model_, without, pool_, as_);
    const Score score = after.evaluate(after.right());
    still_bad_.clear();
    for (const SiteId& id : bad_) {
      const auto& [e, i] = id;
      if (is_bad(after.state(e, i, score.sites[e][i]))) still_bad_.insert(id);
    }
    for (const SiteId& id : ids) {
      bool any_was_bad = false;
      for (const std::size_t f : followers(id.first, site(id).place)) {
        const SiteId follower = {id.first, f};
        if (ids.contains(follower)) continue;
        any_was_bad = any_was_bad || bad_.contains(follower);
        if (is_bad(after.state(id.first, f, score.sites[id.first][f]))) return false;
      }
      if (!any_was_bad) return false;
    }
    std::vector<TapPlace> places;
    for (const SiteId& id : ids) places.push_back(site(id).place);
    note(std::string(not_gone_on_with()), places);
    for (auto id = ids.rbegin(); id != ids.rend(); ++id) {
      auto& sites = without[id->first].sites;
      sites.erase(sites.begin() + static_cast<std::ptrdiff_t>(id->second));
    }
    result_.scene = std::make_unique<Scene>(model_, std::move(without), pool_, as_);
    return true;
  }

  void note(const std::string& text, std::vector<TapPlace> places) {
    std::ranges::sort(places);
    places.erase(std::unique(places.begin(), places.end()), places.end());
    result_.findings.push_back(fmt::format("{}: {}", places_text(places, model_.spec), text));
  }

  const Model& model_;
  ThreadPool& pool_;
  std::optional<Grid> as_;
  AskedDump result_;
  Score base_;
  std::set<SiteId> bad_;
  std::set<SiteId> still_bad_;  // without the arrays that were tried last
};

}  // namespace

AskedDump ask_dump(const Model& model, std::vector<Evidence> evidence, ThreadPool& pool,
                   std::optional<Grid> as) {
  return Asking(model, std::move(evidence), pool, as).run();
}

}  // namespace assay
