// Dumps of a right engine that were taken a step too early or late: compare and diagnose report the
// same, without false positives. And mistakes that look similar: they stay mistakes.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <set>

#include "assay/compare.h"
#include "assay/diagnose.h"
#include "assay/extract.h"
#include "assay/npz.h"
#include "base/temporary_directory.h"
#include "candidate/data_flow.h"
#include "candidate/dump_forms.h"
#include "diagnose/ask_dump.h"
#include "diagnose/catalog.h"
#include "diagnose/rewrites.h"
#include "model/families.h"
#include "model/model.h"
#include "model/synth.h"

namespace assay {
namespace {

constexpr std::int64_t kTokens = 20;

std::vector<std::int64_t> some_ids() {
  std::vector<std::int64_t> ids;
  for (std::int64_t i = 0; i < kTokens; ++i) ids.push_back((i * 7919 + 13) % 100);
  return ids;
}

// A random model of a type, and its reference with every tap.
struct Family {
  explicit Family(const std::string& type) {
    for (const auto& [name, config] : family_configs()) {
      if (name.starts_with(type)) write_text(directory / "config.json", config.dump());
    }
    SynthOptions synth;
    synth.config = directory / "config.json";
    synth.out = directory / "model";
    synth.seed = 7;
    synthesize(synth);
    model.emplace(load_model(directory / "model"));
    ExtractOptions options;
    options.model = directory / "model";
    options.out = directory / "reference";
    options.numerics = {Numerics::kBf16, Numerics::kF64};
    options.taps = {"*"};
    options.max_new_tokens = 1;
    Prompt prompt;
    prompt.id = "p";
    prompt.input_ids = some_ids();
    extract(options, {prompt});
  }
  TemporaryDirectory directory;
  std::optional<Model> model;
};

Family& family(const std::string& type) {
  static std::map<std::string, std::unique_ptr<Family>> made;
  auto& one = made[type];
  if (!one) one = std::make_unique<Family>(type);
  return *one;
}

// The reference's arrays as a right engine's dump, by their names in the dump.
using Dump = std::map<std::string, Array>;

Dump right_dump(const Family& of, bool all_taps) {
  const NpzReader npz(of.directory / "reference/p/reference.npz");
  Dump dump;
  for (const std::string& name : npz.names()) {
    const auto place = parse_tap_name(name);
    const bool classic = !place || place->layer < 0 || place->tap == Tap::kLayerOutput;
    if (name.starts_with("rope_") || name == "generated_ids") continue;
    if (all_taps || classic) dump[name] = npz.read(name);
  }
  return dump;
}

// The tap's values under a changed spec, from the right inputs.
void put_computed(const Family& of, Dump& dump, Tap tap,
                  const std::function<void(Program&)>& change) {
  Dump whole = right_dump(of, true);
  Evidence evidence;
  evidence.ids = some_ids();
  for (const auto& [name, array] : whole) {
    const auto place = parse_tap_name(name);
    if (!place || array.dtype != DType::kF32) continue;
    Site site;
    site.place = *place;
    site.name = name;
    site.rows = site.is_attention() ? static_cast<std::size_t>(of.model->spec.num_attention_heads)
                                    : evidence.ids.size();
    const auto values = array.as<float>();
    site.values.assign(values.begin(), values.end());
    site.width = site.values.size() / site.rows;
    evidence.sites.push_back(std::move(site));
  }
  std::ranges::sort(evidence.sites, {}, &Site::place);
  Hypothesis hypothesis{of.model->program};
  change(hypothesis.program);
  ReplayOptions options;
  options.layers.resize(static_cast<std::size_t>(of.model->spec.num_hidden_layers));
  std::iota(options.layers.begin(), options.layers.end(), 0);
  options.keep = true;
  ThreadPool pool(2);
  const ReplayResult run = replay(*of.model, hypothesis, evidence, Rounding::kBf16, options, pool);
  for (std::size_t i = 0; i < evidence.sites.size(); ++i) {
    if (evidence.sites[i].place.tap != tap || !dump.contains(evidence.sites[i].name)) continue;
    std::ranges::copy(run.computed[i], dump.at(evidence.sites[i].name).as<float>().begin());
  }
}

// Replaces array `to` of each layer by array `from`.
void put_other(Dump& dump, const std::string& to, const std::string& from) {
  for (int l = 0; l < 3; ++l) {
    const std::string layer = "layer_0" + std::to_string(l) + "_";
    dump.at(layer + to).bytes = dump.at(layer + from).bytes;
  }
}

void pair_channels(const Family& of, Dump& dump) {
  const auto head = static_cast<std::size_t>(of.model->spec.head_dim);
  const auto half = static_cast<std::size_t>(of.model->spec.rotary_dims()) / 2;
  for (auto& [name, array] : dump) {
    const auto place = parse_tap_name(name);
    if (!place || !has_rotary_pairs(place->tap)) continue;
    const auto values = array.as<float>();
    for (std::size_t begin = 0; begin < values.size(); begin += head) {
      const std::vector<float> own(&values[begin], &values[begin] + 2 * half);
      for (std::size_t i = 0; i < half; ++i) {
        values[begin + 2 * i] = own[i];
        values[begin + 2 * i + 1] = own[half + i];
      }
    }
  }
}

struct Trap {
  std::string name;
  std::string type;
  bool all_taps;
  std::function<void(const Family&, Dump&)> make;
  std::string said;  // part of the report
};

void no_weight(Program& program) {
  change_layers<OddNorm>(program, [](OddNorm& norm) { norm.weighted = false; });
  change_norms(program, std::array{Tap::kFinalNormOutput},
               [](OddNorm& norm) { norm.weighted = false; });
}

std::vector<Trap> traps() {
  std::vector<Trap> all;
  for (const bool taps : {true, false}) {
    all.push_back({"embedding before its scale", "gemma2", taps,
                   [](const Family& f, Dump& d) {
                     put_computed(f, d, Tap::kEmbeddingOutput,
                                  [](Program& p) { p.embedding.steps[0].operation = Lookup{}; });
                   },
                   "before the embedding is multiplied"});
    all.push_back({"logits before the cap", "gemma2", taps,
                   [](const Family& f, Dump& d) {
                     put_computed(f, d, Tap::kLogits, [](Program& p) { cap_logits(p, 0); });
                     d["lm_head"] = std::move(d.at("logits"));
                     d.erase("logits");
                   },
                   "before the soft-cap"});
    for (const char* type : {"qwen2", "gemma3_text", "olmo2"}) {
      all.push_back(
          {"final norm before its weight", type, taps,
           [](const Family& f, Dump& d) { put_computed(f, d, Tap::kFinalNormOutput, no_weight); },
           "before the norm's weight"});
      all.push_back({"last hidden state normed", type, taps,
                     [](const Family&, Dump& d) {
                       d.at("layer_02_output").bytes = d.at("final_norm_output").bytes;
                     },
                     "final norm's output"});
      all.push_back({"hidden states shifted", type, taps,
                     [](const Family&, Dump& d) {
                       d.at("layer_02_output").bytes = d.at("layer_01_output").bytes;
                       d.at("layer_01_output").bytes = d.at("layer_00_output").bytes;
                       d.at("layer_00_output").bytes = d.at("embedding_output").bytes;
                     },
                     "shifted by one"});
    }
  }
  for (const char* type : {"qwen3 with", "gemma2", "phi3", "llama"}) {
    all.push_back({"norms before their weights", type, true,
                   [](const Family& f, Dump& d) {
                     put_computed(f, d, Tap::kInputNorm, no_weight);
                     put_computed(f, d, Tap::kMlpNorm, no_weight);
                   },
                   "before the norm's weight"});
    all.push_back({"attention with the residual", type, true,
                   [](const Family&, Dump& d) { put_other(d, "attn_output", "attn_residual"); },
                   "already added"});
    all.push_back({"sum without the residual", type, true,
                   [](const Family& f, Dump& d) {
                     put_other(d, "attn_residual",
                               has_norms_after(f.model->spec) ? "attn_post_norm" : "attn_output");
                   },
                   "not yet added"});
    all.push_back({"gate and up under each other's names", type, true,
                   [](const Family&, Dump& d) {
                     for (int l = 0; l < 3; ++l) {
                       const std::string layer = "layer_0" + std::to_string(l) + "_";
                       std::swap(d.at(layer + "gate_proj").bytes, d.at(layer + "up_proj").bytes);
                     }
                   },
                   "have each other's names"});
    all.push_back(
        {"scores before the scale", type, true,
         [](const Family& f, Dump& d) {
           const double scale = f.model->spec.attention.scale;
           put_computed(f, d, Tap::kAttnScores, [](Program& p) {
             change_attention(p, [](OddAttention& a) { a.scores = {1, 0, a.scores.window}; });
           });
           EXPECT_NE(scale, 1);
         },
         "before the scale"});
    all.push_back({"rotary pairs side by side", type, true, pair_channels, "side by side"});
    all.push_back({"a norm's buffer used again", type, true,
                   [](const Family&, Dump& d) {
                     std::mt19937 random(5);
                     std::normal_distribution<float> normal;
                     for (float& x : d.at("layer_01_mlp_norm").as<float>()) x = normal(random);
                   },
                   "not what the engine computed with"});
  }
  return all;
}

std::filesystem::path write(const TemporaryDirectory& directory, const Dump& dump) {
  std::vector<ArrayView> views;
  for (const auto& [name, array] : dump) {
    views.push_back(array.view());
    views.back().name = name;
  }
  write_npz(directory / "p.npz", views, Compression::kNone);
  return directory / "p.npz";
}

class EveryTrap : public testing::TestWithParam<Trap> {};
INSTANTIATE_TEST_SUITE_P(DumpTraps, EveryTrap, testing::ValuesIn(traps()),
                         [](const auto& instance) {
                           std::string name = instance.param.type + "_" + instance.param.name +
                                              (instance.param.all_taps ? "" : "_classic");
                           std::ranges::replace_if(
                               name, [](char c) { return std::isalnum(c) == 0; }, '_');
                           return name;
                         });

TEST_P(EveryTrap, IsReportedWithoutFalsePositives) {
  const Trap& trap = GetParam();
  const Family& of = family(trap.type);
  Dump dump = right_dump(of, trap.all_taps);
  trap.make(of, dump);
  const TemporaryDirectory directory;
  CompareOptions options;
  options.reference = of.directory / "reference";
  options.candidate = write(directory, dump);
  const CompareReport report = compare(options);
  const PromptResult& prompt = report.prompts.at(0);
  std::vector<std::string> said;
  for (const DumpFinding& finding : prompt.findings)
    said.push_back(finding.tensor + ": " + finding.text);
  EXPECT_TRUE(report.passed) << prompt.divergence_text;
  const auto mentions = [&](const std::vector<std::string>& texts) {
    return std::ranges::any_of(
        texts, [&](const std::string& text) { return text.find(trap.said) != text.npos; });
  };
  EXPECT_TRUE(mentions(said)) << testing::PrintToString(said);

  DiagnoseOptions question;
  question.model = of.directory / "model";
  question.candidate = options.candidate;
  question.reference = options.reference;
  const Diagnosis d = diagnose(question);
  EXPECT_EQ(verdict_name(d.verdict), "correct") << d.summary;
  EXPECT_TRUE(mentions(d.dump)) << testing::PrintToString(d.dump);
  // compare uses the same words.
  for (const std::string& text : d.dump) {
    EXPECT_TRUE(std::ranges::find(said, text) != said.end())
        << text << " is not in " << testing::PrintToString(said);
  }
}

// Mistakes of the forward pass whose first wrong array looks like a trap.
TEST(DumpTraps, NoMistakeIsTakenForOne) {
  const std::set<std::string_view> alike = {
      "embed-scale-missing",   "norm-no-weight",     "final-norm-missing", "final-norm-twice",
      "residual-missing",      "residual-source",    "qk-permute",         "rope-interleaved",
      "rope-missing",          "qk-norm-missing",    "norm-missing",       "layer-missing",
      "layer-order",           "attn-scale",         "mask-missing",       "gate-up-swap",
      "final-softcap-missing", "norm-plus1-missing", "pos-offset",         "attn-softcap-missing"};
  ThreadPool pool(2);
  for (const char* type : {"qwen3 with", "gemma2", "llama", "olmo2"}) {
    const Family& of = family(type);
    const Circumstances at{.spec = of.model->spec,
                           .program = of.model->program,
                           .tied_head = false,
                           .positions = kTokens,
                           .survey = true};
    for (const Entry& entry : catalog()) {
      if (!alike.contains(entry.id)) continue;
      for (const Variant& variant : variants_of(entry, at)) {
        for (const bool all_taps : {true, false}) {
          SCOPED_TRACE(std::string(type) + ", " + std::string(entry.id) + " " + variant.detail +
                       (all_taps ? "" : ", layer outputs"));
          Hypothesis wrong{of.model->program};
          variant.apply(wrong);
          if (!is_possible(wrong, of.model->spec, of.model->program)) continue;
          Evidence evidence = own_run(
              *of.model, wrong, some_ids(),
              [&](Tap tap, std::int64_t) {
                return all_taps || !is_layer_tap(tap) || tap == Tap::kLayerOutput;
              },
              pool);
          for (Site& site : evidence.sites) site.array_name = site.name;
          const AskedDump asked = ask_dump(*of.model, {evidence}, pool);
          EXPECT_EQ(asked.findings, std::vector<std::string>());
        }
      }
    }
  }
}

}  // namespace
}  // namespace assay
