// A reference set on disk: the manifest describes the files, and the bytes are the same whatever
// the threads and the other prompts.
#include "assay/extract.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/expect_error.h"
#include "base/flushing_host.h"
#include "base/sha256.h"
#include "base/temporary_directory.h"
#include "model/array_noise.h"
#include "numerics/noise.h"
#include "reference/statistics.h"

namespace assay {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const fs::path kModel = ASSAY_ROOT "/models/tiny-qwen3";

ExtractOptions options_for(const fs::path& out) {
  ExtractOptions options;
  options.model = kModel;
  options.out = out;
  options.max_new_tokens = 5;
  return options;
}

Json manifest_of(const fs::path& out) { return Json::parse(read_text(out / "manifest.json")); }

// Every file below `out`, by relative path.
std::map<std::string, std::string> contents(const fs::path& out) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(out)) {
    if (!entry.is_regular_file()) continue;
    files[fs::relative(entry.path(), out).string()] = read_text(entry.path());
  }
  return files;
}

TEST(Extract, TheManifestSaysWhatTheFilesHold) {
  const TemporaryDirectory out;
  ExtractOptions options = options_for(out.path());
  options.numerics = {Numerics::kBf16, Numerics::kF64};
  options.taps = {"layer_07_*"};
  const auto extracted = extract(options, default_prompts());
  ASSERT_EQ(extracted.size(), 3u);

  const Json manifest = manifest_of(out.path());
  EXPECT_EQ(manifest["schema"], "assay.reference/1");
  EXPECT_EQ(manifest["producer"]["name"], "assay");
  EXPECT_EQ(manifest["numerics"], "bf16");
  EXPECT_EQ(manifest["oracle"], "f64");
  EXPECT_EQ(manifest["model"]["path_name"], "tiny-qwen3");
  EXPECT_EQ(manifest["model"]["config"], Json::parse(read_text(kModel / "config.json")));
  EXPECT_EQ(manifest["model"]["weights"][0]["file"], "model.safetensors");
  EXPECT_EQ(manifest["model"]["weights"][0]["bytes"], fs::file_size(kModel / "model.safetensors"));
  EXPECT_EQ(manifest["model"]["weights"][0]["sha256"],
            sha256_hex(bytes_of(read_text(kModel / "model.safetensors"))));
  EXPECT_EQ(manifest["model"]["tokenizer"]["sha256"],
            sha256_hex(bytes_of(read_text(kModel / "tokenizer.json"))));
  EXPECT_EQ(manifest["generation"]["max_new_tokens"], 5);

  for (std::size_t p = 0; p < extracted.size(); ++p) {
    const Json& prompt = manifest["prompts"][p];
    EXPECT_EQ(prompt["id"], extracted[p].prompt.id);
    EXPECT_EQ(prompt["text"], *extracted[p].prompt.text);
    EXPECT_EQ(prompt["input_ids"], Json(extracted[p].prompt.input_ids));
    EXPECT_EQ(prompt["generated_text"], *extracted[p].generated_text);
    const NpzReader reference(out / prompt["files"]["reference"].get<std::string>());
    const NpzReader oracle(out / prompt["files"]["oracle"].get<std::string>());
    EXPECT_EQ(reference.names().size(), 35u + 18u);
    EXPECT_EQ(reference.names(), oracle.names());
    EXPECT_EQ(prompt["arrays"].size(), reference.names().size());
    for (const std::string& name : reference.names()) {
      const Json& record = prompt["arrays"][name];
      const Array array = reference.read(name);
      EXPECT_EQ(record["shape"], Json(array.shape)) << name;
      EXPECT_EQ(record["dtype"], dtype_name(array.dtype)) << name;
      EXPECT_EQ(record["sha256"], sha256_hex(array.bytes)) << name;
      if (array.dtype == DType::kI64) {
        EXPECT_FALSE(record.contains("stats") || record.contains("noise")) << name;
        continue;
      }
      const Statistics s = statistics(array.view());
      const Json stats = {{"min", s.min}, {"max", s.max}, {"mean", s.mean},  {"std", s.std},
                          {"nan", s.nan}, {"inf", s.inf}, {"zeros", s.zeros}};
      EXPECT_EQ(record["stats"], stats) << name;
      EXPECT_EQ(s.nan + s.inf, 0) << name;
      // The oracle's file is rounded to float; the manifest's noise is of the rounded values too.
      const Array truth = oracle.read(name);
      const double noise = relative_l2(array.view(), truth.view(),
                                       std::min(array.bytes.size(), truth.bytes.size()) / 4);
      EXPECT_DOUBLE_EQ(record["noise"].get<double>(), noise) << name;
      const bool one_key = name.ends_with("attn_probs") && array.shape.back() == 1;
      if (name == "embedding_output" || one_key) {
        EXPECT_EQ(noise, 0) << name;  // BF16 rows, read exactly; probability 1 of the only key
      } else if (!name.starts_with("rope_")) {
        EXPECT_GT(noise, 1e-4) << name;
        EXPECT_LT(noise, 0.1) << name;
      }
    }
  }
}

