// Split files (llama.cpp's gguf-split): every part has its number (split.no, from 0), the number of
// parts (split.count) and the number of tensors in all parts (split.tensors.count). Enforced: at
// most 1,000 parts, each with the file name that matches its number; no tensor in two parts.
#include "formats/gguf_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>

#include "assay/error.h"
#include "base/directory.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMaxParts = 1000;

bool is_gguf(const fs::path& path) { return path.extension() == ".gguf"; }

std::string part_ending(std::int64_t part, std::int64_t count) {
  return fmt::format("-{:05d}-of-{:05d}.gguf", part + 1, count);
}

// The files of a split checkpoint that begins with `first`: those with its name and its count.
bool is_first_of(const std::string& first, std::size_t files) {
  return first.ends_with(part_ending(0, static_cast<std::int64_t>(files)));
}

}  // namespace

GgufParts::GgufParts(const fs::path& file) {
  files_.emplace_back(file);
  const std::int64_t count = head().integer("split.count", 1);
  const std::int64_t number = head().integer("split.no", 0);
  if (count <= 1) return;
  if (count > kMaxParts) {
    throw input_error(head().where("split.count"), std::to_string(count),
                      fmt::format("at most {}", kMaxParts));
  }
  const std::string name = file.filename().string();
  const std::string ending = part_ending(0, count);
  if (number != 0 || !name.ends_with(ending)) {
    throw input_error(file.string(), fmt::format("part {} of {}", number + 1, count),
                      "the first part, NAME" + ending + ", with the others beside it");
  }
  const std::string stem = name.substr(0, name.size() - ending.size());
  std::set<std::string_view> names;
  std::size_t tensors = 0;
  for (std::int64_t part = 0; part < count; ++part) {
    if (part > 0) files_.emplace_back(file.parent_path() / (stem + part_ending(part, count)));
    const GgufFile& opened = files_.back();
    if (opened.integer("split.no") != part || opened.integer("split.count") != count) {
      throw input_error(opened.path().string(),
                        fmt::format("part {} of {}", opened.integer("split.no") + 1,
                                    opened.integer("split.count")),
                        fmt::format("part {} of {}, as its name says", part + 1, count));
    }
    tensors += opened.tensors().size();
  }
  for (const GgufFile& opened : files_) {
    for (const GgufTensor& tensor : opened.tensors()) {
      if (!names.insert(tensor.name).second) {
        throw input_error(opened.tensor_where(tensor.name), "is also in another part",
                          "every name once");
      }
    }
  }
  const std::int64_t expected = head().integer("split.tensors.count");
  if (static_cast<std::int64_t>(tensors) != expected) {
    throw input_error(head().where("split.tensors.count"), std::to_string(expected),
                      fmt::format("{}, what the parts hold", tensors));
  }
}

const GgufTensor* GgufParts::find(std::string_view name) const noexcept {
  for (const GgufFile& file : files_) {
    if (const GgufTensor* tensor = file.find(name)) return tensor;
  }
  return nullptr;
}

std::optional<fs::path> gguf_file_of(const fs::path& checkpoint) {
  std::error_code error;
  if (!fs::is_directory(checkpoint, error)) {
    if (!is_gguf(checkpoint)) return std::nullopt;
    return checkpoint;
  }
  if (is_there(checkpoint / "model.safetensors") ||
      is_there(checkpoint / "model.safetensors.index.json")) {
    return std::nullopt;
  }
  std::vector<std::string> names;
  for (const fs::path& path : paths_in(checkpoint)) {
    if (is_gguf(path)) names.push_back(path.filename().string());
  }
  if (names.empty()) return std::nullopt;
  if (names.size() > 1 && !is_first_of(names.front(), names.size())) {
    throw input_error(checkpoint.string(), fmt::format("{} .gguf files", names.size()),
                      "one, or the parts of one; give the file itself");
  }
  return checkpoint / names.front();
}

}  // namespace assay
