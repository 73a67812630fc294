#include "model/checkpoint_fault.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <vector>

#include "assay/error.h"
#include "base/directory.h"
#include "base/mapped_file.h"
#include "base/text.h"
#include "formats/gguf_parts.h"
#include "formats/json_file.h"

namespace assay {
namespace {

namespace fs = std::filesystem;
using Fault = std::optional<CheckpointFault>;

constexpr const char* kIndex = "model.safetensors.index.json";
constexpr std::size_t kShown = 3;

std::string beginning_of(const fs::path& file) {
  if (!state_of(file)) return {};  // opening a pipe would block
  std::string text(512, '\0');
  std::ifstream stream(file, std::ios::binary);
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(std::max<std::streamsize>(stream.gcount(), 0)));
  return text;
}

std::vector<std::string> file_names(const fs::path& directory) {
  std::vector<std::string> names;
  for (const fs::path& path : paths_in(directory)) names.push_back(path.filename().string());
  return names;
}

std::string first_of(const std::vector<std::string>& names, std::string_view begin,
                     std::string_view end) {
  const auto found = std::ranges::find_if(names, [&](const std::string& name) {
    return name.starts_with(begin) && name.ends_with(end);
  });
  return found != names.end() ? *found : std::string();
}

// The file's JSON object; none if there is no such file or object.
std::optional<OrderedJson> object_in(const fs::path& file) {
  if (!is_there(file)) return std::nullopt;
  try {
    OrderedJson json = load_json(file);
    if (json.is_object()) return json;
  } catch (const Error&) {  // reported elsewhere
  }
  return std::nullopt;
}

std::string text_field(const OrderedJson& object, const char* field) {
  const auto found = object.find(field);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// How to get plain weights from this quantisation.
std::string advice_for(std::string_view method) {
  constexpr std::string_view kOriginal =
      "use the original checkpoint, in BF16, F16 or F32, that this one was made from";
  struct Way {
    std::string_view method;
    std::string_view how;
  };
  static constexpr auto kWays = std::to_array<Way>({
      {"mxfp4",
       "or load it in transformers with Mxfp4Config(dequantize=True) and save it with "
       "save_pretrained"},
      {"bitsandbytes",
       "or load it in transformers, call dequantize(), and save it with save_pretrained"},
      {"compressed-tensors",
       "or load it in transformers with CompressedTensorsConfig(run_compressed=False) and save it "
       "with save_pretrained"},
      {"mlx", "or run mlx_lm.convert with --dequantize"},
  });
  const auto* way = std::ranges::find(kWays, method, &Way::method);
  return way == kWays.end() ? std::string(kOriginal) : fmt::format("{}, {}", kOriginal, way->how);
}

Fault quantisation(const fs::path& directory) {
  const fs::path file = directory / "config.json";
  const auto config = object_in(file);
  if (!config) return std::nullopt;
  const auto where = [&](const char* field) { return field_text(file.string(), field); };
  const auto given = config->find("quantization_config");
  if (given != config->end() && given->is_object() && given->contains("quant_method")) {
    const std::string method = text_field(*given, "quant_method");
    // Which are read as they are.
    if (method == "fp8") return std::nullopt;
    if (method == "mxfp4" && text_field(*config, "model_type") == "gpt_oss") return std::nullopt;
    return CheckpointFault{where("quantization_config"),
                           fmt::format("quant_method \"{}\"", shown(method)), advice_for(method)};
  }
  const auto mlx = config->find("quantization");  // equals quantization_config if both exist
  if (mlx != config->end() && mlx->is_object() && mlx->contains("bits")) {
    return CheckpointFault{
        where("quantization"),
        fmt::format("weights quantised by MLX ({} bits)", shown((*mlx)["bits"].dump())),
        advice_for("mlx")};
  }
  if (given != config->end() && given->is_object()) {
    return CheckpointFault{where("quantization_config"), shown(given->dump(), 80), advice_for("")};
  }
  return std::nullopt;
}

Fault adapter(const fs::path& directory) {
  const fs::path file = directory / "adapter_config.json";
  if (!is_there(file)) return std::nullopt;
  std::string base = "its base model";
  std::string kind = "adapter";
  if (const auto config = object_in(file)) {
    const std::string name = text_field(*config, "base_model_name_or_path");
    if (!name.empty()) base = fmt::format("its base model '{}'", shown(name));
    const std::string type = text_field(*config, "peft_type");
    if (!type.empty()) kind = fmt::format("adapter ({})", shown(type));
  }
  return CheckpointFault{file.string(), fmt::format("an {} without the model it adapts", kind),
                         fmt::format("merge it into {} (peft: merge_and_unload(), then "
                                     "save_pretrained()) and give that directory",
                                     base)};
}

Fault other_format(const fs::path& directory, const std::vector<std::string>& names) {
  struct Format {
    std::string_view begin, end;
    std::string_view advice;
  };
  static constexpr std::string_view kConvert =
      "convert it to safetensors: AutoModelForCausalLM.from_pretrained(DIR, dtype=\"auto\")"
      ".save_pretrained(NEW)";
  static constexpr auto kFormats = std::to_array<Format>({
      {"pytorch_model", ".bin", kConvert},
      {"model", ".bin", kConvert},
      {"tf_model", ".h5", "get the model's safetensors"},
      {"flax_model", ".msgpack", "get the model's safetensors"},
      {"consolidated", ".pth", "get the model in HuggingFace's format (the -hf repository)"},
      {"consolidated", ".safetensors",
       "get the files of HuggingFace's format too: model*.safetensors"},
  });
  for (const Format& format : kFormats) {
    const std::string name = first_of(names, format.begin, format.end);
    if (name.empty()) continue;
    return CheckpointFault{(directory / name).string(), "weights in a different format",
                           std::string(format.advice)};
  }
  return std::nullopt;
}

// Shards that the index names but that do not exist.
Fault missing_shards(const fs::path& directory) {
  const auto index = object_in(directory / kIndex);
  if (!index || !index->contains("weight_map") || !(*index)["weight_map"].is_object()) {
    return std::nullopt;
  }
  std::set<std::string> all;
  for (const auto& [tensor, file] : (*index)["weight_map"].items()) {
    if (file.is_string()) all.insert(file.get<std::string>());
  }
  std::vector<std::string> missing;
  for (const std::string& name : all) {
    const bool is_name = name.find('/') == name.npos && name.find('\0') == name.npos;
    if (is_name && !is_there(directory / name)) missing.push_back(shown(name));
  }
  if (missing.empty()) return std::nullopt;
  const auto end = missing.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, missing.size()));
  return CheckpointFault{
      (directory / kIndex).string(),
      fmt::format("{} of {} shards are missing: {}{}", missing.size(), all.size(),
                  fmt::join(missing.begin(), end, ", "), missing.size() > kShown ? ", ..." : ""),
      "the download is not complete: get the missing files from the model's publisher"};
}

