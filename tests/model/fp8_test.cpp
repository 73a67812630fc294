// Checkpoints in FP8: whole matrices with one scale or a scale for each block, and stacked experts.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "base/expect_error.h"
#include "base/half.h"
#include "base/temporary_directory.h"
#include "formats/json_file.h"
#include "model/executor.h"
#include "model/model.h"
#include "model/sequence_state.h"
#include "model/synth.h"

namespace assay {
namespace {

using Json = nlohmann::json;

// A checkpoint whose matrices in layers are FP8, and the same with their products in F32.
class Fp8Checkpoint : public testing::Test {
 protected:
  struct Tensor {
    TensorInfo info;
    std::vector<std::byte> bytes;
  };

  static Json config() {
    return {{"model_type", "qwen3_moe"},
            {"vocab_size", 50},
            {"hidden_size", 48},
            {"intermediate_size", 40},
            {"moe_intermediate_size", 24},
            {"num_hidden_layers", 2},
            {"num_attention_heads", 4},
            {"num_key_value_heads", 2},
            {"head_dim", 10},
            {"max_position_embeddings", 64},
            {"rms_norm_eps", 1e-5},
            {"num_experts", 3},
            {"num_experts_per_tok", 2},
            {"norm_topk_prob", true},
            {"decoder_sparse_step", 1},
            {"tie_word_embeddings", false},
            {"initializer_range", 0.3},
            {"hidden_act", "silu"}};
  }

  Fp8Checkpoint() {
    write_text(directory_ / "whole.json", config().dump());
    SynthOptions options;
    options.config = directory_ / "whole.json";
    options.out = directory_ / "whole";
    synthesize(options);
  }

  // Writes both; scale_shape: of a matrix's scales, by its rows and columns.
  void write(const std::function<Shape(std::int64_t, std::int64_t)>& scale_shape, std::size_t block,
             bool stacked, DType scale_dtype = DType::kF32) {
    std::mt19937 random{3};
    std::vector<Tensor> fp8, wide;
    const Weights whole = Weights::open(directory_ / "whole");
    std::map<std::string, std::vector<std::pair<TensorInfo, std::vector<float>>>> stacks;
    for (const ArrayView& stored : whole.tensors()) {
      if (stored.shape.size() != 2 || stored.name.find(".layers.") == std::string::npos ||
          stored.name.find("mlp.gate.") != std::string::npos) {
        const Tensor same{{stored.name, stored.dtype, stored.shape},
                          {stored.bytes.begin(), stored.bytes.end()}};
        fp8.push_back(same);
        wide.push_back(same);
        continue;
      }
      const std::int64_t rows = stored.shape[0];
      const std::int64_t cols = stored.shape[1];
      const Shape grid = scale_shape(rows, cols);
      const std::size_t per_row = grid.size() == 2 ? static_cast<std::size_t>(grid[1]) : 1;
      std::size_t count = 1;
      for (const std::int64_t n : grid) count *= static_cast<std::size_t>(n);
      Tensor quantised{{stored.name, DType::kF8E4M3, stored.shape}, {}};
      Tensor scales{{stored.name + "_scale_inv", scale_dtype, grid}, {}};
      std::vector<float> factors(count);
      for (float& factor : factors) {
        factor = bf16_to_f32(f32_to_bf16(0.001F * static_cast<float>(1 + random() % 50)));
        if (scale_dtype == DType::kU8) factor = std::ldexp(1.0F, -static_cast<int>(random() % 12));
        put(scales, factor);
      }
      Tensor product{{stored.name, DType::kF32, stored.shape}, {}};
      for (std::size_t i = 0; i < static_cast<std::size_t>(rows * cols); ++i) {
        const std::size_t r = i / static_cast<std::size_t>(cols);
        const std::size_t c = i % static_cast<std::size_t>(cols);
        auto code = static_cast<std::uint8_t>(random() & 255);
        if ((code & 0x7F) == 0x7F) code = 0;
        quantised.bytes.push_back(std::byte(code));
        const float factor = count == 1 ? factors[0] : factors[r / block * per_row + c / block];
        put(product, f8e4m3_to_f32(code) * factor);
      }
      wide.push_back(std::move(product));
      fp8.push_back(std::move(quantised));
      fp8.push_back(std::move(scales));
    }
    if (stacked) stack(fp8);
    save("fp8", fp8, block);
    save("wide", wide, 0);
  }

  // Experts in two tensors for all of a layer, and their scales.
  static void stack(std::vector<Tensor>& tensors) {
    std::map<std::string, Tensor> all;
    for (const Tensor& tensor : tensors) all[tensor.info.name] = tensor;
    tensors.clear();
    for (const auto& [name, tensor] : all) {
      if (name.find(".experts.") == std::string::npos) tensors.push_back(tensor);
    }
    for (const std::string layer : {"0", "1"}) {
      for (const std::string suffix : {"", "_scale_inv"}) {
        const auto joined = [&](const std::string& made, const std::vector<std::string>& parts) {
          Tensor stacked;
          for (const std::string expert : {"0", "1", "2"}) {
            std::int64_t rows = 0;
            for (const std::string& part : parts) {
              const Tensor& one = all.at("model.layers." + layer + ".mlp.experts." + expert + "." +
                                         part + ".weight" + suffix);
              rows += one.info.shape[0];
              stacked.info = {"model.layers." + layer + ".mlp.experts." + made + suffix,
                              one.info.dtype,
                              {3, rows, one.info.shape[1]}};
              stacked.bytes.insert(stacked.bytes.end(), one.bytes.begin(), one.bytes.end());
            }
          }
          tensors.push_back(std::move(stacked));
        };
        joined("gate_up_proj", {"gate_proj", "up_proj"});
        joined("down_proj", {"down_proj"});
      }
    }
  }

