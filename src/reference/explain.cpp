#include "reference/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "assay/error.h"
#include "base/directory.h"
#include "base/half.h"
#include "formats/gguf_parts.h"
#include "model/checkpoint.h"
#include "model/read_spec.h"
#include "models/program.h"
#include "numerics/numerics.h"
#include "numerics/rope_table.h"

namespace assay {
namespace {

using Json = nlohmann::ordered_json;

// What a step does, where it rounds in a BF16 run, and which part of it depends on the position.
struct Words {
  std::string formula;
  std::string rounding = "once, when it is written";
  std::string position;
};

constexpr const char* kCapRounding = "the quotient by the cap, its tanh, and the cap times that";

// A step with the names of what it reads and writes.
class Speaker {
 public:
  Speaker(const ModelSpec& spec, const Block& block, const Step& step,
          std::vector<std::string> reads, std::vector<std::string> writes)
      : spec_(spec),
        block_(block),
        step_(step),
        reads_(std::move(reads)),
        writes_(std::move(writes)) {}

  Words words() const {
    return std::visit([this](const auto& operation) { return of(operation); }, step_.operation);
  }

 private:
  // "q_proj.weight", without what all tensors of the block begin with.
  static std::string short_name(const TensorUse& tensor) {
    const std::size_t end = tensor.name.rfind('.');
    const std::size_t begin = tensor.name.rfind('.', end - 1);
    std::string name = tensor.name.substr(begin == tensor.name.npos ? 0 : begin + 1);
    if (tensor.stored > tensor.rows) {
      name += fmt::format("[{}:{}]", tensor.first, tensor.first + tensor.rows);
    }
    return name;
  }

  Words of(const Lookup& lookup) const {
    const std::string row = fmt::format("{} = {}[id]", writes_[0], short_name(step_.tensors[0]));
    if (lookup.scale == 1) return {row, "none", ""};
    const bool root = lookup.scale == std::sqrt(static_cast<double>(spec_.hidden_size));
    const float factor = bf16_to_f32(f32_to_bf16(static_cast<float>(lookup.scale)));
    return {row + fmt::format(" * {}{}", lookup.scale, root ? " (sqrt(hidden_size))" : ""),
            fmt::format("the factor is rounded first, to {}; then the product", factor), ""};
  }

  // No model that is read from a checkpoint has one.
  Words of(const Foreign&) const { return {"an operation that brings its own code", "", ""}; }

  Words of(const RmsNorm& norm) const {
    const std::string weight = short_name(step_.tensors[0]);
    const std::vector<std::int64_t>& shape = block_.values[step_.writes[0]].shape;
    const std::string over =
        shape.size() == 1 ? fmt::format("the {} elements of a token", norm.width)
        : norm.width == spec_.head_dim
            ? fmt::format("the {} elements of each head", norm.width)
            : fmt::format("all {} elements of a token's heads together", norm.width);
    return {
        fmt::format("{0} = {1} / sqrt(mean({1}^2) + {2}) * {3}, the mean over {4}", writes_[0],
                    reads_[0], norm.eps, norm.one_plus ? "(1 + " + weight + ")" : weight, over),
        norm.rounded_once
            ? "once, after the weight; everything before it is in FP32"
            : "twice: the normalised value (computed in FP32), then its product with the weight",
        ""};
  }

  Words of(const Linear&) const {
    std::vector<std::string> all;
    std::size_t output = 0;
    bool biased = false;
    for (std::size_t i = 0; i < step_.tensors.size(); ++output) {
      std::string formula =
          fmt::format("{} = {} @ {}^T", writes_[output], reads_[0], short_name(step_.tensors[i++]));
      if (i < step_.tensors.size() && step_.tensors[i].rows == 0) {
        formula += " + " + short_name(step_.tensors[i++]);
        biased = true;
      }
      all.push_back(std::move(formula));
    }
    return {fmt::format("{}", fmt::join(all, "; ")),
            biased ? "once, after the bias; products and sums in FP32"
                   : "once; products and sums in FP32",
            ""};
  }

