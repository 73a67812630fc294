// Results are bit-identical whatever the threads, the batch, the chunks or the instruction set.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>

#include "model/executor.h"
#include "model/families.h"
#include "model/generate.h"
#include "model/recorder.h"
#include "model/synth.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

// A random checkpoint whose sizes are not multiples of anything, so every loop has a tail.
class OddModel {
 public:
  explicit OddModel(DType dtype, const nlohmann::json& shape, bool stream = false) {
    directory_ =
        fs::path(testing::TempDir()) /
        ("assay-odd-" + std::to_string(static_cast<int>(dtype)) + "-" + std::to_string(::getpid()));
    fs::create_directories(directory_);
    const fs::path config = directory_ / "shape.json";
    std::ofstream(config) << shape.dump();
    SynthOptions options;
    options.config = config;
    options.out = directory_;
    options.seed = 7;
    options.dtype = dtype;
    synthesize(options);
    model_ = std::make_unique<Model>(load_model(directory_, stream));
  }
  ~OddModel() { fs::remove_all(directory_); }
  const Model& get() const { return *model_; }

 private:
  fs::path directory_;
  std::unique_ptr<Model> model_;
};

const Model& bundled() {
  static const Model model = load_model(ASSAY_ROOT "/models/tiny-qwen3");
  return model;
}

std::vector<std::int64_t> some_ids(std::size_t count, std::int64_t vocab, std::int64_t seed) {
  std::vector<std::int64_t> ids(count);
  for (std::size_t i = 0; i < count; ++i) {
    seed = (seed * 48271) % 2147483647;
    ids[i] = seed % vocab;
  }
  return ids;
}

TapSet all_taps(const ModelSpec& spec) {
  TapSet taps(spec);
  taps.add("*");
  return taps;
}

void expect_same(const std::vector<Array>& expected, const std::vector<Array>& found,
                 const std::string& what) {
  ASSERT_EQ(expected.size(), found.size()) << what;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(expected[i].name, found[i].name) << what;
    ASSERT_EQ(expected[i].bytes, found[i].bytes) << what << ": " << expected[i].name;
  }
}

template <class N>
struct ForwardTest : testing::Test {
  using State = SequenceState<N>;

  // All taps of the ids, run in pieces of these lengths.
  static std::vector<Array> record(const Model& model, const std::vector<std::int64_t>& ids,
                                   const std::vector<std::size_t>& pieces, int threads) {
    ThreadPool pool(threads);
    Executor<N> executor(model, pool);
    State sequence(model.program, ids.size());
    Recorder<typename N::Real> recorder(model.spec, all_taps(model.spec),
                                        static_cast<std::int64_t>(ids.size()), DType::kF64);
    std::span<const std::int64_t> rest = ids;
    for (const std::size_t piece : pieces) {
      const Chunk<N> chunk{rest.first(piece), &sequence, &recorder};
      executor.run({&chunk, 1});
      rest = rest.subspan(piece);
    }
    EXPECT_TRUE(rest.empty());
    return recorder.take();
  }

  static void check_model(const Model& model) {
    constexpr std::size_t kTokens = 37;
    const auto ids = some_ids(kTokens, model.spec.vocab_size, 11);
    const auto whole = record(model, ids, {kTokens}, 1);
    std::size_t taps = 3;
    for (std::int64_t l = 0; l < model.spec.num_hidden_layers; ++l) {
      for (int t = 0; t < kTapCount; ++t) {
        const Tap tap = static_cast<Tap>(t);
        taps += is_layer_tap(tap) && has_tap(tap, l, model.spec) ? 1 : 0;
      }
    }
    ASSERT_EQ(whole.size(), taps);
    for (const int threads : {2, 3, 7}) {
      expect_same(whole, record(model, ids, {kTokens}, threads),
                  std::to_string(threads) + " threads");
    }
    expect_same(whole, record(model, ids, {5, 1, 20, 11}, 2), "prefill in chunks");
    expect_same(whole, record(model, ids, std::vector<std::size_t>(kTokens, 1), 2),
                "token by token");
    for (const Simd simd : supported_simd()) {
      ::setenv("ASSAY_SIMD", std::string(simd_name(simd)).c_str(), 1);
      expect_same(whole, record(model, ids, {30, 7}, 3), std::string(simd_name(simd)));
    }
    ::unsetenv("ASSAY_SIMD");
  }
};

