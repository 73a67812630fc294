#include "model/checkpoint_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "assay/error.h"
#include "base/directory.h"
#include "base/hash_memory.h"
#include "base/mapped_file.h"
#include "base/text.h"
#include "formats/gguf_parts.h"
#include "formats/json_file.h"
#include "formats/safetensors.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

// Throws an input error if it is not a regular file.
std::uint64_t size_of(const fs::path& file) {
  const std::optional<FileState> state = state_of(file);
  if (!state) throw input_error(file.string(), "not a regular file", "a file");
  return state->size;
}

std::vector<fs::path> weight_files(const fs::path& checkpoint) {
  const std::optional<fs::path> gguf = gguf_file_of(checkpoint);
  if (!gguf) return Weights::open(checkpoint).files();
  std::vector<fs::path> files;
  const GgufParts parts(*gguf);
  for (const GgufFile& file : parts.files()) files.push_back(file.path());
  return files;
}

std::string text_of(std::uint64_t bytes, std::string_view sha256) {
  return fmt::format("{} bytes, SHA-256 {}", bytes, shown(sha256));
}

// Compares a checkpoint with what a manifest records of it.
class Kept {
 public:
  Kept(fs::path file, const fs::path& checkpoint, OrderedJson json)
      : file_(std::move(file)), checkpoint_(checkpoint), json_(std::move(json)) {}

  void hold() const {
    const OrderedJson* model = member(json_, "model");
    if (model == nullptr) return;
    const bool is_gguf = gguf_file_of(checkpoint_).has_value();
    if (const OrderedJson* weights = member(*model, "weights")) hold_weights(*weights);
    if (is_gguf) return;  // the weights' file has everything
    const OrderedJson* config = member(*model, "config");
    const OrderedJson* files = member(*model, "files");
    if (files != nullptr && files->is_array()) {
      for (const OrderedJson& entry : *files) {
        if (const auto record = record_of(entry)) hold_file(*record, config);
      }
    } else if (config != nullptr && !is_same_config(*config)) {
      throw another(checkpoint_ / "config.json", "other values", "the reference's");
    }
    if (const OrderedJson* tokenizer = member(*model, "tokenizer")) {
      if (const auto record = record_of(*tokenizer)) hold_file(*record, nullptr);
    }
  }

 private:
  static const OrderedJson* member(const OrderedJson& json, const char* name) {
    if (!json.is_object()) return nullptr;
    const auto found = json.find(name);
    return found == json.end() || found->is_null() ? nullptr : &*found;
  }

  static std::optional<FileRecord> record_of(const OrderedJson& json) {
    const OrderedJson* file = member(json, "file");
    const OrderedJson* bytes = member(json, "bytes");
    const OrderedJson* sha256 = member(json, "sha256");
    if (file == nullptr || bytes == nullptr || sha256 == nullptr || !file->is_string() ||
        !bytes->is_number_unsigned() || !sha256->is_string()) {
      return std::nullopt;
    }
    return FileRecord{*file, *bytes, *sha256};
  }

  Error another(const fs::path& file, std::string_view found, std::string_view expected) const {
    return input_error(
        file.string(), fmt::format("not the reference's checkpoint: {}", found),
        fmt::format("{}, by {} (give the checkpoint that it was made from, or extract it again)",
                    expected, file_.string()));
  }

  // Compare sizes first: that costs nothing and is usually enough.
  void expect(const fs::path& file, const FileRecord& wanted) const {
    const std::uint64_t bytes = size_of(file);
    const std::string expected = text_of(wanted.bytes, wanted.sha256);
    if (bytes != wanted.bytes) throw another(file, fmt::format("{} bytes", bytes), expected);
    const std::string sha256 = remembered_sha256(file);
    if (sha256 != wanted.sha256) throw another(file, text_of(bytes, sha256), expected);
  }

