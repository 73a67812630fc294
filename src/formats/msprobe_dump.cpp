#include "formats/msprobe_dump.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <system_error>

#include "assay/error.h"
#include "base/directory.h"
#include "base/mapped_file.h"
#include "base/text.h"
#include "formats/array_room.h"
#include "formats/dump_names.h"
#include "formats/json_file.h"
#include "formats/npy.h"
#include "formats/torch_file.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 2> kIndexNames = {"dump.json", "debug.json"};
constexpr const char* kTensors = "dump_tensor_data";

// One directory with an index.
struct MsprobePart {
  std::int64_t step = -1;
  std::int64_t rank = -1;
  std::string process;  // "proc1234" when there is no rank
  fs::path directory;
};

// The number of a directory named PREFIX and digits.
std::optional<std::int64_t> numbered(const fs::path& directory, std::string_view prefix) {
  const std::string name = directory.filename().string();
  if (!name.starts_with(prefix)) return std::nullopt;
  return number_of(std::string_view(name).substr(prefix.size()));
}

// A dump.json alone could be anybody's.
bool has_index(const fs::path& directory) {
  const bool is_named = std::ranges::any_of(
      kIndexNames, [&](const char* name) { return is_there(directory / name); });
  return is_named && (is_there(directory / kTensors) || is_there(directory / "stack.json"));
}

std::vector<MsprobePart> parts_of_step(const fs::path& directory, std::int64_t step) {
  std::vector<MsprobePart> parts;
  if (has_index(directory)) parts.push_back({step, -1, "", directory});
  for (const fs::path& path : paths_in(directory)) {
    const auto rank = numbered(path, "rank");
    const auto process = numbered(path, "proc");
    if ((!rank && !process) || !has_index(path)) continue;
    parts.push_back({step, rank.value_or(-1), rank ? "" : path.filename().string(), path});
  }
  return parts;
}

std::vector<std::pair<std::int64_t, fs::path>> steps_of(const fs::path& directory) {
  std::vector<std::pair<std::int64_t, fs::path>> steps;
  for (const fs::path& path : paths_in(directory)) {
    const auto step = numbered(path, "step");
    if (step && !parts_of_step(path, *step).empty()) steps.emplace_back(*step, path);
  }
  std::ranges::sort(steps);
  return steps;
}

std::vector<MsprobePart> parts_of(const fs::path& path) {
  std::error_code ignored;
  const fs::path file = path.filename();
  const bool is_inside = std::ranges::find(kIndexNames, file) != kIndexNames.end();
  if (is_inside || file == kTensors) {
    if (has_index(path.parent_path())) return {{-1, -1, "", path.parent_path()}};
    return {};
  }
  if (!fs::is_directory(path, ignored)) return {};
  std::vector<MsprobePart> parts = parts_of_step(path, -1);
  for (const auto& [step, directory] : steps_of(path)) {
    std::ranges::move(parts_of_step(directory, step), std::back_inserter(parts));
  }
  return parts;
}

// Python writes NaN, Infinity and -Infinity, which JSON does not have: its text with nulls instead.
// Statistics of a mask are such numbers.
std::string without_special_numbers(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  bool in_string = false;
  for (std::size_t at = 0; at < text.size();) {
    if (!in_string) {
      const auto takes = [&](std::string_view word) {
        if (!text.substr(at).starts_with(word)) return false;
        at += word.size();
        result += "null";
        return true;
      };
      if (takes("NaN") || takes("Infinity") || takes("-Infinity")) continue;
    }
    const char c = text[at++];
    result += c;
    if (c == '"') in_string = !in_string;
    if (c == '\\' && in_string && at < text.size()) result += text[at++];
  }
  return result;
}

OrderedJson read_msprobe_json(const fs::path& file) {
  const MappedFile mapped(file);
  const std::span<const std::byte> bytes = mapped.bytes();
  return parse_json(
      without_special_numbers({reinterpret_cast<const char*>(bytes.data()), bytes.size()}),
      file.string());
}

class MsprobeSource : public ArrayFile::Source {
 public:
  explicit MsprobeSource(const fs::path& path) {
    std::vector<DumpArray> arrays;
    for (const MsprobePart& part : parts_of(path)) {
      for (const char* name : kIndexNames) {
        if (is_there(part.directory / name)) read_index(part, part.directory / name, arrays);
      }
    }
    if (arrays.empty()) {
      throw input_error(path.string(), "an msprobe dump without tensors",
                        R"("task": "tensor" in msprobe's configuration)");
    }
    names_ = name_dump_arrays(arrays);
    for (std::size_t i = 0; i < names_.size(); ++i) by_name_.emplace(names_[i], i);
    std::ranges::sort(names_);
  }