using AllNumerics = testing::Types<Bf16, F32, F64>;
TYPED_TEST_SUITE(ForwardTest, AllNumerics);

TYPED_TEST(ForwardTest, BundledModelGivesTheSameBitsHoweverItIsRun) {
  this->check_model(bundled());
}

TYPED_TEST(ForwardTest, OddSizesGiveTheSameBitsHoweverTheyAreRun) {
  for (const auto& [name, config] : family_configs()) {
    SCOPED_TRACE(name);
    this->check_model(OddModel(DType::kBF16, config).get());
  }
  for (const DType dtype : {DType::kF16, DType::kF32}) {
    this->check_model(OddModel(dtype, family_configs().front().second).get());
  }
}

TYPED_TEST(ForwardTest, StreamedWeightsGiveTheSameBits) {
  for (const auto& [name, config] : family_configs()) {
    SCOPED_TRACE(name);
    // Its experts are streamed only in MXFP4: GptOss.RunsFromMxfp4InPlaceAndStreamed.
    if (config["model_type"] == "gpt_oss") continue;
    const auto ids = some_ids(30, 101, 5);
    const OddModel mapped(DType::kBF16, config);
    const auto expected = this->record(mapped.get(), ids, {30}, 2);
    const OddModel streamed(DType::kBF16, config, true);
    ASSERT_NE(streamed.get().stream, nullptr);
    // With few tokens, some of an MoE's experts have none.
    expect_same(expected, this->record(streamed.get(), ids, {26, 2, 1, 1}, 2), "streamed");
  }
}

// A state of fixed size holds only the newest position.
TYPED_TEST(ForwardTest, RecurrentStatesGoBackOnlyToTheBeginning) {
  for (const auto& [name, config] : family_configs()) {
    if (!config.contains("linear_num_key_heads")) continue;
    SCOPED_TRACE(name);
    const OddModel made(DType::kBF16, config);
    const Model& model = made.get();
    const auto ids = some_ids(6, 101, 3);
    ThreadPool pool(1);
    Executor<TypeParam> executor(model, pool);
    typename TestFixture::State sequence(model.program, ids.size());
    const auto run = [&](std::span<const std::int64_t> some) {
      const Chunk<TypeParam> chunk{some, &sequence};
      const auto logits = executor.run({&chunk, 1});
      return std::vector(logits.begin(), logits.end());
    };
    const auto first = run(ids);
    EXPECT_THROW(sequence.rewind(3), std::logic_error);
    sequence.rewind(0);
    EXPECT_EQ(run(ids), first);
    // The layers alone, without advance(), may also begin again only at the beginning.
    sequence.rewind(0);
    run(std::span(ids).first(4));
    const Chunk<TypeParam> rest{std::span(ids).last(2), &sequence};
    executor.start({&rest, 1});
    executor.layer(0);
    EXPECT_THROW(executor.layer(0), std::logic_error);
  }
}

// A sliding layer's query sees what a mask over all keys would leave.
TYPED_TEST(ForwardTest, AWindowHidesWhatIsFurtherBack) {
  for (const auto& [name, config] : family_configs()) {
    const OddModel made(DType::kBF16, config);
    const ModelSpec& spec = made.get().spec;
    const auto arrays = this->record(made.get(), some_ids(20, 101, 9), {20}, 1);
    for (const Array& array : arrays) {
      if (!array.name.ends_with("_attn_probs")) continue;
      const std::int64_t layer = std::stoi(array.name.substr(6, 2));
      const auto probs = array.as<double>();
      for (std::int64_t h = 0; h < 6; ++h) {
        for (std::int64_t p = 0; p < 20; ++p) {
          double sum = 0;
          for (std::int64_t j = 0; j < 20; ++j) {
            const double value = probs[static_cast<std::size_t>((h * 20 + p) * 20 + j)];
            const bool hidden = j > p || (spec.is_sliding(layer) && j <= p - spec.attention.window);
            if (hidden) {
              ASSERT_EQ(value, 0) << name << " " << array.name << " " << p << " " << j;
            }
            sum += value;
          }
          if (spec.attention.sinks) {
            ASSERT_LT(sum, 1);
          } else {
            ASSERT_NEAR(sum, 1, 0.02);
          }
        }
      }
    }
  }
}

