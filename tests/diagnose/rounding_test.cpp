// When diagnose reports a rounding, and when it names a mistake.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "assay/diagnose.h"
#include "assay/npz.h"
#include "base/temporary_directory.h"
#include "diagnose/catalog.h"
#include "diagnose/error_order.h"
#include "diagnose/replay.h"
#include "diagnose/rewrites.h"
#include "diagnose/scene.h"
#include "diagnose/search.h"
#include "model/synth.h"
#include "report/diagnose_report.h"

namespace assay {
namespace {

constexpr std::string_view kConfig = R"({
  "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "head_dim": 32,
  "hidden_act": "silu", "hidden_size": 64, "initializer_range": 0.08, "intermediate_size": 160,
  "max_position_embeddings": 512, "model_type": "qwen3", "num_attention_heads": 4,
  "num_hidden_layers": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_scaling": null,
  "rope_theta": 1000000, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
  "use_sliding_window": false, "vocab_size": 300})";

const std::filesystem::path& checkpoint() {
  static const TemporaryDirectory directory;
  static const std::filesystem::path made = [] {
    write_text(directory / "config.json", std::string(kConfig));
    SynthOptions options;
    options.config = directory / "config.json";
    options.out = directory / "model";
    options.seed = 4;
    synthesize(options);
    return options.out;
  }();
  return made;
}

class OfRounding : public testing::Test {
 protected:
  Evidence run(
      const Hypothesis& hypothesis, Rounding rounding = Rounding::kF32,
      const std::function<bool(Tap, std::int64_t)>& wanted = [](Tap, std::int64_t) {
        return true;
      }) {
    std::vector<std::int64_t> ids;
    for (std::int64_t i = 0; i < 24; ++i) ids.push_back((i * 7919 + 13) % 300);
    Evidence evidence = own_run(model_, hypothesis, ids, wanted, pool_, rounding);
    evidence.id = "p";
    return evidence;
  }

  // The diagnosis as a program reads it.
  Diagnosis diagnosis(const Evidence& evidence) const {
    const TemporaryDirectory directory;
    std::vector<ArrayView> arrays;
    arrays.push_back({"input_ids",
                      DType::kI64,
                      {1, std::ssize(evidence.ids)},
                      std::as_bytes(std::span(evidence.ids)),
                      false});
    for (const Site& site : evidence.sites) {
      const Shape shape = tap_shape(site.place.tap, std::max<std::int64_t>(site.place.layer, 0),
                                    model_.spec, std::ssize(evidence.ids));
      arrays.push_back(
          {site.name, DType::kF32, shape, std::as_bytes(std::span(site.values)), false});
    }
    DiagnoseOptions options;
    options.model = checkpoint();
    options.candidate = directory / "c.npz";
    write_npz(options.candidate, arrays);
    return diagnose(options);
  }

  Hypothesis with(std::string_view id, std::string_view detail) const {
    Hypothesis hypothesis{model_.program};
    Circumstances at{.spec = model_.spec, .program = model_.program};
    at.loose = true;
    const auto entry = std::ranges::find(catalog(), id, &Entry::id);
    for (const Variant& variant : variants_of(*entry, at)) {
      if (variant.detail == detail) {
        variant.apply(hypothesis);
        return hypothesis;
      }
    }
    ADD_FAILURE() << "no such variant: " << detail;
    return hypothesis;
  }

  ThreadPool pool_{2};
  Model model_ = load_model(checkpoint());
};
class RoundingVerdict : public OfRounding {};
class Names : public OfRounding {};

