// Small JSON files (RFC 8259): read whole, with errors that name file and field.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace assay {

using OrderedJson = nlohmann::ordered_json;

// Parses a file of at most 64 MiB and 200 levels. Throws an input error with the byte offset of a
// syntax error.
OrderedJson load_json(const std::filesystem::path& path);
// Parses a text with the same limits. `where` names it in messages.
OrderedJson parse_json(std::string_view text, std::string_view where);

// Writes the text with two-space indents, atomically.
void write_json(const std::filesystem::path& path, const OrderedJson& json);

// The fields of a JSON object that came from a file. A field that is null counts as absent. Every
// getter throws an input error "FILE: field 'NAME': found X; expected Y"; those with a fallback
// return it when the field is absent.
class JsonObject {
 public:
  explicit JsonObject(const std::filesystem::path& path);
  // An object that was not read from a file itself; `file` names it in errors.
  JsonObject(std::string file, OrderedJson json);
  // An object inside a file. path: its own, such as "arrays[0]".
  JsonObject(std::string file, std::string_view path, OrderedJson json);

  bool has(std::string_view field) const;
  bool is_null(std::string_view field) const;
  std::string string(std::string_view field) const;
  std::string string(std::string_view field, std::string_view fallback) const;
  bool boolean(std::string_view field, bool fallback) const;
  // A whole number above 0 (1000000.0 is one), at most 2^31 - 1: sizes, not ids.
  std::int64_t positive_integer(std::string_view field) const;
  std::int64_t positive_integer(std::string_view field, std::int64_t fallback) const;
  // A finite number above 0.
  double positive_number(std::string_view field) const;
  double positive_number(std::string_view field, double fallback) const;
  // A list of finite numbers above 0, and a list of strings.
  std::vector<double> positive_numbers(std::string_view field) const;
  std::vector<std::string> strings(std::string_view field) const;
  // A list of the sizes of axes.
  std::vector<std::int64_t> sizes(std::string_view field) const;
  // A number below 2^63.
  std::uint64_t unsigned_integer(std::string_view field, std::uint64_t fallback) const;
  // One non-negative integer or a list of them.
  std::vector<std::int64_t> integers(std::string_view field) const;
  JsonObject object(std::string_view field) const;
  bool empty() const { return json_.empty(); }
  // This object with the other object's fields added; they replace fields with the same name.
  JsonObject updated(const JsonObject& with) const;

  // This object with those of `defaults` that it lacks, and with all of `fixed` instead of its own.
  JsonObject completed(OrderedJson defaults, const OrderedJson& fixed) const;

  // "FILE: field 'NAME'" (nested ones with dots) and the value's JSON text, for messages.
  std::string where(std::string_view field) const;
  std::string text(std::string_view field) const;

 private:
  const OrderedJson& get(std::string_view field, std::string_view expected) const;

  std::string file_;
  std::string prefix_;  // of the fields' names in messages: "" or "arrays[0]."
  OrderedJson json_;
};

}  // namespace assay
