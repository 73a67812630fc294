#include "formats/dump_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <tuple>

namespace assay {
namespace {

constexpr std::string_view kSeparator = "___";
constexpr std::string_view kStacked = "[:,";

// "a=1___b=2" in order; what has no '=' belongs to the value before it. Empty for other names.
std::vector<std::pair<std::string, std::string>> tags_of(std::string_view stem) {
  std::vector<std::pair<std::string, std::string>> tags;
  while (!stem.empty()) {
    const std::size_t end = std::min(stem.find(kSeparator), stem.size());
    const std::string_view part = stem.substr(0, end);
    stem.remove_prefix(std::min(end + kSeparator.size(), stem.size()));
    const std::size_t equals = part.find('=');
    if (equals != part.npos) {
      tags.emplace_back(part.substr(0, equals), part.substr(equals + 1));
    } else if (!tags.empty()) {
      tags.back().second += fmt::format("{}{}", kSeparator, part);
    } else {
      return {};
    }
  }
  const bool has_name = std::ranges::any_of(tags, [](const auto& t) { return t.first == "name"; });
  return has_name ? tags : std::vector<std::pair<std::string, std::string>>();
}

// Whether a module's name contains its layer: "model.layers.3.mlp", "layer_03_mlp_output".
bool names_layer(std::string_view name) {
  for (const std::string_view before : {"layers.", "layer_", "layer.", "h.", "blk."}) {
    for (std::size_t at = name.find(before); at != name.npos; at = name.find(before, at + 1)) {
      const std::size_t digit = at + before.size();
      const bool begins_word = at == 0 || name[at - 1] == '.' || name[at - 1] == '_';
      if (begins_word && digit < name.size() && name[digit] >= '0' && name[digit] <= '9') {
        return true;
      }
    }
  }
  return false;
}

std::string own_name(const DumpArray& array) {
  if (array.is_named || array.file.name.empty()) return array.inner;
  return array.inner.empty() ? array.file.name : array.file.name + "." + array.inner;
}

// Takes the number that stands between two dots, or a dot and the end, off the front.
std::optional<std::int64_t> take_number_part(std::string_view& text) {
  const std::size_t end = std::min(text.find('.'), text.size());
  const std::optional<std::int64_t> number = number_of(text.substr(0, end));
  if (number) text.remove_prefix(std::min(end + 1, text.size()));
  return number;
}

// A model that is one of a list has its number before its name: "0.model.layers.3".
std::string_view without_model_number(std::string_view module) {
  std::string_view rest = module;
  if (!take_number_part(rest)) return module;
  for (const std::string_view begin : {"model", "module", "lm_head", "language_model"}) {
    if (rest.starts_with(begin)) return rest;
  }
  return module;
}

// msprobe's "Module.PATH.CLASS.forward.CALL.WHAT" (in MindSpore "Cell."), and "NAME.CALL.debug" for
// what a script saves itself: "PATH.WHAT", with ".callN" after the path of a later call. Gradients
// and single operations ("Torch.matmul.0.forward.input.1") keep their names.
std::optional<std::string> msprobe_name(std::string_view stem) {
  const auto joined = [](std::string_view path, std::int64_t call, std::string_view what) {
    std::string name(path);
    if (call > 0) name += fmt::format(".call{}", call);
    return what.empty() ? name : fmt::format("{}.{}", name, what);
  };
  constexpr std::string_view kForward = ".forward.";
  for (const std::string_view kind : {"Module.", "Cell."}) {
    if (!stem.starts_with(kind)) continue;
    const std::string_view module = stem.substr(kind.size());
    for (std::size_t at = module.rfind(kForward); at != module.npos && at > 0;
         at = module.rfind(kForward, at - 1)) {
      std::string_view rest = module.substr(at + kForward.size());
      const std::optional<std::int64_t> call = take_number_part(rest);
      if (!call) continue;
      const std::string_view path = module.substr(0, at);
      const std::size_t dot = path.rfind('.');  // before the class
      return joined(without_model_number(path.substr(0, dot)), *call, rest);
    }
    return std::nullopt;
  }
  constexpr std::string_view kDebug = ".debug";
  const std::size_t at = stem.rfind(kDebug);
  if (at == stem.npos || at == 0) return std::nullopt;
  std::string_view rest = stem.substr(at + kDebug.size());
  if (!rest.empty() && rest.front() != '.') return std::nullopt;
  const std::size_t dot = stem.rfind('.', at - 1);
  if (dot == stem.npos || dot == 0) return std::nullopt;
  const std::optional<std::int64_t> call = number_of(stem.substr(dot + 1, at - dot - 1));
  if (!call) return std::nullopt;
  return joined(stem.substr(0, dot), *call, rest.empty() ? rest : rest.substr(1));
}

}  // namespace

std::optional<std::int64_t> number_of(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

std::string stacked_name(std::string_view stack, std::int64_t index) {
  return fmt::format("{}{}{}]", stack, kStacked, index);
}

std::optional<std::int64_t> index_in_stack(std::string_view name) {
  const std::size_t at = name.rfind(kStacked);
  if (at == name.npos || !name.ends_with(']')) return std::nullopt;
  const std::size_t begin = at + kStacked.size();
  return number_of(name.substr(begin, name.size() - begin - 1));
}

DumpFile parse_dump_name(std::string_view stem) {
  DumpFile file;
  constexpr std::string_view kPass = "Pass";
  if (stem.starts_with(kPass)) {
    if (const auto pass = number_of(stem.substr(kPass.size()))) {
      file.step = *pass;
      return file;
    }
  }
  const std::vector<std::pair<std::string, std::string>> tags = tags_of(stem);
  if (tags.empty()) {
    file.name = msprobe_name(stem).value_or(std::string(stem));
    return file;
  }
  std::optional<std::int64_t> layer;
  for (const auto& [key, value] : tags) {
    const std::optional<std::int64_t> number = number_of(value);
    if (key == "name") {
      // SGLang's hooks on every module put this before the module's name.
      constexpr std::string_view kHooks = "non_intrusive__";
      file.name = value.starts_with(kHooks) ? value.substr(kHooks.size()) : value;
    } else if ((key == "step" || key == "forward_pass_id") && number) {
      file.step = *number;
    } else if (key == "rank" && number) {
      file.rank = *number;
    } else if (key == "dump_index" && number) {
      file.index = *number;
    } else if ((key == "layer_id" || key == "layer") && number) {
      layer = number;
    } else {
      file.tags.emplace_back(key, value);
    }
  }
  if (layer && !names_layer(file.name)) {
    file.name = fmt::format("layers.{}.{}", *layer, file.name);
  }
  return file;
}

std::vector<std::string> name_dump_arrays(const std::vector<DumpArray>& arrays) {
  std::int64_t first_step = -1;
  for (const DumpArray& array : arrays) {
    const std::int64_t step = array.file.step;
    if (step >= 0 && (first_step < 0 || step < first_step)) first_step = step;
  }
  const auto is_first_step = [&](const DumpArray& array) {
    return array.file.step < 0 || array.file.step == first_step;
  };
  std::vector<std::string> names;
  std::map<std::string, std::vector<std::size_t>> same;
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    names.push_back(own_name(arrays[i]));
    same[names.back()].push_back(i);
  }
  const auto order = [&](std::size_t i) {
    const DumpFile& file = arrays[i].file;
    return std::tuple(!is_first_step(arrays[i]), file.step, file.rank, file.index, i);
  };
  for (auto& [name, places] : same) {
    std::ranges::sort(places, {}, order);
    const DumpArray& first = arrays[places.front()];
    for (const std::size_t i : places) {
      const DumpArray& array = arrays[i];
      std::string& own = names[i];
      // The same key occurs in several files, so the file's name is needed too.
      if (places.size() > 1 && array.is_named && !array.file.name.empty()) {
        own = fmt::format("{}.{}", array.file.name, own);
      }
      if (!is_first_step(array)) own += fmt::format("{}step={}", kSeparator, array.file.step);
      if (i == places.front()) continue;
      if (array.file.rank != first.file.rank) {
        own += fmt::format("{}rank={}", kSeparator, array.file.rank);
      }
      for (const auto& [key, value] : array.file.tags) {
        if (std::ranges::find(first.file.tags, std::pair(key, value)) == first.file.tags.end()) {
          own += fmt::format("{}{}={}", kSeparator, key, value);
        }
      }
      if (array.file.index != first.file.index) {
        own += fmt::format("{}dump_index={}", kSeparator, array.file.index);
      }
    }
  }
  // Names that are still equal are numbered: the second is "x#2".
  std::set<std::string> taken;
  std::map<std::string, int> numbers;  // of arrays with that name so far
  for (std::string& name : names) {
    std::string candidate = name;
    int& number = numbers.try_emplace(name, 1).first->second;
    while (!taken.insert(candidate).second) candidate = fmt::format("{}#{}", name, ++number);
    name = candidate;
  }
  return names;
}

}  // namespace assay