  Words of(const Rotate& rotate) const {
    const std::int64_t half = rotate.dims / 2;
    std::string formula = fmt::format(
        "for 0 <= d < {0}, of every head: {1}[p][d] = {2}[p][d] * cos[p][d] - {2}[p][d + {0}] * "
        "sin[p][d]; {1}[p][d + {0}] = {2}[p][d + {0}] * cos[p][d] + {2}[p][d] * sin[p][d]",
        half, writes_[0], reads_[0]);
    if (rotate.dims < spec_.head_dim) {
      formula += fmt::format("; elements from {} on stay as they are", rotate.dims);
    }
    return {formula,
            rotate.rounded_once ? "once: cos, sin and the products stay in FP32"
                                : "cos and sin are rounded, then each product, then the result",
            fmt::format("p is the token's position, from 0; cos and sin are rotary table {}",
                        rotate.table)};
  }

  Words of(const Scores& scores) const {
    const std::int64_t group = spec_.num_attention_heads / spec_.num_key_value_heads;
    Words words;
    const std::string dot =
        fmt::format("({}[i][h] . {}[j][h // {}]) * {}", reads_[0], reads_[1], group, scores.scale);
    if (scores.cap > 0) {
      words.formula =
          fmt::format("s = {0}; {1}[h][i][j] = {2} * tanh(s / {2})", dot, writes_[0], scores.cap);
      words.rounding = std::string("the dot product, s, ") + kCapRounding;
    } else {
      words.formula = fmt::format("{}[h][i][j] = {}", writes_[0], dot);
      words.rounding = "the dot product, then its product with the scale";
    }
    if (scores.scale != 1 / std::sqrt(static_cast<double>(spec_.head_dim))) {
      words.formula += "; the scale is not 1 / sqrt(head_dim)";
    }
    const std::string seen =
        scores.window > 0 ? fmt::format("i - {} < j <= i", scores.window) : std::string("j <= i");
    words.position = fmt::format(
        "the query at position i sees the keys at {}; where it does not see one, {}[h][i][j] is "
        "set to the lowest finite value ({} in BF16, {} in FP32)",
        seen, writes_[0], Bf16::kMasked, F32::kMasked);
    return words;
  }

  Words of(const Softmax&) const {
    return {fmt::format("{0}[h][i][j] = exp({1}[h][i][j] - m) / sum over k of exp({1}[h][i][k] - "
                        "m), with m the greatest {1}[h][i][k]",
                        writes_[0], reads_[0]),
            "once, at the end; exponentials, sum and division in FP32",
            "j and k are the keys that the query sees; all other probabilities are 0"};
  }

  Words of(const Context&) const {
    const std::int64_t group = spec_.num_attention_heads / spec_.num_key_value_heads;
    return {fmt::format("{0}[i][h * {1} .. (h + 1) * {1}] = sum over j of {2}[h][i][j] * "
                        "{3}[j][h // {4}]",
                        writes_[0], spec_.head_dim, reads_[0], reads_[1], group),
            "once; products and sums in FP32", ""};
  }

  Words of(const Add&) const {
    return {fmt::format("{} = {} + {}", writes_[0], reads_[1], reads_[0]),
            "once, when it is written", ""};
  }

  Words of(const Gate& gate) const {
    const bool silu = gate.activation == Activation::kSilu;
    const std::string formula =
        silu ? fmt::format("a = {0} / (1 + exp(-{0}))", reads_[0])
             : fmt::format("a = 0.5 * {0} * (1 + tanh(sqrt(2 / pi) * ({0} + 0.044715 * {0}^3)))",
                           reads_[0]);
    return {formula + fmt::format("; {} = a * {}", writes_[0], reads_[1]),
            "a, which is computed in FP32, then the product", ""};
  }

  Words of(const TopExperts& top) const {
    return {fmt::format("{} = ids of the {} greatest of softmax({}) over {} experts, greatest "
                        "first (for ties see docs/models.md)",
                        writes_[0], top.per_token, reads_[0], top.experts),
            "none: softmax in FP32", ""};
  }

  Words of(const ExpertWeights& weights) const {
    std::string formula = fmt::format("{} = softmax({}) at {}", writes_[0], reads_[0], reads_[1]);
    if (weights.sum_to_one) formula += ", divided by the sum of a token's own";
    return {formula, "once, at the end; softmax and division in FP32", ""};
  }

