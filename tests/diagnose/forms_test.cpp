// Mistakes with numbers that are not listed, and mistakes in some of the layers: made with our own
// forward pass, and found with their numbers and layers.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "base/temporary_directory.h"
#include "diagnose/replay.h"
#include "diagnose/rewrites.h"
#include "diagnose/scene.h"
#include "diagnose/search.h"
#include "model/checkpoint.h"
#include "model/families.h"
#include "model/synth.h"

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
  Hypothesis wrong{model_->program};
  std::vector<std::int64_t> full;
  std::vector<std::int64_t> sliding;
  for (std::int64_t l = 0; l < layers; ++l) {
    (model_->spec.is_sliding(l) ? sliding : full).push_back(l);
  }
  ASSERT_FALSE(full.empty() || sliding.empty());
  apply_in(
      full,
      [](Hypothesis& h) {
        change_attention(h.program, [](OddAttention& a) { a.mask = Mask::kNone; });
      },
      wrong);
  apply_in(
      sliding, [](Hypothesis& h) { change_window(h.program, 1 << 20); }, wrong);
  const SearchResult result = found(wrong);
  ASSERT_EQ(result.culprits.size(), 2U);
  std::map<std::string_view, std::vector<std::int64_t>> by_name;
  for (const Culprit& c : result.culprits) {
    by_name[c.suspect.entry->id] = c.suspect.layers;
  }
  EXPECT_EQ(by_name["mask-missing"], full);
  EXPECT_TRUE(by_name.contains("window-wrong"));
}

TEST_F(Forms, ABaseThatIsNotListed) {
  use("llama");
  Hypothesis wrong{model_->program};
  wrong.program.ropes[0].theta = 37200;
  const SearchResult result = found(wrong);
  ASSERT_EQ(result.culprits.size(), 1U);
  EXPECT_EQ(result.culprits[0].suspect.entry->id, "rope-theta");
  const double theta = result.best.program.ropes[0].theta;
  EXPECT_NEAR(theta / 37200, 1, 0.01);
}

TEST_F(Forms, PositionsAreReadOff) {
  use("llama");
  Hypothesis wrong{model_->program};
  Rotary rotary;
  for (std::int64_t p = 0; p < kTokens; ++p) {
    rotary.position_of.push_back(p < 7 ? p : p < 19 ? p - 7 : p - 19);
  }
  set_rotary(wrong.program, rotary);
  const SearchResult result = found(wrong);
  ASSERT_EQ(result.culprits.size(), 1U);
  EXPECT_EQ(result.culprits[0].suspect.entry->id, "pos-restart");
  EXPECT_EQ(result.culprits[0].suspect.variant.detail,
            "0 to 6 at 0 to 6, 7 to 18 at 0 to 11, 19 to 39 at 0 to 20");
}

TEST_F(Forms, RowsOfTheEmbeddingAreReadOff) {
  use("llama");
  const std::vector<std::int64_t> ids = some_ids(model_->spec.vocab_size);
  Hypothesis wrong{model_->program};
  wrong.embedding_rows = {{ids[3], 5}, {ids[9], -1}};
  std::ranges::sort(wrong.embedding_rows, {}, &EmbeddingRow::id);
  const SearchResult result = found(wrong);
  ASSERT_EQ(result.culprits.size(), 1U);
  EXPECT_EQ(result.culprits[0].suspect.entry->id, "embed-rows");
  EXPECT_EQ(result.best.embedding_rows, wrong.embedding_rows);
}

// Layers outside the given ones stay unchanged, also if a change has its own list.
TEST_F(Forms, ChangesTheseLayersAlone) {
  use("llama");
  ModelSpec spec = model_->spec;
  spec.num_hidden_layers = 4;
  const Program right = program_of(spec);
  Hypothesis h{right};
  const auto theta_of = [&](std::size_t l) {
    for (const Step& step : h.program.layers[l].steps) {
      if (const auto* rotate = std::get_if<Rotate>(&step.operation)) {
        return h.program.ropes[rotate->table].theta;
      }
    }
    return 0.0;
  };
  const std::vector<std::int64_t> two = {1, 3};
  apply_in(
      two,
      [](Hypothesis& of) {
        of.program.ropes[0].theta = 123;
        cap_logits(of.program, 9);
        change_attention(of.program, [](OddAttention& a) { a.scores.scale = 5; });
        of.weights.push_back({WeightChange::Kind::kZero, Part::kQ});
        of.weights.push_back({WeightChange::Kind::kZero, Part::kK, Part::kK, 0, {0}});
        of.weights.push_back({WeightChange::Kind::kZero, Part::kV, Part::kV, 0, {3}});
      },
      h);
  EXPECT_EQ(h.program.layers[0], right.layers[0]);
  EXPECT_EQ(h.program.head, right.head);
  EXPECT_NE(h.program.layers[1], right.layers[1]);
  EXPECT_EQ(theta_of(0), right.ropes[0].theta);
  EXPECT_EQ(theta_of(1), 123);
  ASSERT_EQ(h.weights.size(), 2U);
  EXPECT_EQ(h.weights[0].layers, two);
  EXPECT_EQ(h.weights[1].layers, std::vector<std::int64_t>{3});
  // A later change applies to all layers.
  apply_in(
      {},
      [](Hypothesis& of) {
        change_attention(of.program, [](OddAttention& a) { a.scores.scale = 2; });
      },
      h);
  for (std::size_t l = 0; l < 4; ++l) {
    const auto* scores = std::get_if<Scores>(
        &h.program.layers[l].steps[*attention_step(h.program.layers[l])].operation);
    ASSERT_NE(scores, nullptr);
    EXPECT_EQ(scores->scale, 2);
  }
  EXPECT_EQ(theta_of(3), 123);
}

}  // namespace
}  // namespace assay
