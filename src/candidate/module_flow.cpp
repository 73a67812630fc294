#include "candidate/module_flow.h"

#include <fmt/format.h>

#include <algorithm>

#include "assay/error.h"
#include "base/text.h"
#include "candidate/name_forms.h"
#include "models/taps.h"

namespace assay {
namespace {

// Bounds what is remembered for each array that depends on a choice.
constexpr std::uint64_t kMostPositions = 65536;

// An array's record, and how to name its fields in messages.
struct Record {
  const OrderedJson& json;
  const std::string& file;
  std::string path;

  Error bad(std::string_view field, std::string_view found, std::string_view expected) const {
    return input_error(field_text(file, fmt::format("{}.{}", path, field)), found, expected);
  }
  const OrderedJson* find(const char* field) const {
    const auto found = json.find(field);
    return found == json.end() ? nullptr : &*found;
  }

  std::string text(const char* field) const {
    const OrderedJson* found = find(field);
    if (found == nullptr || !found->is_string()) throw bad(field, "missing or wrong", "a text");
    return found->get<std::string>();
  }

  // A list of texts; empty if there is no such field.
  std::vector<std::string> texts(const char* field) const {
    std::vector<std::string> texts;
    const OrderedJson* found = find(field);
    if (found == nullptr) return texts;
    if (!found->is_array()) throw bad(field, "not a list", "a list of names");
    for (const OrderedJson& text : *found) {
      if (!text.is_string()) throw bad(field, shown(text.dump()), "names");
      texts.push_back(text.get<std::string>());
    }
    return texts;
  }

  bool flag(const char* field) const {
    const OrderedJson* found = find(field);
    if (found == nullptr) return false;
    if (!found->is_boolean()) throw bad(field, shown(found->dump()), "true or false");
    return found->get<bool>();
  }

  Reach reach() const {
    if (find("reach") == nullptr) return Reach::kAny;
    const std::string name = text("reach");
    if (name == "position") return Reach::kPosition;
    if (name == "causal") return Reach::kCausal;
    throw bad("reach", fmt::format("'{}'", shown(name)), "position or causal");
  }

  std::size_t rank() const {
    const OrderedJson* shape = find("shape");
    if (shape == nullptr || !shape->is_array() || shape->empty()) {
      throw bad("shape", "missing or wrong", "the sizes of one axis or more");
    }
    return shape->size();
  }

