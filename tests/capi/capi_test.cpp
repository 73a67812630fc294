// The C API as an engine in another language uses it.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <thread>

#include "base/flushing_host.h"
#include "capi/engine.h"

namespace assay {
namespace {

// The arrays of an FP32 engine with another epsilon.
std::vector<Array> with_another_epsilon(const fs::path& directory) {
  const fs::path model = directory / "epsilon_model";
  fs::copy(ASSAY_ROOT "/models/tiny-qwen3", model);
  json config = json::parse(read_text(model / "config.json"));
  config["rms_norm_eps"] = 1e-5;
  write_text(model / "config.json", config.dump());
  const Result made = run_program({"extract", "--model", model, "--numerics", "f32", "--prompt",
                                   "The capital of France is", "--out", directory / "epsilon"});
  EXPECT_EQ(made.exit_code, 0) << made.err;
  const NpzReader npz(directory / "epsilon/prompt1/reference.npz");
  std::vector<Array> arrays;
  for (const std::string& name : npz.names()) arrays.push_back(npz.read(name));
  return arrays;
}

// Without the fields that tell the time.
json without_time(json report) {
  report.erase("date");
  return report;
}

// The report of `assay compare` on the same arrays.
json compared(const std::string& reference, const std::string& candidate) {
  return without_time(json::parse(run_program({"compare", "--json", reference, candidate}).out));
}

// Without the fields that tell how the arrays arrived.
json verdicts(json report) {
  json result;
  for (json& tensor : report["prompts"][0]["tensors"]) {
    tensor.erase("reading");
    tensor.erase("candidate_name");
    result.push_back(tensor);
  }
  return result;
}

TEST_F(CApi, CallsCoarseWhatFp32DoesNotExplain) {
  const TemporaryDirectory directory;
  const std::vector<Array> arrays = with_another_epsilon(directory.path());
  const auto run = [&](const assay_options& options) {
    assay_checker* checker = assay_open(&options);
    EXPECT_NE(checker, nullptr) << assay_message();
    std::map<assay_verdict, int> verdicts;
    for (const Array& a : arrays) {
      assay_result result = empty_result();
      const assay_verdict verdict = check(checker, a, &result);
      ++verdicts[verdict];
      if (verdict == ASSAY_COARSE) {
        EXPECT_NE(std::string(result.message).find("times FP32's"), std::string::npos);
        EXPECT_STREQ(result.tap, a.name.c_str());
      }
    }
    EXPECT_EQ(verdicts[ASSAY_FAIL] + verdicts[ASSAY_ERROR], 0);
    json report = without_time(report_of(checker));
    const std::string dump = directory / "epsilon/prompt1/reference.npz";
    if (options.as == nullptr) {
      report["candidate"] = dump;
      EXPECT_EQ(report, compared(one(), dump));
    }
    return std::pair(verdicts[ASSAY_COARSE], assay_close(checker));
  };
  const std::string reference = one();
  assay_options options = {};
  options.size = sizeof options;
  options.reference = reference.c_str();
  const auto [coarse, verdict] = run(options);
  EXPECT_GT(coarse, 20);
  EXPECT_EQ(verdict, ASSAY_COARSE);
  options.strict = 1;
  EXPECT_EQ(run(options).second, ASSAY_FAIL);
  // These fields are not read for a caller that does not know them.
  options.size = offsetof(assay_options, as);
  EXPECT_EQ(run(options).second, ASSAY_COARSE);
  options.size = sizeof options;
  options.as = "bf16";
  EXPECT_EQ(run(options), std::pair(0, ASSAY_PASS));
  options.as = "q8";
  EXPECT_EQ(assay_open(&options), nullptr);
  EXPECT_NE(std::string(assay_message()).find("'q8'"), std::string::npos);
}

TEST_F(CApi, ReportsWholeTensorsAsCompareDoes) {
  assay_checker* checker = open(one());
  ASSERT_NE(checker, nullptr) << assay_message();
  for (const Array& a : *arrays_) {
    assay_result result = empty_result();
    EXPECT_EQ(check(checker, a, &result), ASSAY_PASS) << a.name << ": " << assay_message();
    EXPECT_STREQ(result.message, "");
    if (is_whole(a.name)) continue;
    EXPECT_STREQ(result.tap, a.name.c_str());
    EXPECT_EQ(result.relative_l2, 0);
    EXPECT_LE(result.noise_ratio, 1);
  }
  json report = without_time(report_of(checker));
  report["candidate"] = one() + "/prompt1/reference.npz";
  EXPECT_EQ(report, compared(one(), report["candidate"]));
  EXPECT_NE(std::string(assay_report_text(checker)).find("PASS: profile noise"), std::string::npos);
  EXPECT_EQ(assay_close(checker), ASSAY_PASS) << assay_message();
}

TEST_F(CApi, JudgesTokenByTokenAndSumsUpAsCompareDoes) {
  assay_checker* checker = open(one());
  for (std::int64_t position = 0; position < 5; ++position) {
    ASSERT_EQ(assay_set_positions(checker, position, 1), ASSAY_PASS);
    for (const Array& a : *arrays_) {
      if (is_whole(a.name)) {
        if (position == 0) {
          EXPECT_EQ(check(checker, a), ASSAY_PASS) << a.name;
        }
        continue;
      }
      EXPECT_EQ(check_position(checker, a, axis_of(a.name), position), ASSAY_PASS)
          << a.name << ": " << assay_message();
    }
    const json tensor = verdicts(report_of(checker))[1];
    EXPECT_EQ(tensor["verdict"], position < 4 ? "not compared" : "pass") << tensor;
  }
  EXPECT_EQ(verdicts(report_of(checker)),
            verdicts(compared(one(), one() + "/prompt1/reference.npz")));
  // The run continues after the prompt.
  assay_set_positions(checker, 5, 1);
  EXPECT_EQ(check_position(checker, array("layer_05_output"), 1, 4), ASSAY_NOT_COMPARED);
  EXPECT_NE(std::string(assay_message()).find("after the reference's 5"), std::string::npos);
  EXPECT_EQ(assay_close(checker), ASSAY_PASS);
}

TEST_F(CApi, TheHostsFloatingPointModeChangesNothingAndStays) {
  std::vector<Array> arrays = *arrays_;
  for (Array& a : arrays) {
    if (a.dtype != DType::kF32) continue;
    for (float& x : a.as<float>()) x *= 1.0001F;
  }
  const auto judged = [&](const std::function<void()>& look) {
    assay_checker* checker = open(one());
    look();
    for (const Array& a : arrays) {
      check(checker, a);
      look();
    }
    std::string report = assay_report_json(checker);
    assay_close(checker);
    look();
    return report;
  };
  const std::string usual = judged([] {});
  std::string flushing;
  {
    const FlushingHost host;
    flushing = judged([&] { EXPECT_TRUE(host.holds()); });
  }
  EXPECT_EQ(without_time(json::parse(flushing)), without_time(json::parse(usual)));
}

TEST_F(CApi, FindsTheOnePositionThatIsWrong) {
  assay_checker* checker = open(one());
  Array wrong = array("layer_05_output");
  const std::size_t width = wrong.as<float>().size() / 5;
  for (float& x : wrong.as<float>().subspan(3 * width, width)) x *= 1.1F;
  for (std::int64_t position = 0; position < 5; ++position) {
    assay_set_positions(checker, position, 1);
    EXPECT_EQ(check_position(checker, wrong, 1, position), position == 3 ? ASSAY_FAIL : ASSAY_PASS);
    if (position == 3) {
      EXPECT_EQ(std::string(assay_message()).find("position 3: noise ratio"), 0u)
          << assay_message();
    }
  }
  EXPECT_EQ(report_of(checker)["prompts"][0]["first_divergence"]["tensor"], "layer_05_output");
  EXPECT_EQ(assay_close(checker), ASSAY_FAIL);
}

TEST_F(CApi, OneBadPositionIsEnough) {
  // The smallest error that fails because of one position is small in the whole array.
  for (float error = 0.001F;; error *= 1.2F) {
    ASSERT_LT(error, 1);
    Array wrong = array("layer_05_output");
    const std::size_t width = wrong.as<float>().size() / 5;
    for (float& x : wrong.as<float>().subspan(3 * width, width)) x *= 1 + error;
    assay_checker* checker = open(one());
    for (std::int64_t position = 0; position < 5; ++position) {
      assay_set_positions(checker, position, 1);
      check_position(checker, wrong, 1, position);
    }
    const assay_verdict in_pieces = assay_close(checker);
    if (in_pieces == ASSAY_PASS || in_pieces == ASSAY_COARSE) continue;
    EXPECT_EQ(in_pieces, ASSAY_FAIL);
    checker = open(one());
    EXPECT_NE(check(checker, wrong), ASSAY_FAIL);
    assay_close(checker);
    return;
  }
}

TEST_F(CApi, CountsWhatIsMissingAsNotCompared) {
  assay_checker* checker = open(one());
  for (const std::int64_t position : {0, 1, 4}) {
    assay_set_positions(checker, position, 1);
    EXPECT_EQ(check_position(checker, array("layer_05_output"), 1, position), ASSAY_PASS);
  }
  const json report = report_of(checker);
  for (const json& tensor : report["prompts"][0]["tensors"]) {
    if (tensor["name"] != "layer_05_output") continue;
    EXPECT_EQ(tensor["verdict"], "not compared");
    EXPECT_EQ(tensor["reason"], "positions 2, 3 are missing");
  }
  EXPECT_EQ(assay_close(checker), ASSAY_NOT_COMPARED);
  // Engines compute logits only of the last position.
  checker = open(one());
  assay_set_positions(checker, 4, 1);
  EXPECT_EQ(check_position(checker, array("logits"), 1, 4), ASSAY_PASS);
  EXPECT_EQ(assay_close(checker), ASSAY_PASS);
  EXPECT_EQ(assay_close(open(one())), ASSAY_NOT_COMPARED);
}

TEST_F(CApi, GivesTheVerdictAtOnceAndTellsWhatTheDumpIs) {
  assay_checker* checker = open(one());
  assay_result result = empty_result();
  Array wrong = array("layer_05_q_norm");
  for (float& x : wrong.as<float>()) x *= 1.5F;
  EXPECT_EQ(check(checker, array("layer_05_q_proj")), ASSAY_PASS);
  EXPECT_EQ(check(checker, wrong, &result), ASSAY_FAIL);
  EXPECT_EQ(result.verdict, ASSAY_FAIL);
  EXPECT_NE(std::string(result.message).find("noise ratio"), std::string::npos);
  EXPECT_NEAR(result.relative_l2, 0.5, 1e-3);
  EXPECT_GT(result.noise_ratio, 2);
  EXPECT_EQ(result.compared, static_cast<std::int64_t>(wrong.as<float>().size()));
  // One buffer with two names.
  Array twin = array("layer_05_k_proj");
  twin.bytes = array("layer_05_v_proj").bytes;
  EXPECT_EQ(check(checker, array("layer_05_v_proj")), ASSAY_PASS);
  EXPECT_EQ(check(checker, twin), ASSAY_FAIL);
  const json prompt = report_of(checker)["prompts"][0];
  EXPECT_EQ(prompt["first_divergence"]["tensor"], "layer_05_k_proj");
  EXPECT_NE(prompt["findings"].dump().find("layer_05_v_proj"), std::string::npos) << prompt;
  EXPECT_EQ(assay_close(checker), ASSAY_FAIL);
}

TEST_F(CApi, ReadsOtherNamesLayoutsAndTypes) {
  assay_checker* checker = open(one());
  // [S, H] under another name, transposed.
  const Array output = array("layer_05_output");
  const std::int64_t width = output.shape[2];
  std::vector<float> columns(output.as<float>().size());
  for (std::int64_t s = 0; s < 5; ++s) {
    for (std::int64_t h = 0; h < width; ++h) {
      columns[static_cast<std::size_t>(h * 5 + s)] =
          output.as<float>()[static_cast<std::size_t>(s * width + h)];
    }
  }
  const Shape shape = {5, width};
  const Shape strides = {1, 5};
  EXPECT_EQ(assay_check(checker, "model.layers.5", columns.data(), ASSAY_F32, 2, shape.data(),
                        strides.data(), nullptr),
            ASSAY_PASS)
      << assay_message();
  // BF16, which holds the reference's values exactly, as a vector of joined heads.
  const Array projected = array("layer_05_v_proj");
  std::vector<std::uint16_t> narrow;
  for (const float x : projected.as<float>()) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &x, sizeof bits);
    narrow.push_back(static_cast<std::uint16_t>(bits >> 16));
  }
  const Shape joined = {5, projected.shape[2] * projected.shape[3]};
  assay_result result = empty_result();
  EXPECT_EQ(assay_check(checker, "layer_05_v_proj", narrow.data(), ASSAY_BF16, 2, joined.data(),
                        nullptr, &result),
            ASSAY_PASS);
  EXPECT_EQ(result.max_abs, 0);
  EXPECT_EQ(assay_close(checker), ASSAY_PASS);
}