TEST(Extract, AnOracleShowsTheNoiseOfF32Too) {
  const TemporaryDirectory out;
  ExtractOptions options = options_for(out / "with_oracle");
  options.numerics = {Numerics::kBf16, Numerics::kF64};
  options.taps = {"layer_07_*"};
  const std::vector<Prompt> prompts = {{"p", std::nullopt, {378, 12, 99, 7, 8, 9, 10}},
                                       {"q", std::nullopt, {5}}};
  extract(options, prompts);
  const Json manifest = manifest_of(options.out);
  EXPECT_FALSE(fs::exists(options.out / "p/f32.npz"));
  // The same run, as written.
  options.out = out / "f32";
  options.numerics = {Numerics::kF32};
  extract(options, prompts);
  EXPECT_FALSE(manifest_of(options.out)["prompts"][0]["arrays"]["logits"].contains("noise_f32"));
  for (const char* id : {"p", "q"}) {
    const Json& arrays = manifest["prompts"][id[0] - 'p']["arrays"];
    const NpzReader f32(options.out / id / "reference.npz");
    const NpzReader oracle(out / "with_oracle" / id / "oracle.npz");
    std::size_t count = 0;
    for (const std::string& name : f32.names()) {
      const bool is_tap = !name.ends_with("_ids") && !name.starts_with("rope_");
      EXPECT_EQ(arrays[name].contains("noise_f32"), is_tap) << name;
      if (!is_tap) continue;
      ++count;
      const bool attention = name.ends_with("_attn_scores") || name.ends_with("_attn_probs");
      const ArrayNoise noise =
          array_noise(f32.read(name).view(), oracle.read(name).view(), attention ? 2 : 1);
      EXPECT_EQ(arrays[name]["noise_f32"]["whole"].get<double>(), noise.whole) << name;
      EXPECT_EQ(arrays[name]["noise_f32"]["positions"], positions_text(noise)) << name;
      EXPECT_GE(noise.whole, one_rounding(Grid::kF32)) << name;
      EXPECT_LT(noise.whole, 1e-5) << name;
    }
    EXPECT_EQ(count, 31u + 18u);
  }
}

TEST(Extract, HoldsTheArraysOfTheFormatInOrderAndShape) {
  const TemporaryDirectory out;
  extract(options_for(out.path()), {{"p", std::nullopt, {378, 12, 99}}});
  const NpzReader npz(out / "p/reference.npz");
  std::vector<std::string> names = {"input_ids", "embedding_output"};
  for (int l = 0; l < 28; ++l) {
    names.push_back(std::string("layer_") + (l < 10 ? "0" : "") + std::to_string(l) + "_output");
  }
  for (const char* name :
       {"final_norm_output", "logits", "generated_ids", "rope_cos", "rope_sin"}) {
    names.emplace_back(name);
  }
  EXPECT_EQ(npz.names(), names);
  EXPECT_EQ(npz.read("input_ids").shape, (Shape{1, 3}));
  EXPECT_EQ(npz.read("input_ids").dtype, DType::kI64);
  EXPECT_EQ(npz.read("embedding_output").shape, (Shape{1, 3, 64}));
  EXPECT_EQ(npz.read("layer_27_output").shape, (Shape{1, 3, 64}));
  EXPECT_EQ(npz.read("logits").shape, (Shape{1, 3, 2560}));
  const Array generated = npz.read("generated_ids");
  const std::int64_t length = generated.shape[1];
  EXPECT_EQ(npz.read("rope_cos").shape, (Shape{1, length - 1, 32}));
  EXPECT_EQ(generated.as<std::int64_t>()[1], 12);
  const Json manifest = manifest_of(out.path());
  EXPECT_TRUE(manifest["prompts"][0]["text"].is_null());
  EXPECT_TRUE(manifest["oracle"].is_null());
}

