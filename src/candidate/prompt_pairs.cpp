#include "candidate/prompt_pairs.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "assay/error.h"
#include "base/directory.h"
#include "base/mapped_file.h"
#include "base/nearest_name.h"
#include "base/text.h"
#include "candidate/candidate.h"
#include "candidate/data_flow.h"
#include "candidate/ids.h"
#include "candidate/read_manifest.h"
#include "candidate/reading.h"
#include "candidate/sequence.h"
#include "formats/array_file.h"
#include "formats/json_file.h"
#include "formats/msprobe_dump.h"
#include "model/read_spec.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

// Kinds of files that may each hold one array.
bool has_array_files(const fs::path& directory) {
  return std::ranges::any_of(paths_in(directory), [](const fs::path& path) {
    const fs::path kind = path.extension();
    return kind == ".npy" || kind == ".pt" || kind == ".pth";
  });
}

// Whether a .pt file has a whole prompt's arrays, not a single tensor.
bool holds_a_prompt(const fs::path& file) {
  const fs::path kind = file.extension();
  if (kind != ".pt" && kind != ".pth") return false;
  try {
    const ArrayFile arrays(file);
    return arrays.names().size() > 1 && arrays.contains("input_ids");
  } catch (const Error&) {  // reported when the dump is read
    return false;
  }
}

// Kinds of files that may hold all arrays of a prompt.
constexpr std::array kPromptKinds = {".npz", ".safetensors", ".json", ".pt", ".pth", ".npy"};

Pairing one_file(const fs::path& file) {
  PromptPair pair{file.stem().string(), file, std::nullopt, std::nullopt};
  const fs::path oracle = file.parent_path() / "oracle.npz";
  if (file.filename() == "reference.npz" && is_there(oracle)) pair.oracle = oracle;
  Pairing pairing;
  pairing.prompts.push_back(std::move(pair));
  return pairing;
}

// The candidate's arrays for a prompt in a directory of all prompts.
std::optional<fs::path> below(const fs::path& candidate, const std::string& id) {
  for (const char* kind : kPromptKinds) {
    const fs::path file = candidate / (id + kind);
    if (is_there(file)) return file;
  }
  const fs::path directory = candidate / id;
  if (!is_folder(directory)) return std::nullopt;
  if (is_there(directory / "reference.npz")) return directory / "reference.npz";
  std::vector<fs::path> files = paths_in(directory);
  std::erase_if(files, [](const fs::path& path) {
    return std::ranges::find(kPromptKinds, path.extension()) == kPromptKinds.end();
  });
  return files.size() == 1 ? files.front() : directory;
}

// Files of arrays, and directories, that belong to no prompt.
std::vector<std::string> files_of_no_prompt(const Pairing& pairing, const fs::path& candidate) {
  std::vector<std::string> names;
  for (const fs::path& path : paths_in(candidate)) {
    const bool is_used = std::ranges::any_of(pairing.prompts, [&](const PromptPair& pair) {
      return pair.candidate == path || (pair.candidate && pair.candidate->parent_path() == path);
    });
    const bool has_arrays =
        is_folder(path) || std::ranges::find(kPromptKinds, path.extension()) != kPromptKinds.end();
    if (!is_used && has_arrays && path.filename() != "manifest.json") {
      names.push_back(path.filename().string());
    }
  }
  std::ranges::sort(names);
  return names;
}

// How well the layouts of the candidate's taps fit the reference's: padded ones count half.
std::size_t fitting(const ArrayFile& reference, const ArrayFile& candidate, const NameMap& map,
                    const ModuleFlow* modules) {
  const std::int64_t layers = count_layers(reference.names());
  std::size_t count = 0;
  for (const std::string& name : candidate.names()) {
    const std::optional<std::string> tap = map.tap_of(name, layers);
    const bool is_known = tap && (parse_tap_name(*tap) || (modules && modules->find(*tap)));
    if (!is_known || !reference.contains(*tap)) continue;
    const std::optional<Shape> shape = shape_if_readable(candidate, name);
    if (!shape) continue;
    const std::vector<Reading> found = readings_of(*tap, reference.form_of(*tap).shape,
                                                   position_axis_of(*tap, modules), *shape, {});
    if (found.empty()) continue;
    // A last position fits any prompt, so it is no evidence for a prompt of one token.
    count += found.front().rank != 1 || found.front().last_position ? 2 : 1;
  }
  return count;
}

