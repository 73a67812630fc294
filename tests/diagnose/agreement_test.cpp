// compare and diagnose agree about a candidate.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>

#include "assay/check.h"
#include "assay/compare.h"
#include "assay/diagnose.h"
#include "assay/extract.h"
#include "assay/npz.h"
#include "base/half.h"
#include "base/temporary_directory.h"
#include "candidate/data_flow.h"
#include "candidate/positions.h"
#include "diagnose/rewrites.h"
#include "diagnose/run_of_program.h"
#include "model/families.h"
#include "model/model.h"
#include "model/synth.h"
#include "numerics/noise.h"
#include "rewrite/operand_rounding.h"
#include "verify/run_noise.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kConfig = R"({
  "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "head_dim": 16,
  "hidden_act": "silu", "hidden_size": 48, "initializer_range": 0.08, "intermediate_size": 96,
  "max_position_embeddings": 512, "model_type": "qwen3", "num_attention_heads": 4,
  "num_hidden_layers": 3, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_scaling": null,
  "rope_theta": 1000000, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
  "use_sliding_window": false, "vocab_size": 300})";

enum class Level { kAll, kLayers, kLogits };

class Agreement : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = new TemporaryDirectory;
    write_text(*directory_ / "config.json", kConfig);
    SynthOptions synth;
    synth.config = *directory_ / "config.json";
    synth.out = *directory_ / "model";
    synth.seed = 4;
    synthesize(synth);
    for (std::int64_t i = 0; i < 20; ++i) ids_->push_back((i * 7919 + 13) % 300);
    ExtractOptions options;
    options.model = synth.out;
    options.out = *directory_ / "ref";
    options.numerics = {Numerics::kBf16, Numerics::kF64};
    options.taps = {"*"};
    options.max_new_tokens = 4;
    extract(options, {{"p", std::nullopt, *ids_}});
  }
  static void TearDownTestSuite() {
    delete directory_;
    ids_->clear();
  }

  static bool is_at(Level level, const std::string& name) {
    if (name == "input_ids" || name == "logits" || name == "generated_ids") return true;
    const std::optional<TapPlace> place = parse_tap_name(name);
    return level == Level::kAll ||
           (level == Level::kLayers && place &&
            (place->tap == Tap::kEmbeddingOutput || place->tap == Tap::kLayerOutput));
  }

  // The arrays of an engine with that numerics and such a model.
  static std::vector<Array> run_of(const Program& program, std::string_view numerics) {
    const Model model = load_model(*directory_ / "model");
    ThreadPool pool(2);
    if (numerics == "f32") return run_of_program<F32>(model, program, *ids_, pool);
    return numerics == "f64" ? run_of_program<F64>(model, program, *ids_, pool)
                             : run_of_program<Bf16>(model, program, *ids_, pool);
  }
  static Program right() { return load_model(*directory_ / "model").program; }

  struct Said {
    CompareReport compare;
    Diagnosis diagnosis;
  };

  // The same arrays from a running engine.
  static CompareReport check(const std::vector<ArrayView>& arrays) {
    CheckerOptions options;
    options.reference = *directory_ / "ref";
    Checker checker(options);
    for (const ArrayView& array : arrays) checker.check(array);
    return checker.report();
  }

  // Compares the verdicts.
  static Said ask(const std::vector<Array>& arrays, Level level, const std::string& what) {
    const fs::path file = *directory_ / "p.npz";
    Array ids{"input_ids", DType::kI64, {1, std::ssize(*ids_)}, {}};
    ids.bytes.resize(ids_->size() * sizeof(std::int64_t));
    std::ranges::copy(*ids_, ids.as<std::int64_t>().begin());
    std::vector<ArrayView> views = {ids.view()};
    for (const Array& array : arrays) {
      if (is_at(level, array.name)) views.push_back(array.view());
    }
    write_npz(file, views, Compression::kNone);
    CompareOptions compare_options;
    compare_options.reference = *directory_ / "ref";
    compare_options.candidate = file;
    compare_options.prompt = "p";
    DiagnoseOptions options;
    options.model = *directory_ / "model";
    options.reference = *directory_ / "ref";
    options.candidate = file;
    options.prompt = "p";
    Said said{compare(compare_options), diagnose(options)};
    const bool correct = said.diagnosis.verdict == DiagnosisVerdict::kCorrect;
    EXPECT_FALSE(correct && !said.compare.passed) << what << ": compare fails it";
    EXPECT_FALSE(correct && said.compare.coarse) << what << ": compare calls it coarse";
    const CompareReport checked = check(views);
    EXPECT_EQ(checked.passed, said.compare.passed) << what;
    EXPECT_EQ(checked.coarse, said.compare.coarse) << what;
    EXPECT_EQ(checked.prompts.at(0).first_divergence, said.compare.prompts.at(0).first_divergence)
        << what;
    return said;
  }

  static TemporaryDirectory* directory_;
  static std::vector<std::int64_t>* ids_;
};
TemporaryDirectory* Agreement::directory_ = nullptr;
std::vector<std::int64_t>* Agreement::ids_ = new std::vector<std::int64_t>;

