// Mixtures of experts: the choice, and experts that are stored together.
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/expect_error.h"
#include "base/temporary_directory.h"
#include "formats/json_file.h"
#include "model/fused_experts.h"
#include "model/model.h"
#include "model/read_spec.h"
#include "model/synth.h"
#include "ops/cpu/top_k.h"

namespace assay {
namespace {

using Json = nlohmann::json;

TEST(Experts, AreChosenFromTheBestGroupsOnly) {
  // Sums of the two best: 0.9, 1.0, 0.6, 1.1.
  const std::vector<float> scores = {0.9F, 0.0F, 0.0F, 0.5F, 0.4F, 0.5F,
                                     0.3F, 0.3F, 0.1F, 0.2F, 0.8F, 0.3F};
  const auto chosen = [&](TopExperts top) {
    top.experts = 12;
    std::vector<std::size_t> ids = chosen_experts(top, std::span(scores));
    std::ranges::sort(ids);
    return ids;
  };
  EXPECT_EQ(chosen({.per_token = 2}), (std::vector<std::size_t>{0, 10}));
  EXPECT_EQ(chosen({.per_token = 2, .groups = 4, .kept = 2}), (std::vector<std::size_t>{5, 10}))
      << "of 3 and 5, which are equal, the one that torch takes";
  EXPECT_EQ(chosen({.per_token = 3, .groups = 4, .kept = 3}), (std::vector<std::size_t>{0, 3, 10}));
}

TEST(Experts, AreUnsortedWhereTheRouterLeavesThemSo) {
  const std::vector<float> values = {1, 5, 2, 4, 3};
  EXPECT_EQ(top_k(std::span(values), 3), (std::vector<std::size_t>{1, 3, 4}));
  // torch.topk([1, 5, 2, 4, 3], 3, sorted=False)
  std::vector<std::size_t> ids = top_k(std::span(values), 3, false);
  std::ranges::sort(ids);
  EXPECT_EQ(ids, (std::vector<std::size_t>{1, 3, 4}));
}

class FusedExperts : public testing::Test {
 protected:
  FusedExperts() {
    write_text(directory_ / "config.json", config().dump());
    SynthOptions options;
    options.config = directory_ / "config.json";
    options.out = directory_ / "single";
    synthesize(options);
  }

  static Json config() {
    return {{"model_type", "qwen3_moe"}, {"vocab_size", 24},       {"hidden_size", 8},
            {"intermediate_size", 12},   {"num_hidden_layers", 1}, {"num_attention_heads", 2},
            {"num_key_value_heads", 1},  {"head_dim", 4},          {"max_position_embeddings", 32},
            {"rms_norm_eps", 1e-6},      {"num_experts", 3},       {"num_experts_per_tok", 2},
            {"moe_intermediate_size", 5}};
  }

  // The same checkpoint with a layer's experts in two tensors.
  std::filesystem::path fuse(bool exchanged) const {
    const Weights old = Weights::open(directory_ / "single");
    std::vector<TensorInfo> tensors;
    std::map<std::string, std::vector<std::byte>> bytes;
    const std::string stem = "model.layers.0.mlp.experts.";
    for (const ArrayView& tensor : old.tensors()) {
      if (tensor.name.starts_with(stem)) continue;
      tensors.push_back({tensor.name, tensor.dtype, tensor.shape});
      bytes[tensor.name].assign(tensor.bytes.begin(), tensor.bytes.end());
    }
    const auto add = [&](const std::string& name, const std::vector<std::string>& parts,
                         std::int64_t rows, std::int64_t cols) {
      std::vector<std::byte>& all = bytes[stem + name];
      for (int e = 0; e < 3; ++e) {
        std::vector<std::byte> one;
        for (const std::string& part : parts) {
          const ArrayView* tensor = old.find(stem + std::to_string(e) + "." + part + ".weight");
          one.insert(one.end(), tensor->bytes.begin(), tensor->bytes.end());
        }
        std::vector<std::byte> turned(one.size());
        for (std::int64_t r = 0; r < rows; ++r) {
          for (std::int64_t c = 0; c < cols; ++c) {
            std::memcpy(&turned[static_cast<std::size_t>(c * rows + r) * 2],
                        &one[static_cast<std::size_t>(r * cols + c) * 2], 2);
          }
        }
        const std::vector<std::byte>& used = exchanged ? turned : one;
        all.insert(all.end(), used.begin(), used.end());
      }
      tensors.push_back(
          {stem + name, DType::kBF16, exchanged ? Shape{3, cols, rows} : Shape{3, rows, cols}});
    };
    add("gate_up_proj", {"gate_proj", "up_proj"}, 10, 8);
    add("down_proj", {"down_proj"}, 8, 5);
    const std::filesystem::path out = directory_ / (exchanged ? "exchanged" : "fused");
    std::filesystem::create_directories(out);
    write_text(out / "config.json", config().dump());
    write_safetensors(
        out / "model.safetensors", tensors,
        [&](const TensorInfo& tensor, ByteSink& sink) { sink.write(bytes[tensor.name]); });
    return out;
  }

  TemporaryDirectory directory_;
};

TEST_F(FusedExperts, AreThoseOfTheOtherLayouts) {
  const Model single = load_model(directory_ / "single");
  for (const bool exchanged : {false, true}) {
    const Model fused = load_model(fuse(exchanged));
    EXPECT_EQ(fused.files.in_place(), !exchanged);
    std::size_t experts = 0;
    for (const ArrayView& tensor : single.files.tensors()) {
      const ArrayView* other = fused.files.find(tensor.name);
      ASSERT_NE(other, nullptr) << tensor.name;
      EXPECT_EQ(other->shape, tensor.shape) << tensor.name;
      EXPECT_TRUE(std::ranges::equal(other->bytes, tensor.bytes)) << tensor.name;
      if (tensor.name.find(".experts.") != tensor.name.npos) ++experts;
    }
    EXPECT_EQ(experts, 9U);
    EXPECT_EQ(fused.files.tensors().size(), single.files.tensors().size());
  }
}

TEST_F(FusedExperts, AreStreamedUnlessTheyMustBeMade) {
  EXPECT_NE(load_model(fuse(false), true).stream, nullptr);
  const std::filesystem::path exchanged = fuse(true);
  expect_error(ErrorKind::kUsage, {"--stream", "experts that must be laid out"},
               [&] { load_model(exchanged, true); });
}

TEST_F(FusedExperts, OfAnotherShapeAreRefused) {
  const std::filesystem::path out = fuse(false);
  Json other = config();
  other["moe_intermediate_size"] = 6;
  write_text(out / "config.json", other.dump());
  expect_error(ErrorKind::kInput, {"gate_up_proj", "[3, 10, 8]", "[3, 12, 8] or [3, 8, 12]"},
               [&] { load_model(out); });
}

}  // namespace
}  // namespace assay
