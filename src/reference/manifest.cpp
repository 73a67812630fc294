#include "reference/manifest.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "formats/json_file.h"
#include "model/checkpoint.h"

namespace assay {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const FileRecord& file) {
  return {{"file", file.file}, {"bytes", file.bytes}, {"sha256", file.sha256}};
}

Json to_json(const Statistics& s) {
  return {{"min", s.min}, {"max", s.max}, {"mean", s.mean},  {"std", s.std},
          {"nan", s.nan}, {"inf", s.inf}, {"zeros", s.zeros}};
}

Json to_json(const ArrayRecord& array) {
  Json json = {
      {"shape", array.shape}, {"dtype", dtype_name(array.dtype)}, {"sha256", array.sha256}};
  if (array.stats) json["stats"] = to_json(*array.stats);
  // JSON has no NaN and no infinity, which result from weights that are not finite, or from an
  // oracle that is all 0.
  if (array.noise && std::isfinite(*array.noise)) json["noise"] = *array.noise;
  if (array.noise_f32 && std::isfinite(array.noise_f32->whole)) {
    json["noise_f32"] = {{"whole", array.noise_f32->whole},
                         {"positions", positions_text(*array.noise_f32)}};
  }
  return json;
}

Json to_json(const PromptRecord& record) {
  const ExtractedPrompt& e = record.extracted;
  Json files = Json::object();
  for (const ExtractedFile& file : e.files) files[file.role] = file.path;
  Json arrays = Json::object();
  for (const ArrayRecord& array : record.arrays) arrays[array.name] = to_json(array);
  return {{"id", e.prompt.id},
          {"text", e.prompt.text ? Json(*e.prompt.text) : Json(nullptr)},
          {"input_ids", e.prompt.input_ids},
          {"tokens", record.tokens ? Json(*record.tokens) : Json(nullptr)},
          {"generated_text", e.generated_text ? Json(*e.generated_text) : Json(nullptr)},
          {"stopped", e.stopped_by_eos ? "eos" : "length"},
          {"files", std::move(files)},
          {"arrays", std::move(arrays)}};
}

}  // namespace

Json to_json(const Manifest& manifest) {
  Json weights = Json::array();
  for (const FileRecord& file : manifest.weights) weights.push_back(to_json(file));
  Json files = Json::array();
  for (const FileRecord& file : manifest.files) files.push_back(to_json(file));
  Json prompts = Json::array();
  for (const PromptRecord& prompt : manifest.prompts) prompts.push_back(to_json(prompt));
  bool oracle = false;
  for (std::size_t i = 1; i < manifest.numerics.size(); ++i) {
    oracle = oracle || manifest.numerics[i] == Numerics::kF64;
  }
  Json json = {
      {"schema", kManifestSchema},
      {"producer", {{"name", "assay"}, {"version", ASSAY_VERSION}}},
      {"numerics", numerics_name(manifest.numerics.front())},
      {"oracle", oracle ? Json("f64") : Json(nullptr)},
      {"model",
       {{"path_name", manifest.model.filename().string()},
        {"config", read_config(manifest.model)},
        {"weights", std::move(weights)},
        {"tokenizer", manifest.tokenizer ? to_json(*manifest.tokenizer) : Json(nullptr)},
        {"files", std::move(files)}}},
      {"generation",
       {{"max_new_tokens", manifest.max_new_tokens}, {"eos_token_ids", manifest.eos_token_ids}}}};
  if (!manifest.warnings.empty()) json["warnings"] = manifest.warnings;
  if (manifest.blind_spots) {
    Json list = Json::array();
    for (const UnseenMistake& m : *manifest.blind_spots) {
      list.push_back({{"id", m.id}, {"name", m.name}, {"common", m.common}});
    }
    json["blind_spots"] = std::move(list);
  }
  json["prompts"] = std::move(prompts);
  return json;
}

}  // namespace assay
