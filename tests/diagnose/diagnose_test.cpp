// Every mistake of the catalog, made by our own forward pass and named again; and the forward pass
// that makes them, held against the one that extraction uses.
#include "assay/diagnose.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "assay/error.h"
#include "assay/npz.h"
#include "assay/synth.h"
#include "base/temporary_directory.h"
#include "diagnose/catalog.h"
#include "diagnose/replay.h"
#include "diagnose/scene.h"
#include "diagnose/search.h"
#include "diagnose/text_mistakes.h"
#include "model/forward.h"

namespace assay {
namespace {

// 12 layers, so that their names sort differently as text; a head of its own.
constexpr std::string_view kConfig = R"({
  "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "head_dim": 16,
  "hidden_act": "silu", "hidden_size": 48, "initializer_range": 0.08, "intermediate_size": 96,
  "max_position_embeddings": 512, "model_type": "qwen3", "num_attention_heads": 4,
  "num_hidden_layers": 12, "num_key_value_heads": 2, "rms_norm_eps": 1e-4, "rope_scaling": null,
  "rope_theta": 1000000, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
  "use_sliding_window": false, "vocab_size": 300})";

const std::filesystem::path& checkpoint() {
  static const TemporaryDirectory directory;
  static const bool made = [] {
    write_text(directory / "config.json", std::string(kConfig));
    SynthOptions options;
    options.config = directory / "config.json";
    options.out = directory / "model";
    options.seed = 4;
    synthesize(options);
    return true;
  }();
  static const std::filesystem::path path = made ? directory / "model" : "";
  return path;
}

std::vector<std::int64_t> some_ids(std::int64_t count) {
  std::vector<std::int64_t> ids;
  for (std::int64_t i = 0; i < count; ++i) ids.push_back((i * 7919 + 13) % 300);
  return ids;
}

constexpr std::int64_t kTokens = 24;

Evidence run_with(const Model& model, const Hypothesis& hypothesis, ThreadPool& pool) {
  return own_run(
      model, hypothesis, some_ids(kTokens), [](Tap, std::int64_t) { return true; }, pool);
}

// What extraction records, as evidence.
template <class N>
Evidence extracted(const Model& model, ThreadPool& pool) {
  Evidence evidence;
  evidence.ids = some_ids(kTokens);
  ForwardPass<N> forward(model, pool);
  TapSet taps(model.spec);
  taps.add("*");
  Recorder recorder(model.spec, taps, kTokens);
  KvCache<N> cache(model.spec, kTokens);
  const Chunk<N> chunk{evidence.ids, &cache, &recorder};
  forward.run({&chunk, 1});
  for (const Array& array : recorder.take()) {
    Site site;
    site.place = parse_tap_name(array.name).value();
    site.name = array.name;
    site.rows = site.is_attention() ? static_cast<std::size_t>(model.spec.num_attention_heads)
                                    : evidence.ids.size();
    const auto values = array.as<float>();
    site.values.assign(values.begin(), values.end());
    site.width = site.values.size() / site.rows;
    evidence.sites.push_back(std::move(site));
  }
  return evidence;
}

TEST(Replay, OfTheRightModelHasTheBitsOfExtraction) {
  const Model model = load_model(checkpoint());
  ThreadPool pool(2);
  ReplayOptions options;
  for (std::int64_t l = 0; l < 12; ++l) options.layers.push_back(l);
  for (const bool forced : {true, false}) {
    options.forced = forced;
    for (const Rounding rounding : {Rounding::kBf16, Rounding::kF32}) {
      const Evidence evidence =
          rounding == Rounding::kBf16 ? extracted<Bf16>(model, pool) : extracted<F32>(model, pool);
      const ReplayResult result = replay(model, {model.spec}, evidence, rounding, options, pool);
      for (std::size_t i = 0; i < result.sites.size(); ++i) {
        EXPECT_TRUE(result.sites[i].seen) << evidence.sites[i].name;
        EXPECT_EQ(result.sites[i].error, 0) << evidence.sites[i].name;
        EXPECT_EQ(result.sites[i].exact, 1) << evidence.sites[i].name;
      }
    }
  }
}

