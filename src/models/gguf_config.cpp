#include "models/gguf_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "assay/error.h"
#include "models/gguf_fields.h"

namespace assay {

const ModelType& gguf_type(const GgufFile& file) {
  const std::string_view architecture = file.string("general.architecture");
  std::vector<std::string_view> known;
  for (const ModelType& type : all_model_types()) {
    if (type.gguf.architecture.empty()) continue;
    if (type.gguf.architecture == architecture) return type;
    known.push_back(type.gguf.architecture);
  }
  throw input_error(file.where("general.architecture"), "'" + std::string(architecture) + "'",
                    fmt::format("{}", fmt::join(known, ", ")));
}

OrderedJson gguf_config(const GgufParts& parts) {
  const ModelType& type = gguf_type(parts.head());
  GgufFields fields(parts, type.gguf.architecture, type.rope.rotates_partly,
                    type.gguf.sizes_by_layer);
  fields.config["model_type"] = type.name;
  if (type.gguf.read != nullptr) type.gguf.read(fields);
  // Converts to text and back, so that signs of integers are as after parsing, which readers
  // expect.
  return OrderedJson::parse(fields.config.dump());
}

}  // namespace assay
