// Candidates with known faults against a reference of the bundled model.
#include "assay/compare.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "assay/npz.h"
#include "base/expect_error.h"
#include "base/half.h"
#include "base/temporary_directory.h"
#include "formats/array_file.h"
#include "formats/safetensors.h"
#include "verify/candidate.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

// Between these two are 22 layers that were not dumped, and 2^44 paths through their residuals.
TEST(Compare, ManyLayersBetweenTwoArraysTakeNoTime) {
  SpoiledDump candidate;
  for (float& x : candidate.values("layer_05_input_norm")) x *= 2;
  candidate.rename("layer_05_input_norm", "keep_1");
  candidate.rename("logits", "keep_2");
  candidate.only("keep_");
  candidate.rename("keep_1", "layer_05_input_norm");
  candidate.rename("keep_2", "logits");
  const PromptResult result = run(candidate);
  EXPECT_FALSE(result.findings.empty());
}

TEST(Compare, TheReferencePassesWithANoiseRatioOfOne) {
  SpoiledDump candidate;
  const PromptResult result = run(candidate);
  EXPECT_EQ(result.tensors.size(), 1u + 18u + 28u + 3u + 2u);
  for (const TensorResult& t : result.tensors) {
    EXPECT_EQ(t.verdict, Verdict::kPass) << t.name << ": " << t.reason;
    EXPECT_EQ(t.metrics.exact_share, 1) << t.name;
    EXPECT_EQ(t.metrics.relative_l2, 0) << t.name;
    if (t.name == "embedding_output") {
      EXPECT_EQ(t.noise_ratio, 0);
    } else if (t.layer) {
      EXPECT_NEAR(*t.noise_ratio, 1, 0.2) << t.name;  // below where the noise is below a rounding
    }
  }
  EXPECT_TRUE(result.findings.empty());
  EXPECT_TRUE(result.tokens.compared);
  EXPECT_FALSE(result.tokens.first_difference);
}

TEST(Compare, ReadsEveryFormatAndDtype) {
  SpoiledDump candidate;
  const fs::path directory = candidate.directory().path();
  // A directory of .npy files.
  fs::create_directory(directory / "npy");
  for (const ArrayView& a : candidate.views()) write_npy(directory / "npy" / (a.name + ".npy"), a);
  EXPECT_TRUE(compare(options_for(directory / "npy")).passed);

  // BF16 holds the reference exactly; F16 and F8 round.
  const auto as = [&](DType dtype, const fs::path& file) {
    std::map<std::string, std::vector<std::byte>> data;
    std::vector<TensorInfo> tensors;
    for (const ArrayView& a : candidate.views()) {
      if (a.dtype != DType::kF32 || a.name.starts_with("rope")) continue;
      std::vector<std::byte>& bytes = data[a.name];
      for (const float x : a.as<float>()) {
        const std::uint16_t half = dtype == DType::kF16 ? f32_to_f16(x) : f32_to_bf16(x);
        const std::span<const std::byte> raw = std::as_bytes(std::span(&half, 1));
        // E5M2 is the upper byte of an F16.
        bytes.insert(bytes.end(), raw.begin() + (dtype == DType::kF8E5M2), raw.end());
      }
      tensors.push_back({a.name, dtype, a.shape});
    }
    write_safetensors(file, tensors,
                      [&](const TensorInfo& t, ByteSink& sink) { sink.write(data.at(t.name)); });
    return compare(options_for(file)).prompts.at(0);
  };
  const PromptResult bf16 = as(DType::kBF16, directory / "bf16.safetensors");
  EXPECT_EQ(tensor(bf16, "layer_20_output").metrics.exact_share, 1);
  EXPECT_EQ(first(bf16), "");
  const PromptResult f16 = as(DType::kF16, directory / "f16.safetensors");
  EXPECT_EQ(first(f16), "");
  EXPECT_LT(tensor(f16, "layer_20_output").metrics.relative_l2, 1e-3);
}

