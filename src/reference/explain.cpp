#include "reference/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "assay/error.h"
#include "base/directory.h"
#include "formats/gguf_parts.h"
#include "model/checkpoint.h"
#include "model/fused_experts.h"
#include "model/read_spec.h"
#include "models/program.h"
#include "numerics/rope_table.h"
#include "reference/step_words.h"

namespace assay {
namespace {

using Json = nlohmann::ordered_json;

std::string name_of(const Block& block, ValueId value) {
  if (value == 0) return "x";
  if (block.values[value].tap) return std::string(tap_base_name(*block.values[value].tap));
  const auto writes = [&](const Step& step) {
    return std::ranges::find(step.writes, value) != step.writes.end();
  };
  if (const Import* import = block.import_of(value)) {
    const std::string_view tap = tap_base_name(import->from.tap);
    if (import->from.layer < 0) return std::string(tap);
    return fmt::format("{} of layer {}", tap, import->from.layer);
  }
  const auto step = std::ranges::find_if(block.steps, writes);
  if (std::holds_alternative<ExpertLinear>(step->operation)) return "expert_outputs";
  if (std::holds_alternative<RouterScores>(step->operation)) return "scores";
  if (std::holds_alternative<SigmoidGate>(step->operation)) return "shared_gated";
  // What lies between two taps is named after the next one.
  const auto next = std::ranges::find_if(
      block.steps, [value](const Step& s) { return std::ranges::count(s.reads, value) > 0; });
  const bool between = std::holds_alternative<Multiply>(step->operation) ||
                       std::holds_alternative<Add>(step->operation);
  if (between && next != block.steps.end() && block.values[next->writes[0]].tap) {
    return fmt::format("before_{}", tap_base_name(*block.values[next->writes[0]].tap));
  }
  const bool is_packed = std::ranges::any_of(block.steps, [value](const Step& reader) {
    return std::holds_alternative<Unpack>(reader.operation) && reader.reads[0] == value;
  });
  if (is_packed) {
    // It is named after the matrix.
    const auto at =
        static_cast<std::size_t>(std::ranges::find(step->writes, value) - step->writes.begin());
    std::size_t matrix = 0;
    for (std::size_t i = 0, seen = 0; i < step->tensors.size(); ++i) {
      if (step->tensors[i].rows > 0 && seen++ == at) matrix = i;
    }
    const std::string& tensor = step->tensors[matrix].name;
    const std::size_t end = tensor.rfind('.');
    const std::size_t begin = tensor.rfind('.', end - 1);
    return tensor.substr(begin + 1, end - begin - 1) + "_output";
  }
  return "raw_logits";
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
    const std::string_view dtype =
        weights.scales_of(name) != nullptr ? "MXFP4" : dtype_name(stored->dtype);
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
    if (step.tensors[i].is_numbered()) entry["experts"] = step.tensors[i].count;
    if (tensor.rows == 0) {
      entry["shape"] = {tensor.cols};
    } else {
      entry["shape"] =
          tensor.depthwise ? Json{tensor.stored, 1, tensor.cols} : Json{tensor.stored, tensor.cols};
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
    const StepWords words = words_of(spec, block, step, names(step.reads), names(step.writes));
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
    case RopeScaling::kProportional:
      return "proportional";
  }
  return "default";
}

Json rotary_of(const ModelSpec& spec, const RopeParameters& rope, std::size_t table) {
  const auto dims = static_cast<std::size_t>(spec.rotary_dims(table));
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
      "Query head h uses key and value head h // {} (integer division, rounded down).", group));
  if (spec.global_heads) {
    const Heads& full = *spec.global_heads;
    lines.push_back(fmt::format(
        "The heads of this page's first lines are those of sliding layers. Full layers have {} "
        "key/value heads of {}: there, query head h uses head h // {}.",
        full.keys, full.head_dim, full.queries / full.keys));
  }
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
        "Quantised weights have become F32. Rows, heads and norms that llama.cpp's converter "
        "changes "
        "are transformers' again, and A_log is the logarithm of the file's -ssm_a.");
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
  if (has_weights(checkpoint)) {
    weights.emplace(open_weights(checkpoint, DequantiseNow::kNo));
    split_fused_experts(*weights, spec, DequantiseNow::kNo);
  }
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
  return {{"schema", "assay.explain/1"},
          {"model_type", spec.model_type},
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