  void hold_weights(const OrderedJson& list) const {
    std::vector<FileRecord> wanted;
    if (!list.is_array()) return;
    for (const OrderedJson& entry : list) {
      if (auto record = record_of(entry)) wanted.push_back(std::move(*record));
    }
    const std::vector<fs::path> files = weight_files(checkpoint_);
    if (wanted.empty()) return;
    if (files.size() != wanted.size()) {
      throw another(checkpoint_, fmt::format("{} files of weights", files.size()),
                    fmt::format("{}", wanted.size()));
    }
    const auto named = [&](const FileRecord& record) {
      return std::ranges::find(files, record.file,
                               [](const fs::path& f) { return f.filename().string(); });
    };
    if (std::ranges::all_of(wanted, [&](const auto& r) { return named(r) != files.end(); })) {
      for (const FileRecord& record : wanted) expect(*named(record), record);
      return;
    }
    // The files have other names: each must have one of the recorded contents.
    for (const fs::path& file : files) {
      const std::uint64_t bytes = size_of(file);
      const bool may_be = std::ranges::find(wanted, bytes, &FileRecord::bytes) != wanted.end();
      const std::string sha256 = may_be ? remembered_sha256(file) : std::string();
      const auto found = std::ranges::find(wanted, sha256, &FileRecord::sha256);
      if (found == wanted.end()) {
        throw another(file, may_be ? text_of(bytes, sha256) : fmt::format("{} bytes", bytes),
                      text_of(wanted.front().bytes, wanted.front().sha256));
      }
      wanted.erase(found);
    }
  }

  void hold_file(const FileRecord& record, const OrderedJson* config) const {
    // The manifest comes from outside, so its paths are not trusted.
    if (!is_path_below(record.file)) return;
    const fs::path file = checkpoint_ / record.file;
    if (!is_there(file)) {
      throw another(file, "missing", text_of(record.bytes, record.sha256));
    }
    // A reformatted config with the same values is the same.
    if (record.file == "config.json" && config != nullptr && is_same_config(*config)) return;
    expect(file, record);
  }

  bool is_same_config(const OrderedJson& wanted) const {
    const auto sorted = [](const OrderedJson& json) { return nlohmann::json::parse(json.dump()); };
    return sorted(load_json(checkpoint_ / "config.json")) == sorted(wanted);
  }

  fs::path file_;
  fs::path checkpoint_;
  OrderedJson json_;
};

constexpr std::string_view kSchema = "assay.reference/";

// The manifest of a directory, or of a file in the folder of one of its prompts. Other files next
// to it are not checked.
std::optional<std::pair<fs::path, OrderedJson>> manifest_of(const fs::path& reference) {
  std::error_code ignored;
  const fs::path absolute = fs::absolute(reference, ignored);
  const bool is_set = fs::is_directory(absolute, ignored);
  const fs::path file =
      (is_set ? absolute : absolute.parent_path().parent_path()) / "manifest.json";
  if (!is_there(file)) return std::nullopt;
  try {
    OrderedJson json = load_json(file);
    const OrderedJson schema = json.is_object() ? json.value("schema", OrderedJson()) : json;
    if (!schema.is_string() || !schema.get<std::string>().starts_with(kSchema)) return std::nullopt;
    return std::pair(file, std::move(json));
  } catch (const Error&) {
    if (is_set) throw;
    return std::nullopt;
  }
}

}  // namespace

FileRecord record_file(const fs::path& file, std::string name) {
  return {std::move(name), size_of(file), remembered_sha256(file)};
}

std::vector<std::string> settings_files(const fs::path& checkpoint, bool with_chat) {
  if (gguf_file_of(checkpoint)) return {};
  std::vector<std::string> names = {"config.json", "generation_config.json"};
  if (with_chat) {
    names.insert(names.end(), {"chat_template.jinja", "chat_template.json", "tokenizer_config.json",
                               "special_tokens_map.json"});
    const fs::path more = "additional_chat_templates";
    for (const fs::path& path : paths_in(checkpoint / more)) {
      if (path.extension() == ".jinja") names.push_back((more / path.filename()).string());
    }
  }
  std::erase_if(names, [&](const std::string& name) { return !is_there(checkpoint / name); });
  std::ranges::sort(names);
  return names;
}

void expect_checkpoint_of(const fs::path& reference, const fs::path& checkpoint) {
  if (auto manifest = manifest_of(reference)) {
    Kept(manifest->first, checkpoint, std::move(manifest->second)).hold();
  }
}

}  // namespace assay
