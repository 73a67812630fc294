// Candidates of FP32 and F16, judged by what their own type allows.
#include "verify/precision.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/expect_error.h"
#include "base/half.h"
#include "candidate/data_flow.h"
#include "metrics/metrics.h"
#include "model/model.h"
#include "verify/candidate.h"
#include "verify/run_noise.h"

namespace assay {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// The bundled model with another epsilon, as an engine of FP32 runs it.
fs::path f32_dump(const fs::path& directory, double epsilon) {
  const fs::path model = directory / "model";
  fs::copy(kModel, model);
  Json config = Json::parse(read_text(model / "config.json"));
  config["rms_norm_eps"] = epsilon;
  std::ofstream(model / "config.json") << config.dump();
  ExtractOptions options;
  options.model = model;
  options.out = directory / "f32";
  options.numerics = {Numerics::kF32};
  options.taps = {"layer_05_*"};
  extract(options, prompts_from_texts({"The capital of France is"}));
  return options.out / "prompt1/reference.npz";
}

// Where a position's only value has nearly cancelled, its relative error tells nothing.
TEST(Precision, ArraysWithOneValueAPositionAreJudgedAsAWhole) {
  const std::string name = "layer_00_shared_expert_gate";
  const auto ratio = [&](double whole, std::vector<double> errors, std::int64_t width) {
    TensorResult tensor;
    tensor.name = name;
    tensor.metrics.compared = width * std::ssize(errors);
    const TypeNoise noise({{name, {1e-4, std::vector<double>(errors.size(), 1e-4)}}});
    tensor.oracle_error = {whole, std::move(errors)};
    return noise.ratio(tensor);
  };
  const std::vector<double> cancelled = {1e-4, 1e-4, 1e-4, 1.0, 1e-4};
  EXPECT_DOUBLE_EQ(*ratio(1.5e-4, cancelled, 1), 1.5);
  EXPECT_DOUBLE_EQ(*ratio(1e-2, cancelled, 1), 100);
  EXPECT_DOUBLE_EQ(*ratio(1.5e-4, cancelled, 3), root_mean_square(cancelled) / 1e-4);
  EXPECT_FALSE(ratio(1, {1, 1}, 1)) << "too few to judge";
}

// A reference from before noise_f32 existed.
fs::path older_reference(const fs::path& directory) {
  fs::copy(reference(), directory, fs::copy_options::recursive);
  Json manifest = Json::parse(read_text(directory / "manifest.json"));
  for (auto& [name, array] : manifest["prompts"][0]["arrays"].items()) array.erase("noise_f32");
  std::ofstream(directory / "manifest.json") << manifest.dump();
  return directory;
}

std::size_t count(const CompareReport& report, Verdict verdict) {
  return static_cast<std::size_t>(
      std::ranges::count(report.prompts.at(0).tensors, verdict, &TensorResult::verdict));
}

TEST(Precision, AnFp32EngineIsJudgedAsFp32) {
  const TemporaryDirectory directory;
  const CompareReport report = compare(options_for(f32_dump(directory.path(), 1e-6)));
  EXPECT_TRUE(report.passed);
  EXPECT_FALSE(report.coarse);
  EXPECT_EQ(report.precision, "the values are FP32, and are also compared with its noise");
  for (const TensorResult& t : report.prompts[0].tensors) {
    if (!parse_tap_name(t.name)) continue;
    EXPECT_EQ(t.verdict, Verdict::kPass) << t.name << ": " << t.reason;
    if (t.name == "embedding_output") {
      EXPECT_EQ(t.type, Grid::kBf16) << "the weights' own grid";
      continue;
    }
    ASSERT_TRUE(t.precision_ratio) << t.name;
    EXPECT_LE(*t.precision_ratio, 1.01) << t.name;  // the noise was measured on it
    EXPECT_EQ(t.limits->precision_ratio, kBeyondF32);
  }
}

TEST(Precision, AWrongEpsilonInFp32IsCoarse) {
  const TemporaryDirectory directory;
  const fs::path dump = f32_dump(directory.path(), 1e-5);
  CompareOptions options = options_for(dump);
  CompareReport report = compare(options);
  EXPECT_TRUE(report.passed);
  EXPECT_TRUE(report.coarse);
  EXPECT_FALSE(report.prompts[0].first_divergence);
  const TensorResult& embedding = tensor(report.prompts[0], "embedding_output");
  EXPECT_EQ(embedding.verdict, Verdict::kPass);
  const TensorResult& first = tensor(report.prompts[0], "layer_00_output");
  EXPECT_EQ(first.verdict, Verdict::kCoarse);
  EXPECT_GT(*first.precision_ratio, 100);
  EXPECT_LT(*first.noise_ratio, 2);
  EXPECT_EQ(first.reason.find("within BF16's noise, but "), 0u) << first.reason;

  // --as overrides what the values show.
  options.as = "bf16";
  report = compare(options);
  EXPECT_FALSE(report.coarse);
  EXPECT_EQ(report.precision, "");
}

TEST(Precision, ABf16CandidateIsCoarseOnlyWhereFp32IsExpected) {
  SpoiledDump candidate;
  CompareOptions options = options_for(candidate.write());
  EXPECT_FALSE(compare(options).coarse);
  options.as = "f32";
  const CompareReport report = compare(options);
  EXPECT_TRUE(report.passed);
  EXPECT_TRUE(report.coarse);
}

TEST(Precision, AnOlderReferenceSaysSoOrIsMeasured) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "wrong");
  CompareOptions options = options_for(f32_dump(directory / "wrong", 1e-5));
  const CompareReport with = compare(options);
  options.reference = older_reference(directory / "older");
  const CompareReport without = compare(options);
  EXPECT_TRUE(without.passed);
  EXPECT_FALSE(without.coarse);
  EXPECT_NE(without.precision.find("only compared with BF16's noise"), std::string::npos);
  options.model = kModel;
  const CompareReport measured = compare(options);
  EXPECT_GT(count(with, Verdict::kCoarse), 20u);
  EXPECT_GE(count(measured, Verdict::kCoarse), count(with, Verdict::kCoarse));
  // The manifest's noise is rounded up to half octaves.
  const double exact = *tensor(measured.prompts[0], "layer_00_output").precision_ratio;
  const double rounded = *tensor(with.prompts[0], "layer_00_output").precision_ratio;
  EXPECT_LE(rounded, exact * 1.0001);
  EXPECT_GE(rounded, exact / 1.42);
}

