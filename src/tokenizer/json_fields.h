// The objects of a large JSON file (read by simdjson), with errors that name file and field.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "assay/error.h"

namespace assay {

// The value's JSON text for messages, cut short.
std::string json_text(const simdjson::dom::element& value);

// The fields of one object. A field that is null counts as absent.
class JsonFields {
 public:
  // path: the object's path in the file ("model"; "" for the whole file). Duplicate fields are an
  // error.
  JsonFields(std::string file, std::string path, const simdjson::dom::element& value);
  // The same, followed by allow_only(known).
  JsonFields(std::string file, std::string path, const simdjson::dom::element& value,
             std::initializer_list<std::string_view> known);

  // Throws an input error for any other field, because it might change what the known ones mean.
  void allow_only(std::initializer_list<std::string_view> known) const;

  // None when absent.
  std::optional<simdjson::dom::element> find(std::string_view field) const;

  simdjson::dom::element require(std::string_view field, std::string_view expected) const;
  simdjson::dom::array array(std::string_view field) const;
  simdjson::dom::object object(std::string_view field) const;
  // The objects of a list, "model.parts[0]" and so on.
  std::vector<JsonFields> objects(std::string_view field) const;
  // The object in a field.
  JsonFields fields(std::string_view field) const;
  std::string_view string(std::string_view field) const;
  bool boolean(std::string_view field) const;
  std::uint64_t unsigned_integer(std::string_view field) const;

  // The field must exist and have this value. Otherwise the error tells its value.
  void expect_string(std::string_view field, std::string_view value) const;
  void expect_boolean(std::string_view field, bool value) const;
  void expect_absent(std::string_view field) const;

  // A field's path, such as "model.vocab", "FILE: field 'PATH'", and an input error about it.
  std::string path(std::string_view field) const;
  std::string where(std::string_view field) const;
  Error error(std::string_view field, std::string_view found, std::string_view expected) const;
  const std::string& file() const { return file_; }

 private:
  std::string file_;
  std::string path_;
  std::vector<std::pair<std::string_view, simdjson::dom::element>> fields_;
};

}  // namespace assay
