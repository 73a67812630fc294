#include "cli/inspected.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "assay/array.h"
#include "assay/error.h"
#include "base/directory.h"
#include "base/text.h"
#include "candidate/prompt_pairs.h"
#include "formats/array_file.h"
#include "formats/gguf_parts.h"
#include "formats/json_file.h"
#include "model/checkpoint.h"
#include "model/read_spec.h"

namespace assay {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

bool is_present(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

std::string name_below(const fs::path& directory, const fs::path& file) {
  return file.lexically_relative(directory).generic_string();
}

// The model's size, or why Assay cannot run it. Fills in `about`.
std::string model_text(const std::optional<ModelSpec>& spec, const std::string& problem,
                       Json& about) {
  if (!spec) {
    about["problem"] = problem;
    return fmt::format("a model that Assay cannot run: {}", problem);
  }
  about["model_type"] = spec->model_type;
  about["num_layers"] = spec->num_hidden_layers;
  about["hidden_size"] = spec->hidden_size;
  about["vocab_size"] = spec->vocab_size;
  return fmt::format("{}, {} layers, hidden size {}, vocabulary {}", spec->model_type,
                     spec->num_hidden_layers, spec->hidden_size, spec->vocab_size);
}

// How many of the model's parameters one stored element is. In MXFP4, a byte of blocks is two, and
// scales are none.
std::uint64_t elements_of(std::string_view name, DType dtype, const ArrayFile& arrays) {
  constexpr std::string_view kBlocks = "_blocks";
  constexpr std::string_view kScales = "_scales";
  const auto has = [&](std::string_view ending, std::string_view other) {
    return name.ends_with(ending) &&
           arrays.contains(std::string(name.substr(0, name.size() - ending.size())) +
                           std::string(other));
  };
  if (dtype != DType::kU8) return 1;
  return has(kBlocks, kScales) ? 2 : has(kScales, kBlocks) ? 0 : 1;
}

Inspected checkpoint(const fs::path& path, const fs::path& weights) {
  Inspected found{"checkpoint", {}, Json::object(), {{weights, weights.filename().string()}}};
  std::optional<ModelSpec> spec;
  std::string problem;
  try {
    spec = read_spec(path);
  } catch (const Error& error) {
    problem = error.what();
  }
  const std::string model = model_text(spec, problem, found.about);
  const ArrayFile arrays(weights);
  std::uint64_t bytes = 0;
  std::uint64_t elements = 0;
  std::set<std::string> types;
  for (const std::string& name : arrays.names()) {
    const ArrayForm form = arrays.form_of(name);
    std::uint64_t count = 1;
    for (const std::int64_t axis : form.shape) count *= static_cast<std::uint64_t>(axis);
    elements += count * elements_of(name, form.dtype, arrays);
    bytes += count * dtype_size(form.dtype);
    types.insert(std::string(dtype_name(form.dtype)));
  }
  const bool tokenizer = has_tokenizer(path);
  found.about["tensors"] = arrays.names().size();
  found.about["parameters"] = elements;
  found.about["bytes"] = bytes;
  found.about["dtypes"] = types;
  found.about["tokenizer"] = tokenizer;
  found.summary = fmt::format("checkpoint: {}\n{} tensors, {} parameters, {}, {}, {}\n\n", model,
                              arrays.names().size(), elements, fmt::join(types, " and "),
                              bytes_text(bytes), tokenizer ? "tokenizer" : "no tokenizer");
  return found;
}

Inspected reference(const fs::path& path) {
  const Pairing pairing = read_reference(path);
  const bool oracle = std::ranges::any_of(
      pairing.prompts, [](const PromptPair& prompt) { return prompt.oracle.has_value(); });
  Inspected found{"reference", {}, Json::object(), {}};
  const std::string model =
      model_text(pairing.model, "compare knows its arrays, but not its config", found.about);
  found.about["numerics"] = numerics_name(pairing.numerics);
  found.about["oracle"] = oracle;
  found.summary = fmt::format("reference: {}\n{}, {}\n\n", model, numerics_name(pairing.numerics),
                              oracle ? "with the f64 oracle" : "without an oracle");
  for (const PromptPair& prompt : pairing.prompts) {
    found.files.push_back(
        {prompt.reference, name_below(path, prompt.reference), prompt.id, "reference"});
    if (!prompt.oracle) continue;
    found.files.push_back({*prompt.oracle, name_below(path, *prompt.oracle), prompt.id, "oracle"});
  }
  return found;
}

bool has_weights(const fs::path& directory) {
  return is_present(directory / "model.safetensors") ||
         is_present(directory / "model.safetensors.index.json");
}

bool has_arrays_of_its_own(const fs::path& directory) {
  return std::ranges::any_of(paths_in(directory), [](const fs::path& path) {
    const fs::path kind = path.extension();
    return kind == ".npy" || kind == ".pt" || kind == ".pth";
  });
}

// In whatever form.
bool has_arrays(const fs::path& path) {
  try {
    return !ArrayFile(path).names().empty();
  } catch (const Error&) {
    return false;
  }
}

Inspected directory_of(const fs::path& path) {
  if (is_present(path / "manifest.json")) return reference(path);
  if (has_arrays_of_its_own(path)) {
    // Of one prompt, or with a directory or a file for each.
    Inspected found{"arrays", {}, nullptr, {{path, path.string()}}};
    return found;
  }
  Inspected found{"dumps", {}, nullptr, {}};
  for (const PromptPair& prompt : prompts_of(path)) {
    // The directory itself is what it gives where there is none.
    if (!prompt.candidate || *prompt.candidate == path) continue;
    found.files.push_back(
        {*prompt.candidate, name_below(path, *prompt.candidate), prompt.id, "dump"});
  }
  std::erase_if(found.files, [](const InspectedFile& file) {
    return is_folder(file.path) && !has_arrays(file.path);
  });
  if (found.files.empty() && has_arrays(path)) {
    return {"arrays", {}, nullptr, {{path, path.string()}}};
  }
  if (found.files.empty()) {
    throw input_error(path.string(), "a directory without arrays",
                      "a checkpoint, a reference_data directory, or .npz, .npy, .safetensors, .pt "
                      "or .json files of arrays");
  }
  return found;
}

}  // namespace

Inspected inspected(const fs::path& path) {
  if (const auto gguf = gguf_file_of(path)) return checkpoint(path, *gguf);
  if (!is_folder(path)) {
    return {"arrays", {}, nullptr, {{path, path.filename().string()}}};
  }
  if (has_weights(path)) {
    if (is_present(path / "config.json")) return checkpoint(path, path);
    return {"arrays", {}, nullptr, {{path, path.string()}}};
  }
  return directory_of(path);
}

}  // namespace assay
