#include "candidate/name_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "assay/error.h"
#include "base/text.h"
#include "candidate/data_flow.h"
#include "formats/json_file.h"

namespace assay {
namespace {

using Rules = std::vector<std::pair<std::string, std::string>>;

struct Known {
  std::string name;
  Rules rules;
};

// One name per tap as transformers' modules are called, below any prefix.
Rules module_rules(std::string_view layers) {
  const std::pair<const char*, const char*> in_layer[] = {
      {"input_layernorm", "input_norm"},
      {"self_attn.q_proj", "q_proj"},
      {"self_attn.k_proj", "k_proj"},
      {"self_attn.v_proj", "v_proj"},
      {"self_attn.q_norm", "q_norm"},
      {"self_attn.k_norm", "k_norm"},
      {"self_attn.o_proj", "attn_output"},
      {"self_attn", "attn_output"},
      {"pre_feedforward_layernorm", "mlp_norm"},
      {"post_feedforward_layernorm", "mlp_post_norm"},
      // Before the MLP, but in models that have the two above: see NameMap::suit().
      {"post_attention_layernorm", "mlp_norm"},
      {"mlp.gate", "router_logits"},
      {"mlp.gate_proj", "gate_proj"},
      {"mlp.up_proj", "up_proj"},
      {"mlp.down_proj", "mlp_output"},
      {"mlp", "mlp_output"},
  };
  Rules rules;
  for (const auto& [module, tap] : in_layer) {
    rules.emplace_back(fmt::format("{}.{{layer}}.{}", layers, module),
                       fmt::format("layer_{{layer}}_{}", tap));
  }
  rules.emplace_back(fmt::format("{}.{{layer}}", layers), "layer_{layer}_output");
  return rules;
}

Rules with_output_suffixes(const Rules& rules) {
  Rules result;
  for (const auto& [from, to] : rules) {
    for (const char* suffix : {"", ".output", ".output.0"}) result.emplace_back(from + suffix, to);
  }
  return result;
}

Rules transformers_rules() {
  Rules rules = module_rules("model.layers");
  rules.insert(rules.end(), {{"model.embed_tokens", "embedding_output"},
                             {"model.norm", "final_norm_output"},
                             {"lm_head", "logits"}});
  rules = with_output_suffixes(rules);
  // output_hidden_states: the last is already normed, which the checks of the dump notice.
  rules.insert(rules.end(), {{"hidden_states.0", "embedding_output"},
                             {"hidden_states_0", "embedding_output"},
                             {"hidden_states.{layer+1}", "layer_{layer}_output"},
                             {"hidden_states_{layer+1}", "layer_{layer}_output"}});
  return rules;
}

// llama.cpp's names of graph nodes (the callback's "name-layer"). Qcur and Kcur name several nodes
// in a row; a dump by name keeps the last, after the rotary embedding.
Rules llama_cpp_rules() {
  return {{"inp_embd", "embedding_output"},
          {"embd", "embedding_output"},
          {"attn_norm-{layer}", "layer_{layer}_input_norm"},
          {"Qcur_normed-{layer}", "layer_{layer}_q_norm"},
          {"Kcur_normed-{layer}", "layer_{layer}_k_norm"},
          {"Qcur-{layer}", "layer_{layer}_q_rope"},
          {"Kcur-{layer}", "layer_{layer}_k_rope"},
          {"Vcur-{layer}", "layer_{layer}_v_proj"},
          {"kq_soft_max-{layer}", "layer_{layer}_attn_probs"},
          {"kq_soft_max_ext-{layer}", "layer_{layer}_attn_probs"},
          {"kqv_out-{layer}", "layer_{layer}_attn_context"},
          {"attn_out-{layer}", "layer_{layer}_attn_output"},
          {"ffn_inp-{layer}", "layer_{layer}_attn_residual"},
          {"attn_post_norm-{layer}", "layer_{layer}_attn_post_norm"},
          {"ffn_post_norm-{layer}", "layer_{layer}_mlp_post_norm"},
          {"ffn_moe_logits-{layer}", "layer_{layer}_router_logits"},
          {"ffn_moe_topk-{layer}", "layer_{layer}_expert_ids"},
          {"ffn_moe_weights_norm-{layer}", "layer_{layer}_expert_weights"},
          {"ffn_moe_gate-{layer}", "layer_{layer}_gate_proj"},
          {"ffn_moe_up-{layer}", "layer_{layer}_up_proj"},
          {"ffn_moe_swiglu-{layer}", "layer_{layer}_mlp_act"},
          {"ffn_moe_out-{layer}", "layer_{layer}_mlp_output"},
          {"ffn_norm-{layer}", "layer_{layer}_mlp_norm"},
          {"ffn_gate-{layer}", "layer_{layer}_gate_proj"},
          {"ffn_up-{layer}", "layer_{layer}_up_proj"},
          {"ffn_gate_par-{layer}", "layer_{layer}_mlp_act"},
          {"ffn_swiglu-{layer}", "layer_{layer}_mlp_act"},
          {"ffn_out-{layer}", "layer_{layer}_mlp_output"},
          {"l_out-{layer}", "layer_{layer}_output"},
          {"result_norm", "final_norm_output"},
          {"result_output", "logits"}};
}

Rules candle_rules() {
  Rules rules = module_rules("layers");
  rules.insert(rules.end(), {{"embed_tokens", "embedding_output"},
                             {"norm", "final_norm_output"},
                             {"token_embd", "embedding_output"},
                             {"blk.{layer}.attn_norm", "layer_{layer}_input_norm"},
                             {"blk.{layer}.attn_q", "layer_{layer}_q_proj"},
                             {"blk.{layer}.attn_k", "layer_{layer}_k_proj"},
                             {"blk.{layer}.attn_v", "layer_{layer}_v_proj"},
                             {"blk.{layer}.attn_q_norm", "layer_{layer}_q_norm"},
                             {"blk.{layer}.attn_k_norm", "layer_{layer}_k_norm"},
                             {"blk.{layer}.attn_output", "layer_{layer}_attn_output"},
                             {"blk.{layer}.post_attention_norm", "layer_{layer}_attn_post_norm"},
                             {"blk.{layer}.ffn_norm", "layer_{layer}_mlp_norm"},
                             {"blk.{layer}.ffn_gate_inp", "layer_{layer}_router_logits"},
                             {"blk.{layer}.post_ffw_norm", "layer_{layer}_mlp_post_norm"},
                             {"blk.{layer}.ffn_gate", "layer_{layer}_gate_proj"},
                             {"blk.{layer}.ffn_up", "layer_{layer}_up_proj"},
                             {"blk.{layer}.ffn_down", "layer_{layer}_mlp_output"},
                             {"blk.{layer}", "layer_{layer}_output"},
                             {"output_norm", "final_norm_output"},
                             {"output", "logits"}});
  return with_output_suffixes(rules);
}

const std::vector<Known>& known_maps() {
  static const std::vector<Known> maps = {{"transformers", transformers_rules()},
                                          {"llama.cpp", llama_cpp_rules()},
                                          {"candle", candle_rules()}};
  return maps;
}

// The layer's number when `name` is `pattern`; -1 for a pattern without one.
std::optional<std::int64_t> match(std::string_view pattern, std::string_view name) {
  std::int64_t first = 0;
  std::size_t length = 0;
  std::size_t at = std::string_view::npos;
  for (const auto& [text, number] : {std::pair<std::string_view, std::int64_t>{"{layer}", 0},
                                     std::pair<std::string_view, std::int64_t>{"{layer+1}", 1}}) {
    if (pattern.find(text) == pattern.npos) continue;
    at = pattern.find(text);
    length = text.size();
    first = number;
  }
  if (at == pattern.npos) return pattern == name ? std::optional<std::int64_t>(-1) : std::nullopt;
  const std::string_view before = pattern.substr(0, at);
  const std::string_view after = pattern.substr(at + length);
  if (name.size() <= before.size() + after.size() || !name.starts_with(before) ||
      !name.ends_with(after)) {
    return std::nullopt;
  }
  name.remove_prefix(before.size());
  name.remove_suffix(after.size());
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end != name.data() + name.size() || number < first) {
    return std::nullopt;
  }
  return number - first;
}

// With the layer's number in as many digits as tap names have.
std::optional<std::string> canonical(std::string_view name, std::int64_t layers) {
  constexpr std::array kOthers = {"input_ids", "generated_ids",  "rope_cos",
                                  "rope_sin",  "rope_local_cos", "rope_local_sin"};
  if (std::ranges::find(kOthers, name) != kOthers.end()) return std::string(name);
  const std::optional<TapPlace> place = parse_tap_name(name);
  if (!place) return std::nullopt;
  ModelSpec spec;
  spec.num_hidden_layers = layers;
  return tap_name(place->tap, place->layer, spec);
}

Rules read_rules(const std::string& file) {
  const OrderedJson json = load_json(file);
  if (!json.is_object()) throw input_error(file, "not a JSON object", R"({"from": "to", ...})");
  Rules rules;
  for (const auto& [from, to] : json.items()) {
    const std::string where = fmt::format("{}: rule '{}'", file, shown(from));
    if (!to.is_string()) throw input_error(where, shown(to.dump()), "a tap name");
    const std::string target = to;
    std::string example = target;
    const std::size_t layer = example.find("{layer}");
    if (layer != example.npos) example.replace(layer, 7, "0");
    if (!canonical(example, 1)) {
      throw input_error(where, "'" + shown(target) + "' is no tap",
                        "a name such as layer_{layer}_q_proj or logits");
    }
    if ((layer != target.npos) != (from.find("{layer") != from.npos)) {
      throw input_error(where, "{layer} on one side only", "it on both or on neither");
    }
    rules.emplace_back(from, target);
  }
  return rules;
}

}  // namespace