// The order of a fused array's parts is found by content, which fits nothing until the pairs are
// converted.
TEST(Compare, FindsTheOrderOfFusedPartsWithAdjacentRotaryPairs) {
  SpoiledDump candidate;
  const std::size_t head = static_cast<std::size_t>(candidate["layer_05_q_rope"].shape[3]);
  for (const char* tap : {"q_proj", "k_proj", "q_norm", "k_norm", "q_rope", "k_rope"}) {
    const std::span<float> values = candidate.values(fmt::format("layer_05_{}", tap));
    for (std::size_t at = 0; at < values.size(); at += head) {
      const std::vector<float> own(&values[at], &values[at] + head);
      for (std::size_t i = 0; i < head; ++i) values[at + i] = own[i / 2 + i % 2 * head / 2];
    }
  }
  // For each key head its queries, the keys, the values.
  const std::span<const float> q = candidate.values("layer_05_q_proj");
  const std::span<const float> k = candidate.values("layer_05_k_proj");
  const std::span<const float> v = candidate.values("layer_05_v_proj");
  const std::size_t queries = head * (q.size() / k.size());
  std::vector<float> fused;
  for (std::size_t group = 0; group < k.size() / head; ++group) {
    fused.insert(fused.end(), &q[group * queries], &q[group * queries] + queries);
    fused.insert(fused.end(), &k[group * head], &k[group * head] + head);
    fused.insert(fused.end(), &v[group * head], &v[group * head] + head);
  }
  Array& whole = candidate["layer_05_q_proj"];
  whole.shape = {1, 5, static_cast<std::int64_t>(fused.size() / 5)};
  const auto bytes = std::as_bytes(std::span(fused));
  whole.bytes.assign(bytes.begin(), bytes.end());
  candidate.rename("layer_05_q_proj", "model.layers.5.self_attn.qkv_proj");
  candidate.erase("layer_05_k_proj");
  candidate.erase("layer_05_v_proj");
  const PromptResult result = run(candidate);
  EXPECT_EQ(first(result), "");
  for (const char* tap : {"q_proj", "k_proj", "v_proj"}) {
    const TensorResult& part = tensor(result, fmt::format("layer_05_{}", tap));
    EXPECT_EQ(part.metrics.exact_share, 1) << tap << part.candidate_name;
  }
  ASSERT_EQ(result.findings.size(), 1U);
  EXPECT_NE(result.findings[0].text.find("side by side"), std::string::npos);
}

TEST(Compare, ReadsRawDumpsByTheirSidecar) {
  SpoiledDump candidate;
  const fs::path directory = candidate.directory().path();
  const Array& logits = candidate["logits"];
  const auto text = [](std::span<const std::byte> bytes) {
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  // Column-major [H, S] equals row-major [S, H].
  write_text(directory / "all.bin", "head" + std::string(text(logits.bytes)) +
                                        std::string(text(candidate["layer_05_output"].bytes)));
  const std::string offset = std::to_string(4 + logits.bytes.size());
  write_text(directory / "dump.json",
             R"({"arrays": [{"name": "result_output", "dtype": "float32", "shape": [5, 2560],
                 "file": "all.bin", "offset": 4},
                {"name": "l_out-5", "dtype": "F32", "shape": [64, 5], "order": "F",
                 "file": "all.bin", "offset": )" +
                 offset + "}]}");
  const PromptResult result = compare(options_for(directory / "dump.json")).prompts.at(0);
  EXPECT_EQ(tensor(result, "logits").metrics.exact_share, 1);
  EXPECT_EQ(tensor(result, "layer_05_output").metrics.exact_share, 1);
  EXPECT_NE(tensor(result, "layer_05_output").reading, "");

  const auto refused = [&](std::string_view arrays, std::initializer_list<std::string_view> parts) {
    write_text(directory / "bad.json", arrays);
    expect_error(ErrorKind::kInput, parts, [&] { compare(options_for(directory / "bad.json")); });
  };
  refused("{}", {"bad.json", "no list 'arrays'"});
  refused(R"({"arrays": [{"name": "logits"}]})", {"arrays[0].dtype", "missing"});
  refused(R"({"arrays": [{"name": "logits", "dtype": "F31", "shape": [1], "file": "all.bin"}]})",
          {"arrays[0].dtype", "'F31'"});
  refused(R"({"arrays": [{"name": "logits", "dtype": "F32", "shape": [-1], "file": "all.bin"}]})",
          {"arrays[0].shape", "expected a list of sizes"});
  refused(R"({"arrays": [{"name": "logits", "dtype": "F32", "shape": [9, 999999], "file":
           "all.bin"}]})",
          {"arrays[0].shape", "inside the file"});
  refused(R"({"arrays": [{"name": "logits", "dtype": "F32", "shape": [1], "file": "no.bin"}]})",
          {"no.bin", "No such file"});
  for (const char* outside :
       {"/etc/passwd", "../all.bin", "a/../../all.bin", "all.bin\\u0000", ""}) {
    refused(
        fmt::format(
            R"({{"arrays": [{{"name": "logits", "dtype": "U8", "shape": [1], "file": "{}"}}]}})",
            outside),
        {"arrays[0].file", "below the sidecar's directory"});
  }
}

