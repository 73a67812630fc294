#include "reference/doctor.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <optional>
#include <set>

#include "assay/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "model/checkpoint.h"
#include "model/checkpoint_fault.h"
#include "model/finite.h"
#include "model/fused_experts.h"
#include "model/model.h"
#include "model/read_spec.h"
#include "models/text_tower.h"
#include "numerics/kernels.h"
#include "tokenizer/tokenizer.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

// Below this, the default prompts' reference set of a small model may not fit.
constexpr std::uintmax_t kLowDisk = std::uintmax_t{1} << 30;
constexpr std::size_t kShownProblems = 5;

// Bytes of memory that are available now, including the page cache; 0 when unknown.
std::uint64_t available_memory() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  std::uint64_t kilobytes = 0;
  std::string unit;
  while (file >> key >> kilobytes >> unit) {
    if (key == "MemAvailable:") return kilobytes * 1024;
  }
  return 0;
}

Check check_cpu() {
  try {
    require_fma();
    std::string names;
    for (const Simd simd : supported_simd()) names += fmt::format(" {}", simd_name(simd));
    const std::string found = fmt::format("{} threads; kernels:{}; {} is used", available_threads(),
                                          names, simd_name(chosen_simd()));
    if (!refused_avx512bf16()) return {"cpu", CheckStatus::kOk, found, ""};
    return {"cpu", CheckStatus::kWarning,
            found + "; avx512bf16 is not: this CPU's VDPBF16PS adds up in another way than others'",
            "nothing: only prefill is slower"};
  } catch (const Error& error) {
    return {"cpu", CheckStatus::kFailed, error.what(),
            "use a different machine, or unset ASSAY_SIMD"};
  }
}

Check check_disk(const fs::path& out) {
  fs::path existing = fs::absolute(out);
  std::error_code error;
  while (!fs::exists(existing, error) && existing.has_relative_path()) {
    existing = existing.parent_path();
  }
  if (!fs::is_directory(existing, error)) {
    return {"disk", CheckStatus::kFailed, existing.string() + " is not a directory",
            "choose another --out"};
  }
  if (::access(existing.c_str(), W_OK | X_OK) != 0) {
    return {"disk", CheckStatus::kFailed,
            fmt::format("{}: {}", existing.string(), std::strerror(errno)),
            "choose another --out, or change its permissions"};
  }
  const fs::space_info space = fs::space(existing, error);
  if (error) return {"disk", CheckStatus::kWarning, error.message(), "check the free space"};
  const std::string detail =
      fmt::format("{} free for {}", bytes_text(space.available), out.string());
  if (space.available < kLowDisk) {
    return {"disk", CheckStatus::kWarning, detail, "free some space, or choose another --out"};
  }
  return {"disk", CheckStatus::kOk, detail, ""};
}

// Advice for a config that was read but asks for something unsupported or contradicts itself.
std::string config_remedy(std::string_view detail) {
  if (detail.find("field 'model_type'") != detail.npos) {
    return fmt::format("use a model with a supported type: {}", fmt::join(model_types(), ", "));
  }
  if (detail.find(": missing") != detail.npos) {
    return "check that config.json belongs to the model: a field of its type is missing";
  }
  return "Assay does not support this value; if somebody edited it, compare config.json with the "
         "publisher's";
}

// Runs body. An exception becomes the check's failure.
Check attempt(const std::string& name, const std::string& remedy,
              const std::function<std::string()>& body) {
  try {
    return {name, CheckStatus::kOk, body(), ""};
  } catch (const Error& error) {
    return {name, CheckStatus::kFailed, error.what(), remedy};
  }
}

std::string spec_text(const ModelSpec& spec) {
  std::string full;
  if (spec.global_heads) {
    full = fmt::format(" (full layers {}/{}, {})", spec.global_heads->queries,
                       spec.global_heads->keys, spec.global_heads->head_dim);
  }
  return fmt::format("{}, {} layers, hidden {}, heads {}/{}, head_dim {}{}, vocabulary {}{}",
                     spec.model_type, spec.num_hidden_layers, spec.hidden_size,
                     spec.num_attention_heads, spec.num_key_value_heads, spec.head_dim, full,
                     spec.vocab_size, spec.tie_word_embeddings ? ", tied" : "");
}

// Whether it is of a layer after the model's own that predicts further tokens, as GLM's.
bool predicts_further(std::string_view name, const Weights& weights) {
  constexpr std::string_view kLayers = "model.layers.";
  const std::size_t dot = name.find('.', kLayers.size());
  return name.starts_with(kLayers) && dot != name.npos &&
         weights.find(fmt::format("{}.eh_proj.weight", name.substr(0, dot))) != nullptr;
}