Fault shards_without_index(const fs::path& directory, const std::vector<std::string>& names) {
  const std::string shard = first_of(names, "model-0", ".safetensors");
  if (shard.empty() || is_there(directory / kIndex)) return std::nullopt;
  return CheckpointFault{(directory / shard).string(), fmt::format("shards without {}", kIndex),
                         fmt::format("get {} from the model's publisher too", kIndex)};
}

}  // namespace

Fault find_file_fault(const fs::path& file) {
  if (!is_there(file)) return std::nullopt;
  std::string text = beginning_of(file);
  if (text.starts_with("version https://git-lfs.github.com/spec/")) {
    return CheckpointFault{file.string(), "a Git LFS pointer, not the file itself",
                           "run 'git lfs pull' there, or download the file"};
  }
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  text.erase(0, first == text.npos ? text.size() : first);
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  if (text.starts_with("<!doctype") || text.starts_with("<html") || text.starts_with("<?xml")) {
    return CheckpointFault{file.string(), "a web page, not the file itself",
                           "download the file again, signed in if the model requires it, from its "
                           "address with /resolve/ (not /blob/)"};
  }
  return std::nullopt;
}

Fault find_checkpoint_fault(const fs::path& checkpoint) {
  if (!fs::is_directory(checkpoint)) return find_file_fault(checkpoint);
  const std::vector<std::string> names = file_names(checkpoint);
  for (const std::string& name : names) {
    if (!name.ends_with(".safetensors") && !name.ends_with(".gguf") && name != "config.json" &&
        name != kIndex) {
      continue;
    }
    if (Fault fault = find_file_fault(checkpoint / name)) return fault;
  }
  const bool has_weights =
      is_there(checkpoint / "model.safetensors") || is_there(checkpoint / kIndex);
  if (has_weights) {
    if (!is_there(checkpoint / "model.safetensors")) {
      if (Fault fault = missing_shards(checkpoint)) return fault;
    }
    return quantisation(checkpoint);
  }
  if (Fault fault = shards_without_index(checkpoint, names)) return fault;
  if (Fault fault = adapter(checkpoint)) return fault;
  return other_format(checkpoint, names);
}

}  // namespace assay