  static void put(Tensor& tensor, float value) {
    const auto add = [&](const auto& bits) {
      const auto* from = reinterpret_cast<const std::byte*>(&bits);
      tensor.bytes.insert(tensor.bytes.end(), from, from + sizeof bits);
    };
    if (tensor.info.dtype == DType::kU8)
      return add(static_cast<std::uint8_t>(127 + std::ilogb(value)));
    if (tensor.info.dtype == DType::kBF16) return add(f32_to_bf16(value));
    add(value);
  }

  void save(const std::string& name, const std::vector<Tensor>& tensors, std::size_t block) {
    std::filesystem::create_directories(directory_ / name);
    Json json = config();
    if (block > 0) json["quantization_config"] = {{"quant_method", "fp8"}};
    if (block > 1) json["quantization_config"]["weight_block_size"] = {block, block};
    write_text(directory_ / name / "config.json", json.dump());
    std::vector<TensorInfo> infos;
    for (const Tensor& tensor : tensors) infos.push_back(tensor.info);
    std::size_t i = 0;
    write_safetensors(directory_ / name / "model.safetensors", infos,
                      [&](const TensorInfo&, ByteSink& sink) { sink.write(tensors[i++].bytes); });
  }

  template <class N>
  static std::vector<typename N::Real> logits(const Model& model) {
    ThreadPool pool(2);
    Executor<N> run(model, pool);
    SequenceState<N> sequence(model.program, 16);
    const std::vector<std::int64_t> ids = {3, 1, 4, 15, 9, 2, 6};
    const Chunk<N> chunk{ids, &sequence, nullptr};
    const auto last = run.run({&chunk, 1});
    return {last.begin(), last.end()};
  }

  void expect_equal() {
    const Model fp8 = load_model(directory_ / "fp8");
    const Model wide = load_model(directory_ / "wide");
    EXPECT_TRUE(fp8.files.in_place());
    const auto q = fp8.program.layers[0].step_showing(Tap::kQProj);
    EXPECT_TRUE(fp8.weights.layers[0].at(*q)[0].is_fp8());
    EXPECT_EQ(logits<Bf16>(fp8), logits<Bf16>(wide));
    EXPECT_EQ(logits<F32>(fp8), logits<F32>(wide));
    EXPECT_EQ(logits<F64>(fp8), logits<F64>(wide));
    EXPECT_EQ(logits<Bf16>(fp8), logits<Bf16>(load_model(directory_ / "fp8", true)));
  }

  static std::function<Shape(std::int64_t, std::int64_t)> blocks_of(std::int64_t size) {
    return [size](std::int64_t rows, std::int64_t cols) {
      return Shape{(rows + size - 1) / size, (cols + size - 1) / size};
    };
  }

  TemporaryDirectory directory_;
};

TEST_F(Fp8Checkpoint, RunsWithScalesOfBlocksThatLeaveSomethingOver) {
  write(blocks_of(7), 7, false);
  expect_equal();
}

TEST_F(Fp8Checkpoint, RunsWithOneScaleOfNoAxes) {
  write([](std::int64_t, std::int64_t) { return Shape{}; }, 1, false, DType::kBF16);
  expect_equal();
}

TEST_F(Fp8Checkpoint, RunsWithScalesThatAreExponents) {
  write(blocks_of(16), 16, false, DType::kU8);
  expect_equal();
}

TEST_F(Fp8Checkpoint, RunsWithStackedExperts) {
  write(blocks_of(8), 8, true);
  expect_equal();
}

TEST_F(Fp8Checkpoint, RefusesScalesOfAnotherShape) {
  write([](std::int64_t, std::int64_t) { return Shape{7, 2}; }, 16, false);
  expect_error(ErrorKind::kInput,
               {"_scale_inv", "shape [7, 2]", "a scale for each block of 16 x 16"},
               [&] { load_model(directory_ / "fp8"); });
}

TEST_F(Fp8Checkpoint, RefusesMatricesWithoutScales) {
  write(blocks_of(16), 16, false);
  Weights weights = Weights::open(directory_ / "fp8");
  std::vector<TensorInfo> infos;
  for (const ArrayView& tensor : weights.tensors()) {
    if (!tensor.name.ends_with("_scale_inv"))
      infos.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  std::filesystem::create_directories(directory_ / "bare");
  std::filesystem::copy(directory_ / "fp8" / "config.json", directory_ / "bare" / "config.json");
  write_safetensors(directory_ / "bare" / "model.safetensors", infos,
                    [&](const TensorInfo& tensor, ByteSink& sink) {
                      sink.write(weights.find(tensor.name)->bytes);
                    });
  expect_error(ErrorKind::kInput, {"dtype F8_E4M3", "with its scales beside it"},
               [&] { load_model(directory_ / "bare"); });
}

}  // namespace
}  // namespace assay
