// Mistakes whose numbers no list has, and mistakes in some of the layers: made by our own forward
// pass, and found with their numbers and their layers.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "assay/synth.h"
#include "base/temporary_directory.h"
#include "diagnose/replay.h"
#include "diagnose/scene.h"
#include "diagnose/search.h"
#include "model/checkpoint.h"
#include "model/families.h"

namespace assay {
namespace {

constexpr std::int64_t kTokens = 40;

std::filesystem::path checkpoint_of(const TemporaryDirectory& directory, std::string_view type) {
  for (const auto& [name, config] : family_configs()) {
    if (config.at("model_type") != type) continue;
    write_text(directory / "config.json", config.dump());
    SynthOptions options;
    options.config = directory / "config.json";
    options.out = directory / "model";
    options.seed = 4;
    synthesize(options);
    return options.out;
  }
  throw std::runtime_error("no such type");
}

std::vector<std::int64_t> some_ids(std::int64_t vocab) {
  std::vector<std::int64_t> ids;
  for (std::int64_t i = 0; i < kTokens; ++i) ids.push_back((i * 7919 + 13) % vocab);
  return ids;
}

class Forms : public testing::Test {
 protected:
  void use(std::string_view type) { model_ = load_model(checkpoint_of(directory_, type)); }

  SearchResult found(const Hypothesis& wrong) {
    std::vector<Evidence> all;
    all.push_back(own_run(
        *model_, wrong, some_ids(model_->spec.vocab_size), [](Tap, std::int64_t) { return true; },
        pool_));
    all[0].id = "p";
    scene_.emplace(*model_, std::move(all), pool_);
    return search(*scene_, model_->spec.tie_word_embeddings, {});
  }

  TemporaryDirectory directory_;
  ThreadPool pool_{1};
  std::optional<Model> model_;
  std::optional<Scene> scene_;
};

TEST_F(Forms, AMistakeInSomeLayersAndAnotherInTheOthers) {
  use("gemma2");
  const std::int64_t layers = model_->spec.num_hidden_layers;
  Hypothesis wrong{model_->spec};
  std::vector<std::int64_t> full;
  std::vector<std::int64_t> sliding;
  for (std::int64_t l = 0; l < layers; ++l) {
    (model_->spec.is_sliding(l) ? sliding : full).push_back(l);
  }
  ASSERT_FALSE(full.empty() || sliding.empty());
  apply_in(
      full, [](Hypothesis& h) { h.spec.attention.mask = Mask::kNone; }, wrong);
  apply_in(
      sliding, [](Hypothesis& h) { h.spec.attention.window = 1 << 20; }, wrong);
  const SearchResult result = found(wrong);
  ASSERT_EQ(result.culprits.size(), 2U);
  std::map<std::string_view, std::vector<std::int64_t>> by_name;
  for (const Culprit& c : result.culprits) {
    by_name[c.suspect.entry->id] = c.suspect.layers;
  }
  EXPECT_EQ(by_name["mask-missing"], full);
  EXPECT_TRUE(by_name.contains("window-wrong"));
}

TEST_F(Forms, ABaseThatNoListHas) {
  use("llama");
  Hypothesis wrong{model_->spec};
  wrong.spec.rope_parameters.theta = 37200;
  const SearchResult result = found(wrong);
  ASSERT_EQ(result.culprits.size(), 1U);
  EXPECT_EQ(result.culprits[0].suspect.entry->id, "rope-theta");
  const double theta = result.best.spec.rope_parameters.theta;
  EXPECT_NEAR(theta / 37200, 1, 0.01);
}

TEST_F(Forms, PositionsAreReadOff) {
  use("llama");
  Hypothesis wrong{model_->spec};
  wrong.operations.rotary.emplace();
  for (std::int64_t p = 0; p < kTokens; ++p) {
    wrong.operations.rotary->position_of.push_back(p < 7 ? p : p < 19 ? p - 7 : p - 19);
  }
  const SearchResult result = found(wrong);
  ASSERT_EQ(result.culprits.size(), 1U);
  EXPECT_EQ(result.culprits[0].suspect.entry->id, "pos-restart");
  EXPECT_EQ(result.culprits[0].suspect.variant.detail,
            "0 to 6 at 0 to 6, 7 to 18 at 0 to 11, 19 to 39 at 0 to 20");
}

TEST_F(Forms, RowsOfTheEmbeddingAreReadOff) {
  use("llama");
  const std::vector<std::int64_t> ids = some_ids(model_->spec.vocab_size);
  Hypothesis wrong{model_->spec};
  wrong.operations.embedding_rows = {{ids[3], 5}, {ids[9], -1}};
  std::ranges::sort(wrong.operations.embedding_rows, {}, &EmbeddingRow::id);
  const SearchResult result = found(wrong);
  ASSERT_EQ(result.culprits.size(), 1U);
  EXPECT_EQ(result.culprits[0].suspect.entry->id, "embed-rows");
  EXPECT_EQ(result.best.operations.embedding_rows, wrong.operations.embedding_rows);
}

// Layers of which none is changed stay as they are, also where a change names its own.
TEST(ApplyIn, ChangesTheseLayersAlone) {
  ModelSpec spec;
  spec.num_hidden_layers = 4;
  Hypothesis h{spec};
  const std::vector<std::int64_t> two = {1, 3};
  apply_in(
      two,
      [](Hypothesis& of) {
        of.spec.rms_norm_eps = 0.5;
        of.weights.push_back({WeightChange::Kind::kZero, Part::kQ});
        of.weights.push_back({WeightChange::Kind::kZero, Part::kK, Part::kK, 0, {0}});
        of.weights.push_back({WeightChange::Kind::kZero, Part::kV, Part::kV, 0, {3}});
      },
      h);
  EXPECT_EQ(h.spec, spec);
  EXPECT_EQ(h.spec_of(0), spec);
  EXPECT_EQ(h.spec_of(1).rms_norm_eps, 0.5);
  ASSERT_EQ(h.weights.size(), 2U);
  EXPECT_EQ(h.weights[0].layers, two);
  EXPECT_EQ(h.weights[1].layers, std::vector<std::int64_t>{3});
  // What comes later comes to all.
  apply_in(
      {}, [](Hypothesis& of) { of.spec.attention.scale = 2; }, h);
  EXPECT_EQ(h.spec.attention.scale, 2);
  EXPECT_EQ(h.spec_of(3).attention.scale, 2);
  EXPECT_EQ(h.spec_of(3).rms_norm_eps, 0.5);
}

}  // namespace
}  // namespace assay