TEST_F(RoundingVerdict, SaysWhatIsRoundedAndWhere) {
  for (const auto& [id, detail] : std::vector<std::pair<std::string, std::string>>{
           {"kv-lowp", "attention's keys and values are held in F16"},
           {"kv-lowp", "attention's keys and values are held in BF16"},
           {"attn-lowp", "attention's matmuls read TF32"},
           {"attn-lowp", "attention is computed in BF16, fused"},
           {"values-lowp", "q_norm's and k_norm's x / rms is held in BF16, before the weight"},
           {"matmul-lowp", "the projections read F16"},
           {"matmul-lowp", "all matmuls read TF32"},
           {"act-lowp", "the MLP's activation is computed in F16 (or read from a table)"},
           {"q8-activations",
            "activations are rounded to 8 bits in blocks of 32 before each matmul"}}) {
    SCOPED_TRACE(detail);
    const Diagnosis found = diagnosis(run(with(id, detail)));
    EXPECT_EQ(found.verdict, DiagnosisVerdict::kRounding) << found.summary;
    EXPECT_TRUE(found.unexplained.empty());
    // A type with as many bits may be listed too; the head is outside the layers.
    EXPECT_TRUE(found.summary.starts_with("no logic is wrong: ")) << found.summary;
    EXPECT_NE(found.summary.find(detail), std::string::npos) << found.summary;
    EXPECT_TRUE(found.summary.ends_with(", in all layers")) << found.summary;
  }
}

// PyTorch on the CPU, under autocast: the polynomial of its exponentials is off by 1e-4, and some
// are rounded to the neighbour.
TEST_F(RoundingVerdict, NamesFusedAttentionWithFastExponentials) {
  Hypothesis engine = with("attn-lowp", "attention is computed in BF16, fused");
  for (HeldValues& held : engine.held) {
    if (held.before_division) held.exponential_error = 7e-5;
  }
  HeldValues output;
  output.what = HeldValues::What::kResult;
  output.result = Tap::kAttnOutput;
  output.type = OperandType::kBf16;
  engine.held.push_back(output);
  const Diagnosis found = diagnosis(run(engine, Rounding::kF32, [](Tap tap, std::int64_t) {
    return tap != Tap::kAttnScores && tap != Tap::kAttnProbs && tap != Tap::kAttnContext;
  }));
  EXPECT_EQ(found.verdict, DiagnosisVerdict::kRounding) << found.summary;
  ASSERT_EQ(found.findings.size(), 2U) << found.summary;
  EXPECT_EQ(found.findings[0].detail, "attention is computed in BF16, fused");
  EXPECT_TRUE(found.findings[0].alternatives.empty()) << found.summary;
  EXPECT_EQ(found.findings[1].detail, "attn_output is held in BF16");
}

// On BF16's grid, with BF16's error size, and nothing in the catalog explains it.
TEST_F(RoundingVerdict, SaysOfAnUnknownRoundingWhatIsKnown) {
  constexpr std::int64_t kLast = 3;
  Evidence evidence = run({model_.program}, Rounding::kF32, [](Tap tap, std::int64_t layer) {
    const bool before =
        is_layer_tap(tap) ? layer < kLast || tap < Tap::kAttnScores : tap == Tap::kEmbeddingOutput;
    return tap == Tap::kAttnOutput ? layer == kLast : before;
  });
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 0.002F);
  for (Site& site : evidence.sites) {
    if (site.place.tap != Tap::kAttnOutput) continue;
    for (float& x : site.values) {
      x = static_cast<float>(rounded_to(DType::kBF16, x * (1 + normal(random))));
    }
  }
  const Diagnosis found = diagnosis(evidence);
  ASSERT_EQ(found.findings.size(), 1U) << found.summary;
  EXPECT_EQ(found.findings[0].mistake.id, "computed-coarsely");
  EXPECT_FALSE(found.findings[0].built_in);
  const std::string text = diagnose_text(found, false);
  EXPECT_NE(text.find("layer 3; seen in attn_output"), std::string::npos) << text;
  EXPECT_NE(text.find("expected for that type: "), std::string::npos) << text;
  EXPECT_EQ(text.find("against the correct model"), std::string::npos) << text;
}

