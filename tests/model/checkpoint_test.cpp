// Checkpoints as people have them: with other names, other formats, missing files.
#include "model/checkpoint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/expect_error.h"
#include "base/temporary_directory.h"
#include "model/checkpoint_fault.h"
#include "model/finite.h"
#include "model/model.h"
#include "model/synth.h"

namespace assay {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const char* const kConfig = R"({"model_type": "qwen3", "vocab_size": 24, "hidden_size": 8,
  "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
  "num_key_value_heads": 1, "head_dim": 4, "max_position_embeddings": 32, "rms_norm_eps": 1e-6,
  "rope_theta": 10000, "hidden_act": "silu", "tie_word_embeddings": true, "eos_token_id": 1})";

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() {
    write_text(directory_ / "small.json", kConfig);
    SynthOptions options;
    options.config = directory_ / "small.json";
    options.out = model();
    synthesize(options);
  }

  fs::path model() const { return directory_ / "model"; }

  // Writes the weights again, each under another name or with other values.
  template <class Name, class Change>
  void rewrite(const Name& name, const Change& change) const {
    const Weights old = Weights::open(model());
    std::vector<TensorInfo> tensors;
    std::vector<std::string> values;
    for (const ArrayView& tensor : old.tensors()) {
      tensors.push_back({name(tensor.name), tensor.dtype, tensor.shape});
      std::string bytes(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size());
      change(tensor.name, bytes);
      values.push_back(std::move(bytes));
    }
    std::size_t next = 0;
    write_safetensors(directory_ / "new", tensors, [&](const TensorInfo&, ByteSink& sink) {
      sink.write(std::as_bytes(std::span(values[next++])));
    });
    fs::rename(directory_ / "new", model() / "model.safetensors");
  }
  static void unchanged(const std::string&, std::string&) {}

  void configure(const char* field, const Json& value) const {
    Json config = Json::parse(read_text(model() / "config.json"));
    config[field] = value;
    write_text(model() / "config.json", config.dump());
  }

  CheckpointFault fault() const {
    const auto found = find_checkpoint_fault(model());
    if (found) return *found;
    ADD_FAILURE() << "no fault";
    return {};
  }

  TemporaryDirectory directory_;
};

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != text.npos;
}

TEST_F(CheckpointTest, TensorsOfABaseModelLackThePrefix) {
  const Model before = load_model(model());
  const std::vector<std::byte> embedding(
      before.files.find("model.embed_tokens.weight")->bytes.begin(),
      before.files.find("model.embed_tokens.weight")->bytes.end());
  rewrite([](const std::string& name) { return name.substr(std::string("model.").size()); },
          unchanged);
  ASSERT_NE(Weights::open(model()).find("layers.1.self_attn.q_norm.weight"), nullptr);
  const Model after = load_model(model());
  EXPECT_TRUE(std::ranges::equal(after.files.find("model.embed_tokens.weight")->bytes, embedding));
  EXPECT_NE(after.files.find("model.norm.weight"), nullptr);
  // A wrapper's names have an additional prefix.
  rewrite([](const std::string& name) { return "model.model." + name; }, unchanged);
  EXPECT_EQ(load_model(model()).program.layers.size(), 2u);
}

TEST_F(CheckpointTest, FaultsAreNamedWithFittingAdvice) {
  EXPECT_FALSE(find_checkpoint_fault(model()).has_value());
  for (const auto& [method, advice] : std::vector<std::pair<std::string, std::string>>{
           {"mxfp4", "Mxfp4Config"},
           {"gptq", "the original checkpoint"},
           {"bitsandbytes", "dequantize()"},
           {"compressed-tensors", "run_compressed=False"}}) {
    configure("quantization_config", {{"quant_method", method}});
    EXPECT_TRUE(contains(fault().where, "'quantization_config'"));
    EXPECT_EQ(fault().found, "quant_method \"" + method + "\"");
    EXPECT_TRUE(contains(fault().advice, advice)) << fault().advice;
  }
  load_model(model());  // the weights are not quantised, so it loads
  rewrite([](const std::string& name) { return name + "_packed"; }, unchanged);
  expect_error(ErrorKind::kInput, {"'quantization_config'"}, [&] { load_model(model()); });
  configure("quantization_config", nullptr);
  configure("quantization", {{"bits", 4}, {"group_size", 64}});
  EXPECT_TRUE(contains(fault().advice, "mlx_lm.convert"));
  configure("quantization", nullptr);
  EXPECT_FALSE(find_checkpoint_fault(model()).has_value());

  const std::string weights = read_text(model() / "model.safetensors");
  write_text(model() / "model.safetensors", "version https://git-lfs.github.com/spec/v1\noid x\n");
  EXPECT_TRUE(contains(fault().advice, "git lfs pull"));
  write_text(model() / "model.safetensors", "\n <!DOCTYPE HTML><html>");
  EXPECT_TRUE(contains(fault().found, "web page"));

  fs::remove(model() / "model.safetensors");
  EXPECT_FALSE(find_checkpoint_fault(model()).has_value());
  write_text(model() / "pytorch_model.bin", "x");
  EXPECT_TRUE(contains(fault().advice, "save_pretrained"));
  write_text(model() / "adapter_config.json",
             R"({"peft_type": "LORA", "base_model_name_or_path": "some/base"})");
  EXPECT_TRUE(contains(fault().found, "LORA"));
  EXPECT_TRUE(contains(fault().advice, "some/base"));
  write_text(model() / "model-00001-of-00002.safetensors", weights);
  EXPECT_TRUE(contains(fault().found, "shards without"));
  write_text(model() / "model.safetensors.index.json",
             R"({"weight_map": {"a": "model-00001-of-00002.safetensors",
                                "b": "model-00002-of-00002.safetensors", "c": "../x"}})");
  EXPECT_EQ(fault().found, "1 of 3 shards are missing: model-00002-of-00002.safetensors");
  expect_error(ErrorKind::kInput, {"1 of 3 shards"}, [&] { load_model(model()); });
}

TEST_F(CheckpointTest, NonFiniteWeightsAreFoundWithTheirPlace) {
  EXPECT_TRUE(find_not_finite(Weights::open(model())).empty());
  rewrite([](const std::string& name) { return name; },
          [](const std::string& name, std::string& bytes) {
            const auto set = [&](std::size_t at, std::uint16_t bits) {
              std::memcpy(bytes.data() + 2 * at, &bits, 2);
            };
            if (name == "model.layers.1.mlp.up_proj.weight") {  // [12, 8]
              set(8 * 3 + 5, 0x7FC0);
              set(8 * 3 + 6, 0xFF80);
            }
            if (name == "model.norm.weight") set(7, 0xFF80);
          });
  const std::vector<std::string> found = find_not_finite(Weights::open(model()));
  ASSERT_EQ(found.size(), 2u);
  EXPECT_TRUE(contains(found[0], "'model.layers.1.mlp.up_proj.weight': NaN at [3, 5], 2 in all"))
      << found[0];
  EXPECT_TRUE(contains(found[1], "'model.norm.weight': -Inf at [7], 1 in all")) << found[1];
  expect_error(ErrorKind::kInput, {"NaN at [3, 5]", "finite weights"},
               [&] { require_finite(Weights::open(model())); });
}

}  // namespace
}  // namespace assay
