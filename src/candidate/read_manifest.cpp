#include "candidate/read_manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "assay/error.h"
#include "base/directory.h"
#include "base/text.h"
#include "formats/json_file.h"
#include "model/read_spec.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSchema = "assay.reference/1";

constexpr std::string_view kNoiseFields =
    "a number 'whole' above 0, and 'positions' of digits 0 to 9 and a to z";

// bad(): the error for a malformed manifest.
template <class Bad>
std::optional<std::map<std::string, ArrayNoise>> read_noise(const OrderedJson& prompt,
                                                            const Bad& bad) {
  std::map<std::string, ArrayNoise> noise;
  const auto arrays = prompt.find("arrays");
  if (arrays == prompt.end() || !arrays->is_object()) return std::nullopt;
  for (const auto& [name, array] : arrays->items()) {
    if (!array.is_object() || !array.contains("noise_f32")) continue;
    const OrderedJson& own = array["noise_f32"];
    const bool whole = own.is_object() && own.contains("whole") && own["whole"].is_number();
    if (!whole || !own.contains("positions") || !own["positions"].is_string()) throw bad();
    auto positions = read_positions(own["positions"].get<std::string>());
    const auto value = own["whole"].get<double>();
    if (!positions || positions->empty() || !(value > 0)) throw bad();
    noise[name] = {value, std::move(*positions)};
  }
  if (noise.empty()) return std::nullopt;
  return noise;
}

// The reference's own noise, if the manifest has it.
std::optional<std::map<std::string, double>> read_own_noise(const OrderedJson& prompt) {
  const auto arrays = prompt.find("arrays");
  if (arrays == prompt.end() || !arrays->is_object()) return std::nullopt;
  std::map<std::string, double> noise;
  for (const auto& [name, array] : arrays->items()) {
    if (!array.is_object()) continue;
    const auto own = array.find("noise");
    if (own != array.end() && own->is_number()) noise[name] = own->get<double>();
  }
  return noise;
}

// None if there is no config, or this version cannot read it.
std::optional<ModelSpec> model_of(const OrderedJson& manifest, const fs::path& file) {
  const auto model = manifest.find("model");
  if (model == manifest.end() || !model->is_object() || !model->contains("config")) {
    return std::nullopt;
  }
  try {
    return read_spec_config(
        JsonObject(field_text(file.string(), "model.config"), (*model)["config"]));
  } catch (const Error&) {
    return std::nullopt;
  }
}

// The tokens that end a text; none if the manifest has none.
template <class Bad>
std::vector<std::int64_t> end_tokens_of(const OrderedJson& manifest, const Bad& bad) {
  std::vector<std::int64_t> ends;
  const auto generation = manifest.find("generation");
  if (generation == manifest.end() || !generation->is_object()) return ends;
  const auto ids = generation->find("eos_token_ids");
  if (ids == generation->end()) return ends;
  constexpr std::string_view kField = "generation.eos_token_ids";
  if (!ids->is_array()) throw bad(kField, "a list of token ids");
  for (const OrderedJson& id : *ids) {
    if (!id.is_number_integer()) throw bad(kField, "a list of token ids");
    ends.push_back(id.get<std::int64_t>());
  }
  return ends;
}

}  // namespace

Pairing read_manifest(const fs::path& directory) {
  const fs::path file = directory / "manifest.json";
  if (!is_there(file)) {
    throw input_error(directory.string(), "no manifest.json",
                      "a finished reference_data directory, or one file of arrays");
  }
  const OrderedJson manifest = load_json(file);
  const auto bad = [&](std::string_view field, std::string_view expected) {
    return input_error(field_text(file.string(), field), "missing or wrong", expected);
  };
  if (!manifest.is_object() || manifest.value("schema", OrderedJson()) != OrderedJson(kSchema)) {
    throw bad("schema", fmt::format("\"{}\"", kSchema));
  }
  Pairing pairing;
  const auto numerics = manifest.find("numerics");
  // Compared as text: JSON's own comparison makes a JSON value of the other side, which ends the
  // program when out of memory.
  const std::optional<Numerics> known =
      numerics == manifest.end() || !numerics->is_string()
          ? std::nullopt
          : find_numerics(numerics->get_ref<const std::string&>());
  if (!known) throw bad("numerics", "bf16, f32 or f64");
  pairing.numerics = *known;
  pairing.model = model_of(manifest, file);
  if (const auto spots = manifest.find("blind_spots"); spots != manifest.end()) {
    if (!spots->is_array()) throw bad("blind_spots", "a list");
    for (const OrderedJson& spot : *spots) {
      if (!spot.is_object() || !spot.contains("name") || !spot["name"].is_string() ||
          !spot.contains("common") || !spot["common"].is_boolean()) {
        throw bad("blind_spots", "names of mistakes and whether they are common");
      }
      if (spot["common"].get<bool>()) pairing.blind_spots.push_back(spot["name"]);
    }
  }
  const std::vector<std::int64_t> ends = end_tokens_of(manifest, bad);
  const bool of_modules = manifest.contains("data_flow");
  if (of_modules && manifest["data_flow"] != OrderedJson("modules")) {
    throw bad("data_flow", "\"modules\", or none");
  }
  const auto prompts = manifest.find("prompts");
  if (prompts == manifest.end() || !prompts->is_array()) throw bad("prompts", "a list");
  for (const OrderedJson& prompt : *prompts) {
    const auto path_of = [&](const char* role) -> std::optional<fs::path> {
      if (!prompt.is_object() || !prompt.contains("files") || !prompt["files"].is_object()) {
        throw bad("prompts.files", "paths by role");
      }
      const auto found = prompt["files"].find(role);
      if (found == prompt["files"].end()) return std::nullopt;
      if (!found->is_string() || !is_path_below(found->get_ref<const std::string&>())) {
        throw bad("prompts.files", "paths by role, below the manifest's directory");
      }
      return directory / found->get<std::string>();
    };
    const std::optional<fs::path> reference = path_of("reference");
    if (!reference || !prompt.contains("id") || !prompt["id"].is_string()) {
      throw bad("prompts", "an id and a reference for each");
    }
    if (!is_prompt_id(prompt["id"].get_ref<const std::string&>())) {
      throw bad("prompts.id", "letters, digits, '-', '_' and '.', at most 100");
    }
    pairing.prompts.push_back({prompt["id"], *reference, path_of("oracle"), std::nullopt,
                               read_own_noise(prompt),
                               read_noise(prompt, [&] { return bad("noise_f32", kNoiseFields); })});
    pairing.prompts.back().end_tokens = ends;
    if (!of_modules) continue;
    pairing.prompts.back().modules =
        std::make_shared<ModuleFlow>(prompt.value("arrays", OrderedJson()), file.string(),
                                     fmt::format("prompts.{}.arrays", std::string(prompt["id"])));
  }
  if (pairing.prompts.empty()) throw bad("prompts", "at least one");
  return pairing;
}

}  // namespace assay