// With its first layer's input from the candidate, layer 5 alone is what it is in a whole run.
TEST(Replay, RunsSomeOfTheLayers) {
  const Model model = load_model(checkpoint());
  ThreadPool pool(1);
  const Evidence evidence = extracted<Bf16>(model, pool);
  ReplayOptions options;
  options.layers = {5};
  options.head = false;
  const ReplayResult result = replay(model, {model.spec}, evidence, Rounding::kBf16, options, pool);
  for (std::size_t i = 0; i < result.sites.size(); ++i) {
    const TapPlace& place = evidence.sites[i].place;
    EXPECT_EQ(result.sites[i].seen, place.layer == 5 || place.tap == Tap::kEmbeddingOutput);
    EXPECT_EQ(result.sites[i].error, 0) << evidence.sites[i].name;
  }
}

TEST(Catalog, HasWordsForEverything) {
  const std::vector<Mistake> mistakes = known_mistakes();
  EXPECT_GE(mistakes.size(), 45u);
  std::set<std::string> ids;
  for (const Mistake& m : mistakes) {
    EXPECT_TRUE(ids.insert(m.id).second) << m.id;
    EXPECT_FALSE(m.name.empty() || m.explanation.empty() || m.look_at.empty()) << m.id;
    EXPECT_TRUE(m.explanation.ends_with('.')) << m.id;
  }
}

// Those that stay within rounding here: the test holds that it is so.
bool cannot_show(std::string_view id) {
  return id == "fp16-weights" ||  // no weight is that small
         id == "final-softcap";   // nor any logit that large
}

class EveryMistake : public testing::TestWithParam<std::size_t> {};

TEST_P(EveryMistake, OfOurOwnIsNamed) {
  const Entry& entry = catalog()[GetParam()];
  const Model model = load_model(checkpoint());
  ThreadPool pool(1);
  const Circumstances at{.spec = model.spec,
                         .tied_head = false,
                         .positions = kTokens,
                         .first_bad_position = kTokens / 2,
                         .bad_layers = {3}};
  const std::vector<Variant> variants = entry.variants(at);
  ASSERT_EQ(variants.empty(), entry.id == "qk-swapped");  // other sizes: it cannot be made
  if (variants.empty()) return;
  Hypothesis wrong{model.spec};
  variants.front().apply(wrong);
  Evidence evidence = run_with(model, wrong, pool);
  evidence.id = "p";
  std::vector<Evidence> all;
  all.push_back(std::move(evidence));
  const Scene scene(model, std::move(all), pool);
  const SearchResult result = search(scene, false, {});
  // What changes no bit is no mistake here, and nothing may be named.
  const ReplayResult right = scene.look({model.spec}, 0);
  if (cannot_show(entry.id)) {
    EXPECT_TRUE(result.culprits.empty());
    for (std::size_t i = 0; i < right.sites.size(); ++i) {
      EXPECT_LE(right.sites[i].error, scene.noise(0, i)) << scene.evidence()[0].sites[i].name;
    }
    return;
  }
  ASSERT_FALSE(result.culprits.empty());
  std::set<std::string_view> names = {result.culprits[0].suspect.entry->id};
  for (const Suspect& other : result.culprits[0].alternatives) names.insert(other.entry->id);
  EXPECT_TRUE(names.contains(entry.id)) << "named: " << *names.begin();
}