// Byte for byte: archives and manifest.
TEST(Extract, SameBytesTwiceAndOverThreads) {
  const TemporaryDirectory first;
  ExtractOptions options = options_for(first.path());
  options.numerics = {Numerics::kBf16, Numerics::kF32, Numerics::kF64};
  options.taps = {"layer_*_attn_probs", "layer_27_*"};
  options.threads = 1;
  extract(options, default_prompts());
  const auto expected = contents(first.path());
  EXPECT_EQ(expected.size(), 10u);
  for (const int threads : {1, 2, 3, 7}) {
    const TemporaryDirectory out;
    options.out = out.path();
    options.threads = threads;
    extract(options, default_prompts());
    EXPECT_TRUE(contents(out.path()) == expected) << threads << " threads";
  }
}

TEST(Extract, TheCallersFloatingPointModeChangesNothing) {
  const TemporaryDirectory usual, flushing;
  ExtractOptions options = options_for(usual.path());
  options.numerics = {Numerics::kBf16, Numerics::kF32, Numerics::kF64};
  extract(options, default_prompts());
  options.out = flushing.path();
  bool holds = false;
  {
    const FlushingHost host;
    extract(options, default_prompts());
    holds = host.holds();
  }
  EXPECT_TRUE(holds);
  EXPECT_TRUE(contents(flushing.path()) == contents(usual.path()));
}

TEST(Extract, APromptAloneGivesWhatItGivesAmongOthers) {
  const TemporaryDirectory together;
  extract(options_for(together.path()), default_prompts());
  for (const Prompt& prompt : default_prompts()) {
    const TemporaryDirectory alone;
    extract(options_for(alone.path()), {prompt});
    const std::string file = prompt.id + "/reference.npz";
    EXPECT_TRUE(read_text(alone / file) == read_text(together / file)) << prompt.id;
  }
}

TEST(Extract, WritesIntoAnOldSetsPlace) {
  const TemporaryDirectory out;
  extract(options_for(out.path()), default_prompts());
  const auto before = contents(out.path());
  extract(options_for(out.path()), default_prompts());
  EXPECT_TRUE(contents(out.path()) == before);
}

TEST(Extract, EveryCompressionHoldsTheSameArrays) {
  std::map<Compression, std::uintmax_t> sizes;
  Json arrays;
  for (const Compression compression :
       {Compression::kNone, Compression::kFast, Compression::kSmall}) {
    const TemporaryDirectory out;
    ExtractOptions options = options_for(out.path());
    options.compression = compression;
    extract(options, default_prompts());
    sizes[compression] = fs::file_size(out / "prompt2/reference.npz");
    const Json found = manifest_of(out.path())["prompts"][1]["arrays"];
    if (arrays.is_null()) arrays = found;
    EXPECT_EQ(found, arrays);
    const NpzReader npz(out / "prompt2/reference.npz");
    for (const std::string& name : npz.names()) {
      EXPECT_EQ(sha256_hex(npz.read(name).bytes), arrays[name]["sha256"]) << name;
    }
  }
  EXPECT_LT(sizes[Compression::kFast], sizes[Compression::kNone]);
  EXPECT_LT(sizes[Compression::kSmall], sizes[Compression::kFast]);
}

TEST(Extract, StoresDoublesOnRequest) {
  const TemporaryDirectory out;
  ExtractOptions options = options_for(out.path());
  options.numerics = {Numerics::kF64};
  const TemporaryDirectory rounded;
  options.out = rounded.path();
  extract(options, default_prompts());
  options.out = out.path();
  options.store = DType::kF64;
  extract(options, default_prompts());
  const Array exact = NpzReader(out / "prompt3/reference.npz").read("logits");
  const Array single = NpzReader(rounded / "prompt3/reference.npz").read("logits");
  ASSERT_EQ(exact.dtype, DType::kF64);
  ASSERT_EQ(single.dtype, DType::kF32);
  std::size_t beyond_float = 0;
  for (std::size_t i = 0; i < single.as<float>().size(); ++i) {
    const double x = exact.as<double>()[i];
    ASSERT_EQ(static_cast<float>(x), single.as<float>()[i]);
    beyond_float += x != static_cast<double>(static_cast<float>(x));
  }
  EXPECT_GT(beyond_float, single.as<float>().size() / 2);
}