TEST_F(Agreement, CorrectRunsAreCorrect) {
  for (const char* numerics : {"bf16", "f32"}) {
    const std::vector<Array> arrays = run_of(right(), numerics);
    for (const Level level : {Level::kAll, Level::kLayers, Level::kLogits}) {
      const Said said = ask(arrays, level, numerics);
      EXPECT_TRUE(said.compare.passed);
      EXPECT_FALSE(said.compare.coarse);
      EXPECT_EQ(said.diagnosis.verdict, DiagnosisVerdict::kCorrect)
          << numerics << ": " << said.diagnosis.summary;
    }
  }
}

// No later array is affected: only the dump's copy is wrong.
TEST_F(Agreement, AnArrayThatNoEngineCanComputeWithIsNoSuccess) {
  std::vector<Array> arrays = run_of(right(), "f32");
  const auto bad = std::ranges::find(arrays, "layer_01_mlp_output", &Array::name);
  bad->as<float>()[3] = std::nanf("");
  const Said said = ask(arrays, Level::kAll, "one NaN");
  EXPECT_FALSE(said.compare.passed);
  EXPECT_EQ(said.diagnosis.verdict, DiagnosisVerdict::kIncomplete) << said.diagnosis.summary;
  ASSERT_EQ(said.diagnosis.unreadable.size(), 1u);
  EXPECT_NE(said.diagnosis.unreadable[0].find("1 of 960 values are infinite or NaN"),
            std::string::npos)
      << said.diagnosis.unreadable[0];
}

TEST_F(Agreement, AnArrayThatCannotBeReadIsNoSuccess) {
  std::vector<Array> arrays = run_of(right(), "f32");
  const auto wider = std::ranges::find(arrays, "layer_01_mlp_output", &Array::name);
  wider->shape = {1, 20, 47};
  wider->bytes.resize(std::size_t{20} * 47 * sizeof(float));
  const Said said = ask(arrays, Level::kAll, "another width");
  EXPECT_FALSE(said.compare.passed);
  EXPECT_EQ(said.diagnosis.verdict, DiagnosisVerdict::kIncomplete) << said.diagnosis.summary;
  EXPECT_EQ(said.diagnosis.summary, "an array cannot be read; in the others nothing is wrong");
  ASSERT_EQ(said.diagnosis.unreadable.size(), 1u);
  EXPECT_NE(said.diagnosis.unreadable[0].find("[1, 20, 47]"), std::string::npos);

  // Mistakes in other arrays are reported as usual.
  Program other = right();
  other.ropes[0].theta = 10000;
  std::vector<Array> wrong = run_of(other, "f32");
  *std::ranges::find(wrong, wider->name, &Array::name) = *wider;
  const Said both = ask(wrong, Level::kAll, "another width, and theta");
  EXPECT_EQ(both.diagnosis.verdict, DiagnosisVerdict::kNamed) << both.diagnosis.summary;
  EXPECT_EQ(both.diagnosis.unreadable, said.diagnosis.unreadable);
}

// Only the dump's copy of an early layer's output is wrong: the next output is right, though not by
// this one.
TEST_F(Agreement, AnArrayThatWasTakenElsewhereIsNoMistake) {
  std::vector<Array> arrays = run_of(right(), "f32");
  std::erase_if(arrays, [](const Array& a) { return a.name == "layer_01_output"; });
  Array& other = *std::ranges::find(arrays, "layer_00_output", &Array::name);
  const auto values = other.as<float>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i % 3 == 0 ? 1.0F : 0.0F;
  const Said said = ask(arrays, Level::kLayers, "garbage");
  EXPECT_TRUE(said.compare.passed);
  EXPECT_EQ(said.diagnosis.verdict, DiagnosisVerdict::kCorrect) << said.diagnosis.summary;
  ASSERT_EQ(said.diagnosis.dump.size(), 1u);
  EXPECT_TRUE(said.diagnosis.dump[0].starts_with("layer_00_output: is not what the engine"))
      << said.diagnosis.dump[0];
  // No engine computes with this.
  std::ranges::fill(values, std::numeric_limits<float>::infinity());
  const Said infinite = ask(arrays, Level::kLayers, "infinite");
  EXPECT_FALSE(infinite.compare.passed);
  EXPECT_NE(infinite.diagnosis.verdict, DiagnosisVerdict::kCorrect);
}