TEST_F(CApi, RecordsWhatItReceives) {
  const fs::path whole = *directory_ / "whole.npz";
  assay_checker* checker = open("", whole);
  for (const Array& a : *arrays_) EXPECT_EQ(check(checker, a), ASSAY_NOT_COMPARED);
  EXPECT_FALSE(fs::exists(whole));
  EXPECT_EQ(assay_close(checker), ASSAY_NOT_COMPARED);
  EXPECT_EQ(compared(one(), whole)["passed"], true);
  EXPECT_EQ(NpzReader(whole).names(), NpzReader(one() + "/prompt1/reference.npz").names());

  // Prompt and a decode step in pieces: only the prompt's positions are compared.
  const fs::path pieces = *directory_ / "pieces.npz";
  checker = open("", pieces);
  Array output = array("layer_05_output");
  check(checker, array("input_ids"));
  assay_set_positions(checker, 0, 5);
  check(checker, output);
  output.shape[1] = 1;
  output.bytes.resize(output.bytes.size() / 5);
  assay_set_positions(checker, 5, 1);
  check(checker, output);
  EXPECT_EQ(assay_close(checker), ASSAY_NOT_COMPARED);
  EXPECT_EQ(NpzReader(pieces).read("layer_05_output").shape, (Shape{1, 6, output.shape[2]}));
  const json report = compared(one(), pieces);
  EXPECT_EQ(report["passed"], true) << report;
  EXPECT_NE(report.dump().find("the first 5 of 6 positions"), std::string::npos);

  checker = open(one(), "/nowhere/record.npz");
  EXPECT_EQ(check(checker, array("logits")), ASSAY_PASS);
  EXPECT_EQ(assay_close(checker), ASSAY_ERROR);
  EXPECT_NE(std::string(assay_message()).find("/nowhere/record.npz"), std::string::npos);
}