TEST(Compare, NamesTheOperationThatFirstGoesWrong) {
  SpoiledDump candidate;
  candidate.disturb("layer_05_q_norm", 0.3F);
  candidate.disturb("layer_05_q_rope", 0.3F);
  candidate.disturb("layer_05_output", 0.1F);
  candidate.disturb("layer_06_output", 0.1F);
  const PromptResult result = run(candidate);
  EXPECT_EQ(first(result), "layer_05_q_norm");
  EXPECT_EQ(result.divergence_text, "layer_05_q_proj passes: look at the RMSNorm of the queries");
  EXPECT_GT(*tensor(result, "layer_05_q_norm").noise_ratio, 10);
}

TEST(Compare, WithLayerOutputsOnlyNamesTheLayer) {
  SpoiledDump candidate;
  candidate.disturb("layer_05_output", 0.1F);
  const NpzReader npz(reference() / "prompt1/reference.npz");
  for (const std::string& name : npz.names()) {
    if (name.starts_with("layer_05_") && name != "layer_05_output") candidate.erase(name);
  }
  const PromptResult result = run(candidate);
  EXPECT_EQ(first(result), "layer_05_output");
  EXPECT_TRUE(result.divergence_text.starts_with("layer_04_output passes: the fault lies between"))
      << result.divergence_text;
  EXPECT_NE(result.divergence_text.find("the reference's other layer_05_* too"), std::string::npos);
  EXPECT_EQ(tensor(result, "layer_05_q_norm").verdict, Verdict::kNotCompared);
}

// reference.npz, oracle.npz and candidate.npz with one array: eight positions of eight channels,
// where the reference's error is 0.4 % everywhere.
class SmallSet {
 public:
  // Computes the candidate's value from the oracle's and the reference's.
  using Make = std::function<float(std::size_t position, std::size_t channel, float, float)>;
  SmallSet(float first_position, const Make& make) {
    Array oracle{"layer_00_output", DType::kF32, {1, 8, 8}, std::vector<std::byte>(256)};
    Array reference = oracle;
    Array candidate = oracle;
    for (std::size_t i = 0; i < 64; ++i) {
      const float x = (static_cast<float>(i * 37 % 64) - 31.5F) * (i < 8 ? first_position : 1);
      oracle.as<float>()[i] = x;
      reference.as<float>()[i] = x * (i % 2 == 0 ? 1.004F : 0.996F);
    }
    for (std::size_t i = 0; i < 64; ++i) {
      candidate.as<float>()[i] =
          make(i / 8, i % 8, oracle.as<float>()[i], reference.as<float>()[i]);
    }
    write("oracle", oracle);
    write("reference", reference);
    write("candidate", candidate);
  }
  TensorResult compare() const {
    CompareOptions options;
    options.reference = directory_ / "reference.npz";
    options.candidate = directory_ / "candidate.npz";
    return assay::compare(options).prompts.at(0).tensors.at(0);
  }
  std::vector<float> values(const std::string& file) const {
    const Array array = NpzReader(directory_ / (file + ".npz")).read("layer_00_output");
    return {array.as<float>().begin(), array.as<float>().end()};
  }
  void write(const std::string& file, const Array& array) const {
    const ArrayView view = array.view();
    write_npz(directory_ / (file + ".npz"), {&view, 1});
  }

 private:
  TemporaryDirectory directory_;
};

// A massive first token dominates the whole tensor's norm and hides errors of the others.
TEST(Compare, SeesOnePositionBesideAMassiveOne) {
  const auto spoiled = [](std::size_t position, std::size_t, float, float reference) {
    return position == 5 ? reference * 1.1F : reference;
  };
  const TensorResult massive = SmallSet(10000, spoiled).compare();
  EXPECT_EQ(massive.verdict, Verdict::kFail);
  EXPECT_NEAR(*massive.noise_ratio, 1, 0.01);
  EXPECT_GT(*massive.position_ratio, 5);
  EXPECT_EQ(massive.metrics.position_error[4], 0);
  EXPECT_NEAR(massive.metrics.position_error[5], 0.1, 1e-3);
  const auto as_it_is = [](std::size_t, std::size_t, float, float reference) { return reference; };
  EXPECT_EQ(SmallSet(10000, as_it_is).compare().verdict, Verdict::kPass);
}