  std::vector<std::int64_t> positions(const char* field) const {
    std::vector<std::int64_t> all;
    const OrderedJson* found = find(field);
    if (found == nullptr) return all;
    if (!found->is_array()) throw bad(field, "not a list", "a list of positions");
    for (const OrderedJson& p : *found) {
      if (!p.is_number_unsigned() || p.get<std::uint64_t>() >= kMostPositions) {
        throw bad(field, shown(p.dump()), fmt::format("positions below {}", kMostPositions));
      }
      all.push_back(p.get<std::int64_t>());
    }
    return all;
  }
};

}  // namespace

std::string ModuleArray::made_by() const {
  if (kind == "input") return "an input of the model";
  return fmt::format("{} ({})", module.empty() ? "the model" : shown(module, 200), shown(kind));
}

ModuleFlow::ModuleFlow(const OrderedJson& arrays, const std::string& file,
                       const std::string& field) {
  if (!arrays.is_object()) {
    throw input_error(field_text(file, field), "missing or wrong", "an object of arrays");
  }
  std::vector<std::vector<std::string>> others;
  for (const auto& [name, json] : arrays.items()) {
    const Record record{json, file, fmt::format("{}.{}", field, shown(name))};
    if (!json.is_object()) {
      throw input_error(field_text(file, record.path), "wrong", "an object");
    }
    ModuleArray array;
    array.name = name;
    array.module = record.text("module");
    array.kind = record.text("class");
    if (record.find("block") != nullptr) array.block = record.text("block");
    array.is_integer = record.text("dtype").starts_with('I');
    const std::size_t rank = record.rank();
    array.axis = rank > 1 ? rank - 2 : 0;
    if (const OrderedJson* axis = record.find("positions")) {
      if (!axis->is_number_unsigned() || axis->get<std::uint64_t>() >= rank) {
        throw record.bad("positions", shown(axis->dump()),
                         fmt::format("an axis, 0 to {}", rank - 1));
      }
      array.axis = axis->get<std::size_t>();
      array.counts_tokens = true;
    }
    for (const std::string& source : record.texts("from")) {
      const auto found = own_.find(source);
      if (found == own_.end()) {
        throw record.bad("from", fmt::format("'{}'", shown(source)), "names of arrays before it");
      }
      array.from.push_back(found->second);
    }
    array.is_lookup = array.from.empty() || record.flag("lookup");
    array.reach = record.reach();
    array.unsteady = record.positions("unsteady");
    others.push_back(record.texts("also"));
    if (!own_.emplace(name, arrays_.size()).second) {
      throw input_error(field_text(file, record.path), "given twice", "each array once");
    }
    arrays_.push_back(std::move(array));
  }
  // Any array's own name comes before other modules' names.
  for (std::size_t i = 0; i < arrays_.size(); ++i) add_name(arrays_[i].name, i);
  for (std::size_t i = 0; i < arrays_.size(); ++i) {
    for (std::string& other : others[i]) {
      if (!own_.contains(other)) add_name(other, i);
      others_.emplace(std::move(other), i);
    }
  }
}

void ModuleFlow::add_name(const std::string& name, std::size_t array) {
  for (const std::string& form : name_forms(name)) forms_.emplace(form, array);
  const std::string root = name.substr(0, name.find('.'));
  const bool is_known = std::ranges::find(roots_, root) != roots_.end();
  constexpr std::size_t kMostRoots = 16;
  if (root.size() < name.size() && !is_known && roots_.size() < kMostRoots) roots_.push_back(root);
}

const ModuleArray* ModuleFlow::find(std::string_view name) const {
  const auto found = own_.find(std::string(name));
  return found == own_.end() ? nullptr : &arrays_[found->second];
}

std::optional<std::size_t> ModuleFlow::exact(std::string_view name) const {
  const std::string key(name);
  for (const auto* names : {&own_, &others_}) {
    if (const auto found = names->find(key); found != names->end()) return found->second;
  }
  return std::nullopt;
}

const ModuleArray* ModuleFlow::find_by_dump(std::string_view name) const {
  if (const auto found = exact(name)) return &arrays_[*found];
  const std::vector<std::string> forms = name_forms(name);
  const auto by_form = [&](const std::string& form) -> const ModuleArray* {
    const auto found = forms_.find(form);
    return found == forms_.end() ? nullptr : &arrays_[found->second];
  };
  for (const std::string& form : forms) {
    if (const ModuleArray* found = by_form(form)) return found;
  }
  // Hooks on the model inside another one, or around it: "layers.0" for "model.layers.0".
  for (const std::string& root : roots_) {
    for (const std::string& form : forms) {
      if (const ModuleArray* found = by_form(fmt::format("{}.{}", root, form))) return found;
    }
  }
  const std::string& first = forms.front();
  if (const std::size_t dot = first.find('.'); dot != first.npos) {
    if (const ModuleArray* found = by_form(first.substr(dot + 1))) return found;
  }
  return nullptr;
}

ModuleFlow::Upstream ModuleFlow::upstream_of(
    const ModuleArray& array, const std::function<bool(const ModuleArray&)>& is_there) const {
  Upstream upstream;
  std::vector<bool> seen(arrays_.size());
  std::vector<std::size_t> open = array.from;
  while (!open.empty()) {
    const std::size_t at = open.back();
    open.pop_back();
    if (seen[at]) continue;
    seen[at] = true;
    if (is_there(arrays_[at])) {
      upstream.nearest.push_back(at);
      continue;
    }
    upstream.gap = true;
    open.insert(open.end(), arrays_[at].from.begin(), arrays_[at].from.end());
  }
  std::ranges::sort(upstream.nearest);
  return upstream;
}

ReadingHints hints_of_array(const ReadingHints& hints, std::string_view name,
                            const ModuleFlow* modules) {
  const ModuleArray* array = modules != nullptr ? modules->find(name) : nullptr;
  if (array == nullptr || array->counts_tokens) return hints;
  return {.reversed = hints.reversed};
}

std::size_t position_axis_of(std::string_view name, const ModuleFlow* modules) {
  if (modules != nullptr) {
    if (const ModuleArray* array = modules->find(name)) return array->axis;
  }
  const std::optional<TapPlace> place = parse_tap_name(name);
  return place ? position_axis(place->tap) : 1;
}

}  // namespace assay
