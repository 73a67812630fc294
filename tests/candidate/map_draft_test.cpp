// Drafts of maps, from dumps with unknown names.
#include "candidate/map_draft.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "assay/npz.h"
#include "base/temporary_directory.h"

namespace assay {
namespace {

constexpr int kLayers = 4;
constexpr int kHead = 4;

Array made(const std::string& name, Shape shape, float seed) {
  Array array{name, DType::kF32, std::move(shape), {}};
  const auto count = static_cast<std::size_t>(element_count(array.shape, name));
  array.bytes.resize(count * sizeof(float));
  for (std::size_t i = 0; i < count; ++i) {
    array.as<float>()[i] = std::sin(seed * 7.3F + static_cast<float>(i) * (1.1F + seed));
  }
  return array;
}

Array ids(const std::string& name) {
  Array array{name, DType::kI64, {1, 5}, {}};
  array.bytes.resize(5 * sizeof(std::int64_t));
  for (std::int64_t i = 0; i < 5; ++i)
    array.as<std::int64_t>()[static_cast<std::size_t>(i)] = i * 3;
  return array;
}

Array side_by_side(const std::string& name, const std::vector<const Array*>& parts) {
  std::int64_t width = 0;
  for (const Array* part : parts) width += part->shape.back();
  Array whole{name, DType::kF32, {5, width}, {}};
  for (std::size_t row = 0; row < 5; ++row) {
    for (const Array* part : parts) {
      const std::size_t bytes = part->bytes.size() / 5;
      const auto begin = part->bytes.begin() + static_cast<std::ptrdiff_t>(row * bytes);
      whole.bytes.insert(whole.bytes.end(), begin, begin + static_cast<std::ptrdiff_t>(bytes));
    }
  }
  return whole;
}

// The two channels of each rotary pair adjacent, as in an engine that rotates neighbours.
Array with_pairs_side_by_side(Array array) {
  const std::span<float> values = array.as<float>();
  for (std::size_t at = 0; at < values.size(); at += kHead) {
    std::swap(values[at + 1], values[at + 2]);
  }
  return array;
}

class MapDrafts : public testing::Test {
 protected:
  MapDrafts() {
    float seed = 0.1F;
    const auto add = [&](const std::string& name, Shape shape) {
      reference_[name] = made(name, std::move(shape), seed += 0.37F);
    };
    reference_["input_ids"] = ids("input_ids");
    add("embedding_output", {1, 5, 8});
    for (int layer = 0; layer < kLayers; ++layer) {
      for (const char* tap : {"input_norm", "attn_output", "mlp_output", "output"}) {
        add(fmt::format("layer_{:02}_{}", layer, tap), {1, 5, 8});
      }
      for (const char* tap : {"gate_proj", "up_proj"}) {
        add(fmt::format("layer_{:02}_{}", layer, tap), {1, 5, 6});
      }
      add(fmt::format("layer_{:02}_q_rope", layer), {1, 2, 5, 4});
      add(fmt::format("layer_{:02}_k_rope", layer), {1, 2, 5, 4});
    }
    add("logits", {1, 5, 11});
    const auto name = [&](const std::string& from, Array array) {
      array.name = from;
      dump_[from] = std::move(array);
    };
    name("toks", ids(""));
    name("h.0", reference_.at("embedding_output"));
    for (int layer = 0; layer < kLayers; ++layer) {
      const auto tap = [&](const char* base) {
        return reference_.at(fmt::format("layer_{:02}_{}", layer, base));
      };
      name(fmt::format("h.{}", layer + 1), tap("output"));
      name(fmt::format("net2/l{}/n1", layer), tap("input_norm"));
      name(fmt::format("net2/l{}/a", layer), tap("attn_output"));
      name(fmt::format("turn@{}", 2 * layer), tap("q_rope"));
      name(fmt::format("turn@{}", 2 * layer + 1), tap("k_rope"));
      const Array gate = tap("gate_proj");
      const Array up = tap("up_proj");
      name(fmt::format("net2/l{}/gu", layer), side_by_side("", {&gate, &up}));
    }
    name("scores_out", reference_.at("logits"));
    name("noise", made("noise", {1, 5, 8}, 99));
  }

  MapDraft draft(const std::string& map = "") {
    const auto write = [&](const char* file, const std::map<std::string, Array>& arrays) {
      std::vector<ArrayView> views;
      for (const auto& [name, array] : arrays) views.push_back(array.view());
      write_npz(directory_ / file, views, Compression::kNone);
    };
    write("ref.npz", reference_);
    write("dump.npz", dump_);
    const ArrayFile reference(directory_ / "ref.npz");
    const ArrayFile dump(directory_ / "dump.npz");
    ModelSpec model;
    model.num_hidden_layers = kLayers;
    model.head_dim = kHead;
    return draft_map(dump, reference, NameMap(map), model,
                     reference_.at("input_ids").as<std::int64_t>());
  }

  static std::map<std::string, std::string> rules_of(const MapDraft& draft) {
    std::map<std::string, std::string> rules;
    for (const MapDraft::Rule& rule : draft.rules) rules[rule.from] = rule.to;
    return rules;
  }