// A square array fits in both directions: its content tells.
TEST(Compare, ChoosesAReadingByContent) {
  SmallSet set(1, [](std::size_t, std::size_t, float, float reference) { return reference; });
  EXPECT_EQ(set.compare().reading, "");
  Array swapped{"layer_00_output", DType::kF32, {8, 8}, std::vector<std::byte>(256)};
  const std::vector<float> reference = set.values("reference");
  for (std::size_t i = 0; i < 64; ++i) swapped.as<float>()[i % 8 * 8 + i / 8] = reference[i];
  set.write("candidate", swapped);
  const TensorResult result = set.compare();
  EXPECT_EQ(result.verdict, Verdict::kPass);
  EXPECT_EQ(result.metrics.exact_share, 1);
  EXPECT_EQ(result.reading,
            "axes permuted: [8, 8] read as [1, 8, 8] (of 2 readings the one whose content "
            "fits)");
}

// Exchanged, keys and queries would agree where both are finite: on the diagonal.
TEST(Compare, DoesNotExchangeQueriesAndKeysOfMaskedScores) {
  SpoiledDump candidate;
  const std::span<float> scores = candidate.values("layer_05_attn_scores");
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const std::size_t query = i / 5 % 5;
    const std::size_t key = i % 5;
    if (key < query) scores[i] = -scores[i];
    if (key > query) scores[i] = -std::numeric_limits<float>::infinity();
  }
  const TensorResult result = tensor(run(candidate), "layer_05_attn_scores");
  EXPECT_EQ(result.verdict, Verdict::kFail);
  EXPECT_EQ(result.reading, "");
}

TEST(Compare, FailsClosed) {
  {
    SpoiledDump candidate;
    candidate.values("layer_03_output")[7] = std::nanf("");
    const PromptResult result = run(candidate);
    EXPECT_EQ(first(result), "layer_03_output");
    EXPECT_NE(found(result, "layer_03_output").find("1 of 320 elements are NaN"),
              std::string::npos);
  }
  {
    SpoiledDump candidate;
    candidate.values("layer_03_output")[7] = -std::numeric_limits<float>::infinity();
    EXPECT_EQ(first(run(candidate)), "layer_03_output");
  }
  {
    SpoiledDump candidate;
    for (float& x : candidate.values("layer_05_attn_scores")) {
      if (x < -1e38F) x = -std::numeric_limits<float>::infinity();
    }
    EXPECT_EQ(first(run(candidate)), "") << "-inf hides as well";
    candidate.values("layer_05_attn_scores")[1] = 0.5F;  // query 0 sees key 1
    const PromptResult result = run(candidate);
    EXPECT_EQ(first(result), "layer_05_attn_scores");
    EXPECT_NE(tensor(result, "layer_05_attn_scores").reason.find("mask"), std::string::npos);
  }
  {
    SpoiledDump candidate;
    candidate.only("layer_05_q_norm");
    candidate.rename("layer_05_q_norm", "something");
    expect_error(ErrorKind::kInput, {"candidate.npz", "none of its arrays"},
                 [&] { compare(options_for(candidate.write())); });
  }
  {
    SpoiledDump candidate;
    Array& output = candidate["layer_05_output"];
    output.shape = {1, 5, 32};
    output.bytes.resize(output.bytes.size() / 2);
    const PromptResult result = run(candidate);
    EXPECT_EQ(tensor(result, "layer_05_output").verdict, Verdict::kError);
    EXPECT_EQ(tensor(result, "layer_05_output").reason,
              "shape [1, 5, 32] cannot be read as the reference's [1, 5, 64]");
  }
  {
    SpoiledDump candidate;
    candidate["input_ids"].as<std::int64_t>()[2] = 7;
    const PromptResult result = run(candidate);
    EXPECT_EQ(first(result), "input_ids");
    EXPECT_NE(tensor(result, "input_ids").reason.find("from position 2 on"), std::string::npos);
  }
  {
    SpoiledDump candidate;
    candidate.rename("layer_05_output", "l_out-5");
    candidate.rename("layer_06_output", "model.layers.5");
    // The one that fits is used, and a remark tells so.
    const PromptResult result = run(candidate);
    EXPECT_EQ(tensor(result, "layer_05_output").verdict, Verdict::kPass);
    EXPECT_EQ(tensor(result, "layer_05_output").candidate_name, "l_out-5");
    ASSERT_EQ(result.remarks.size(), 1u);
    EXPECT_NE(result.remarks[0].find("both mean layer_05_output"), std::string::npos);
    candidate.copy("l_out-5", "model.layers.5");  // two equal arrays are not a contradiction
    EXPECT_TRUE(run(candidate).remarks.empty());
  }
}