INSTANTIATE_TEST_SUITE_P(Catalog, EveryMistake, testing::Range<std::size_t>(0, catalog().size()),
                         [](const testing::TestParamInfo<std::size_t>& param) {
                           std::string name(catalog()[param.param].id);
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

TEST(Search, FindsNothingInARightRun) {
  const Model model = load_model(checkpoint());
  ThreadPool pool(1);
  std::vector<Evidence> all;
  all.push_back(run_with(model, {model.spec}, pool));
  const Scene scene(model, std::move(all), pool);
  EXPECT_TRUE(search(scene, false, {}).culprits.empty());
}

TEST(Search, SaysWhatWouldTellTwoApart) {
  const Model model = load_model(checkpoint());
  ThreadPool pool(1);
  std::vector<Evidence> all;
  all.push_back(run_with(model, {model.spec}, pool));
  const Scene scene(model, std::move(all), pool);
  Hypothesis backwards{model.spec};
  backwards.spec.rope.backwards = true;
  Hypothesis exchanged{model.spec};
  exchanged.spec.rope.exchanged = true;
  EXPECT_EQ(scene.separate(backwards, exchanged, 2), "dump layer_02_q_rope to tell them apart");
  EXPECT_EQ(scene.separate(backwards, backwards, 2),
            "they compute the same: no dump tells them apart");
  Hypothesis window{model.spec};
  window.spec.attention.window = 100;
  EXPECT_EQ(scene.separate(window, {model.spec}, 2),
            "a prompt of 256 tokens tells them apart, at layer_02_attn_scores");
}

// Damaged and hostile input: an error that names what is wrong, never a crash.
TEST(Diagnose, RefusesWhatItCannotRead) {
  const TemporaryDirectory directory;
  DiagnoseOptions options;
  options.model = checkpoint();
  options.candidate = directory / "c.npz";
  const auto with = [&](std::vector<std::int64_t> ids, std::vector<float> logits, Shape shape) {
    const Shape id_shape = {1, std::ssize(ids)};
    const std::vector<ArrayView> arrays = {
        {"input_ids", DType::kI64, id_shape, std::as_bytes(std::span(ids)), false},
        {"logits", DType::kF32, std::move(shape), std::as_bytes(std::span(logits)), false}};
    write_npz(options.candidate, arrays);
    return diagnose(options);
  };
  EXPECT_THROW(diagnose(options), Error);  // no such file
  EXPECT_THROW(with({1, 2}, std::vector<float>(10), {1, 2, 5}), Error);
  EXPECT_THROW(with({1, 300}, std::vector<float>(600), {1, 2, 300}), Error);
  EXPECT_THROW(with({-1, 2}, std::vector<float>(600), {1, 2, 300}), Error);
  EXPECT_THROW(with({}, std::vector<float>(300), {1, 1, 300}), Error);
  // All NaN, and all zero: wrong, and no reason to crash.
  const Diagnosis nan = with({1, 2}, std::vector<float>(600, NAN), {1, 2, 300});
  EXPECT_EQ(nan.verdict, DiagnosisVerdict::kUnexplained);
  const Diagnosis zero = with({1, 2}, std::vector<float>(600, 0), {1, 2, 300});
  EXPECT_NE(zero.verdict, DiagnosisVerdict::kCorrect);
}

TEST(BlindSpots, DependOnThePrompt) {
  const auto seen = [&](std::int64_t tokens) {
    std::vector<Prompt> prompts = {{"p", std::nullopt, some_ids(tokens)}};
    std::set<std::string> ids;
    for (const BlindSpot& spot : find_blind_spots(checkpoint(), prompts)) {
      if (!spot.is_blind()) ids.insert(spot.id);
    }
    return ids;
  };
  const std::set<std::string> one = seen(1);
  const std::set<std::string> some = seen(12);
  const std::set<std::string> many = seen(140);
  EXPECT_TRUE(one.contains("gate-up-swap"));
  EXPECT_FALSE(one.contains("rope-interleaved"));
  EXPECT_TRUE(some.contains("rope-interleaved"));
  EXPECT_FALSE(some.contains("sliding-window"));
  EXPECT_TRUE(many.contains("sliding-window"));
}

}  // namespace
}  // namespace assay