TEST_F(Agreement, ATextOfAnotherPromptIsNoSuccess) {
  std::vector<Array> arrays = run_of(right(), "f32");
  const auto said_of = [&](std::vector<std::int64_t> text) {
    Array ids{"generated_ids", DType::kI64, {std::ssize(text)}, {}};
    ids.bytes.resize(text.size() * sizeof(std::int64_t));
    std::ranges::copy(text, ids.as<std::int64_t>().begin());
    arrays.push_back(std::move(ids));
    Said said = ask(arrays, Level::kLogits, "text");
    arrays.pop_back();
    return said;
  };
  const Said other = said_of({201, 202, 203});
  EXPECT_FALSE(other.compare.passed);
  EXPECT_EQ(other.diagnosis.verdict, DiagnosisVerdict::kIncomplete) << other.diagnosis.summary;
  const Said none = said_of({});
  EXPECT_TRUE(none.compare.passed);
  EXPECT_EQ(none.diagnosis.verdict, DiagnosisVerdict::kCorrect) << none.diagnosis.summary;
}

void set_eps(Program& program, double eps) {
  constexpr std::array kAll = {Tap::kInputNorm, Tap::kQNorm, Tap::kKNorm, Tap::kMlpNorm,
                               Tap::kFinalNormOutput};
  change_norms(program, kAll, [eps](OddNorm& n) { n.norm.eps = eps; });
}
template <class Change>
auto of_rope(Change change) {
  return [change](Program& p) { change_layers<OddRotate>(p, change); };
}
template <class Change>
auto of_attention(Change change) {
  return [change](Program& p) { change_attention(p, change); };
}

// Large and small mistakes, each in both numerics at one level.
TEST_F(Agreement, NeitherContradictsTheOtherOnMistakes) {
  const std::vector<std::pair<std::string, std::function<void(Program&)>>> mistakes = {
      {"epsilon 1e-5", [](Program& p) { set_eps(p, 1e-5); }},
      {"epsilon 1e-4", [](Program& p) { set_eps(p, 1e-4); }},
      {"epsilon 1e-3 in the last norm",
       [](Program& p) {
         change_norms(p, std::array{Tap::kFinalNormOutput}, [](OddNorm& n) { n.norm.eps = 1e-3; });
       }},
      {"epsilon outside the root",
       [](Program& p) {
         change_norms(p, std::array{Tap::kInputNorm}, [](OddNorm& n) { n.eps_outside = true; });
       }},
      {"theta 10000", [](Program& p) { p.ropes[0].theta = 10000; }},
      {"theta 999000", [](Program& p) { p.ropes[0].theta = 999000; }},
      {"positions over 1.001", of_rope([](OddRotate& r) { r.factor = 1.001; })},
      {"half of a head rotated", of_rope([](OddRotate& r) { r.rotate.dims = 8; })},
      {"angles in BF16", of_rope([](OddRotate& r) { r.types.angles = DType::kBF16; })},
      {"frequencies in F16", of_rope([](OddRotate& r) { r.types.frequencies = DType::kF16; })},
      {"scale a little off", of_attention([](OddAttention& a) { a.scores.scale = 0.2502; })},
      {"scale off", of_attention([](OddAttention& a) { a.scores.scale = 0.3; })},
      {"soft-capped at 50", of_attention([](OddAttention& a) { a.scores.cap = 50; })},
      {"softmax in BF16", of_attention([](OddAttention& a) { a.softmax = DType::kBF16; })},
      {"GELU by its tanh",
       [](Program& p) {
         change_layers<OddGate>(p, [](OddGate& g) { g.function = Function::kGeluTanh; });
       }},
      {"a window of 5", of_attention([](OddAttention& a) { a.scores.window = 5; })},
  };
  std::size_t failed = 0;
  for (std::size_t i = 0; i < 2 * mistakes.size(); ++i) {
    const auto& [name, change] = mistakes[i / 2];
    Program wrong = right();
    change(wrong);
    const char* numerics = i % 2 == 0 ? "bf16" : "f32";
    const Level level = i % 3 == 2 ? Level::kLogits : i % 3 == 1 ? Level::kLayers : Level::kAll;
    const Said said = ask(run_of(wrong, numerics), level, name + " in " + numerics);
    failed += said.compare.passed ? 0 : 1;
  }
  EXPECT_GE(failed, 8u);
}