// An error as small as a rounding's, but only in one head, and larger at later positions.
TEST_F(RoundingVerdict, IsNotGivenToErrorsWithAPattern) {
  const Evidence right = run({model_.program});
  ASSERT_EQ(diagnosis(right).verdict, DiagnosisVerdict::kCorrect);
  const auto changed = [&](Tap tap, const std::function<float(std::size_t, std::size_t)>& factor) {
    Evidence evidence = right;
    for (Site& site : evidence.sites) {
      if (site.place.tap != tap || (is_layer_tap(tap) && site.place.layer != 2)) continue;
      for (std::size_t i = 0; i < site.values.size(); ++i) {
        site.values[i] *= factor(i / site.width, i % site.width);
      }
    }
    return diagnosis(evidence);
  };
  const Diagnosis head =
      changed(Tap::kQProj, [](std::size_t, std::size_t c) { return c < 32 ? 1.0001F : 1.0F; });
  EXPECT_EQ(head.verdict, DiagnosisVerdict::kUnexplained) << head.summary;
  ASSERT_EQ(head.unexplained.size(), 1U);
  EXPECT_EQ(head.unexplained[0].tap, "layer_02_q_proj");
  EXPECT_EQ(head.unexplained[0].heads, std::vector<std::int64_t>{0});
  EXPECT_EQ(head.summary,
            "no known mistake explains it; it begins at layer_02_q_proj (the q_proj projection)");
  const Diagnosis drift = changed(
      Tap::kLogits, [](std::size_t r, std::size_t) { return 1 + 2e-5F * static_cast<float>(r); });
  EXPECT_EQ(drift.verdict, DiagnosisVerdict::kUnexplained) << drift.summary;
}

TEST_F(Names, PlacesNothingMorePreciselyThanTheDump) {
  const auto place = [&](const std::function<bool(Tap, std::int64_t)>& wanted) {
    Evidence evidence = run({model_.program}, Rounding::kF32, wanted);
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0, 0.3F);
    for (Site& site : evidence.sites) {
      // Changes everything after it too; otherwise the engine did not compute with it.
      if (site.place.tap == Tap::kLogits || site.place >= TapPlace{Tap::kAttnOutput, 1})
        std::ranges::for_each(site.values, [&](float& x) { x *= 1 + normal(random); });
    }
    return diagnosis(evidence);
  };
  const Diagnosis gap = place([](Tap tap, std::int64_t) {
    return tap == Tap::kLayerOutput || tap == Tap::kQProj || tap == Tap::kAttnOutput;
  });
  EXPECT_EQ(gap.summary, "no known mistake explains it; it begins between q_proj and attn_output");
  ASSERT_TRUE(gap.first);
  EXPECT_FALSE(gap.first->is_one_operation);
  EXPECT_EQ(gap.first->tap, "layer_01_attn_output");
  const Diagnosis alone = place([](Tap tap, std::int64_t) { return tap == Tap::kLogits; });
  EXPECT_EQ(alone.summary, "no known mistake explains it; it begins somewhere before the logits");
}

TEST_F(Names, SayWhatTheDumpShows) {
  const auto told = [&](const std::function<bool(Tap, std::int64_t)>& wanted) {
    const std::string text =
        diagnose_text(diagnosis(run({model_.program}, Rounding::kF32, wanted)), false);
    return text.substr(0, text.find(';'));
  };
  const auto is_end = [](Tap tap) { return tap == Tap::kLogits || tap == Tap::kFinalNormOutput; };
  EXPECT_EQ(told([](Tap tap, std::int64_t) { return tap == Tap::kLogits; }),
            "1 prompt (c), 1 array: logits only");
  EXPECT_EQ(told([&](Tap tap, std::int64_t) { return is_end(tap); }),
            "1 prompt (c), 2 arrays: only the end of the run");
  EXPECT_EQ(told([&](Tap tap, std::int64_t layer) {
              return is_end(tap) || (tap == Tap::kLayerOutput && layer == 1);
            }),
            "1 prompt (c), 3 arrays: some layer outputs");
  EXPECT_EQ(told([&](Tap tap, std::int64_t) { return is_end(tap) || tap == Tap::kLayerOutput; }),
            "1 prompt (c), 6 arrays: layer outputs");
  // With taps between the outputs, and without outputs.
  EXPECT_EQ(told([&](Tap tap, std::int64_t) {
              return is_end(tap) || tap == Tap::kLayerOutput || tap == Tap::kQProj;
            }),
            "1 prompt (c), 10 arrays: some operations");
  EXPECT_EQ(told([&](Tap tap, std::int64_t) { return is_end(tap) || tap == Tap::kQProj; }),
            "1 prompt (c), 6 arrays: some operations");
  EXPECT_EQ(told([](Tap, std::int64_t) { return true; }).substr(14), "79 arrays: every operation");
}