TEST(Precision, F16IsMeasuredWithTheModel) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "f32");
  const NpzReader right(f32_dump(directory / "f32", 1e-6));
  // An engine that computes much more precisely than it stores.
  const auto write = [&](const std::string& name, float factor) {
    std::vector<Array> arrays;
    for (const std::string& array : right.names()) {
      arrays.push_back(right.read(array));
      if (!parse_tap_name(array)) continue;
      float sign = 1;
      for (float& x : arrays.back().as<float>()) {
        if (x < -1e30F) continue;
        x = f16_to_f32(f32_to_f16(x * (1 + (sign = -sign) * factor)));
      }
    }
    std::vector<ArrayView> views;
    for (const Array& array : arrays) views.push_back(array.view());
    write_npz(directory / name, views, Compression::kNone);
    return options_for(directory / name);
  };
  CompareOptions options = write("f16.npz", 0);
  EXPECT_NE(compare(options).precision.find("F16, but only compared with BF16's noise"),
            std::string::npos);
  options.model = kModel;
  CompareReport report = compare(options);
  EXPECT_TRUE(report.passed);
  EXPECT_FALSE(report.coarse);
  EXPECT_EQ(tensor(report.prompts[0], "logits").type, Grid::kF16);
  EXPECT_LT(*tensor(report.prompts[0], "logits").precision_ratio, 2);
  EXPECT_LT(*tensor(report.prompts[0], "layer_05_attn_scores").precision_ratio, 2);
  EXPECT_EQ(report.precision, "the values are F16, and are also compared with its noise");

  options = write("coarse.npz", 0.003F);
  options.model = kModel;
  report = compare(options);
  EXPECT_TRUE(report.passed);
  EXPECT_TRUE(report.coarse);

  options.as = "f16";
  EXPECT_TRUE(compare(options).coarse);
  options.model.clear();
  expect_error(ErrorKind::kUsage, {"--as", "f16 without --model"}, [&] { compare(options); });
}