TEST_F(CApi, FindsThePromptByItsIds) {
  for (const bool first : {true, false}) {
    assay_checker* checker = open(three());
    if (!first) {
      EXPECT_EQ(check(checker, array("logits")), ASSAY_ERROR);
      EXPECT_NE(std::string(assay_message()).find("3 prompts"), std::string::npos);
    }
    EXPECT_EQ(check(checker, array("input_ids")), ASSAY_PASS) << assay_message();
    EXPECT_EQ(check(checker, array("logits")), ASSAY_PASS) << assay_message();
    EXPECT_EQ(report_of(checker)["prompts"][0]["id"], "prompt1");
    EXPECT_EQ(assay_close(checker), first ? ASSAY_PASS : ASSAY_ERROR);
  }
  assay_checker* checker = open(three());
  Array ids = array("input_ids");
  ids.as<std::int64_t>()[4] = 7;
  EXPECT_EQ(check(checker, ids), ASSAY_ERROR);
  EXPECT_NE(std::string(assay_message()).find("no prompt"), std::string::npos);
  assay_close(checker);
  checker = open(one());
  EXPECT_EQ(check(checker, ids), ASSAY_FAIL);
  EXPECT_NE(std::string(assay_message()).find("different from position 4 on"), std::string::npos);
  Array text = array("generated_ids");
  EXPECT_EQ(check(checker, text), ASSAY_PASS);
  text.as<std::int64_t>()[7] += 1;
  EXPECT_EQ(check(checker, text), ASSAY_FAIL);
  EXPECT_NE(std::string(assay_message()).find("differs at position 7"), std::string::npos);
  // A part of the text, and only new tokens.
  Array part = array("generated_ids");
  part.shape.back() = 7;
  part.bytes.resize(7 * sizeof(std::int64_t));
  EXPECT_EQ(check(checker, part), ASSAY_PASS);
  EXPECT_NE(std::string(assay_message()).find("agrees as far as it goes"), std::string::npos);
  part.bytes.erase(part.bytes.begin(), part.bytes.begin() + 5 * sizeof(std::int64_t));
  part.shape.back() = 2;
  EXPECT_EQ(check(checker, part), ASSAY_PASS);
  assay_close(checker);
}