  Words of(const ExpertLinear& experts) const {
    std::vector<std::string> all;
    const std::size_t outputs = writes_.size();
    for (std::size_t i = 0; i < outputs; ++i) {
      all.push_back(fmt::format("{}[k] = {}{} @ experts[{}[k]].{}^T", writes_[i], reads_[0],
                                outputs == 1 ? "[k]" : "", reads_[1],
                                short_name(step_.tensors[i])));
    }
    return {fmt::format("for each of a token's {} experts k: {}", experts.per_token,
                        fmt::join(all, "; ")),
            "once; products and sums in FP32", ""};
  }

  Words of(const SumExperts&) const {
    return {fmt::format("{} = sum over k of {}[k] * {}[k]", writes_[0], reads_[0], reads_[1]),
            "each product, then their FP32 sum, in the order of expert_ids, greatest first", ""};
  }

  Words of(const Softcap& softcap) const {
    return {fmt::format("{0} = {1} * tanh({2} / {1})", writes_[0], softcap.cap, reads_[0]),
            kCapRounding, ""};
  }

  const ModelSpec& spec_;
  const Block& block_;
  const Step& step_;
  std::vector<std::string> reads_, writes_;
};

std::string name_of(const Block& block, ValueId value) {
  if (value == 0) return "x";
  if (block.values[value].tap) return std::string(tap_base_name(*block.values[value].tap));
  const auto writes = [&](const Step& step) {
    return std::ranges::find(step.writes, value) != step.writes.end();
  };
  const auto step = std::ranges::find_if(block.steps, writes);
  return std::holds_alternative<ExpertLinear>(step->operation) ? "expert_outputs" : "raw_logits";
}

// The name with the layer's number, or with "*" if the block stands for several layers.
std::string numbered(std::string name, const std::string& layer) {
  constexpr std::string_view kLayers = "model.layers.";
  if (!name.starts_with(kLayers)) return name;
  const std::size_t end = name.find('.', kLayers.size());
  return name.replace(kLayers.size(), end - kLayers.size(), layer);
}

Json writes_of(const Block& block, const Step& step) {
  Json all = Json::array();
  for (const ValueId id : step.writes) {
    const Value& value = block.values[id];
    Json shape = Json::array();
    if (!value.over_keys) shape.push_back("S");
    for (const std::int64_t size : value.shape) shape.push_back(size);
    if (value.over_keys) shape.insert(shape.end(), {"S", "S"});
    all.push_back({{"name", name_of(block, id)}, {"tap", value.tap.has_value()}, {"shape", shape}});
  }
  return all;
}

// The types that a tensor has in these layers.
std::string dtypes_of(const TensorUse& tensor, const std::vector<std::int64_t>& layers,
                      const Weights& weights) {
  std::vector<std::string_view> found;
  const auto look = [&](const std::string& name) {
    const ArrayView* stored = weights.find(name);
    if (stored == nullptr) return;
    const std::string_view dtype = dtype_name(stored->dtype);
    if (std::ranges::find(found, dtype) == found.end()) found.push_back(dtype);
  };
  Step step;
  step.tensors = {tensor};
  for (const TensorUse& one : each_tensor(step)) {
    if (layers.empty()) look(one.name);
    for (const std::int64_t l : layers) look(numbered(one.name, std::to_string(l)));
  }
  return fmt::format("{}", fmt::join(found, ", "));
}

// The first expert of an MoE layer: the others differ only in their numbers.
Json tensors_of(const Step& step, const std::vector<std::int64_t>& layers, const Weights* weights) {
  Json all = Json::array();
  const std::string layer = layers.size() == 1 ? std::to_string(layers.front()) : "*";
  const std::vector<TensorUse> each = each_tensor(step);
  for (std::size_t i = 0; i < step.tensors.size(); ++i) {
    const TensorUse& tensor = each[i];
    Json entry = {{"name", numbered(tensor.name, layer)}};
    if (step.tensors[i].count > 1) entry["experts"] = step.tensors[i].count;
    if (tensor.rows == 0) {
      entry["shape"] = {tensor.cols};
    } else {
      entry["shape"] = {tensor.stored, tensor.cols};
      if (tensor.rows != tensor.stored) entry["rows"] = {tensor.first, tensor.first + tensor.rows};
    }
    if (weights != nullptr) {
      const std::string dtypes = dtypes_of(step.tensors[i], layers, *weights);
      if (!dtypes.empty()) entry["dtype"] = dtypes;
    }
    all.push_back(std::move(entry));
  }
  return all;
}

Json steps_of(const ModelSpec& spec, const Block& block, const std::vector<std::int64_t>& layers,
              const Weights* weights) {
  Json all = Json::array();
  for (const Step& step : block.steps) {
    const auto names = [&](const std::vector<ValueId>& ids) {
      std::vector<std::string> result;
      for (const ValueId id : ids) result.push_back(name_of(block, id));
      return result;
    };
    const Words words = Speaker(spec, block, step, names(step.reads), names(step.writes)).words();
    Json entry = {{"formula", words.formula},
                  {"writes", writes_of(block, step)},
                  {"reads", names(step.reads)},
                  {"tensors", tensors_of(step, layers, weights)},
                  {"rounding", words.rounding}};
    if (!words.position.empty()) entry["position"] = words.position;
    all.push_back(std::move(entry));
  }
  return all;
}

std::string_view scaling_name(RopeScaling scaling) {
  switch (scaling) {
    case RopeScaling::kNone:
      return "default";
    case RopeScaling::kLinear:
      return "linear";
    case RopeScaling::kDynamic:
      return "dynamic";
    case RopeScaling::kYarn:
      return "yarn";
    case RopeScaling::kLlama3:
      return "llama3";
    case RopeScaling::kLongrope:
      return "longrope";
  }
  return "default";
}

Json rotary_of(const ModelSpec& spec, const RopeParameters& rope, std::size_t table) {
  const auto dims = static_cast<std::size_t>(spec.rotary_dims());
  const auto original = static_cast<std::size_t>(std::max(rope.original_length, 1.0));
  const auto frequencies = rope_frequencies<float>(rope, dims, original);
  const float factor = frequencies.attention_factor;
  const std::string times = factor == 1 ? "" : fmt::format(" * {}", factor);
  Json entry = {{"table", table},
                {"formula", fmt::format("cos[p][d] = cos(p * inv_freq[d]){0}, sin[p][d] = sin(p * "
                                        "inv_freq[d]){0}, for 0 <= d < {1}; all of it in FP32",
                                        times, dims / 2)},
                {"theta", rope.theta},
                {"rope_type", scaling_name(rope.scaling)}};
  entry["frequencies"] =
      rope.scaling == RopeScaling::kNone
          ? fmt::format("inv_freq[d] = 1 / {}^(2 d / {}), computed in FP32", rope.theta, dims)
          : fmt::format(
                "inv_freq are 1 / {}^(2 d / {}), changed by rope_type {}: --json has their values",
                rope.theta, dims, scaling_name(rope.scaling));
  if (rope.depend_on_length()) {
    entry["note"] = fmt::format(
        "these inv_freq are for a sequence of at most {} tokens; a longer one has different ones "
        "(docs/models.md)",
        original);
    const auto longer = rope_frequencies<float>(rope, dims, 2 * original);
    entry["inv_freq_of_longer"] = {{"tokens", 2 * original}, {"inv_freq", longer.inv_freq}};
  }
  entry["attention_factor"] = frequencies.attention_factor;
  entry["inv_freq"] = frequencies.inv_freq;
  return entry;
}

Json conventions(const ModelSpec& spec, bool gguf) {
  const std::int64_t group = spec.num_attention_heads / spec.num_key_value_heads;
  Json lines = Json::array();
  lines.push_back(
      "S is the number of tokens. x is a layer's input: the output of the layer before it, or "
      "embedding_output in layer 0. After the layers, x is the output of the last one.");
  lines.push_back(fmt::format(
      "Every name is a tap, an array that `assay extract --taps '*'` writes, unless "
      "marked (not a tap). Those of layer 0 are named {} and so on, and all begin with an "
      "axis of 1. A * in a tensor's name stands for the layer's number.",
      tap_name(Tap::kQProj, 0, spec)));
  lines.push_back(
      "Matrices are stored [out, in] and row-major: y = x @ W^T. Vectors multiply elementwise. "
      "[S, heads, head_dim] and [S, heads * head_dim] are the same memory.");
  lines.push_back(fmt::format(
      "Query head h uses key and value head h // {}, a division without remainder.", group));
  lines.push_back(
      "In a BF16 run each value is stored in BF16. An operation computes in FP32, and rounds (to "
      "nearest, ties to even) what its line \"rounds\" names. An FP32 run uses the same formulas "
      "without these roundings: skip those lines.");
  lines.push_back(
      "In a BF16 run weights that are stored in another type are rounded to BF16 when they are "
      "read.");
  if (gguf) {
    lines.push_back(
        "This is a GGUF file: names, shapes and types are those after Assay has read the weights. "
        "Quantised weights have become F32, the rows of llama's q and k are in transformers' "
        "order, "
        "and Gemma's norms are 1 less than in the file.");
  }
  return lines;
}

bool has_weights(const std::filesystem::path& checkpoint) {
  if (gguf_file_of(checkpoint)) return true;
  std::error_code error;
  return std::ranges::any_of(paths_in(checkpoint, error), [](const std::filesystem::path& path) {
    return path.extension() == ".safetensors" || path.string().ends_with(".safetensors.index.json");
  });
}

// Layers that differ only in the names of their tensors are of one kind.
bool same_kind(const Block& a, const Block& b) {
  const auto unnamed = [](Block block) {
    for (Step& step : block.steps) {
      for (TensorUse& tensor : step.tensors) tensor.name = numbered(tensor.name, "*");
    }
    return block;
  };
  return unnamed(a) == unnamed(b);
}

}  // namespace

Json explain(const std::filesystem::path& checkpoint, std::optional<std::int64_t> layer) {
  const ModelSpec spec = read_spec(checkpoint);
  if (layer && (*layer < 0 || *layer >= spec.num_hidden_layers)) {
    throw usage_error("--layer", std::to_string(*layer),
                      fmt::format("0 to {}", spec.num_hidden_layers - 1));
  }
  // A config alone tells everything except the types of the weights.
  std::optional<Weights> weights;
  if (has_weights(checkpoint)) weights.emplace(open_weights(checkpoint, DequantiseNow::kNo));
  const Weights* stored = weights ? &*weights : nullptr;
  const Program program = program_of(spec, stored != nullptr && stored->find(kLmHead) != nullptr);

  Json blocks = Json::array();
  const auto add = [&](std::string_view name, const Block& block,
                       const std::vector<std::int64_t>& layers) {
    Json entry = {{"block", name}};
    if (!layers.empty()) entry["layers"] = layers;
    for (const Step& step : block.steps) {
      const auto* scores = std::get_if<Scores>(&step.operation);
      if (scores != nullptr && scores->window > 0) entry["window"] = scores->window;
    }
    entry["steps"] = steps_of(spec, block, layers, stored);
    blocks.push_back(std::move(entry));
  };
  if (layer) {
    add("layer", program.layers[static_cast<std::size_t>(*layer)], {*layer});
  } else {
    add("embedding", program.embedding, {});
    std::vector<std::vector<std::int64_t>> kinds;
    for (std::int64_t l = 0; l < spec.num_hidden_layers; ++l) {
      const auto same = std::ranges::find_if(kinds, [&](const auto& kind) {
        return same_kind(program.layers[static_cast<std::size_t>(kind.front())],
                         program.layers[static_cast<std::size_t>(l)]);
      });
      if (same == kinds.end()) {
        kinds.push_back({l});
      } else {
        same->push_back(l);
      }
    }
    for (const auto& kind : kinds) {
      add("layer", program.layers[static_cast<std::size_t>(kind.front())], kind);
    }
    add("head", program.head, {});
  }

  Json rotary = Json::array();
  for (std::size_t i = 0; i < program.ropes.size(); ++i) {
    rotary.push_back(rotary_of(spec, program.ropes[i], i));
  }
  return {{"model_type", spec.model_type},
          {"sizes",
           {{"vocab_size", spec.vocab_size},
            {"hidden_size", spec.hidden_size},
            {"num_hidden_layers", spec.num_hidden_layers},
            {"num_attention_heads", spec.num_attention_heads},
            {"num_key_value_heads", spec.num_key_value_heads},
            {"head_dim", spec.head_dim}}},
          {"conventions", conventions(spec, gguf_file_of(checkpoint).has_value())},
          {"rotary", rotary},
          {"blocks", blocks}};
}

}  // namespace assay