// Paths through layers that were not dumped must not be followed one by one.
TEST(Compare, AReferenceMayHaveGapsOfHundredsOfLayers) {
  const TemporaryDirectory directory;
  const auto write = [&](const char* file, float last) {
    std::vector<float> first(8, 1.0F);
    std::vector<float> output(8, last);
    const auto view = [](std::string name, const std::vector<float>& values) {
      return ArrayView{
          std::move(name), DType::kF32, {1, 2, 4}, std::as_bytes(std::span(values)), false};
    };
    write_npz(directory / file,
              {{view("embedding_output", first), view("layer_999_output", output)}},
              Compression::kNone);
  };
  write("r.npz", 1);
  write("c.npz", 2);
  CompareOptions options;
  options.reference = directory / "r.npz";
  options.candidate = directory / "c.npz";
  const CompareReport report = compare(options);
  EXPECT_FALSE(report.passed);
  EXPECT_EQ(first(report.prompts.at(0)), "layer_999_output");
}

TEST(Compare, SaysWhatIsWrongWithTheDump) {
  {
    SpoiledDump candidate;
    std::ranges::fill(candidate.values("layer_05_v_proj"), 0.0F);
    EXPECT_NE(found(run(candidate), "layer_05_v_proj").find("all zeros"), std::string::npos);
  }
  {
    SpoiledDump candidate;
    std::ranges::fill(candidate.values("layer_08_output").first(4 * 64), 0.0F);
    EXPECT_NE(found(run(candidate), "layer_08_output").find("only the last position is filled"),
              std::string::npos);
  }
  {
    SpoiledDump candidate;
    candidate.copy("layer_08_output", "layer_09_output");
    EXPECT_NE(found(run(candidate), "layer_09_output").find("holds what enters the layer"),
              std::string::npos);
  }
  {
    SpoiledDump candidate;
    candidate.copy("final_norm_output", "layer_27_output");
    EXPECT_NE(found(run(candidate), "layer_27_output").find("final norm's output"),
              std::string::npos);
  }
  {
    SpoiledDump candidate;
    candidate.copy("layer_05_attn_residual", "layer_05_attn_output");
    EXPECT_NE(found(run(candidate), "layer_05_attn_output").find("residual is already added"),
              std::string::npos);
  }
  {
    SpoiledDump candidate;
    candidate.copy("layer_05_mlp_output", "layer_05_output");
    EXPECT_NE(found(run(candidate), "layer_05_output").find("residual is not yet added"),
              std::string::npos);
  }
  {
    // The same with only layer outputs: what layer 9 adds to layer 8's.
    SpoiledDump candidate;
    const std::span<float> nine = candidate.values("layer_09_output");
    const std::span<float> eight = candidate.values("layer_08_output");
    for (std::size_t i = 0; i < nine.size(); ++i) nine[i] -= eight[i];
    EXPECT_NE(found(run(candidate), "layer_09_output").find("not yet added"), std::string::npos);
  }
  {
    // Layers counted from 1.
    SpoiledDump candidate;
    candidate.copy("layer_07_output", "layer_08_output");
    candidate.copy("layer_06_output", "layer_07_output");
    EXPECT_NE(found(run(candidate), "output of layers 7 to 8").find("shifted by one"),
              std::string::npos);
  }
}

TEST(Compare, ReadsOtherLayouts) {
  SpoiledDump candidate;
  // Heads first: [N, S, D] for [1, S, N, D].
  Array& q = candidate["layer_05_q_rope"];
  const Array original = q;
  q.shape = {4, 5, 32};
  for (std::size_t s = 0; s < 5; ++s) {
    for (std::size_t n = 0; n < 4; ++n) {
      for (std::size_t d = 0; d < 32; ++d) {
        q.as<float>()[(n * 5 + s) * 32 + d] = original.as<float>()[(s * 4 + n) * 32 + d];
      }
    }
  }
  // Only the last position, as engines compute logits.
  Array& logits = candidate["logits"];
  logits.shape = {2560};
  logits.bytes.erase(logits.bytes.begin(), logits.bytes.end() - 2560 * 4);
  // Padded to eight positions.
  Array& output = candidate["layer_10_output"];
  output.shape = {8, 64};
  output.bytes.resize(8 * 64 * 4);
  const PromptResult result = run(candidate);
  EXPECT_EQ(first(result), "");
  for (const char* name : {"layer_05_q_rope", "logits", "layer_10_output"}) {
    EXPECT_EQ(tensor(result, name).metrics.exact_share, 1) << name;
    EXPECT_NE(tensor(result, name).reading, "") << name;
  }
  EXPECT_NEAR(*tensor(result, "logits").noise_ratio, 1, 0.2);
  EXPECT_EQ(tensor(result, "logits").logits->top1_agreement, 1);
}

