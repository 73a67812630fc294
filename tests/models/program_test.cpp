// The programs of the published models: what follows from them is what is known of those by hand.
#include "models/program.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "assay/error.h"
#include "candidate/data_flow.h"
#include "formats/json_file.h"
#include "model/model.h"
#include "model/published.h"
#include "model/spec_config.h"
#include "models/model_type.h"

namespace assay {
namespace {

ModelSpec spec_of(const std::string& published) {
  return read_spec_config(JsonObject(published, published_config(published)));
}

class Programs : public testing::TestWithParam<std::string> {
 protected:
  ModelSpec spec_ = spec_of(GetParam());
};

TEST_P(Programs, HaveTheTapsOfTheirModelWithTheirShapes) {
  constexpr std::int64_t kTokens = 5;
  const auto expect = [&](const Block& block, std::int64_t layer, std::set<Tap> wanted) {
    for (const Value& value : block.values) {
      if (!value.tap) continue;
      EXPECT_EQ(wanted.erase(*value.tap), 1U) << tap_name(*value.tap, layer, spec_);
      std::vector<std::int64_t> shape = {1};
      if (!value.over_keys) shape.push_back(kTokens);
      shape.insert(shape.end(), value.shape.begin(), value.shape.end());
      if (value.over_keys) shape.insert(shape.end(), 2, kTokens);
      EXPECT_EQ(shape, tap_shape(*value.tap, layer, spec_, kTokens))
          << tap_name(*value.tap, layer, spec_);
    }
    EXPECT_TRUE(wanted.empty()) << tap_name(*wanted.begin(), layer, spec_);
  };
  const Program program = program_of(spec_);
  expect(program.embedding, 0, {Tap::kEmbeddingOutput});
  expect(program.head, 0, {Tap::kFinalNormOutput, Tap::kLogits});
  ASSERT_EQ(std::ssize(program.layers), spec_.num_hidden_layers);
  for (std::int64_t l = 0; l < spec_.num_hidden_layers; ++l) {
    std::set<Tap> wanted;
    for (int t = 0; t < kTapCount; ++t) {
      const Tap tap = static_cast<Tap>(t);
      if (is_layer_tap(tap) && has_tap(tap, l, spec_)) wanted.insert(tap);
    }
    expect(program.layers[static_cast<std::size_t>(l)], l, std::move(wanted));
  }
}

// Of a value the taps that it is computed from: what has none is passed through.
std::vector<TapPlace> sources(const Block& block, ValueId value, std::int64_t layer) {
  if (value == 0) {
    return {layer == 0 ? TapPlace{Tap::kEmbeddingOutput, -1}
                       : TapPlace{Tap::kLayerOutput, layer - 1}};
  }
  const auto writes = [&](const Step& step) {
    return std::ranges::find(step.writes, value) != step.writes.end();
  };
  const auto step = std::ranges::find_if(block.steps, writes);
  std::vector<TapPlace> all;
  for (const ValueId read : step->reads) {
    if (block.values[read].tap) {
      all.push_back({*block.values[read].tap, layer});
    } else {
      for (const TapPlace& place : sources(block, read, layer)) all.push_back(place);
    }
  }
  return all;
}

TEST_P(Programs, ComputeEachTapFromThoseThatDataFlowNames) {
  const Program program = program_of(spec_);
  for (std::int64_t l = 0; l < spec_.num_hidden_layers; ++l) {
    const Block& block = program.layers[static_cast<std::size_t>(l)];
    for (ValueId v = 1; v < block.values.size(); ++v) {
      if (!block.values[v].tap) continue;
      const TapPlace place{*block.values[v].tap, l};
      EXPECT_EQ(sources(block, v, l), computed_from(place, spec_)) << tap_name(place.tap, l, spec_);
    }
  }
}

TEST_P(Programs, ReadNoValueBeforeItIsWrittenAndEveryTensorOnce) {
  std::set<std::string> parts;
  const auto check = [&](const Block& block) {
    std::set<ValueId> there = {0};
    for (const Step& step : block.steps) {
      for (const ValueId read : step.reads) EXPECT_TRUE(there.contains(read));
      for (const ValueId write : step.writes) EXPECT_TRUE(there.insert(write).second);
      for (const TensorUse& tensor : step.tensors) {
        EXPECT_TRUE(parts.insert(tensor.name + std::to_string(tensor.first)).second) << tensor.name;
        EXPECT_LE(tensor.first + tensor.rows, tensor.stored) << tensor.name;
      }
    }
    EXPECT_EQ(there.size(), block.values.size());
  };
  for (const Block& layer : program_of(spec_).layers) check(layer);
}

INSTANTIATE_TEST_SUITE_P(Published, Programs, testing::ValuesIn(published_models()),
                         [](const auto& of) {
                           std::string name = of.param;
                           std::ranges::replace_if(
                               name, [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
                           return name;
                         });

TEST(ModelTypes, ArePublishedAtLeastOnceEach) {
  std::set<std::string> published;
  for (const std::string& name : published_models()) published.insert(spec_of(name).model_type);
  for (const ModelType& type : all_model_types()) {
    EXPECT_TRUE(published.contains(std::string(type.name))) << type.name;
  }
  EXPECT_TRUE(std::ranges::is_sorted(all_model_types(), {}, &ModelType::name));
}

}  // namespace
}  // namespace assay