TEST(Precision, ActivationsInEightBitsAreAllowedWhereAskedFor) {
  const TemporaryDirectory directory;
  // An engine that rounds the inputs of matmuls to 8 bits, as ours does to measure the noise.
  const Model model = load_model(kModel);
  const NpzReader reference_file(reference() / "prompt1/reference.npz");
  const NpzReader oracle(reference() / "prompt1/oracle.npz");
  const Array ids = reference_file.read("input_ids");
  TapSet taps(model.spec);
  for (const std::string& name : reference_file.names()) {
    if (parse_tap_name(name)) taps.add(name);
  }
  ThreadPool pool(2);
  const auto truth = [&](const std::string& name) {
    LoadedArray loaded;
    Array array = oracle.read(name);
    loaded.owned = std::move(array.bytes);
    loaded.view = {array.name, array.dtype, array.shape, loaded.owned, false};
    return loaded;
  };
  const auto noise = [&](ExpectedType type) {
    return run_noise(model, type, ids.as<std::int64_t>(), taps, truth, pool);
  };
  const NoiseByTap q8 = noise(ExpectedType::kQ8);
  const NoiseByTap f32 = noise(ExpectedType::kF32);
  EXPECT_EQ(q8.size(), f32.size());
  EXPECT_GT(q8.at("logits").whole, 100 * f32.at("logits").whole);
  EXPECT_EQ(q8.at("embedding_output").whole, f32.at("embedding_output").whole);
  // 1.5 times that noise still passes for such an engine, 3 times does not.
  for (const double factor : {1.5, 3.0}) {
    TensorResult result;
    result.name = "logits";
    result.grid = Grid::kF32;
    result.oracle_error = {factor * q8.at("logits").whole, q8.at("logits").positions};
    for (double& error : result.oracle_error->positions) error *= factor;
    result.metrics.compared = 1;
    result.noise = 1e-5;
    result.noise_ratio = result.oracle_error->whole / 1e-5;
    result.position_ratio = result.noise_ratio;
    const Profile profile("noise", true);
    judge(result, profile);
    EXPECT_EQ(result.verdict, Verdict::kFail);
    Precision precision{ExpectedType::kQ8};
    precision.q8 = std::make_shared<TypeNoise>(q8);
    judge_precision({&result, 1}, precision, profile);
    EXPECT_EQ(result.verdict, factor < 2 ? Verdict::kPass : Verdict::kFail) << result.reason;
  }
}

// Arrays of 64 values on that grid, in data-flow order.
std::vector<TensorResult> results_of(
    const std::vector<std::pair<std::string, std::optional<Grid>>>& grids) {
  std::vector<TensorResult> results;
  for (const auto& [name, grid] : grids) {
    TensorResult& result = results.emplace_back();
    result.name = name;
    result.grid = grid;
  }
  return results;
}

TEST(Precision, WhatFollowsACoarserTypeIsJudgedByThatType) {
  using enum Grid;
  using Types = std::vector<std::optional<Grid>>;
  const std::optional<Grid> none;
  // BF16 weights tell nothing about the engine.
  EXPECT_EQ(types_of(results_of({{"embedding_output", kBf16}, {"layer_00_output", kF32}}), {}),
            (Types{kBf16, kF32}));
  // Attention in F16, the stream in FP32.
  EXPECT_EQ(types_of(results_of({{"layer_00_input_norm", kF32},
                                 {"layer_00_q_proj", kF16},
                                 {"layer_00_attn_probs", none},
                                 {"layer_00_output", kF32},
                                 {"logits", kBf16}}),
                     {}),
            (Types{kF32, kF16, kF16, kF16, kBf16}));
  // No value tells.
  EXPECT_EQ(types_of(results_of({{"layer_00_attn_probs", none}, {"rope_cos", kF32}}), {}),
            (Types{none, none}));
  EXPECT_EQ(types_of(results_of({{"layer_00_output", kBf16}}), Precision{ExpectedType::kQ8}),
            (Types{kF32}));
}

TEST(Precision, TheGridIsWhereTheValuesLie) {
  Array array{"a", DType::kF32, {64}, std::vector<std::byte>(256)};
  const auto fill = [&](auto value) {
    for (std::size_t i = 0; i < 64; ++i) array.as<float>()[i] = value(static_cast<float>(i) + 1);
    return grid_of(array.view());
  };
  EXPECT_EQ(fill([](float i) { return 0.1F * i; }), Grid::kF32);
  EXPECT_EQ(fill([](float i) { return f16_to_f32(f32_to_f16(0.1F * i)); }), Grid::kF16);
  EXPECT_EQ(fill([](float i) { return bf16_to_f32(f32_to_bf16(0.1F * i)); }), Grid::kBf16);
  // Powers of two, zeros and masked values are on every grid.
  EXPECT_EQ(fill([](float i) { return i < 60 ? 1.0F : 0.1F * i; }), std::nullopt);
  EXPECT_EQ(fill([](float i) { return i > 30 ? -3.4e38F : 0.1F * i; }), Grid::kF32);
}

}  // namespace
}  // namespace assay
