// The programs of the published models: what follows from them equals what is known by hand.
#include "models/program.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "assay/error.h"
#include "formats/json_file.h"
#include "model/model.h"
#include "model/published.h"
#include "model/read_spec.h"
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

// Each tap once, in data-flow order; and all taps that every model has.
TEST_P(Programs, ShowEveryTapOnceInOrder) {
  const Program program = program_of(spec_);
  ASSERT_EQ(std::ssize(program.layers), spec_.num_hidden_layers);
  for (std::size_t l = 0; l < program.layers.size(); ++l) {
    const Block& layer = program.layers[l];
    std::vector<Tap> taps;
    for (const Step& step : layer.steps) {
      for (const ValueId v : step.writes) {
        if (layer.values[v].tap) taps.push_back(*layer.values[v].tap);
      }
    }
    const std::vector<Tap> mixer =
        spec_.is_linear(static_cast<std::int64_t>(l))
            ? std::vector{Tap::kGdnQkv, Tap::kGdnConv, Tap::kGdnCore, Tap::kGdnOutput}
            : std::vector{Tap::kQProj,     Tap::kKProj,       Tap::kVProj,
                          Tap::kQRope,     Tap::kKRope,       Tap::kAttnScores,
                          Tap::kAttnProbs, Tap::kAttnContext, Tap::kAttnOutput};
    std::vector<Tap> wanted = {Tap::kAttnResidual, Tap::kGateProj,  Tap::kUpProj,
                               Tap::kMlpAct,       Tap::kMlpOutput, Tap::kLayerOutput};
    wanted.insert(wanted.end(), mixer.begin(), mixer.end());
    // Keys and values that are an earlier layer's, or values that are the keys.
    const auto number = static_cast<std::int64_t>(l);
    std::set<Tap> others;
    if (spec_.kv_source(number)) others = {Tap::kKProj, Tap::kVProj, Tap::kKRope};
    if (spec_.heads(number).keys_are_values) others.insert(Tap::kVProj);
    std::erase_if(wanted, [&](Tap tap) { return others.contains(tap); });
    for (const Tap tap : others) EXPECT_EQ(std::ranges::count(taps, tap), 0) << tap_base_name(tap);
    for (const Tap tap : wanted) {
      EXPECT_EQ(std::ranges::count(taps, tap), 1) << tap_base_name(tap);
    }
    // q_proj's rows hold gates too, which are taken apart after all three projections.
    const auto place = [&](Tap tap) {
      const bool projected = tap > Tap::kQProj && tap <= Tap::kVProj;
      return spec_.attention.gated && projected ? Tap::kQProj : tap;
    };
    EXPECT_TRUE(std::ranges::is_sorted(taps, {}, place));
    EXPECT_EQ(std::ranges::adjacent_find(taps), taps.end());
    EXPECT_EQ(layer.values[layer.result].tap, Tap::kLayerOutput);
  }
}

TEST_P(Programs, ReadNoValueBeforeItIsWrittenAndEveryTensorOnce) {
  std::set<std::string> parts;
  const auto check = [&](const Block& block) {
    std::set<ValueId> there = {0};
    for (const Import& import : block.imports) EXPECT_TRUE(there.insert(import.value).second);
    for (const Step& step : block.steps) {
      for (const ValueId read : step.reads) EXPECT_TRUE(there.contains(read));
      for (const ValueId write : step.writes) EXPECT_TRUE(there.insert(write).second);
      for (const TensorUse& tensor : step.tensors) {
        EXPECT_LE(tensor.first + tensor.rows, tensor.stored) << tensor.name;
        // Each layer reads the model's own tensors, such as the norm of per-layer inputs.
        if (!tensor.name.starts_with("model.layers.")) continue;
        EXPECT_TRUE(parts.insert(tensor.name + std::to_string(tensor.first)).second) << tensor.name;
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