  TemporaryDirectory directory_;
  std::map<std::string, Array> reference_;
  std::map<std::string, Array> dump_;
};

const std::map<std::string, std::string> kRules = {
    {"toks", "input_ids"},
    {"h.0", "embedding_output"},
    {"h.{layer+1}", "layer_{layer}_output"},
    {"net2/l{layer}/n1", "layer_{layer}_input_norm"},
    {"net2/l{layer}/a", "layer_{layer}_attn_output"},
    {"net2/l{layer}/gu", "layer_{layer}_gate_proj + layer_{layer}_up_proj"},
    {"turn@{2*layer}", "layer_{layer}_q_rope"},
    {"turn@{2*layer+1}", "layer_{layer}_k_rope"},
    {"scores_out", "logits"}};

TEST_F(MapDrafts, ValuesSayWhatNamesMean) {
  const MapDraft found = draft();
  EXPECT_EQ(rules_of(found), kRules);
  EXPECT_EQ(found.open, std::vector<std::string>{"noise"});
  ASSERT_FALSE(found.rules.empty());
  EXPECT_EQ(found.rules.front().to, "input_ids");
  EXPECT_EQ(found.rules.back().to, "logits");
}

// An engine that goes wrong in the second layer.
TEST_F(MapDrafts, FirstLayersDecideForLayersAfterAMistake) {
  for (auto& [name, array] : dump_) {
    if (array.dtype != DType::kF32) continue;
    const bool late = name == "scores_out" || name.find("l1") != name.npos ||
                      name.find("l2") != name.npos || name.find("l3") != name.npos ||
                      name == "h.2" || name == "h.3" || name == "h.4";
    if (late) array.bytes = made(name, array.shape, 55).bytes;
  }
  std::map<std::string, std::string> rules = kRules;
  rules.erase("scores_out");
  EXPECT_EQ(rules_of(draft()), rules);
}

TEST_F(MapDrafts, NamesThatARuleCannotWriteGetNone) {
  for (const char* name : {"scores*", "{layer}/x", "a{b"}) {
    dump_[name] = dump_.at("scores_out");
    dump_[name].name = name;
  }
  const MapDraft found = draft();
  EXPECT_EQ(rules_of(found), kRules);
  EXPECT_EQ(found.open, (std::vector<std::string>{"a{b", "scores*", "{layer}/x", "noise"}));
}

// 16 columns are 8 and 8, or 8 padded to the next multiple of 16: gate alone has the smaller error.
TEST_F(MapDrafts, AFusedArrayIsNotTakenForItsPaddedFirstPart) {
  for (int layer = 0; layer < kLayers; ++layer) {
    const std::string prefix = fmt::format("layer_{:02}_", layer);
    for (const char* tap : {"gate_proj", "up_proj"}) {
      reference_[prefix + tap] =
          made(prefix + tap, {1, 5, 8}, static_cast<float>(layer) + (tap[0] == 'g' ? 0.2F : 0.6F));
    }
    const Array& gate = reference_.at(prefix + "gate_proj");
    Array up = reference_.at(prefix + "up_proj");
    up.as<float>()[3] += 0.01F;
    const std::string name = fmt::format("net2/l{}/gu", layer);
    dump_[name] = side_by_side(name, {&gate, &up});
    const std::string padded = fmt::format("net2/l{}/padded", layer);
    const Array zeros{"", DType::kF32, {1, 5, 8}, std::vector<std::byte>(5 * 8 * sizeof(float))};
    dump_[padded] = side_by_side(padded, {&gate, &zeros});
  }
  std::map<std::string, std::string> rules = kRules;
  rules["net2/l{layer}/padded"] = "layer_{layer}_gate_proj";
  EXPECT_EQ(rules_of(draft()), rules);
}

TEST_F(MapDrafts, FindsQueriesAndKeysWithAdjacentRotaryPairs) {
  float seed = 20;
  for (int layer = 0; layer < kLayers; ++layer) {
    for (const char* tap : {"q_proj", "k_proj", "v_proj"}) {
      const std::string name = fmt::format("layer_{:02}_{}", layer, tap);
      reference_[name] = made(name, {1, 5, 8}, seed += 0.37F);
    }
    const auto turned = [&](const char* tap) {
      return with_pairs_side_by_side(reference_.at(fmt::format("layer_{:02}_{}", layer, tap)));
    };
    const auto put = [&](const std::string& name, Array array) {
      array.name = name;
      dump_[name] = std::move(array);
    };
    put(fmt::format("turn@{}", 2 * layer), turned("q_rope"));
    put(fmt::format("turn@{}", 2 * layer + 1), turned("k_rope"));
    put(fmt::format("net2/l{}/wk", layer), turned("k_proj"));
    const Array q = turned("q_proj");
    const Array k = turned("k_proj");
    const std::string fused = fmt::format("net2/l{}/qkv", layer);
    put(fused,
        side_by_side("", {&q, &k, &reference_.at(fmt::format("layer_{:02}_v_proj", layer))}));
  }
  std::map<std::string, std::string> rules = kRules;
  rules["net2/l{layer}/wk"] = "layer_{layer}_k_proj";
  rules["net2/l{layer}/qkv"] = "layer_{layer}_q_proj + layer_{layer}_k_proj + layer_{layer}_v_proj";
  EXPECT_EQ(rules_of(draft()), rules);
}

TEST_F(MapDrafts, WhatTheMapKnowsGetsNoRule) {
  Array known = dump_.at("scores_out");
  dump_.erase("scores_out");
  known.name = "lm_head";
  dump_["lm_head"] = std::move(known);
  EXPECT_FALSE(rules_of(draft()).contains("lm_head"));
}

}  // namespace
}  // namespace assay
