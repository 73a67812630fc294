// Every mistake of the catalog, made with our own forward pass and named again; and that forward
// pass compared with the one that extraction uses.
#include "assay/diagnose.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <set>

#include "assay/error.h"
#include "assay/npz.h"
#include "base/temporary_directory.h"
#include "diagnose/carried_out.h"
#include "diagnose/catalog.h"
#include "diagnose/replay.h"
#include "diagnose/rewrites.h"
#include "diagnose/scene.h"
#include "diagnose/search.h"
#include "diagnose/text_mistakes.h"
#include "diagnose/tried_models.h"
#include "model/executor.h"
#include "model/families.h"
#include "model/read_spec.h"
#include "model/recorder.h"
#include "model/synth.h"

namespace assay {
namespace {

// What extraction records, as evidence.
template <class N>
Evidence extracted(const Model& model, ThreadPool& pool) {
  Evidence evidence;
  evidence.ids = some_ids(kTokens, model.spec.vocab_size);
  Executor<N> executor(model, pool);
  TapSet taps(model.spec);
  taps.add("*");
  Recorder<typename N::Real> recorder(model.spec, taps, kTokens);
  SequenceState<N> sequence(model.program, kTokens);
  const Chunk<N> chunk{evidence.ids, &sequence, &recorder};
  executor.run({&chunk, 1});
  for (const Array& array : recorder.take()) {
    Site site;
    site.place = parse_tap_name(array.name).value();
    site.name = array.name;
    site.rows = site.is_attention() ? static_cast<std::size_t>(model.spec.num_attention_heads)
                                    : evidence.ids.size();
    if (array.dtype == DType::kI64) {
      for (const std::int64_t id : array.as<std::int64_t>()) {
        site.values.push_back(static_cast<float>(id));
      }
    } else {
      const auto values = array.as<float>();
      site.values.assign(values.begin(), values.end());
    }
    site.width = site.values.size() / site.rows;
    evidence.sites.push_back(std::move(site));
  }
  return evidence;
}

TEST(Replay, OfTheRightModelHasTheBitsOfExtraction) {
  ThreadPool pool(2);
  for (std::size_t m = 0; m < configs().size(); ++m) {
    SCOPED_TRACE(configs()[m].first);
    const Model model = load_model(checkpoint(m));
    ReplayOptions options;
    for (std::int64_t l = 0; l < model.spec.num_hidden_layers; ++l) options.layers.push_back(l);
    for (const bool forced : {true, false}) {
      options.forced = forced;
      for (const Rounding rounding : {Rounding::kBf16, Rounding::kF32}) {
        const Evidence evidence = rounding == Rounding::kBf16 ? extracted<Bf16>(model, pool)
                                                              : extracted<F32>(model, pool);
        const ReplayResult result =
            replay(model, {model.program}, evidence, rounding, options, pool);
        for (std::size_t i = 0; i < result.sites.size(); ++i) {
          EXPECT_TRUE(result.sites[i].seen) << evidence.sites[i].name;
          EXPECT_EQ(result.sites[i].error, 0) << evidence.sites[i].name;
          EXPECT_EQ(result.sites[i].exact, 1) << evidence.sites[i].name;
        }
      }
    }
  }
}

// With its input from the candidate, layer 5 by itself is the same as in a whole run.
TEST(Replay, RunsSomeOfTheLayers) {
  const Model model = load_model(checkpoint());
  ThreadPool pool(1);
  const Evidence evidence = extracted<Bf16>(model, pool);
  ReplayOptions options;
  options.layers = {5};
  options.head = false;
  const ReplayResult result =
      replay(model, {model.program}, evidence, Rounding::kBf16, options, pool);
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

// Mistakes that stay within rounding in the model with twelve layers, which the test verifies.
bool cannot_show(std::string_view id) {
  return id == "fp16-weights" ||  // no weight is that small
         id == "final-softcap";   // nor is any logit that large
}

// Variants that are read off a candidate's arrays are listed only in a survey.
std::vector<Variant> variants_in(const Entry& entry, const ModelSpec& spec) {
  const Program program = program_of(spec);
  Circumstances at = circumstances(spec, program);
  std::vector<Variant> all = variants_of(entry, at);
  if (!all.empty()) return all;
  at.survey = true;
  return variants_of(entry, at);
}

struct Case {
  std::size_t entry;
  std::size_t model;
  friend void PrintTo(const Case& c, std::ostream* out) {
    *out << catalog()[c.entry].id << " in " << configs()[c.model].first;
  }
};

// Every mistake in the first model that can have it, and in one model of the other types, in turn.
std::vector<Case> cases() {
  std::vector<ModelSpec> specs;
  for (const auto& [name, config] : configs()) {
    specs.push_back(read_spec_config(JsonObject(name, OrderedJson(config))));
  }
  std::vector<Case> all;
  for (std::size_t e = 0; e < catalog().size(); ++e) {
    const auto can_have = [&](std::size_t m) {
      return !variants_in(catalog()[e], specs[m]).empty();
    };
    std::size_t m = 0;
    while (m < specs.size() && !can_have(m)) ++m;
    if (m == specs.size()) continue;
    all.push_back({e, m});
    for (std::size_t i = 0; i < specs.size(); ++i) {
      const std::size_t other = (e + i) % specs.size();
      if (other <= m || !can_have(other)) continue;
      all.push_back({e, other});
      break;
    }
  }
  return all;
}

TEST(Catalog, NoMistakeIsImpossibleEverywhere) {
  std::set<std::size_t> entries;
  for (const Case& c : cases()) entries.insert(c.entry);
  for (std::size_t e = 0; e < catalog().size(); ++e) {
    const std::string_view id = catalog()[e].id;
    // Other sizes; found without a hypothesis; the row of a token that the prompt has.
    const bool never = id == "qk-swapped" || id == "computed-coarsely" || id == "embed-rows";
    EXPECT_EQ(entries.contains(e), !never) << id;
  }
}

class EveryMistake : public testing::TestWithParam<Case> {};

TEST_P(EveryMistake, OfOurOwnIsNamed) {
  const Entry& entry = catalog()[GetParam().entry];
  const Model model = load_model(checkpoint(GetParam().model));
  ThreadPool pool(1);
  const std::vector<Variant> variants = variants_in(entry, model.spec);
  Hypothesis wrong{model.program};
  variants.front().apply(wrong);
  // A coarser type than the engine's own shows only in an FP32 engine.
  Circumstances fine = circumstances(model.spec, model.program);
  fine.loose = false;
  const bool coarse = variants_of(entry, fine).empty();
  Evidence evidence = run_with(model, wrong, pool, coarse ? Rounding::kF32 : Rounding::kBf16);
  evidence.id = "p";
  std::vector<Evidence> all;
  all.push_back(std::move(evidence));
  const Scene scene(model, std::move(all), pool);
  const SearchResult result = search(scene, false, {});
  const ReplayResult right = scene.look({model.program}, 0);
  double most = 0;
  for (std::size_t i = 0; i < right.sites.size(); ++i) {
    most = std::max(most, right.sites[i].error / scene.noise(0, i));
  }
  if (GetParam().model == 0 && cannot_show(entry.id)) {
    EXPECT_TRUE(result.culprits.empty());
    EXPECT_LE(most, 1);
    return;
  }
  if (result.culprits.empty()) {
    // In a model of other sizes it may stay within rounding.
    EXPECT_NE(GetParam().model, 0U);
    EXPECT_LE(most, kBeyondNoise) << variants.front().detail;
    return;
  }
  std::set<std::string_view> names = {result.culprits[0].suspect.entry->id};
  for (const Suspect& other : result.culprits[0].alternatives) names.insert(other.entry->id);
  EXPECT_TRUE(names.contains(entry.id)) << "named: " << *names.begin();
}

INSTANTIATE_TEST_SUITE_P(Catalog, EveryMistake, testing::ValuesIn(cases()),
                         [](const testing::TestParamInfo<Case>& param) {
                           std::string name(catalog()[param.param.entry].id);
                           name += "_in_" + configs()[param.param.model].first;
                           for (char& c : name) c = c == '-' || c == ' ' ? '_' : c;
                           return name;
                         });

// Experts with equal logits in any order are right; other experts, one chosen twice, or invalid ids
// are an error.
TEST(Replay, TakesAnyChoiceAmongEqualExperts) {
  const Model model = load_model(checkpoint(config_of_type("qwen3_moe")));
  ThreadPool pool(1);
  const Evidence own = run_with(model, {model.program}, pool);
  const std::int64_t layer = model.spec.is_sparse(0) ? 0 : 1;
  ReplayOptions options;
  options.layers = {layer};
  options.head = false;
  const auto i = static_cast<std::size_t>(own.index_of(Tap::kExpertIds, layer));
  const auto logits = static_cast<std::size_t>(own.index_of(Tap::kRouterLogits, layer));
  const auto error = [&](const Evidence& evidence) {
    const Rounding rounding = Rounding::kBf16;
    return replay(model, {model.program}, evidence, rounding, options, pool).sites[i].error;
  };
  const auto experts = static_cast<std::size_t>(model.spec.moe.num_experts);
  std::vector<float> of_token(&own.sites[logits].values[0], &own.sites[logits].values[experts]);
  const auto least = static_cast<float>(std::ranges::min_element(of_token) - of_token.begin());
  const float first = own.sites[i].values[0];
  ASSERT_GE(own.sites[i].width, 2U);
  ASSERT_NE(least, first);

  Evidence other = own;
  std::swap(other.sites[i].values[0], other.sites[i].values[1]);
  EXPECT_EQ(error(other), 0);
  for (const float wrong : {least, own.sites[i].values[1], -1.0F, static_cast<float>(experts),
                            std::numeric_limits<float>::quiet_NaN()}) {
    other = own;
    other.sites[i].values[0] = wrong;
    EXPECT_GT(error(other), 0) << wrong;
  }
  // The last of them against an equally good one.
  other = own;
  const std::size_t last = own.sites[i].width - 1;
  other.sites[i].values[last] = least;
  other.sites[logits].values[static_cast<std::size_t>(least)] =
      own.sites[logits].values[static_cast<std::size_t>(own.sites[i].values[last])];
  EXPECT_EQ(error(other), 0) << "equal logits";
}

// Buffers follow a changed number of experts, whatever was changed before.
TEST(Rewrites, OfExpertsGoTogether) {
  const Model model = load_model(checkpoint(config_of_type("qwen3_moe")));
  ThreadPool pool(1);
  for (const std::int64_t count : {std::int64_t{1}, model.spec.moe.num_experts}) {
    Hypothesis wrong{model.program};
    shift_experts(wrong.program, 1);
    change_layers<OddSum>(wrong.program, [](OddSum& sum) { sum.used = 2; });
    set_experts_per_token(wrong.program, count);
    for (const Block& layer : wrong.program.layers) {
      for (const Step& step : layer.steps) {
        if (!std::holds_alternative<ExpertLinear>(step.operation)) continue;
        EXPECT_EQ(layer.values[step.reads[1]].shape, std::vector{count});
      }
    }
    EXPECT_FALSE(run_with(model, wrong, pool).sites.empty());
  }
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

// Whatever a mistake inserts or replaces, each step of the program finds its tensors.
TEST(Catalog, EveryVariantHasTheWeightsOfItsSteps) {
  for (std::size_t m = 0; m < configs().size(); ++m) {
    Model model = load_model(checkpoint(m));
    model.stream.reset();
    Circumstances at{.spec = model.spec, .program = model.program};
    at.tied_head = is_tied(model);
    at.rounds_to_bf16 = false;
    at.loose = true;
    at.positions = kTokens;
    at.bad_layers = {0, 1};
    for (const Entry& entry : catalog()) {
      for (const Variant& variant : variants_of(entry, at)) {
        Hypothesis hypothesis{model.program};
        variant.apply(hypothesis);
        CarriedOut carried_out(model, hypothesis, Store::kOwn, kTokens / 2);
        const auto check = [&](const Block& block, std::int64_t which) {
          const BlockWeights& weights = carried_out.weights(which);
          ASSERT_EQ(weights.size(), block.steps.size()) << entry.id << " " << variant.detail;
          for (std::size_t s = 0; s < weights.size(); ++s) {
            EXPECT_EQ(weights[s].size(), each_tensor(block.steps[s]).size())
                << entry.id << " " << variant.detail << ", step " << s;
          }
        };
        const Program& program = carried_out.program();
        check(program.embedding, Executor<F32>::kEmbedding);
        check(program.layers.front(), 0);
        check(program.head, Executor<F32>::kHead);
      }
    }
  }
}

}  // namespace
}  // namespace assay