// Within BF16's noise, so only an FP32 engine shows it.
TEST_F(Agreement, AWrongEpsilonInFp32IsCoarseAndNamed) {
  Program wrong = right();
  set_eps(wrong, 1e-5);
  const Said said = ask(run_of(wrong, "f32"), Level::kAll, "epsilon");
  EXPECT_TRUE(said.compare.passed);
  EXPECT_TRUE(said.compare.coarse);
  EXPECT_EQ(said.diagnosis.verdict, DiagnosisVerdict::kNamed) << said.diagnosis.summary;
  ASSERT_FALSE(said.diagnosis.notes.empty());
  EXPECT_NE(said.diagnosis.notes.back().find("within BF16's noise"), std::string::npos);
}

// Each operation by itself is below three times its noise; the run is not.
TEST_F(Agreement, ErrorsThatAddUpAreNotCorrect) {
  const std::vector<Array> bf16 = run_of(right(), "bf16");
  const std::vector<Array> f64 = run_of(right(), "f64");
  for (const float factor : {1.5F, 2.5F}) {
    std::vector<Array> arrays = bf16;
    for (std::size_t a = 0; a < arrays.size(); ++a) {
      if (arrays[a].name != "logits") continue;
      for (std::size_t i = 0; i < arrays[a].as<float>().size(); ++i) {
        float& logit = arrays[a].as<float>()[i];
        const float truth = f64[a].as<float>()[i];
        logit = bf16_to_f32(f32_to_bf16(truth + factor * (logit - truth)));
      }
    }
    const Said said = ask(arrays, Level::kLogits, "logits");
    EXPECT_EQ(said.compare.passed, factor < 2) << factor;
    const DiagnosisVerdict verdict = said.diagnosis.verdict;
    EXPECT_EQ(verdict == DiagnosisVerdict::kCorrect, factor < 2) << said.diagnosis.summary;
  }
}

nlohmann::json config_of(std::string_view family) {
  for (const auto& [name, config] : family_configs()) {
    if (name.starts_with(family)) return config;
  }
  throw std::out_of_range(std::string(family));
}

// Ten tokens through a model with this config: DIR/model and DIR/ref.
const std::vector<std::int64_t> kTenTokens = {5, 50, 17, 3, 88, 21, 9, 64, 30, 2};
void make_reference(const fs::path& directory, const nlohmann::json& config) {
  write_text(directory / "config.json", config.dump());
  SynthOptions synth;
  synth.config = directory / "config.json";
  synth.out = directory / "model";
  synth.seed = 4;
  synthesize(synth);
  ExtractOptions options;
  options.model = synth.out;
  options.out = directory / "ref";
  options.numerics = {Numerics::kBf16, Numerics::kF64};
  options.max_new_tokens = 0;
  extract(options, {{"p", std::nullopt, kTenTokens}});
}

// An engine that computes in FP32 and rounds what it dumps. Its softmax does not follow from the
// rounded scores, which are large here.
TEST(AgreementOnARoundedDump, IsCorrectThoughOperationsDoNotFollowFromIt) {
  const TemporaryDirectory directory;
  nlohmann::json config = config_of("gemma3_text");
  config["query_pre_attn_scalar"] = 1e-3;
  make_reference(directory.path(), config);
  const Model model = load_model(directory / "model");
  ThreadPool pool(2);
  const auto diagnosed = [&](const Program& program, DType type) {
    std::vector<Array> arrays = run_of_program<F32>(model, program, kTenTokens, pool);
    std::vector<ArrayView> views;
    for (Array& array : arrays) {
      if (array.dtype == DType::kF32) {
        for (float& x : array.as<float>()) x = static_cast<float>(rounded_to(type, x));
      }
      views.push_back(array.view());
    }
    write_npz(directory / "p.npz", views, Compression::kNone);
    DiagnoseOptions options;
    options.model = directory / "model";
    options.reference = directory / "ref";
    options.candidate = directory / "p.npz";
    options.prompt = "p";
    return diagnose(options);
  };
  for (const DType type : {DType::kBF16, DType::kF16}) {
    const Diagnosis right = diagnosed(model.program, type);
    EXPECT_EQ(right.verdict, DiagnosisVerdict::kCorrect) << right.summary;
    ASSERT_FALSE(right.notes.empty());
    EXPECT_NE(right.notes.back().find("one rounding to"), std::string::npos) << right.notes.back();
    Program wrong = model.program;
    change_attention(wrong, [](OddAttention& a) { a.scores.window = 3; });
    EXPECT_NE(diagnosed(wrong, type).verdict, DiagnosisVerdict::kCorrect);
  }
}

