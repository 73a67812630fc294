#include "model/synth.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/expect_error.h"
#include "base/half.h"
#include "base/sha256.h"
#include "base/temporary_directory.h"
#include "formats/safetensors.h"
#include "model/model.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

class Synth : public testing::Test {
 protected:
  SynthOptions options(std::string_view out) const {
    SynthOptions result;
    result.config = ASSAY_ROOT "/models/tiny-qwen3/config.json";
    result.out = directory_ / out;
    result.seed = 42;
    return result;
  }
  static std::string weights_sha256(const SynthOptions& options) {
    return sha256_hex(bytes_of(read_text(options.out / "model.safetensors")));
  }
  TemporaryDirectory directory_;
};

constexpr auto kPinned = "ea31a7308a3fe8be0c5f9c60ec346968f5649d9849a0197df7c0b66a16024120";

// The digest is the same on every machine.
TEST_F(Synth, GivesTheSameBytesEverywhere) {
  SynthOptions made = options("a");
  for (const int threads : {1, 3}) {
    made.threads = threads;
    synthesize(made);
    EXPECT_EQ(weights_sha256(made), kPinned);
  }
  made.seed = 43;
  synthesize(made);
  EXPECT_NE(weights_sha256(made), kPinned);
}

// Qwen3's published models end at two tokens, one more than their config says; Qwen2's do not.
TEST_F(Synth, EndsTextsWhereTheConfigSays) {
  const auto eos = [this](std::string_view model_type, int vocab_size) {
    nlohmann::json config = nlohmann::json::parse(read_text(options("").config));
    config.update({{"model_type", model_type},
                   {"vocab_size", vocab_size},
                   {"num_hidden_layers", 1},
                   {"hidden_size", 8},
                   {"num_attention_heads", 2},
                   {"num_key_value_heads", 1},
                   {"head_dim", 4},
                   {"intermediate_size", 8},
                   {"eos_token_id", 7}});
    SynthOptions made = options("eos");
    made.config = directory_ / "config.json";
    write_text(made.config, config.dump());
    synthesize(made);
    return nlohmann::json::parse(read_text(made.out / "generation_config.json"))["eos_token_id"];
  };
  EXPECT_EQ(eos("qwen3", 151936), nlohmann::json({151645, 151643}));
  EXPECT_EQ(eos("qwen3", 1000), 7);
  EXPECT_EQ(eos("qwen2", 151936), 7);
}

TEST_F(Synth, ShardsHoldTheSameTensors) {
  const SynthOptions whole = options("whole");
  synthesize(whole);
  SynthOptions sharded = options("sharded");
  sharded.shards = 3;
  synthesize(sharded);
  EXPECT_TRUE(fs::exists(sharded.out / "model-00003-of-00003.safetensors"));
  const Weights a = Weights::open(whole.out);
  const Weights b = Weights::open(sharded.out);
  EXPECT_EQ(b.files().size(), 3u);
  ASSERT_EQ(a.tensors().size(), b.tensors().size());
  for (const ArrayView& tensor : a.tensors()) {
    const ArrayView* other = b.find(tensor.name);
    ASSERT_NE(other, nullptr) << tensor.name;
    EXPECT_TRUE(std::ranges::equal(tensor.bytes, other->bytes)) << tensor.name;
  }
}

TEST_F(Synth, LeavesNoWeightsOfTheOtherLayoutBehind) {
  SynthOptions made = options("x");
  synthesize(made);
  made.shards = 2;
  synthesize(made);
  EXPECT_EQ(Weights::open(made.out).files().size(), 2u);
  made.shards = 1;
  synthesize(made);
  EXPECT_EQ(Weights::open(made.out).files().size(), 1u);
}

TEST_F(Synth, DrawsMatricesAroundZeroAndNormWeightsAroundOne) {
  SynthOptions made = options("f32");
  made.dtype = DType::kF32;
  synthesize(made);
  const Weights weights = Weights::open(made.out);
  const auto mean_and_deviation = [&](const char* name) {
    double sum = 0;
    double squares = 0;
    const std::span<const float> values = weights.find(name)->as<float>();
    for (const float x : values) {
      sum += x;
      squares += static_cast<double>(x) * x;
    }
    const double mean = sum / static_cast<double>(values.size());
    return std::pair(mean, std::sqrt(squares / static_cast<double>(values.size()) - mean * mean));
  };
  const auto [mean, deviation] = mean_and_deviation("model.embed_tokens.weight");
  EXPECT_NEAR(mean, 0, 2e-4);
  EXPECT_NEAR(deviation, 0.02, 2e-4);
  const auto [norm_mean, norm_deviation] = mean_and_deviation("model.norm.weight");
  EXPECT_NEAR(norm_mean, 1, 0.05);
  EXPECT_NEAR(norm_deviation, 0.1, 0.04);
}

// The same draws, each rounded once.
TEST_F(Synth, DtypesDifferByRoundingOnly) {
  SynthOptions single = options("f32");
  single.dtype = DType::kF32;
  synthesize(single);
  SynthOptions half = options("f16");
  half.dtype = DType::kF16;
  synthesize(half);
  const SynthOptions brain = options("bf16");
  synthesize(brain);
  const Weights a = Weights::open(single.out);
  const Weights b = Weights::open(half.out);
  const Weights c = Weights::open(brain.out);
  const char* name = "model.layers.13.mlp.down_proj.weight";
  const auto values = a.find(name)->as<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(b.find(name)->as<std::uint16_t>()[i], f32_to_f16(values[i]));
    ASSERT_EQ(c.find(name)->as<std::uint16_t>()[i], f32_to_bf16(values[i]));
  }
}

TEST_F(Synth, KnowsThePublishedShapes) {
  const std::vector<std::string> known = known_models();
  EXPECT_EQ(known.front(), "Qwen3-0.6B");
  SynthOptions unknown;
  unknown.like = "Qwen3-0.7B";
  unknown.out = directory_ / "unknown";
  expect_error(ErrorKind::kUsage, {"Qwen3-0.7B", "Qwen3-0.6B"}, [&] { synthesize(unknown); });
  EXPECT_FALSE(fs::exists(unknown.out));
}

TEST_F(Synth, ReadsEverythingBeforeItWrites) {
  SynthOptions made = options("never");
  made.tokenizer = directory_ / "none.json";
  expect_error(ErrorKind::kInput, {"none.json"}, [&] { synthesize(made); });
  made.tokenizer.clear();
  write_text(directory_ / "bad.json", R"({"model_type": "qwen3"})");
  made.config = directory_ / "bad.json";
  expect_error(ErrorKind::kInput, {"bad.json"}, [&] { synthesize(made); });
  EXPECT_FALSE(fs::exists(made.out));
}

}  // namespace
}  // namespace assay
