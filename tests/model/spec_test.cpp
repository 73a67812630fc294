#include "assay/spec.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "assay/error.h"

namespace assay {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class SpecTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = fs::path(testing::TempDir()) / ("assay-spec-" + std::to_string(::getpid()));
    fs::create_directories(directory_);
    std::ifstream(ASSAY_ROOT "/models/tiny-qwen3/config.json") >> config_;
  }
  void TearDown() override { fs::remove_all(directory_); }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(directory_ / name) << text;
  }
  ModelSpec read(const json& config) const {
    write("config.json", config.dump());
    return read_spec(directory_);
  }
  // The error that this config gives.
  std::string error_of(const json& config) const {
    try {
      read(config);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInput);
      EXPECT_NE(error.where().find("config.json"), std::string::npos) << error.what();
      return error.what();
    }
    return "no error";
  }

  fs::path directory_;
  json config_;
};

TEST_F(SpecTest, ReadsTheBundledModel) {
  const ModelSpec spec = read(config_);
  EXPECT_EQ(spec.num_hidden_layers, 28);
  EXPECT_EQ(spec.hidden_size, 64);
  EXPECT_EQ(spec.head_dim, 32);
  EXPECT_EQ(spec.q_size(), 128);
  EXPECT_EQ(spec.kv_size(), 64);
  EXPECT_EQ(spec.rms_norm_eps, 1e-6);
  EXPECT_EQ(spec.rope_theta, 1e6);
  EXPECT_TRUE(spec.tie_word_embeddings);
  EXPECT_TRUE(spec.qk_norm);
}

TEST_F(SpecTest, ReadsTheLayoutOfTransformers5) {
  config_.erase("rope_theta");
  config_.erase("rope_scaling");
  config_["rope_parameters"] = {{"rope_theta", 5000000.0}, {"rope_type", "default"}};
  EXPECT_EQ(read(config_).rope_theta, 5e6);
}

TEST_F(SpecTest, EveryNeededFieldIsNamedWhenItIsMissingOrWrong) {
  for (const char* field : {"model_type", "vocab_size", "hidden_size", "intermediate_size",
                            "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
                            "head_dim", "max_position_embeddings", "rms_norm_eps", "rope_theta"}) {
    json missing = config_;
    missing.erase(field);
    EXPECT_NE(error_of(missing).find("'" + std::string(field) + "': missing"), std::string::npos)
        << error_of(missing);
    for (const json& wrong : {json::array(), json(-1), json(true)}) {
      json config = config_;
      config[field] = wrong;
      EXPECT_NE(error_of(config).find("'" + std::string(field) + "'"), std::string::npos) << field;
    }
  }
  for (const json& wrong : {json(0), json(1.5), json("64"), json(1e300), json(4294967296)}) {
    json config = config_;
    config["hidden_size"] = wrong;
    EXPECT_NE(error_of(config).find("expected a positive integer"), std::string::npos) << wrong;
  }
}

TEST_F(SpecTest, WhatItDoesNotComputeIsRefused) {
  const std::vector<std::pair<std::string, json>> unsupported = {
      {"model_type", "llama"},
      {"attention_bias", true},
      {"use_sliding_window", true},
      {"hidden_act", "gelu"},
      {"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}},
      {"rope_parameters", {{"rope_type", "yarn"}, {"rope_theta", 1e6}}},
      {"num_key_value_heads", 3},
      {"head_dim", 33}};
  for (const auto& [field, value] : unsupported) {
    json config = config_;
    config[field] = value;
    EXPECT_NE(error_of(config).find(field == "rope_parameters" ? "rope_type" : field),
              std::string::npos)
        << error_of(config);
  }
}

TEST_F(SpecTest, BrokenFilesAreNamed) {
  EXPECT_THROW(read_spec(directory_ / "nowhere"), Error);
  for (const char* text : {"", "{", "[1, 2]", "{\"model_type\": \"qwen3\""}) {
    write("config.json", text);
    EXPECT_THROW(read_spec(directory_), Error) << text;
  }
}

TEST_F(SpecTest, EosIdsComeFromGenerationConfigFirst) {
  write("config.json", config_.dump());
  EXPECT_EQ(read_eos_token_ids(directory_), std::vector<std::int64_t>{config_["eos_token_id"]});
  write("generation_config.json", R"({"eos_token_id": [7, 9]})");
  EXPECT_EQ(read_eos_token_ids(directory_), (std::vector<std::int64_t>{7, 9}));
  write("generation_config.json", R"({"eos_token_id": null})");
  EXPECT_EQ(read_eos_token_ids(directory_), std::vector<std::int64_t>{config_["eos_token_id"]});
  for (const char* wrong : {R"({"eos_token_id": "x"})", R"({"eos_token_id": [-1]})", "{"}) {
    write("generation_config.json", wrong);
    EXPECT_THROW(read_eos_token_ids(directory_), Error) << wrong;
  }
}

}  // namespace
}  // namespace assay