  std::vector<std::string> names() const override { return names_; }
  std::uint64_t size_of(std::string_view name) const override {
    const std::optional<FileState> state = state_of(file_of(name));
    return state ? state->size : 0;
  }
  ArrayForm form_of(std::string_view name) const override {
    const fs::path& file = checked(file_of(name));
    if (file.extension() == ".npy") return npy_form(MappedFile(file).bytes(), file.string());
    const TorchFile torch(file);
    return torch.form_of(only_tensor(torch, file), std::string(name));
  }
  LoadedArray load(std::string_view name) const override {
    const fs::path& file = checked(file_of(name));
    if (file.extension() == ".npy") {
      const auto npy = std::make_shared<const MappedFile>(file);
      return held_by(
          npy, in_c_order(npy_data(std::string(name), npy->bytes(), file.string()), file.string()));
    }
    const auto torch = std::make_shared<const TorchFile>(file);
    return held_by(torch, torch->load(only_tensor(*torch, file), std::string(name)));
  }

 private:
  void read_index(const MsprobePart& part, const fs::path& index, std::vector<DumpArray>& arrays) {
    const OrderedJson json = read_msprobe_json(index);
    const auto data = json.is_object() ? json.find("data") : json.end();
    if (!json.is_object() || data == json.end() || !data->is_object()) {
      throw input_error(index.string(), "no object 'data'", "an index that msprobe wrote");
    }
    for (const auto& [operation, saved] : data->items()) {
      const std::string where =
          field_text(index.string(), fmt::format("data.{}", shown(operation)));
      if (!saved.is_object() && !saved.is_array() && !saved.is_null()) {
        throw input_error(where, fmt::format("a {}", saved.type_name()), "an object or a list");
      }
      collect(saved, where, part, arrays);
    }
  }

  // Every object in it that names a file.
  void collect(const OrderedJson& json, const std::string& where, const MsprobePart& part,
               std::vector<DumpArray>& arrays) {
    if (!json.is_object() && !json.is_array()) return;
    for (const auto& [key, value] : json.items()) {
      if (!json.is_object() || key != "data_name") {
        collect(value, where, part, arrays);
        continue;
      }
      if (value.is_null() || value.is_number()) continue;  // not saved
      const std::string name = value.is_string() ? value.get<std::string>() : std::string();
      const fs::path file = name;
      const fs::path kind = file.extension();
      const bool is_plain = is_path_below(name) && file.filename() == file && name != ".";
      if (!is_plain || (kind != ".pt" && kind != ".npy")) {
        throw input_error(where,
                          value.is_string() ? fmt::format("data_name '{}'", shown(name))
                                            : fmt::format("a {} as data_name", value.type_name()),
                          fmt::format("the name of a .pt or .npy file in {}", kTensors));
      }
      DumpArray array{parse_dump_name(file.stem().string())};
      array.file.step = part.step;
      array.file.rank = part.rank;
      if (!part.process.empty()) array.file.tags.emplace_back("process", part.process);
      arrays.push_back(std::move(array));
      files_.push_back(part.directory / kTensors / file);
    }
  }

  const fs::path& file_of(std::string_view name) const {
    return files_[by_name_.find(name)->second];
  }

  // msprobe writes no links, so one leads to a file that somebody else chose.
  static const fs::path& checked(const fs::path& file) {
    std::error_code ignored;
    if (fs::is_symlink(file, ignored)) {
      throw input_error(file.string(), "a symbolic link", "the tensor's own file");
    }
    return file;
  }

  static const TorchFile::Tensor& only_tensor(const TorchFile& torch, const fs::path& file) {
    if (torch.tensors().size() != 1) {
      throw input_error(file.string(), fmt::format("{} tensors", torch.tensors().size()),
                        "one, as msprobe saves them");
    }
    return torch.tensors().front();
  }

  // The array may be in place in its file, which is then mapped as long as the array lives.
  template <class File>
  static LoadedArray held_by(std::shared_ptr<const File> file, LoadedArray array) {
    using Both = std::pair<std::shared_ptr<const File>, std::shared_ptr<const void>>;
    array.held = std::make_shared<const Both>(std::move(file), std::move(array.held));
    return array;
  }

  std::vector<fs::path> files_;
  std::vector<std::string> names_;
  std::map<std::string, std::size_t, std::less<>> by_name_;  // index in files_
};

}  // namespace

bool is_msprobe_dump(const fs::path& path) { return !parts_of(path).empty(); }

std::vector<fs::path> msprobe_steps(const fs::path& dump) {
  std::vector<fs::path> directories;
  for (auto& [step, directory] : steps_of(dump)) directories.push_back(std::move(directory));
  if (directories.size() < 2) directories.clear();
  return directories;
}

std::unique_ptr<ArrayFile::Source> open_msprobe_dump(const fs::path& path) {
  return std::make_unique<MsprobeSource>(path);
}

}  // namespace assay