TEST_F(CApi, KnowsWhatItWants) {
  assay_checker* checker = open(one());
  EXPECT_EQ(assay_wants(checker, "layer_05_q_norm"), 1);
  EXPECT_EQ(assay_wants(checker, "model.layers.5.self_attn.q_norm"), 1);
  EXPECT_EQ(assay_wants(checker, "layer_04_q_norm"), 0);
  EXPECT_EQ(assay_wants(checker, "my_buffer"), 0);
  EXPECT_EQ(check(checker, array("layer_05_q_norm")), ASSAY_PASS);
  // Again, without positions.
  Array wrong = array("layer_05_q_norm");
  wrong.as<float>()[0] = NAN;
  EXPECT_EQ(check(checker, wrong), ASSAY_NOT_COMPARED);
  EXPECT_NE(std::string(assay_message()).find("set_positions"), std::string::npos);
  assay_close(checker);
}

TEST_F(CApi, TakesTensorsFromManyThreads) {
  for (int round = 0; round < 3; ++round) {
    assay_checker* checker = open(one(), *directory_ / "threads.npz");
    std::vector<std::thread> threads;
    std::atomic<std::size_t> next = 0;
    std::atomic<int> passed = 0;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&] {
        for (std::size_t i = next++; i < arrays_->size(); i = next++) {
          passed += check(checker, (*arrays_)[i]) == ASSAY_PASS;
          assay_wants(checker, "logits");
          // Observers ask while other threads pass in tensors.
          if (i % 16 == 0) assay_report_json(checker);
          if (i % 16 == 8) assay_report_text(checker);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(passed, static_cast<int>(arrays_->size()));
    EXPECT_EQ(verdicts(report_of(checker)),
              verdicts(compared(one(), one() + "/prompt1/reference.npz")));
    EXPECT_EQ(assay_close(checker), ASSAY_PASS);
  }
}

}  // namespace
}  // namespace assay
