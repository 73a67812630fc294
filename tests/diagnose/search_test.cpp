// What the search names, and what it does not.
#include "diagnose/search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "diagnose/carried_out.h"
#include "diagnose/catalog.h"
#include "diagnose/rewrites.h"
#include "diagnose/scene.h"
#include "diagnose/tried_models.h"

namespace assay {
namespace {

// A dump with two prompts, each with decoded tokens, whose first one's position differs.
TEST(Search, NamesWhatIsWrongInDecodeAfterPromptsOfDifferentLengths) {
  ThreadPool pool(1);
  const auto named = [&](std::string_view type, std::string_view id) {
    const Model model = load_model(checkpoint(config_of_type(type)));
    const auto entry = std::ranges::find(catalog(), id, &Entry::id);
    Circumstances at = circumstances(model.spec, model.program);
    at.decodes_after_several = true;
    const std::vector<Variant> variants = variants_of(*entry, at);
    const auto variant = std::ranges::find_if(variants, [](const Variant& v) {
      return v.detail.find("after the prompt") != v.detail.npos;
    });
    ASSERT_NE(variant, variants.end()) << id;
    Hypothesis wrong{model.program};
    variant->apply(wrong);
    std::vector<Evidence> all;
    for (const std::size_t tokens : {kTokens, kTokens - 4}) {
      const std::vector<std::int64_t> ids = some_ids(tokens, model.spec.vocab_size);
      // own_run() begins to decode in the middle.
      all.push_back(own_run(
          model, wrong, ids, [](Tap, std::int64_t) { return true; }, pool));
      all.back().prompt = tokens / 2;
      all.back().id = std::to_string(tokens);
    }
    const Scene scene(model, std::move(all), pool);
    const SearchResult result = search(scene, model.spec.tie_word_embeddings, {});
    ASSERT_EQ(result.culprits.size(), 1U) << id;
    EXPECT_EQ(result.culprits[0].suspect.entry->id, id);
    EXPECT_EQ(result.culprits[0].suspect.variant.detail, variant->detail);
  };
  for (const char* id : {"pos-decode", "pos-stuck", "pos-restart", "kv-late", "mask-alignment"}) {
    named("qwen3", id);
  }
  named("gemma2", "window-wrong");
}

TEST(Search, FindsNothingInARightRun) {
  ThreadPool pool(1);
  for (std::size_t m = 0; m < configs().size(); ++m) {
    const Model model = load_model(checkpoint(m));
    std::vector<Evidence> all;
    all.push_back(run_with(model, {model.program}, pool));
    const Scene scene(model, std::move(all), pool);
    EXPECT_TRUE(search(scene, false, {}).culprits.empty()) << configs()[m].first;
  }
}

// Two mistakes in one operation that cannot be mistaken for others: named together, from all taps
// and from logits.
TEST(Search, NamesWhatIsWrongTwiceInOneOperation) {
  const auto named = [](std::size_t config, const std::function<void(Hypothesis&)>& change,
                        std::string_view id, std::string_view detail) {
    const Model model = load_model(checkpoint(config));
    ThreadPool pool(1);
    Hypothesis wrong{model.program};
    change(wrong);
    for (const bool all_taps : {true, false}) {
      SCOPED_TRACE(std::string(detail) + (all_taps ? "" : ", of logits"));
      std::vector<Evidence> all;
      all.push_back(own_run(
          model, wrong, some_ids(kTokens, model.spec.vocab_size),
          [&](Tap tap, std::int64_t) { return all_taps || tap == Tap::kLogits; }, pool,
          Rounding::kF32));
      const Scene scene(model, std::move(all), pool);
      const SearchResult result = search(scene, model.spec.tie_word_embeddings, {});
      ASSERT_EQ(result.culprits.size(), 1U);
      EXPECT_EQ(result.culprits[0].suspect.entry->id, id);
      EXPECT_EQ(result.culprits[0].suspect.variant.detail, detail);
    }
  };
  named(
      config_of_type("gemma2"),
      [](Hypothesis& h) { slide_in(h.program, 6, [](std::int64_t) { return true; }); },
      "window-wrong", "of 6 positions, not 5, and in all layers");
  named(
      config_of_type("llama"),
      [](Hypothesis& h) {
        h.program.ropes[0].theta = 4321;
        h.program.ropes[0].scaling = RopeScaling::kNone;
      },
      "rope-scaling-wrong", "left out, and the base is 4321, not 10000");
}

// With the layers' weights, and optionally their inputs, quantised in this way.
void expect_named(std::string_view id, std::string_view detail, const WeightChange& weights,
                  std::optional<OperandType> activations) {
  const Model model = load_model(checkpoint());
  ThreadPool pool(1);
  Hypothesis wrong{model.program};
  wrong.weights.push_back(weights);
  if (activations) {
    for (const Operand operand : {Operand::kQkv, Operand::kO, Operand::kGateUp, Operand::kDown}) {
      wrong.held.push_back(held_operand(operand, *activations));
    }
  }
  std::vector<Evidence> all;
  all.push_back(run_with(model, wrong, pool, Rounding::kF32));
  const Scene scene(model, std::move(all), pool);
  const SearchResult result = search(scene, false, {});
  ASSERT_EQ(result.culprits.size(), 1U) << detail;
  EXPECT_EQ(result.culprits[0].suspect.entry->id, id);
  EXPECT_EQ(result.culprits[0].suspect.variant.detail, detail);
}

// torchao: 127.5 steps to the largest, ties decided by the inverse of the step, the head
// unquantised.
TEST(Search, NamesInt8WeightsOfEitherScale) {
  Array matrix{"w", DType::kF32, {1, 4}, {}};
  matrix.bytes.resize(4 * sizeof(float));
  const float largest = 0.75F;
  const float values[] = {largest, -largest, 0.1F, 0};
  std::ranges::copy(values, matrix.as<float>().begin());
  std::vector<std::byte> memory;
  const Weight weight{matrix.bytes.data(), DType::kF32, 1, 4};
  const Weight made = changed(weight, {WeightChange::Kind::kInt8Wide}, memory);
  std::array<float, 4> found{};
  std::memcpy(found.data(), made.data, sizeof found);
  const float step = largest / 127.5F;
  EXPECT_EQ(found, (std::array<float, 4>{127 * step, -128 * step, 17 * step, 0}));

  expect_named("int8-weights", "in the layers", {WeightChange::Kind::kInt8}, {});
  expect_named("int8-weights", "in the layers, scales of largest / 127.5",
               {WeightChange::Kind::kInt8Wide}, {});
}

// As in vLLM and torchao: both operands of the layers' matmuls in 8 bits.
TEST(Search, NamesWeightsAndActivationsIn8Bits) {
  using Kind = WeightChange::Kind;
  expect_named("int8-weights", "in the layers; activations in 8 bits per token", {Kind::kInt8},
               OperandType::kI8Row);
  expect_named("fp8-weights", "in the layers, a scale per row; activations in FP8 per token",
               {Kind::kFp8Row}, OperandType::kF8Row);
  expect_named("fp8-weights", "in the layers, a scale per tensor; activations in FP8 per tensor",
               {Kind::kFp8Tensor}, OperandType::kF8Tensor);
  expect_named("fp8-weights", "in the layers, a scale per tensor", {Kind::kFp8Tensor}, {});
}

// Norms that were moved are not available for a second mistake.
TEST(Search, PutsNoMistakeOnAnotherThatLeavesItNoPlace) {
  const Model model = load_model(checkpoint(config_of_type("olmo2")));
  const auto& entry = *std::ranges::find(catalog(), "norm-place", &Entry::id);
  const Circumstances at{.spec = model.spec, .program = model.program};
  Hypothesis moved{model.program};
  variants_of(entry, at).back().apply(moved);
  ASSERT_TRUE(is_possible(moved, model.spec, model.program));
  for (const Variant& again : variants_of(entry, at)) {
    Hypothesis twice = moved;
    again.apply(twice);
    EXPECT_EQ(twice, moved) << again.detail;
  }
  ThreadPool pool(1);
  std::vector<Evidence> all;
  all.push_back(own_run(
      model, moved, some_ids(kTokens, model.spec.vocab_size),
      [](Tap tap, std::int64_t) { return tap == Tap::kLayerOutput || tap == Tap::kLogits; }, pool));
  // An additional error, so that the search continues.
  for (float& x : all[0].sites.back().values) x = -x;
  const Scene scene(model, std::move(all), pool);
  const SearchResult result = search(scene, false, {});
  ASSERT_FALSE(result.culprits.empty());
  EXPECT_EQ(result.culprits[0].suspect.entry->id, "norm-place");
}

TEST(Search, SaysWhatWouldTellTwoApart) {
  const Model model = load_model(checkpoint());
  ThreadPool pool(1);
  std::vector<Evidence> all;
  all.push_back(run_with(model, {model.program}, pool));
  const Scene scene(model, std::move(all), pool);
  Hypothesis backwards{model.program};
  change_layers<OddRotate>(backwards.program, [](OddRotate& r) { r.backwards = true; });
  Hypothesis exchanged{model.program};
  change_layers<OddRotate>(exchanged.program, [](OddRotate& r) { r.exchanged = true; });
  EXPECT_EQ(scene.separate(backwards, exchanged, 2), "dump layer_02_q_rope to tell them apart");
  EXPECT_EQ(scene.separate(backwards, backwards, 2),
            "they compute the same: no dump tells them apart");
  Hypothesis window{model.program};
  change_attention(window.program, [](OddAttention& a) { a.scores.window = 100; });
  EXPECT_EQ(scene.separate(window, {model.program}, 2),
            "a prompt of 256 tokens tells them apart, at layer_02_attn_scores");
}

}  // namespace
}  // namespace assay