TYPED_TEST(ForwardTest, ABatchEqualsEachPromptAlone) {
  const Model& model = bundled();
  std::vector<std::vector<std::int64_t>> prompts;
  for (const std::size_t length : {1, 9, 4, 17, 2}) {
    prompts.push_back(some_ids(length, 2500, static_cast<std::int64_t>(length)));
  }
  ThreadPool pool(2);
  Executor<TypeParam> executor(model, pool);

  // In one step, each with its own recorder.
  std::vector<typename TestFixture::State> sequences;
  std::vector<Recorder<typename TypeParam::Real>> recorders;
  std::vector<Chunk<TypeParam>> chunks;
  sequences.reserve(prompts.size());
  recorders.reserve(prompts.size());
  for (const auto& ids : prompts) {
    sequences.emplace_back(model.program, ids.size());
    recorders.emplace_back(model.spec, all_taps(model.spec), static_cast<std::int64_t>(ids.size()),
                           DType::kF64);
    chunks.push_back({ids, &sequences.back(), &recorders.back()});
  }
  executor.run(chunks);
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    expect_same(this->record(model, prompts[p], {prompts[p].size()}, 1), recorders[p].take(),
                "prompt " + std::to_string(p));
  }

  // And through generation, where sequences leave the batch one by one.
  std::vector<GenerateRequest<TypeParam>> requests;
  for (const auto& ids : prompts) requests.push_back({ids, nullptr});
  const auto together =
      generate_greedy<TypeParam>(executor, model, requests, 12, model.eos_token_ids);
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    const auto alone =
        generate_greedy<TypeParam>(executor, model, {&requests[p], 1}, 12, model.eos_token_ids);
    EXPECT_EQ(together[p].ids, alone[0].ids);
    EXPECT_EQ(together[p].stopped_by_eos, alone[0].stopped_by_eos);
  }
}

// The next token's logits do not depend on whether its history was prefilled or decoded.
TYPED_TEST(ForwardTest, LogitsOfTheLastTokenAreTheRecordedOnes) {
  const Model& model = bundled();
  const auto ids = some_ids(9, 2500, 3);
  ThreadPool pool(2);
  Executor<TypeParam> executor(model, pool);
  typename TestFixture::State sequence(model.program, ids.size());
  Recorder<typename TypeParam::Real> recorder(model.spec, TapSet::classic(model.spec), 9,
                                              DType::kF64);
  const Chunk<TypeParam> chunk{ids, &sequence, &recorder};
  const auto logits = executor.run({&chunk, 1});
  const std::vector<Array> arrays = recorder.take();
  const auto recorded =
      arrays.back().as<double>().last(static_cast<std::size_t>(model.spec.vocab_size));
  EXPECT_TRUE(std::ranges::equal(logits, recorded));
}

TEST(Generate, StopsAfterAnEosIdAndAtTheLimit) {
  const Model& model = bundled();
  ThreadPool pool(1);
  Executor<Bf16> executor(model, pool);
  const std::vector<std::int64_t> ids = {378};
  const GenerateRequest<Bf16> request{ids};
  const auto whole = generate_greedy<Bf16>(executor, model, {&request, 1}, 8, {});
  ASSERT_EQ(whole[0].ids.size(), 9u);
  EXPECT_FALSE(whole[0].stopped_by_eos);
  const std::vector<std::int64_t> eos = {whole[0].ids[4]};
  const auto first = std::ranges::find(whole[0].ids.begin() + 1, whole[0].ids.end(), eos[0]);
  const auto stopped = generate_greedy<Bf16>(executor, model, {&request, 1}, 8, eos);
  EXPECT_TRUE(stopped[0].stopped_by_eos);
  EXPECT_EQ(stopped[0].ids, std::vector<std::int64_t>(whole[0].ids.begin(), first + 1));
  EXPECT_EQ(generate_greedy<Bf16>(executor, model, {&request, 1}, 0, {})[0].ids, ids);
}

TEST(Argmax, TakesTheFirstOfEqualsAndNanAboveAll) {
  const std::vector<float> ties = {1.0F, 3.0F, 3.0F, -1.0F};
  EXPECT_EQ(argmax(std::span<const float>(ties)), 1);
  const std::vector<float> nan = {1.0F, 3.0F, std::numeric_limits<float>::quiet_NaN(), 4.0F};
  EXPECT_EQ(argmax(std::span<const float>(nan)), 2);
}

}  // namespace
}  // namespace assay
