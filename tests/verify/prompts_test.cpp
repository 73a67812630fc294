// Comparisons of several prompts: how they are paired, and what one tells about the others.
#include <gtest/gtest.h>

#include <algorithm>

#include "assay/compare.h"
#include "assay/npz.h"
#include "base/expect_error.h"
#include "base/temporary_directory.h"
#include "verify/candidate.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

// A reference of the default prompts, at set / "ref".
CompareOptions three_prompts(const TemporaryDirectory& set) {
  ExtractOptions extraction;
  extraction.model = kModel;
  extraction.out = set / "ref";
  extract(extraction, default_prompts());
  CompareOptions options;
  options.reference = set / "ref";
  return options;
}

// Files that are named after requests.
TEST(Compare, FindsThePromptsOfFilesByTheirTokens) {
  const TemporaryDirectory set;
  CompareOptions options = three_prompts(set);
  fs::create_directory(set / "dump");
  options.candidate = set / "dump";
  fs::copy_file(set / "ref/prompt3/reference.npz", set / "dump/a.npz");
  fs::copy_file(set / "ref/prompt1/reference.npz", set / "dump/b.npz");
  // Another prompt's, in which prompt1's tokens come later.
  const NpzReader npz(set / "ref/prompt1/reference.npz");
  const Array own = npz.read("input_ids");
  const auto count = static_cast<std::int64_t>(own.as<std::int64_t>().size());
  Array other{"input_ids", DType::kI64, {1, count + 1}, std::vector<std::byte>(8)};
  other.bytes.insert(other.bytes.end(), own.bytes.begin(), own.bytes.end());
  const Array logits = npz.read("logits");
  write_npz(set / "dump/c.npz", std::vector{other.view(), logits.view()});
  const CompareReport report = compare(options);
  EXPECT_TRUE(report.passed);
  EXPECT_EQ(report.prompts.size(), 2U);
  EXPECT_EQ(report.missing_prompts, std::vector<std::string>{"prompt2"});
  EXPECT_EQ(report.unused_files, std::vector<std::string>{"c.npz"});
  options.prompt = "prompt3";
  EXPECT_EQ(compare(options).prompts.size(), 1U);
  options.prompt = "";
  fs::remove(set / "dump/a.npz");
  fs::remove(set / "dump/b.npz");
  expect_error(ErrorKind::kUsage, {"1 dumps", "none ran the tokens of a prompt"},
               [&] { compare(options); });
}

TEST(Compare, FindsThePrompt) {
  const TemporaryDirectory set;
  CompareOptions options = three_prompts(set);
  // By its directory's layout: all three.
  options.candidate = set / "ref";
  EXPECT_EQ(compare(options).prompts.size(), 3u);
  // By input_ids.
  options.candidate = set / "ref/prompt2/reference.npz";
  EXPECT_EQ(compare(options).prompts.at(0).id, "prompt2");
  // By the shapes alone.
  const NpzReader npz(set / "ref/prompt3/reference.npz");
  Array logits = npz.read("logits");
  options.candidate = set / "logits.npy";
  write_npy(options.candidate, logits.view());
  EXPECT_EQ(compare(options).prompts.at(0).id, "prompt3");
  // A last position could be any prompt's.
  logits.shape = {2560};
  logits.bytes.erase(logits.bytes.begin(), logits.bytes.end() - 2560 * 4);
  write_npy(options.candidate, logits.view());
  expect_error(ErrorKind::kUsage, {"--prompt", "does not tell which prompt", "prompt1, prompt2"},
               [&] { compare(options); });
  options.prompt = "prompt3";
  EXPECT_TRUE(compare(options).passed);
  options.prompt = "prompt4";
  expect_error(ErrorKind::kUsage, {"--prompt", "'prompt4'"}, [&] { compare(options); });

  options.prompt = "";
  options.reference = set / "ref/prompt1";
  expect_error(ErrorKind::kInput, {"prompt1", "no manifest.json"}, [&] { compare(options); });
  options.reference = set / "ref";
  options.candidate = set / "nowhere";
  expect_error(ErrorKind::kInput, {"nowhere", "no such file"}, [&] { compare(options); });
}