const std::vector<std::string>& NameMap::known() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Known& map : known_maps()) all.push_back(map.name);
    return all;
  }();
  return names;
}

void NameMap::suit(const ModelSpec& model) {
  for (auto& [from, to] : rules_) {
    if (model.has_norms_after() && own_ && from.find("post_attention_layernorm") != from.npos) {
      to = "layer_{layer}_attn_post_norm";
    }
  }
}

NameMap::NameMap(const std::string& name_or_file) {
  if (name_or_file.ends_with(".json")) {
    rules_ = read_rules(name_or_file);
    own_ = false;
    return;
  }
  for (const Known& map : known_maps()) {
    if (!name_or_file.empty() && name_or_file != map.name) continue;
    rules_.insert(rules_.end(), map.rules.begin(), map.rules.end());
  }
  if (rules_.empty()) {
    throw usage_error("--map", "'" + name_or_file + "'",
                      fmt::format("{} or a .json file", fmt::join(known(), ", ")));
  }
}

std::optional<std::string> NameMap::tap_of(std::string_view name, std::int64_t layers) const {
  if (auto own = canonical(name, layers)) return own;
  for (const auto& [from, to] : rules_) {
    const std::optional<std::int64_t> layer = match(from, name);
    if (!layer) continue;
    std::string tap = to;
    const std::size_t at = tap.find("{layer}");
    if (at != tap.npos) tap.replace(at, 7, std::to_string(*layer));
    return canonical(tap, layers);
  }
  return std::nullopt;
}

}  // namespace assay
