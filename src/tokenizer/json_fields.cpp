#include "tokenizer/json_fields.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace assay {

namespace dom = simdjson::dom;

std::string json_text(const dom::element& value) {
  // A whole vocabulary would be printed only to be cut.
  if (value.is_array()) return fmt::format("a list of {}", dom::array(value).size());
  if (value.is_object()) {
    std::string_view type;
    return value["type"].get(type) == simdjson::SUCCESS
               ? fmt::format("an object of type '{}'", type)
               : std::string("an object");
  }
  return shown(simdjson::minify(value));
}

JsonFields::JsonFields(std::string file, std::string path, const dom::element& value)
    : file_(std::move(file)), path_(std::move(path)) {
  dom::object object;
  if (value.get(object) != simdjson::SUCCESS) {
    throw input_error(path_.empty() ? file_ : field_text(file_, path_), json_text(value),
                      "a JSON object");
  }
  for (const dom::key_value_pair pair : object) {
    for (const auto& [name, unused] : fields_) {
      if (name == pair.key) throw error(pair.key, "duplicate field", "each field once");
    }
    fields_.emplace_back(pair.key, pair.value);
  }
}

JsonFields::JsonFields(std::string file, std::string path, const dom::element& value,
                       std::initializer_list<std::string_view> known)
    : JsonFields(std::move(file), std::move(path), value) {
  allow_only(known);
}

void JsonFields::allow_only(std::initializer_list<std::string_view> known) const {
  for (const auto& [name, unused] : fields_) {
    if (std::ranges::find(known, name) == known.end()) {
      throw error(name, "unknown field", fmt::format("only {}", fmt::join(known, ", ")));
    }
  }
}

std::optional<dom::element> JsonFields::find(std::string_view field) const {
  for (const auto& [name, value] : fields_) {
    if (name == field && !value.is_null()) return value;
  }
  return std::nullopt;
}

dom::element JsonFields::require(std::string_view field, std::string_view expected) const {
  const std::optional<dom::element> value = find(field);
  if (!value) throw error(field, "missing or null", expected);
  return *value;
}

dom::array JsonFields::array(std::string_view field) const {
  const dom::element value = require(field, "a list");
  dom::array result;
  if (value.get(result) != simdjson::SUCCESS) throw error(field, json_text(value), "a list");
  return result;
}

dom::object JsonFields::object(std::string_view field) const {
  const dom::element value = require(field, "a JSON object");
  dom::object result;
  if (value.get(result) != simdjson::SUCCESS) throw error(field, json_text(value), "a JSON object");
  return result;
}

std::vector<JsonFields> JsonFields::objects(std::string_view field) const {
  std::vector<JsonFields> result;
  for (const dom::element value : array(field)) {
    result.emplace_back(file_, fmt::format("{}[{}]", path(field), result.size()), value);
  }
  return result;
}

JsonFields JsonFields::fields(std::string_view field) const {
  return {file_, path(field), require(field, "a JSON object")};
}

std::string_view JsonFields::string(std::string_view field) const {
  const dom::element value = require(field, "a string");
  std::string_view result;
  if (value.get(result) != simdjson::SUCCESS) throw error(field, json_text(value), "a string");
  return result;
}

bool JsonFields::boolean(std::string_view field) const {
  const dom::element value = require(field, "true or false");
  bool result = false;
  if (value.get(result) != simdjson::SUCCESS) throw error(field, json_text(value), "true or false");
  return result;
}

std::uint64_t JsonFields::unsigned_integer(std::string_view field) const {
  constexpr std::string_view kExpected = "a non-negative integer";
  const dom::element value = require(field, kExpected);
  std::uint64_t result = 0;
  if (value.get(result) != simdjson::SUCCESS) throw error(field, json_text(value), kExpected);
  return result;
}

void JsonFields::expect_string(std::string_view field, std::string_view value) const {
  const std::string_view found = string(field);
  if (found != value) {
    throw error(field, json_text(*find(field)), fmt::format("\"{}\"", value));
  }
}

void JsonFields::expect_boolean(std::string_view field, bool value) const {
  if (boolean(field) != value)
    throw error(field, value ? "false" : "true", value ? "true" : "false");
}

void JsonFields::expect_absent(std::string_view field) const {
  if (const auto value = find(field)) throw error(field, json_text(*value), "null");
}

std::string JsonFields::path(std::string_view field) const {
  return path_.empty() ? std::string(field) : fmt::format("{}.{}", path_, field);
}

std::string JsonFields::where(std::string_view field) const {
  return field_text(file_, path(field));
}

Error JsonFields::error(std::string_view field, std::string_view found,
                        std::string_view expected) const {
  return input_error(where(field), found, expected);
}

}  // namespace assay