TEST(DiagnoseText, HasNoNumberWhereThereIsNone) {
  Diagnosis d;
  d.prompts = {"a\x1b[31mb"};
  Place place;
  place.prompt = d.prompts[0];
  place.tap = "logits";
  place.noise = 1e-6;
  place.relations = {{"the candidate has 1 NaN and 0 infinite values", std::nan("")},
                     {"candidate = 2 x reference", 0.25}};
  d.unexplained = {place};
  const std::string text = diagnose_text(d, false);
  EXPECT_NE(text.find("infinite values\n"), std::string::npos) << text;
  EXPECT_NE(text.find("(leaves 0.25)"), std::string::npos) << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos) << text;
}

// If twice the noise remains, nothing is named.
TEST_F(Names, AreGivenOnlyIfNoiseIsLeft) {
  Hypothesis wrong{model_.program};
  change_layers<OddGate>(wrong.program, [](OddGate& g) { g.function = Function::kGelu; });
  const auto culprits = [&](double times) {
    std::vector<Evidence> all;
    all.push_back(
        run(wrong, Rounding::kBf16, [](Tap tap, std::int64_t) { return tap == Tap::kLogits; }));
    const Scene measured(model_, all, pool_);
    const double noise = measured.noise_of(wrong)[0][0];
    std::mt19937 random(1);
    std::normal_distribution<double> normal(0, times * noise);
    Site& logits = all[0].sites[0];
    for (std::size_t r = 0; r < logits.rows; ++r) {
      double squares = 0;
      const std::span row(&logits.values[r * logits.width], logits.width);
      for (const float x : row) squares += static_cast<double>(x) * static_cast<double>(x);
      const double size = std::sqrt(squares / static_cast<double>(logits.width));
      for (float& x : row) x = static_cast<float>(x + size * normal(random));
    }
    // The scene's type is that of the grid, which stays BF16's.
    for (float& x : logits.values) x = static_cast<float>(rounded_to(DType::kBF16, x));
    const Scene scene(model_, std::move(all), pool_);
    return search(scene, true, {}).culprits;
  };
  const auto near = culprits(0.7);
  ASSERT_FALSE(near.empty());
  EXPECT_EQ(near[0].suspect.entry->id, "act-variant");
  EXPECT_TRUE(culprits(2).empty());
}

TEST(ErrorOrder, TellsRoundingFromTheRest) {
  constexpr std::size_t kRows = 24;
  constexpr std::size_t kHeads = 4;
  constexpr std::size_t kWidth = 32;
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> right(kRows * kHeads * kWidth);
  for (float& x : right) x = normal(random);
  const auto order = [&](const std::function<float(float, std::size_t, std::size_t)>& change) {
    std::vector<float> other = right;
    for (std::size_t i = 0; i < other.size(); ++i) {
      other[i] = change(other[i], i / (kHeads * kWidth), i % (kHeads * kWidth));
    }
    return ErrorOrder{right, other, kRows, kHeads}.text();
  };
  const auto bf16 = [](float x) { return static_cast<float>(rounded_to(DType::kBF16, x)); };
  const auto f16 = [](float x) { return static_cast<float>(rounded_to(DType::kF16, x)); };
  EXPECT_EQ(order([&](float x, std::size_t, std::size_t) { return bf16(x); }), "");
  EXPECT_EQ(order([&](float x, std::size_t, std::size_t) { return f16(x); }), "");
  EXPECT_EQ(order([](float x, std::size_t, std::size_t) { return x; }), "");
  EXPECT_EQ(order([&](float x, std::size_t, std::size_t) { return bf16(x * 1.001F); }),
            "proportional to the values");
  EXPECT_EQ(order([&](float x, std::size_t, std::size_t) { return x + 0.001F; }), "of one sign");
  EXPECT_EQ(order([&](float x, std::size_t r, std::size_t c) {
              return x + 1e-4F * static_cast<float>(r) * (c % 2 == 0 ? 1.0F : -1.0F);
            }),
            "larger at later positions");
  EXPECT_EQ(
      order([&](float x, std::size_t, std::size_t c) { return c < kWidth ? bf16(x) : f16(x); }),
      "in some heads");
}

}  // namespace
}  // namespace assay
