// gpt-oss: its config, and its experts in the layouts that files have.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/expect_error.h"
#include "base/half.h"
#include "base/temporary_directory.h"
#include "formats/json_file.h"
#include "model/executor.h"
#include "model/model.h"
#include "model/read_spec.h"
#include "model/sequence_state.h"
#include "model/synth.h"

namespace assay {
namespace {

using Json = nlohmann::json;

class GptOss : public testing::Test {
 protected:
  static Json config() {
    return {{"model_type", "gpt_oss"},
            {"vocab_size", 40},
            {"hidden_size", 64},
            {"intermediate_size", 32},
            {"num_hidden_layers", 3},
            {"num_attention_heads", 4},
            {"num_key_value_heads", 2},
            {"head_dim", 16},
            {"max_position_embeddings", 64},
            {"rms_norm_eps", 1e-5},
            {"num_local_experts", 5},
            {"num_experts_per_tok", 2},
            {"sliding_window", 4},
            {"initializer_range", 0.3},
            {"quantization_config", {{"quant_method", "mxfp4"}}}};
  }

  std::filesystem::path synthesized(const Json& of, const std::string& name) const {
    write_text(directory_ / (name + ".json"), of.dump());
    SynthOptions options;
    options.config = directory_ / (name + ".json");
    options.out = directory_ / name;
    synthesize(options);
    return options.out;
  }

  static std::vector<float> logits(const Model& model) {
    ThreadPool pool(2);
    Executor<Bf16> run(model, pool);
    SequenceState<Bf16> sequence(model.program, 16);
    const std::vector<std::int64_t> ids = {3, 1, 4, 15, 9, 2, 6};
    const Chunk<Bf16> chunk{ids, &sequence, nullptr};
    const std::span<const float> last = run.run({&chunk, 1});
    return {last.begin(), last.end()};
  }

  TemporaryDirectory directory_;
};

TEST_F(GptOss, HasItsOwnDefaults) {
  write_text(directory_ / "config.json", config().dump());
  const ModelSpec spec = read_spec(directory_.path());
  EXPECT_EQ(spec.rope_parameters.scaling, RopeScaling::kYarn);
  EXPECT_FALSE(spec.rope_parameters.truncate);
  EXPECT_EQ(spec.rope_parameters.theta, 150'000);
  EXPECT_EQ(spec.mlp.alpha, 1.702);
  EXPECT_EQ(spec.mlp.limit, 7);
  EXPECT_TRUE(spec.is_sliding(0));
  EXPECT_FALSE(spec.is_sliding(1));
  EXPECT_TRUE(spec.qkv_bias && spec.o_bias && spec.attention.sinks);
}

TEST_F(GptOss, RunsFromMxfp4InPlaceAndStreamed) {
  const std::filesystem::path file = synthesized(config(), "mxfp4");
  const Model model = load_model(file);
  EXPECT_TRUE(model.files.in_place());
  const Weight& gate =
      model.weights.layers[0].at(*model.program.layers[0].step_showing(Tap::kGateProj))[0];
  EXPECT_TRUE(gate.is_mxfp4());
  EXPECT_EQ(gate.row_step, 2U);
  EXPECT_EQ(logits(model), logits(load_model(file, true)));
}

// The same values, widened and laid out as transformers saves them.
TEST_F(GptOss, RunsTheSameFromTheLayoutThatTransformersSaves) {
  const std::filesystem::path file = synthesized(config(), "mxfp4");
  const Model model = load_model(file);
  const Kernels<F32>& kernel = kernels<F32>(Simd::kPlain);
  std::vector<TensorInfo> tensors;
  std::map<std::string, std::vector<std::byte>> bytes;
  const Weights stored = Weights::open(file);
  for (const ArrayView& tensor : stored.tensors()) {
    if (tensor.name.ends_with("_blocks") || tensor.name.ends_with("_scales")) continue;
    tensors.push_back({tensor.name, tensor.dtype, tensor.shape});
    bytes[tensor.name].assign(tensor.bytes.begin(), tensor.bytes.end());
  }
  for (std::size_t l = 0; l < 3; ++l) {
    const Block& layer = model.program.layers[l];
    for (std::size_t s = 0; s < layer.steps.size(); ++s) {
      if (!std::holds_alternative<ExpertLinear>(layer.steps[s].operation)) continue;
      const std::size_t parts = layer.steps[s].writes.size();
      const std::vector<Weight>& weights = model.weights.layers[l][s];
      const Weight& first = weights.front();
      const std::size_t rows = parts * first.rows;
      std::vector<std::uint16_t> all(5 * first.cols * rows);
      std::vector<float> row(first.cols);
      for (std::size_t e = 0; e < 5; ++e) {
        for (std::size_t p = 0; p < parts; ++p) {
          for (std::size_t r = 0; r < first.rows; ++r) {
            kernel.load_row(weights[(e * parts + p) * 2], r, row.data());
            for (std::size_t c = 0; c < first.cols; ++c) {
              all[(e * first.cols + c) * rows + r * parts + p] = f32_to_bf16(row[c]);
            }
          }
        }
      }
      const std::string name = "model.layers." + std::to_string(l) + ".mlp.experts." +
                               (parts > 1 ? "gate_up_proj" : "down_proj");
      tensors.push_back(
          {name,
           DType::kBF16,
           {5, static_cast<std::int64_t>(first.cols), static_cast<std::int64_t>(rows)}});
      const auto* from = reinterpret_cast<const std::byte*>(all.data());
      bytes[name].assign(from, from + all.size() * 2);
    }
  }
  const std::filesystem::path out = directory_ / "widened";
  std::filesystem::create_directories(out);
  Json plain = config();
  plain.erase("quantization_config");
  write_text(out / "config.json", plain.dump());
  write_safetensors(
      out / "model.safetensors", tensors,
      [&](const TensorInfo& tensor, ByteSink& sink) { sink.write(bytes[tensor.name]); });
  EXPECT_EQ(logits(model), logits(load_model(out)));
}

TEST_F(GptOss, RefusesScalesOfAnotherShape) {
  const std::filesystem::path file = synthesized(config(), "mxfp4");
  Json other = config();
  other["intermediate_size"] = 64;
  write_text(file / "config.json", other.dump());
  expect_error(ErrorKind::kInput,
               {"gate_up_proj_blocks", "U8 [5, 64, 2, 16]", "U8 [5, 128, 2, 16] (by config.json)"},
               [&] { load_model(file); });
}

}  // namespace
}  // namespace assay
