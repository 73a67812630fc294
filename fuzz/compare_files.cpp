// Two files compared whole: a right dump that was altered against its reference (whose manifest may
// lie about the model), or any arrays against any others.
#include "altered_dump.h"
#include "assay/compare.h"
#include "small_model.h"

namespace assay {
namespace {

std::vector<Array> take_arrays(Choices& choices) {
  constexpr std::array kNames = {
      "logits",   "layer_00_output",     "input_ids",           "generated_ids",
      "rope_cos", "layer_00_attn_probs", "layer_00_expert_ids", "x"};
  std::vector<Array> arrays;
  for (std::size_t n = 1 + choices.below(3); n > 0; --n) {
    const std::string name = choices.one_of(kNames);
    const bool is_ids = name.ends_with("_ids");
    Array array{name, is_ids ? DType::kI64 : DType::kF32, {}, {}};
    std::size_t count = 1;
    for (std::size_t rank = choices.below(5); rank > 0; --rank) {
      array.shape.push_back(static_cast<std::int64_t>(choices.below(6)));
      count *= static_cast<std::size_t>(array.shape.back());
    }
    array.bytes.resize(count * dtype_size(array.dtype));
    if (is_ids) {
      for (std::int64_t& id : array.as<std::int64_t>()) id = choices.byte();
    } else {
      const std::span<const std::byte> bits = choices.bytes(array.bytes.size());
      std::copy(bits.begin(), bits.end(), array.bytes.begin());
    }
    arrays.push_back(std::move(array));
  }
  return arrays;
}

// The same reference, of another model as its manifest has it.
std::filesystem::path lying_set(const SmallReference& small, Choices& choices) {
  static const nlohmann::json manifest =
      nlohmann::json::parse(read_text(small.set / "manifest.json"));
  const std::filesystem::path set = scratch() / "lying";
  if (!std::filesystem::exists(set)) {
    std::filesystem::copy(small.set, set, std::filesystem::copy_options::recursive);
  }
  constexpr std::array kFields = {"vocab_size",
                                  "hidden_size",
                                  "intermediate_size",
                                  "num_hidden_layers",
                                  "head_dim",
                                  "num_attention_heads",
                                  "num_key_value_heads",
                                  "model_type",
                                  "rope_theta",
                                  "max_position_embeddings",
                                  "rms_norm_eps",
                                  "num_experts",
                                  "sliding_window",
                                  "num_experts_per_tok",
                                  "moe_intermediate_size",
                                  "use_sliding_window",
                                  "max_window_layers",
                                  "partial_rotary_factor"};
  const std::array<nlohmann::json, 14> values = {
      0, 1, 2, 3, 4, 5, 7, 16, 999, 2147483647, 1e308, 1e-308, true, "qwen3_moe"};
  nlohmann::json lies = manifest;
  for (std::size_t n = 1 + choices.below(4); n > 0; --n) {
    const char* field = choices.one_of(kFields);
    lies["model"]["config"][field] = choices.one_of(values);
  }
  write_text(set / "manifest.json", lies.dump());
  return set;
}

}  // namespace

FUZZ_TARGET(compare_files) {
  static const SmallReference small = make_reference();
  Choices choices(input);
  const std::size_t how = choices.byte();
  CompareOptions options;
  options.reference = small.set;
  options.candidate = scratch() / "c.npz";
  options.threads = 1;
  options.details = how % 8 >= 4;
  const bool fits = accepts([&] {
    if (how % 4 == 0) {
      options.reference = scratch() / "r.npz";
      write_dump(options.reference, take_arrays(choices));
      write_dump(options.candidate, take_arrays(choices));
    } else {
      if (how % 4 == 1) options.reference = lying_set(small, choices);
      write_dump(options.candidate, altered_dump(small.arrays, choices));
    }
  });
  if (!fits) return;  // two of one name
  accepts(
      [&] {
        const CompareReport report = compare(options);
        for (const PromptResult& prompt : report.prompts) {
          for (const TensorResult& tensor : prompt.tensors) {
            require(tensor.verdict != Verdict::kFail || !report.passed, "what fails does not pass");
          }
        }
      },
      ErrorKind::kUsage);
}

}  // namespace assay
