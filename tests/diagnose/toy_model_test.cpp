// An architecture in its own file works with the whole program.
#include "diagnose/toy_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "assay/compare.h"
#include "assay/diagnose.h"
#include "assay/extract.h"
#include "assay/npz.h"
#include "base/temporary_directory.h"
#include "base/thread_pool.h"
#include "diagnose/rewrites.h"
#include "diagnose/run_of_program.h"
#include "model/synth.h"
#include "reference/explain.h"

namespace assay {
namespace {

class Toy : public testing::Test {
 protected:
  static void SetUpTestSuite() { add_toy_type(); }

  void SetUp() override {
    write_text(directory_ / "config.json", R"({"model_type": "toy", "hidden_act": "silu",
      "head_dim": 16, "hidden_size": 48, "intermediate_size": 80, "num_attention_heads": 4,
      "num_key_value_heads": 2, "num_hidden_layers": 3, "max_position_embeddings": 256,
      "rms_norm_eps": 1e-6, "vocab_size": 200, "torch_dtype": "bfloat16"})");
    SynthOptions synth;
    synth.config = directory_ / "config.json";
    synth.out = directory_ / "model";
    synthesize(synth);
    ExtractOptions options;
    options.model = synth.out;
    options.out = directory_ / "ref";
    options.numerics = {Numerics::kBf16, Numerics::kF64};
    options.taps = {"*"};
    options.max_new_tokens = 4;
    extract(options, {{"p", std::nullopt, ids_}});
  }

  // The arrays of an engine with this program.
  void run(const Model& model, const Program& program) {
    ThreadPool pool(1);
    const std::vector<Array> arrays = run_of_program<Bf16>(model, program, ids_, pool);
    std::vector<ArrayView> views;
    for (const Array& array : arrays) views.push_back(array.view());
    write_npz(directory_ / "dump.npz", views, Compression::kNone);
  }
  CompareReport compared() const {
    CompareOptions options;
    options.reference = directory_ / "ref";
    options.candidate = directory_ / "dump.npz";
    options.prompt = "p";
    return compare(options);
  }
  Diagnosis diagnosed() const {
    DiagnoseOptions options;
    options.model = directory_ / "model";
    options.reference = directory_ / "ref";
    options.candidate = directory_ / "dump.npz";
    options.prompt = "p";
    return diagnose(options);
  }

  std::vector<std::int64_t> ids_ = {3, 141, 59, 26, 53, 58, 97, 93, 23, 84, 62, 64};
  TemporaryDirectory directory_;
};

TEST_F(Toy, IsExtractedComparedDiagnosedAndExplained) {
  const Model model = load_model(directory_ / "model");
  run(model, model.program);
  EXPECT_TRUE(compared().passed);
  EXPECT_EQ(diagnosed().verdict, DiagnosisVerdict::kCorrect) << diagnosed().summary;

  Program wrong = model.program;
  change_layers<OddRotate>(wrong, [](OddRotate& rotate) { rotate.backwards = true; });
  run(model, wrong);
  const CompareReport report = compared();
  EXPECT_FALSE(report.passed);
  const PromptResult& prompt = report.prompts.at(0);
  EXPECT_EQ(prompt.tensors.at(prompt.first_divergence.value()).name, "layer_00_q_rope");
  const Diagnosis diagnosis = diagnosed();
  EXPECT_EQ(diagnosis.verdict, DiagnosisVerdict::kNamed) << diagnosis.summary;
  EXPECT_EQ(diagnosis.findings.at(0).mistake.id, "rope-sign");

  const nlohmann::ordered_json page = explain(directory_ / "model", 1);
  EXPECT_NE(page.dump().find("post_feedforward_layernorm"), std::string::npos);
}

}  // namespace
}  // namespace assay