// An end-of-text id ends the text and is kept; otherwise the limit ends it.
TEST(Extract, StopsAtEosOrAtTheLimit) {
  const TemporaryDirectory out;
  ExtractOptions options = options_for(out.path());
  options.max_new_tokens = 60;
  const auto extracted = extract(options, default_prompts());
  const auto eos =
      manifest_of(out.path())["generation"]["eos_token_ids"].get<std::vector<std::int64_t>>();
  bool stopped = false;
  for (std::size_t p = 0; p < extracted.size(); ++p) {
    const auto& ids = extracted[p].generated_ids;
    const bool ends = std::ranges::find(eos, ids.back()) != eos.end();
    EXPECT_EQ(extracted[p].stopped_by_eos, ends);
    EXPECT_EQ(manifest_of(out.path())["prompts"][p]["stopped"], ends ? "eos" : "length");
    const std::size_t limit = extracted[p].prompt.input_ids.size() + 60;
    EXPECT_TRUE(ends ? ids.size() <= limit : ids.size() == limit);
    stopped = stopped || ends;
  }
  EXPECT_TRUE(stopped);
  options.max_new_tokens = 0;
  for (const ExtractedPrompt& e : extract(options, default_prompts())) {
    EXPECT_EQ(e.generated_ids, e.prompt.input_ids);
    EXPECT_EQ(e.generated_text, "");
  }
}

// What was written while the model computed is removed when an extraction fails.
TEST(Extract, LeavesNoPartialFileBehind) {
  const TemporaryDirectory out;
  fs::create_directories(out / "prompt2" / "reference.npz");  // cannot be replaced by a file
  expect_error(ErrorKind::kSystem, {"prompt2/reference.npz"},
               [&] { extract(options_for(out.path()), default_prompts()); });
  for (const auto& entry : fs::recursive_directory_iterator(out.path())) {
    EXPECT_FALSE(entry.path().filename().string().starts_with(".")) << entry.path();
  }
  EXPECT_FALSE(fs::exists(out / "manifest.json"));
}

TEST(Extract, ProgressGoesUpToOne) {
  const TemporaryDirectory out;
  ExtractOptions options = options_for(out.path());
  options.numerics = {Numerics::kBf16, Numerics::kF64};
  std::vector<double> fractions;
  std::set<std::string> said;
  extract(options, default_prompts(), [&](std::string_view what, double fraction) {
    fractions.push_back(fraction);
    said.emplace(what);
  });
  EXPECT_TRUE(std::ranges::is_sorted(fractions));
  EXPECT_GT(fractions.size(), 100u);
  EXPECT_LT(fractions.front(), 0.05);
  EXPECT_EQ(fractions.back(), 1.0);
  EXPECT_TRUE(said.contains("bf16 run") && said.contains("f64 run") &&
              said.contains("writing manifest.json"));
}

TEST(Extract, RefusesWhatItCannotDo) {
  const TemporaryDirectory out;
  ExtractOptions options = options_for(out / "set");
  expect_error(ErrorKind::kUsage, {"prompts", "none given"}, [&] { extract(options, {}); });
  expect_error(ErrorKind::kInput, {"duplicate id 'x'"}, [&] {
    extract(options, {{"x", "a", {}}, {"x", "b", {}}});
  });
  expect_error(ErrorKind::kInput, {"p", "token id 2560", "0 to 2559"}, [&] {
    extract(options, {{"p", std::nullopt, {1, 2560}}});
  });
  expect_error(ErrorKind::kInput, {"p", "token id -1"}, [&] {
    extract(options, {{"p", std::nullopt, {-1}}});
  });
  options.store = DType::kBF16;
  expect_error(ErrorKind::kUsage, {"store", "BF16", "F32 or F64"},
               [&] { extract(options, default_prompts()); });
  options.store = DType::kF32;
  options.taps = {"layer_28_*"};
  expect_error(ErrorKind::kUsage, {"--taps", "'layer_28_*' matches no tap"},
               [&] { extract(options, default_prompts()); });
  EXPECT_FALSE(fs::exists(options.out));
}

TEST(Extract, WantsConversationsRenderedBeforehand) {
  const TemporaryDirectory directory;
  const ExtractOptions options = options_for(directory / "out");
  Prompt prompt;
  prompt.id = "chat";
  prompt.conversation = user_message("Hello", "p.jsonl:1");
  expect_error(ErrorKind::kInput, {"p.jsonl:1", "a conversation", "--chat"},
               [&] { extract(options, {prompt}); });
}

}  // namespace
}  // namespace assay