// An unreadable array prevents only its own comparison.
TEST(Compare, ADamagedArrayIsReportedAndTheOthersAreJudged) {
  const TemporaryDirectory set;
  CompareOptions options = three_prompts(set);
  fs::create_directory(set / "dump");
  const NpzReader npz(set / "ref/prompt2/reference.npz");
  for (const std::string& name : npz.names()) {
    if (name == "input_ids") continue;  // the shapes tell which prompt it is
    write_npy(set / "dump" / (name + ".npy"), npz.read(name).view());
  }
  for (const char* name : {"layer_03_output", "rope_cos"}) {
    write_text(set / "dump" / (std::string(name) + ".npy"), "no array");
  }
  options.candidate = set / "dump";
  const CompareReport report = compare(options);
  EXPECT_FALSE(report.passed);
  const PromptResult& result = report.prompts.at(0);
  EXPECT_EQ(result.id, "prompt2");
  for (const TensorResult& t : result.tensors) {
    const bool damaged = t.name == "layer_03_output" || t.name == "rope_cos";
    const Verdict right = damaged                 ? Verdict::kError
                          : t.name == "input_ids" ? Verdict::kNotCompared
                                                  : Verdict::kPass;
    EXPECT_EQ(t.verdict, right) << t.name << ": " << t.reason;
  }
}

// The channels of each rotary pair adjacent, as in llama.cpp.
void put_pairs_together(Array& array) {
  const auto head = static_cast<std::size_t>(array.shape.back());
  const std::vector<float> own(array.as<float>().begin(), array.as<float>().end());
  for (std::size_t i = 0; i < own.size(); ++i) {
    const std::size_t d = i % head;
    array.as<float>()[i - d + d % (head / 2) * 2 + d / (head / 2)] = own[i];
  }
}

// In an engine that rotates wrongly, paired channels of q and k no longer cancel. A prompt of one
// token, which is not rotated, shows that they are paired.
TEST(Compare, ALayoutThatOnePromptShowsHoldsInTheOthers) {
  const TemporaryDirectory set;
  ExtractOptions extraction;
  extraction.model = kModel;
  extraction.out = set / "ref";
  extraction.numerics = {Numerics::kBf16, Numerics::kF64};
  extraction.taps = {"layer_05_*"};
  extract(extraction, prompts_from_texts({"The capital of France is", "Hello"}));
  const auto dump = [&](const std::string& id) {
    const NpzReader npz(set / "ref" / id / "reference.npz");
    std::vector<Array> arrays;
    bool rotated = false;
    for (const std::string& name : npz.names()) {
      Array& array = arrays.emplace_back(npz.read(name));
      if (array.shape[1] == 1) rotated = false;
      const bool is_wrong = rotated && array.dtype == DType::kF32 && !name.starts_with("rope_");
      float sign = 1;
      for (float& x : is_wrong ? array.as<float>() : std::span<float>())
        x *= 1 + (sign = -sign) / 4;
      rotated = rotated || name == "layer_05_k_norm";
      const std::string tap = name.substr(std::min<std::size_t>(name.size(), 9));
      if (tap.starts_with("q_") || tap.starts_with("k_")) put_pairs_together(array);
    }
    std::vector<ArrayView> views;
    for (const Array& array : arrays) views.push_back(array.view());
    write_npz(set / "dump" / (id + ".npz"), views, Compression::kNone);
  };
  fs::create_directory(set / "dump");
  CompareOptions options;
  options.reference = set / "ref";
  options.candidate = set / "dump";
  dump("prompt1");
  EXPECT_EQ(first(compare(options).prompts.at(0)), "layer_05_q_proj");
  dump("prompt2");
  const CompareReport report = compare(options);
  EXPECT_EQ(first(report.prompts.at(0)), "layer_05_q_rope");
  EXPECT_EQ(first(report.prompts.at(1)), "");
  for (const PromptResult& prompt : report.prompts) {
    EXPECT_EQ(tensor(prompt, "layer_05_q_proj").verdict, Verdict::kPass);
    EXPECT_NE(prompt.findings.at(0).text.find("side by side"), std::string::npos);
  }
}

}  // namespace
}  // namespace assay