// A hook on the head sees uncapped logits. A cap this wide changes less than BF16's rounding.
TEST(AgreementOnAWideCap, LogitsBeforeItAreNotCoarse) {
  const TemporaryDirectory directory;
  nlohmann::json config = config_of("gemma2");
  config["final_logit_softcapping"] = 60;
  make_reference(directory.path(), config);
  Model model = load_model(directory / "model");
  cap_logits(model.program, 0);
  ThreadPool pool(2);
  std::vector<Array> arrays = {run_of_program<F32>(model, model.program, kTenTokens, pool).back()};
  for (const char* name : {"lm_head", "logits"}) {
    arrays.at(0).name = name;
    write_npz(directory / "p.npz", std::vector<ArrayView>{arrays.at(0).view()}, Compression::kNone);
    CompareOptions options;
    options.reference = directory / "ref";
    options.candidate = directory / "p.npz";
    options.prompt = "p";
    const CompareReport report = compare(options);
    EXPECT_TRUE(report.passed);
    const bool of_head = std::string_view(name) == "lm_head";
    EXPECT_EQ(report.coarse, !of_head) << name;
    EXPECT_EQ(report.prompts.at(0).findings.size(), of_head ? 1U : 0U) << name;
  }
}

// A model whose logits are not capped at its end, though its config says so: what lm_head returns
// is right, and no excuse for the model's own logits.
TEST(AgreementOnAMissingCap, TheModelsOwnLogitsCount) {
  const TemporaryDirectory directory;
  nlohmann::json config = config_of("gemma2");
  config["final_logit_softcapping"] = 2;
  make_reference(directory.path(), config);
  const Model model = load_model(directory / "model");
  Model uncapped = load_model(directory / "model");
  cap_logits(uncapped.program, 0);
  ThreadPool pool(2);
  const Array right = run_of_program<Bf16>(model, model.program, kTenTokens, pool).back();
  const Array before = run_of_program<Bf16>(uncapped, uncapped.program, kTenTokens, pool).back();
  const auto named = [](Array array, std::string_view name) {
    array.name = name;
    return array;
  };
  for (const std::string_view own : {"logits", "output"}) {
    for (const Array* result : {&right, &before}) {
      const std::vector<Array> arrays = {named(before, "lm_head"), named(*result, own)};
      const bool is_right = result == &right;
      write_npz(directory / "p.npz", std::vector<ArrayView>{arrays[0].view(), arrays[1].view()},
                Compression::kNone);
      CompareOptions options;
      options.reference = directory / "ref";
      options.candidate = directory / "p.npz";
      options.prompt = "p";
      const CompareReport report = compare(options);
      EXPECT_EQ(report.passed, is_right) << own;
      const auto& tensors = report.prompts.at(0).tensors;
      EXPECT_EQ(std::ranges::find(tensors, "logits", &TensorResult::name)->candidate_name, own);
      DiagnoseOptions asked;
      asked.model = directory / "model";
      asked.reference = directory / "ref";
      asked.candidate = directory / "p.npz";
      asked.prompt = "p";
      EXPECT_EQ(diagnose(asked).verdict == DiagnosisVerdict::kCorrect, is_right) << own;
      for (const bool by_position : {false, true}) {
        CheckerOptions running;
        running.reference = directory / "ref";
        Checker checker(running);
        for (std::int64_t p = 0; p < (by_position ? std::ssize(kTenTokens) : 1); ++p) {
          if (by_position) checker.set_positions(p, 1);
          for (const Array& array : arrays) {
            const Array piece = by_position ? slice_positions(array.view(), 1, {p, 1}) : array;
            const bool is_own = array.name == own;
            const Verdict verdict = checker.check(piece.view()).verdict;
            EXPECT_EQ(verdict == Verdict::kFail, is_own && !is_right) << own << " at " << p;
            if (is_own && is_right) {
              EXPECT_EQ(verdict, Verdict::kPass) << own << " at " << p;
            }
          }
        }
        EXPECT_EQ(checker.report().passed, is_right) << own;
      }
    }
  }
}

}  // namespace
}  // namespace assay