// Whether it belongs to a matrix in FP8: its scales, or that of inputs, which dequantising does not
// use.
bool scales_fp8(std::string_view name, const Weights& weights) {
  for (const auto& [ending, matrix] :
       {std::pair(".weight_scale_inv", ".weight"), std::pair(".activation_scale", ".weight"),
        std::pair("_proj_scale_inv", "_proj"), std::pair("_proj_activation_scale", "_proj")}) {
    if (!name.ends_with(ending)) continue;
    const std::string_view stem = name.substr(0, name.size() - std::string_view(ending).size());
    const ArrayView* scaled = weights.find(fmt::format("{}{}", stem, matrix));
    if (scaled != nullptr && scaled->dtype == DType::kF8E4M3) return true;
  }
  return false;
}

// Every tensor that the spec needs, and those that nothing needs.
Check check_tensors(const fs::path& directory, ModelSpec spec) {
  constexpr std::string_view kRemedy =
      "get the checkpoint again, or check that config.json belongs to it";
  Weights weights = open_weights(directory, DequantiseNow::kNo);
  const std::size_t stored = weights.tensors().size();
  // A config that claims more layers than there are tensors is clearly wrong.
  spec.num_hidden_layers = std::min(spec.num_hidden_layers, static_cast<std::int64_t>(stored) + 1);
  try {
    split_fused_experts(weights, spec, DequantiseNow::kNo);
  } catch (const Error& error) {
    return {"tensors", CheckStatus::kFailed, error.what(), std::string(kRemedy)};
  }
  std::vector<std::string> problems;  // that are shown
  std::size_t count = 0;
  std::set<std::string> needed;
  for (const TensorInfo& tensor : checkpoint_tensors(spec, DType::kBF16)) {
    needed.insert(tensor.name);
    if (weights.scales_of(tensor.name) != nullptr) continue;  // MXFP4, checked when it was split
    try {
      weights.get(tensor.name, tensor.shape);
    } catch (const Error& error) {
      if (++count <= kShownProblems) problems.emplace_back(error.what());
    }
  }
  if (!problems.empty()) {
    std::string detail =
        fmt::format("{} of {} tensors: {}", count, needed.size(), fmt::join(problems, "; "));
    if (problems.size() < count) detail += fmt::format("; and {} more", count - problems.size());
    return {"tensors", CheckStatus::kFailed, detail, std::string(kRemedy)};
  }
  std::vector<std::string> unknown;
  std::size_t beside = 0;
  for (const ArrayView& tensor : weights.tensors()) {
    if (needed.contains(tensor.name) || tensor.name == "lm_head.weight") continue;
    if (scales_fp8(tensor.name, weights)) continue;
    if (is_beside_language(tensor.name) || predicts_further(tensor.name, weights)) {
      ++beside;
    } else {
      unknown.push_back(tensor.name);
    }
  }
  if (!unknown.empty()) {
    return {"tensors", CheckStatus::kWarning,
            fmt::format("{} tensors that this model does not use, such as '{}'", unknown.size(),
                        unknown.front()),
            "check that config.json belongs to this checkpoint"};
  }
  std::string detail =
      fmt::format("all {} are present{}, with the right dtypes and shapes", needed.size(),
                  weights.tensors().size() > stored ? ", counting each expert's own" : "");
  if (beside > 0) {
    detail += fmt::format("; {} more, for images, sound or further tokens, are ignored", beside);
  }
  return {"tensors", CheckStatus::kOk, detail, ""};
}

// transformers ties only when a stored head equals the embedding.
std::optional<Check> check_tied_head(const ModelSpec& spec, const Weights& weights) {
  const ArrayView* head = weights.find("lm_head.weight");
  const ArrayView* embedding = weights.find("model.embed_tokens.weight");
  if (!spec.tie_word_embeddings || head == nullptr || embedding == nullptr) return std::nullopt;
  if (std::ranges::equal(head->bytes, embedding->bytes)) {
    return Check{"tied head", CheckStatus::kOk, "lm_head.weight is stored and equals the embedding",
                 ""};
  }
  return Check{
      "tied head", CheckStatus::kWarning,
      "tie_word_embeddings is true, but lm_head.weight differs from the embedding",
      "the stored head is used, as transformers 5 does; transformers 4 used the embedding"};
}

Check check_memory(const Weights& weights) {
  if (must_stream(weights)) {
    return {
        "memory", CheckStatus::kOk,
        fmt::format("{} of weights, {} of memory: they will be streamed from disk, one layer at a "
                    "time, again for every token",
                    bytes_text(weights.total_bytes()), bytes_text(usable_memory())),
        ""};
  }
  const std::uint64_t available = available_memory();
  const std::string detail =
      fmt::format("{} of weights{}, {} available", bytes_text(weights.total_bytes()),
                  weights.in_place() ? "" : " once dequantised",
                  available == 0 ? std::string("unknown memory") : bytes_text(available));
  if (available != 0 && weights.total_bytes() > available) {
    return {"memory", CheckStatus::kWarning, detail,
            weights.in_place()
                ? "free some memory, or use extract --stream"
                : "free some memory, or use the model's safetensors with extract --stream"};
  }
  return {"memory", CheckStatus::kOk, detail, ""};
}

