#include "model/synth.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "assay/error.h"
#include "base/atomic_file.h"
#include "base/half.h"
#include "base/mapped_file.h"
#include "base/output_set.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "formats/json_file.h"
#include "formats/safetensors.h"
#include "model/fused_experts.h"
#include "model/model.h"
#include "model/published.h"
#include "model/read_spec.h"
#include "models/text_tower.h"

namespace assay {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string_view torch_name(DType dtype) {
  if (dtype == DType::kF16) return "float16";
  return dtype == DType::kF32 ? "float32" : "bfloat16";
}

// SplitMix64 (Steele, Lea, Flood 2014) as a counter-based generator: element i of a stream.
std::uint64_t random_bits(std::uint64_t stream, std::uint64_t i) {
  std::uint64_t z = stream + (i + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// Approximately normal, mean 0, standard deviation 1: the sum of four 16-bit uniforms, an integer
// until a single multiplication, so every machine draws the same.
float random_normal(std::uint64_t stream, std::uint64_t i) {
  const std::uint64_t bits = random_bits(stream, i);
  const auto sum = static_cast<std::int64_t>((bits & 0xFFFF) + (bits >> 16 & 0xFFFF) +
                                             (bits >> 32 & 0xFFFF) + (bits >> 48));
  constexpr double kScale = 2.6429064e-5;  // 1 / sqrt(4 * (2^32 - 1) / 12)
  return static_cast<float>(static_cast<double>(sum - 2 * 0xFFFF) * kScale);
}

void store(float value, DType dtype, std::byte* to) {
  if (dtype == DType::kF32) {
    std::memcpy(to, &value, 4);
    return;
  }
  const std::uint16_t bits = dtype == DType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
  std::memcpy(to, &bits, 2);
}

class Synthesis {
 public:
  Synthesis(const SynthOptions& options, fs::path out, double initializer_range,
            bool one_plus_norms, const std::function<void(double)>& on_progress)
      : options_(options),
        out_(std::move(out)),
        range_(initializer_range),
        one_plus_norms_(one_plus_norms),
        on_progress_(on_progress),
        pool_(options.threads) {}

  void write_weights(const std::vector<TensorInfo>& tensors) {
    for (const TensorInfo& tensor : tensors) {
      total_ += count(tensor);
      bytes_ += count(tensor) * dtype_size(tensor.dtype);
    }
    ask_for_space();
    if (options_.shards <= 1) {
      write_file("model.safetensors", tensors);
      return;
    }
    Json map = Json::object();
    const auto shards = static_cast<std::size_t>(options_.shards);
    for (std::size_t s = 0; s < shards; ++s) {
      const std::string file = fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards);
      const std::vector<TensorInfo> part(
          tensors.begin() + static_cast<std::ptrdiff_t>(tensors.size() * s / shards),
          tensors.begin() + static_cast<std::ptrdiff_t>(tensors.size() * (s + 1) / shards));
      write_file(file, part);
      for (const TensorInfo& tensor : part) map[tensor.name] = file;
    }
    write_json(out_ / "model.safetensors.index.json",
               Json{{"metadata", {{"total_size", bytes_}}}, {"weight_map", std::move(map)}});
  }

 private:
  // Fails early if the weights do not fit on the disk.
  void ask_for_space() const {
    std::error_code error;
    const fs::space_info disk = fs::space(out_, error);
    const std::uintmax_t bytes = bytes_;
    if (error || bytes <= disk.available) return;
    throw Error(ErrorKind::kSystem, (out_ / "model.safetensors").string(),
                fmt::format("the disk has {} free", bytes_text(disk.available)),
                fmt::format("{} for the weights", bytes_text(bytes)));
  }

  static std::size_t count(const TensorInfo& tensor) {
    return static_cast<std::size_t>(element_count(tensor.shape, tensor.name));
  }

  void write_file(const std::string& file, const std::vector<TensorInfo>& tensors) {
    write_safetensors(out_ / file, tensors,
                      [&](const TensorInfo& tensor, ByteSink& sink) { fill(tensor, sink); });
  }

  void fill(const TensorInfo& tensor, ByteSink& sink) {
    constexpr std::size_t kBlock = std::size_t{1} << 20;
    // One stream per tensor, from its name: adding a tensor does not change the others.
    std::uint64_t stream = random_bits(options_.seed, 0);
    for (const char c : tensor.name) {
      stream = random_bits(stream ^ static_cast<unsigned char>(c), 1);
    }
    if (tensor.dtype == DType::kU8) return fill_mxfp4(tensor, stream, sink);
    const bool bias = tensor.name.ends_with("bias");
    const bool vector = tensor.shape.size() == 1 || bias;
    // The norm of a delta rule never adds 1. Its rates of decay, exp(A_log), spread around 1.
    const bool plain_norm = !one_plus_norms_ || tensor.name.ends_with("linear_attn.norm.weight");
    const bool rate = tensor.name.ends_with("A_log");
    const bool conv = tensor.name.ends_with("conv1d.weight");  // of few inputs
    const bool norm = vector && !bias && !rate && !tensor.name.ends_with("sinks");
    const float centre = norm && plain_norm ? 1.0F : 0.0F;
    const float spread = rate ? 1.0F : vector ? 0.1F : conv ? 0.5F : static_cast<float>(range_);
    const std::size_t size = dtype_size(tensor.dtype);
    std::vector<std::byte> buffer(std::min(kBlock, count(tensor)) * size);
    for (std::size_t first = 0; first < count(tensor); first += kBlock) {
      const std::size_t n = std::min(kBlock, count(tensor) - first);
      pool_.parallel_for(n, 4096, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
          const float x = random_normal(stream, first + i);
          store(centre + spread * x, tensor.dtype, &buffer[i * size]);
        }
      });
      sink.write(std::span(buffer).first(n * size));
      done_ += n;
      if (on_progress_) on_progress_(static_cast<double>(done_) / static_cast<double>(total_));
    }
  }

