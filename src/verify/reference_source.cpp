#include "verify/reference_source.h"

#include <fmt/format.h>

#include <ctime>

#include "base/mapped_file.h"
#include "base/sha256.h"
#include "base/text.h"
#include "formats/json_file.h"

namespace assay {
namespace {

std::string now_utc() {
  const std::time_t now = std::time(nullptr);
  std::tm utc = {};
  ::gmtime_r(&now, &utc);
  std::array<char, 32> text = {};
  const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M UTC", &utc);
  return {text.data(), size};
}

std::string string_in(const OrderedJson& json, std::string_view field) {
  if (!json.is_object()) return "";
  const auto found = json.find(field);
  return found != json.end() && found->is_string() ? shown(found->get<std::string>()) : "";
}

const OrderedJson& object_in(const OrderedJson& json, std::string_view field) {
  static const OrderedJson kNothing;
  if (!json.is_object()) return kNothing;
  const auto found = json.find(field);
  return found == json.end() ? kNothing : *found;
}

std::string weights_sha256(const OrderedJson& files) {
  if (!files.is_array() || files.empty()) return "";
  if (files.size() == 1) return string_in(files[0], "sha256");
  std::string lines;
  for (const OrderedJson& file : files) {
    lines += fmt::format("{}  {}\n", string_in(file, "sha256"), string_in(file, "file"));
  }
  return sha256_hex(std::as_bytes(std::span(lines)));
}

}  // namespace

ReferenceNotes read_reference_notes(const std::filesystem::path& reference) {
  ReferenceNotes notes;
  const std::filesystem::path file = reference / "manifest.json";
  if (!is_there(file)) return notes;
  const OrderedJson manifest = load_json(file);
  const OrderedJson& model = object_in(manifest, "model");
  const OrderedJson& producer = object_in(manifest, "producer");
  notes.source = {
      .model = string_in(model, "path_name"),
      .model_type = string_in(object_in(model, "config"), "model_type"),
      .weights_sha256 = weights_sha256(object_in(model, "weights")),
      .program = fmt::format("{} {}", string_in(producer, "name"), string_in(producer, "version")),
      .numerics = string_in(manifest, "numerics"),
      .oracle = string_in(manifest, "oracle")};
  const OrderedJson& prompts = object_in(manifest, "prompts");
  if (!prompts.is_array()) return notes;
  for (const OrderedJson& prompt : prompts) {
    const OrderedJson& tokens = object_in(prompt, "tokens");
    if (!tokens.is_array()) continue;
    std::vector<std::string>& texts = notes.tokens[string_in(prompt, "id")];
    for (const OrderedJson& token : tokens) {
      texts.push_back(token.is_string() ? token.get<std::string>() : "");
    }
  }
  return notes;
}

void sign(CompareReport& report, const ReferenceNotes& notes) {
  report.date = now_utc();
  report.program = "assay " ASSAY_VERSION;
  report.source = notes.source;
}

}  // namespace assay