TEST(Compare, JudgesLogits) {
  SpoiledDump candidate;
  const std::span<float> logits = candidate.values("logits");
  const auto best = static_cast<std::size_t>(std::ranges::max_element(logits.last(2560)) -
                                             logits.last(2560).begin());
  logits.last(2560)[best == 0 ? 1 : 0] = logits.last(2560)[best] + 1;
  const PromptResult result = run(candidate);
  const LogitMetrics& m = *tensor(result, "logits").logits;
  EXPECT_DOUBLE_EQ(m.top1_agreement, 0.8);
  ASSERT_EQ(m.flips.size(), 1u);
  EXPECT_EQ(m.flips[0].position, 4);
  EXPECT_EQ(m.flips[0].reference_id, static_cast<std::int64_t>(best));
  EXPECT_GT(m.flips[0].margin, 5);
  EXPECT_GT(m.flips[0].steps, 20);
  EXPECT_GT(m.kl_divergence, 0.01);
}

TEST(Compare, EmptyLogitsDoNotPass) {
  const TemporaryDirectory directory;
  const Array logits{"logits", DType::kF32, {1, 5, 0}, {}};
  const ArrayView view = logits.view();
  write_npz(directory / "empty.npz", {&view, 1});
  CompareOptions options;
  options.reference = options.candidate = directory / "empty.npz";
  expect_error(ErrorKind::kInput, {"empty.npz", "'logits'", "[1, 5, 0]"},
               [&] { compare(options); });
}

TEST(Compare, FollowsProfiles) {
  SpoiledDump candidate;
  candidate.disturb("layer_05_output", 0.005F);
  CompareOptions options = options_for(candidate.write());
  EXPECT_TRUE(compare(options).passed);
  options.profile = "table";
  EXPECT_FALSE(compare(options).passed);
  options.profile = "noise";
  options.tolerance = 1e-3;
  EXPECT_FALSE(compare(options).passed);
  options.tolerance = 1e-2;
  EXPECT_TRUE(compare(options).passed);
  options.tolerance.reset();

  const fs::path file = candidate.directory() / "profile.json";
  options.profile = file.string();
  write_text(file, R"({"rules": [{"taps": "layer_05_output", "relative_l2": 1e-2},
                                 {"taps": "*", "relative_l2": 0}]})");
  EXPECT_TRUE(compare(options).passed);
  // A tap that no rule matches does not pass.
  write_text(file, R"({"rules": [{"taps": "layer_*", "relative_l2": 1}]})");
  EXPECT_FALSE(compare(options).passed);
  for (const char* bad : {"[]", R"({"rules": []})", R"({"rules": [{"taps": "*"}]})",
                          R"({"rules": [{"taps": "*", "msee": 1}]})", R"({"rules": [{"mse": 1}]})",
                          R"({"rules": [{"taps": "*", "mse": "x"}]})"}) {
    write_text(file, bad);
    expect_error(ErrorKind::kInput, {"profile.json"}, [&] { compare(options); });
  }
  options.profile = "loose";
  expect_error(ErrorKind::kUsage, {"--profile", "'loose'"}, [&] { compare(options); });
}

TEST(Compare, WithoutOracleTellsWhatItCannotSee) {
  SpoiledDump candidate;
  const fs::path own = candidate.directory() / "ref.npz";
  fs::copy_file(reference() / "prompt1/reference.npz", own);
  CompareOptions options = options_for(candidate.write());
  options.reference = own;
  const CompareReport report = compare(options);
  EXPECT_TRUE(report.passed);
  EXPECT_NE(report.statement.find("has no oracle"), std::string::npos);
  EXPECT_FALSE(tensor(report.prompts[0], "logits").noise_ratio);
}

}  // namespace
}  // namespace assay