  // Elements of all 16 values, and scales of three, whose products spread by about the range.
  void fill_mxfp4(const TensorInfo& tensor, std::uint64_t stream, ByteSink& sink) {
    constexpr double kSpread = 2.93;  // of the elements
    constexpr std::size_t kBlock = std::size_t{1} << 20;
    const auto middle =
        std::clamp<std::int64_t>(std::lround(127 + std::log2(range_ / kSpread)), 1, 254);
    const bool scales = tensor.name.ends_with("_scales");
    std::vector<std::byte> buffer(std::min(kBlock, count(tensor)));
    for (std::size_t first = 0; first < count(tensor); first += kBlock) {
      const std::size_t n = std::min(kBlock, count(tensor) - first);
      pool_.parallel_for(n, 4096, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
          const std::uint64_t bits = random_bits(stream, first + i);
          buffer[i] = static_cast<std::byte>(
              scales ? static_cast<std::uint64_t>(middle - 1) + bits % 3 : bits & 0xFF);
        }
      });
      sink.write(std::span(buffer).first(n));
      done_ += n;
      if (on_progress_) on_progress_(static_cast<double>(done_) / static_cast<double>(total_));
    }
  }

  const SynthOptions& options_;
  fs::path out_;
  double range_;
  bool one_plus_norms_;
  const std::function<void(double)>& on_progress_;
  ThreadPool pool_;
  std::size_t total_ = 0;  // elements
  std::size_t bytes_ = 0;
  std::size_t done_ = 0;
};

// Writes all files of the checkpoint to `out`.
void write_checkpoint(const SynthOptions& options, const Json& config, double initializer_range,
                      const std::optional<MappedFile>& tokenizer, const fs::path& out,
                      const std::function<void(double)>& on_progress) {
  write_json(out / "config.json", config);
  const ModelSpec spec = read_spec(out);
  Json eos = config.value("eos_token_id", Json(nullptr));
  if (config.at("model_type").get_ref<const std::string&>().starts_with("qwen3") &&
      spec.vocab_size == 151936) {
    eos = {151645, 151643};  // the ids of the published Qwen3 models
  }
  Json generation = {{"do_sample", false}};
  if (!eos.is_null()) generation["eos_token_id"] = eos;
  write_json(out / "generation_config.json", generation);
  if (tokenizer) {
    AtomicFile copy(out / "tokenizer.json");
    copy.write(tokenizer->bytes());
    copy.commit();
  }
  std::vector<TensorInfo> tensors = checkpoint_tensors(spec, options.dtype);
  if (spec.interleaved_experts) {
    const Json quantized = config.value("quantization_config", Json::object());
    const bool mxfp4 = quantized.value("quant_method", "") == "mxfp4";
    tensors = fused_tensors(std::move(tensors), spec, mxfp4);
  }
  if (config.contains("text_config")) {
    for (TensorInfo& tensor : tensors) tensor.name = tower_name(tensor.name);
  }
  Synthesis(options, out, initializer_range, spec.norm.one_plus, on_progress)
      .write_weights(tensors);
}

}  // namespace

std::vector<std::string> known_models() { return published_models(); }

void synthesize(const SynthOptions& options, const std::function<void(double)>& on_progress) {
  // Reads everything before writing anything.
  double initializer_range = 0.02;
  Json config;
  if (options.config.empty()) {
    config = published_config(options.like);
  } else {
    read_spec_file(options.config);
    const JsonObject fields(options.config);
    if (fields.has("initializer_range")) {
      initializer_range = fields.positive_number("initializer_range");
    }
    config = load_json(options.config);
  }
  std::optional<MappedFile> tokenizer;
  if (!options.tokenizer.empty()) tokenizer.emplace(options.tokenizer);

  config.erase("dtype");
  config["torch_dtype"] = torch_name(options.dtype);
  OutputSet out(options.out, "config.json");
  try {
    write_checkpoint(options, config, initializer_range, tokenizer, out.staging(), on_progress);
  } catch (const Error& error) {
    throw out.as_of_final_path(error);
  }
  // Removes an earlier run's weights in the other layout, which readers might prefer.
  out.publish({options.shards > 1 ? "model.safetensors" : "model.safetensors.index.json"});
}

}  // namespace assay