// Checks for NaN and infinity. Weights that must be dequantised are checked only if they fit in
// memory.
std::optional<Check> check_values(const fs::path& directory, const Weights& weights) {
  std::vector<std::string> found;
  if (weights.in_place()) {
    found = find_not_finite(weights);
  } else if (weights.total_bytes() <= usable_memory() / 2) {
    try {
      found = find_not_finite(open_weights(directory, DequantiseNow::kYes));
    } catch (const Error& error) {
      return Check{"values", CheckStatus::kFailed, error.what(),
                   "get the file again, or convert the model again"};
    }
  } else {
    return std::nullopt;
  }
  if (found.empty()) return Check{"values", CheckStatus::kOk, "all weights are finite", ""};
  const std::size_t shown = std::min(kShownProblems, found.size());
  std::string detail = fmt::format(
      "{}", fmt::join(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(shown), "; "));
  if (shown < found.size()) {
    detail += fmt::format("; and {} more tensors", found.size() - shown);
  }
  return Check{"values", CheckStatus::kFailed, detail,
               "get the checkpoint again; if its publisher's has them too, no engine can run it"};
}

// Better advice: what is wrong with the checkpoint as a whole, or with one of its files, replaces
// what each check knows.
void explain(const fs::path& directory, std::vector<Check>& checks) {
  const auto file_of = [&](const std::string& check) -> fs::path {
    if (!fs::is_directory(directory)) return directory;
    return check == "tokenizer"    ? directory / "tokenizer.json"
           : check == "config"     ? directory / "config.json"
           : check == "generation" ? directory / "generation_config.json"
                                   : fs::path();
  };
  for (Check& check : checks) {
    if (check.status != CheckStatus::kFailed || check.name == "values") continue;
    std::optional<CheckpointFault> fault = find_file_fault(file_of(check.name));
    if (!fault && (check.name == "weights" || check.name == "tensors")) {
      fault = find_checkpoint_fault(directory);
    }
    if (fault) {
      check.detail = fmt::format("{}: {} ({})", fault->where, fault->found, check.detail);
      check.remedy = fault->advice;
    } else if (check.name == "config" && check.detail.find("field '") != std::string::npos) {
      check.remedy = config_remedy(check.detail);
    } else if (check.name == "tokenizer" && check.detail.find("field '") != std::string::npos) {
      check.remedy = "give prompts as ids (--prompts with \"input_ids\"): they need no tokenizer";
    }
  }
}

}  // namespace

std::vector<Check> check_machine(const fs::path& out) { return {check_cpu(), check_disk(out)}; }

std::vector<Check> check_checkpoint(const fs::path& directory) {
  const bool gguf = directory.extension() == ".gguf";
  const auto get_again = [&](const char* file) -> std::string {
    if (gguf) return "get the file again, or convert the model again";
    return fmt::format("get {} again from the model's publisher", file);
  };
  std::vector<Check> checks;
  std::optional<ModelSpec> spec;
  checks.push_back(attempt("config", get_again("config.json"), [&] {
    spec = read_spec(directory);
    return spec_text(*spec);
  }));
  checks.push_back(attempt("generation", get_again("generation_config.json"), [&] {
    const std::vector<std::int64_t> ids = read_eos_token_ids(directory);
    return ids.empty()
               ? std::string("no end-of-text ids: generation stops only at the length limit")
               : fmt::format("stops at ids {}", fmt::join(ids, ", "));
  }));
  std::optional<Weights> weights;
  checks.push_back(
      attempt("weights", "get the weight files again; a download may be cut short", [&] {
        weights = open_weights(directory, DequantiseNow::kNo);
        const std::size_t files = weights->files().size();
        return fmt::format("{} file{}, {} tensors, {}", files, files == 1 ? "" : "s",
                           weights->tensors().size(), bytes_text(weights->total_bytes()));
      }));
  if (spec && weights) {
    checks.push_back(check_tensors(directory, *spec));
    if (std::optional<Check> tied = check_tied_head(*spec, *weights)) checks.push_back(*tied);
  }
  if (weights) {
    checks.push_back(check_memory(*weights));
    if (std::optional<Check> values = check_values(directory, *weights)) checks.push_back(*values);
  }
  checks.push_back(attempt("tokenizer", get_again("tokenizer.json"), [&] {
    const Tokenizer tokenizer = load_tokenizer(directory);
    if (spec && tokenizer.size() > spec->vocab_size) {
      throw input_error(tokenizer_file(directory).string(),
                        fmt::format("ids up to {}", tokenizer.size() - 1),
                        fmt::format("ids below vocab_size {}", spec->vocab_size));
    }
    return fmt::format("{} ids", tokenizer.size());
  }));
  explain(directory, checks);
  return checks;
}

}  // namespace assay