// The tokens that it ran, if it has them and they are readable.
std::optional<std::vector<std::int64_t>> ids_of(const ArrayFile& candidate, const NameMap& map) {
  for (const std::string& name : candidate.names()) {
    if (map.tap_of(name, 1) != "input_ids") continue;
    try {
      return read_ids(candidate, name);
    } catch (const Error&) {  // reported when the dump is read
    }
  }
  return std::nullopt;
}

std::optional<std::vector<std::int64_t>> ids_if_readable(const fs::path& dump, const NameMap& map) {
  try {
    return ids_of(ArrayFile(dump), map);
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::string ids_of(const Pairing& pairing) {
  std::vector<std::string> ids;
  for (const PromptPair& pair : pairing.prompts) ids.push_back(pair.id);
  return fmt::format("{}", fmt::join(ids, ", "));
}

std::size_t prompt_of(const Pairing& pairing, const fs::path& candidate, const std::string& wanted,
                      const NameMap& map) {
  if (!wanted.empty()) return index_of_prompt(pairing, wanted);
  if (pairing.prompts.size() == 1) return 0;
  const ArrayFile arrays(candidate);
  const std::optional<std::vector<std::int64_t>> ids = ids_of(arrays, map);
  std::optional<std::size_t> inside;
  std::size_t longest = 0;
  std::vector<std::size_t> fits;
  for (const PromptPair& pair : pairing.prompts) {
    const std::size_t p = fits.size();
    const ArrayFile reference(pair.reference);
    if (ids && reference.contains("input_ids")) {
      const std::vector<std::int64_t> prompt = read_ids(reference, "input_ids");
      const std::optional<Sequence> found = find_prompt(prompt, *ids);
      if (found && found->plain()) return p;
      // If several prompts are in what it ran, take the longest.
      if (found && prompt.size() > longest) {
        longest = prompt.size();
        inside = p;
      }
    }
    NameMap own_map = map;
    own_map.adapt_to(pair.modules);
    fits.push_back(fitting(reference, arrays, own_map, pair.modules.get()));
  }
  if (inside) return *inside;
  const std::size_t most = *std::ranges::max_element(fits);
  if (most == 0 || std::ranges::count(fits, most) != 1) {
    throw usage_error(
        "--prompt",
        ids ? fmt::format("{} ran tokens of none of the prompts", candidate.string())
            : fmt::format("{} does not tell which prompt it is for", candidate.string()),
        fmt::format("one of {}{}", ids_of(pairing),
                    ids ? ", or the tokens of one in the dump" : ", or input_ids in the dump"));
  }
  return static_cast<std::size_t>(std::ranges::find(fits, most) - fits.begin());
}

// The dumps in a directory whose files are not named after prompts: msprobe's steps, or files that
// were named after requests, as vLLM does. Empty if it is a single dump.
std::vector<fs::path> dumps_in(const fs::path& directory) {
  if (is_msprobe_dump(directory)) return msprobe_steps(directory);
  if (!is_folder(directory)) return {};
  std::vector<fs::path> dumps = paths_in(directory);
  const bool of_prompts = !has_array_files(directory);
  std::erase_if(dumps, [&](const fs::path& path) {
    const fs::path kind = path.extension();
    if (is_folder(path)) return true;
    return of_prompts ? kind != ".npz" && kind != ".safetensors" : !holds_a_prompt(path);
  });
  const bool is_checkpoint = std::ranges::any_of(
      dumps, [](const fs::path& path) { return path.filename().string().starts_with("model"); });
  return is_checkpoint ? std::vector<fs::path>() : dumps;
}

// Finds each dump's prompt by the tokens that it ran. False if no dump ran any.
bool pair_by_tokens(Pairing& pairing, const std::vector<fs::path>& dumps, const NameMap& map) {
  std::vector<std::vector<std::int64_t>> prompts;
  for (const PromptPair& pair : pairing.prompts) {
    const ArrayFile reference(pair.reference);
    prompts.push_back(reference.contains("input_ids") ? read_ids(reference, "input_ids")
                                                      : std::vector<std::int64_t>());
  }
  bool any = false;
  for (const fs::path& dump : dumps) {
    std::optional<std::size_t> best;
    if (const auto ids = ids_if_readable(dump, map)) {
      for (std::size_t p = 0; p < prompts.size(); ++p) {
        if (prompts[p].empty() || pairing.prompts[p].candidate) continue;
        const std::optional<Sequence> found = find_prompt(prompts[p], *ids);
        if (!found || !found->sure) continue;
        if (!best || prompts[p].size() > prompts[*best].size()) best = p;
      }
    }
    if (best) {
      pairing.prompts[*best].candidate = dump;
      any = true;
    } else {
      pairing.unused_files.push_back(dump.filename().string());
    }
  }
  if (!any) pairing.unused_files.clear();
  return any;
}

}  // namespace

std::vector<PromptPair> prompts_of(const fs::path& candidate) {
  std::vector<PromptPair> prompts;
  const auto add = [&](const fs::path& file, const std::string& id) {
    prompts.push_back({id, {}, std::nullopt, file});
  };
  if (is_msprobe_dump(candidate)) {
    for (const fs::path& step : msprobe_steps(candidate)) add(step, step.filename().string());
  } else if (is_folder(candidate)) {
    std::set<std::string> ids;
    const bool arrays_apart = has_array_files(candidate);
    for (const fs::path& path : paths_in(candidate)) {
      const fs::path kind = path.extension();
      const bool is_dump = arrays_apart
                               ? holds_a_prompt(path)
                               : kind == ".npz" || kind == ".safetensors" || kind == ".json";
      if (arrays_apart && !is_dump) continue;
      if (is_dump && path.filename() != "manifest.json") ids.insert(path.stem().string());
      if (is_folder(path)) ids.insert(path.filename().string());
    }
    for (const std::string& id : ids) {
      if (const std::optional<fs::path> file = below(candidate, id)) add(*file, id);
    }
  }
  if (prompts.empty()) add(candidate, candidate.stem().string());
  return prompts;
}

std::int64_t count_layers(const std::vector<std::string>& tap_names) {
  std::int64_t layers = 0;
  for (const std::string& name : tap_names) {
    if (const auto place = parse_tap_name(name)) layers = std::max(layers, place->layer + 1);
  }
  return layers;
}

std::size_t index_of_prompt(const Pairing& pairing, const std::string& id) {
  const auto found = std::ranges::find(pairing.prompts, id, &PromptPair::id);
  if (found == pairing.prompts.end()) {
    std::vector<std::string> known;
    for (const PromptPair& pair : pairing.prompts) known.push_back(pair.id);
    throw usage_error("--prompt", "'" + id + "'",
                      fmt::format("one of {}{}", ids_of(pairing), did_you_mean(id, known)));
  }
  return static_cast<std::size_t>(found - pairing.prompts.begin());
}

Pairing read_reference(const fs::path& reference) {
  if (!reference.empty() && !is_there(reference)) {
    throw input_error(
        reference.string(), "no such file or directory",
        "a reference_data directory, which 'assay extract' makes, or a file of arrays");
  }
  const bool is_set = is_folder(reference) && !has_array_files(reference);
  return is_set ? read_manifest(reference) : one_file(reference);
}

Pairing pair_prompts(const fs::path& reference, const fs::path& candidate,
                     const std::string& prompt, const NameMap& map) {
  Pairing pairing = read_reference(reference);
  if (!is_there(candidate)) {
    throw input_error(candidate.empty() ? "the candidate's path" : candidate.string(),
                      candidate.empty() ? "empty" : "no such file or directory",
                      "the arrays that another engine wrote");
  }
  bool any = false;
  if (is_folder(candidate)) {
    for (PromptPair& pair : pairing.prompts) {
      pair.candidate = below(candidate, pair.id);
      any = any || pair.candidate.has_value();
    }
  }
  if (any) {
    if (!prompt.empty()) {
      const std::size_t p = prompt_of(pairing, candidate, prompt, map);
      pairing.prompts = {pairing.prompts[p]};
    } else {
      pairing.unused_files = files_of_no_prompt(pairing, candidate);
    }
    return pairing;
  }
  const std::vector<fs::path> dumps = dumps_in(candidate);
  if (!dumps.empty() && pair_by_tokens(pairing, dumps, map)) {
    if (!prompt.empty()) {
      const std::size_t p = index_of_prompt(pairing, prompt);
      pairing.prompts = {pairing.prompts[p]};
      pairing.unused_files.clear();
    }
    return pairing;
  }
  if (!dumps.empty() && !is_msprobe_dump(candidate)) {
    throw usage_error(
        candidate.string(),
        fmt::format("{} dumps, of which none ran the tokens of a prompt", dumps.size()),
        fmt::format("the tokens of {}, or files named after them", ids_of(pairing)));
  }
  const std::size_t p = prompt_of(pairing, candidate, prompt, map);
  pairing.prompts = {pairing.prompts[p]};
  pairing.prompts[0].candidate = candidate;
  return pairing;
}

}  // namespace assay
