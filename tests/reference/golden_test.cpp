// transformers' results for the bundled model (python/make_goldens.py), without Python; and the
// digests of Assay's results, which must not change.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "assay/extract.h"
#include "base/sha256.h"
#include "base/temporary_directory.h"
#include "model/executor.h"
#include "model/recorder.h"
#include "numerics/kernels.h"
#include "tokenizer/tokenizer.h"

namespace assay {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

const fs::path kData = ASSAY_TEST_DATA "/reference/data";
const fs::path kModel = ASSAY_ROOT "/models/tiny-qwen3";

Json load(const fs::path& path) { return Json::parse(read_text(path)); }

ExtractOptions options_for(const fs::path& out, Numerics numerics) {
  ExtractOptions options;
  options.model = kModel;
  options.out = out;
  options.numerics = {numerics};
  return options;
}

class Golden : public testing::Test {
 protected:
  // Extracts the default prompts with the goldens' taps.
  std::vector<ExtractedPrompt> extract_as(Numerics numerics) {
    ExtractOptions options = options_for(out_.path(), numerics);
    options.taps = goldens_["taps"].get<std::vector<std::string>>();
    options.max_new_tokens = goldens_["max_new_tokens"];
    return extract(options, default_prompts());
  }

  // Ids of the largest logits at the last position, best first; among equals the lower id first.
  static std::vector<std::int64_t> best_ids(std::span<const float> last) {
    std::vector<std::int64_t> ids(last.size());
    std::iota(ids.begin(), ids.end(), 0);
    std::ranges::stable_sort(ids, [&](std::int64_t a, std::int64_t b) {
      return last[static_cast<std::size_t>(a)] > last[static_cast<std::size_t>(b)];
    });
    return ids;
  }

  // Checks tokens, text and the five best logits, the latter to `tolerance` of the best one.
  void check_tokens_and_logits(Numerics numerics, double tolerance) {
    const auto extracted = extract_as(numerics);
    ASSERT_EQ(extracted.size(), goldens_["prompts"].size());
    for (std::size_t p = 0; p < extracted.size(); ++p) {
      const Json& prompt = goldens_["prompts"][p];
      const Json& golden = prompt[std::string(numerics_name(numerics))];
      SCOPED_TRACE(prompt["text"].get<std::string>());
      EXPECT_EQ(Json(extracted[p].prompt.input_ids), prompt["input_ids"]);
      EXPECT_EQ(Json(extracted[p].generated_ids), golden["generated_ids"]);
      EXPECT_EQ(*extracted[p].generated_text, golden["generated_text"]);
      const Array logits =
          NpzReader(out_ / extracted[p].prompt.id / "reference.npz").read("logits");
      const auto last = logits.as<float>().last(static_cast<std::size_t>(logits.shape[2]));
      const std::vector<std::int64_t> best = best_ids(last);
      EXPECT_EQ(best[0], golden["top_five"][0]["id"]);
      const double scale = golden["top_five"][0]["logit"];
      for (const Json& entry : golden["top_five"]) {
        EXPECT_NEAR(last[entry["id"].get<std::size_t>()], entry["logit"].get<double>(),
                    tolerance * scale);
      }
    }
  }

  TemporaryDirectory out_;
  Json goldens_ = load(kData / "goldens.json");
};

TEST_F(Golden, F32TokensAndLogits) { check_tokens_and_logits(Numerics::kF32, 1e-5); }

// 2^-7 is a BF16 step.
TEST_F(Golden, Bf16TokensAndLogits) { check_tokens_and_logits(Numerics::kBf16, 0x1p-7); }

TEST_F(Golden, F32Arrays) {
  const auto extracted = extract_as(Numerics::kF32);
  for (std::size_t p = 0; p < extracted.size(); ++p) {
    const Json& arrays = goldens_["prompts"][p]["f32"]["arrays"];
    const NpzReader npz(out_ / extracted[p].prompt.id / "reference.npz");
    EXPECT_EQ(npz.names().size(), arrays.size() + 2);  // the ids
    for (const auto& [name, golden] : arrays.items()) {
      SCOPED_TRACE(extracted[p].prompt.id + " " + name);
      const Array array = npz.read(name);
      EXPECT_EQ(Json(array.shape), golden["shape"]);
      const auto values = array.as<float>();
      double squares = 0;
      for (const float x : values) squares += x < -1e38F ? 0 : static_cast<double>(x) * x;
      const double norm = golden["norm"];
      EXPECT_NEAR(std::sqrt(squares), norm, 1e-5 * norm);
      const double rms = norm / std::sqrt(static_cast<double>(values.size()));
      for (std::size_t i = 0; i < golden["samples"].size(); ++i) {
        const double expected = golden["samples"][i];
        const double found = values[i * (values.size() - 1) / (golden["samples"].size() - 1)];
        // Single elements vary more than the norm; the largest are off by their own step.
        EXPECT_NEAR(found, expected, 2e-5 * std::max(rms, std::abs(expected))) << i;
      }
    }
  }
}

// The default prompts and two long ones, which exercise every path of prefill: a batch of five.
std::vector<Prompt> digest_prompts() {
  std::vector<Prompt> prompts = default_prompts();
  const Tokenizer tokenizer = Tokenizer::load(kModel / "tokenizer.json");
  for (Prompt& prompt : prompts) prompt.input_ids = tokenizer.encode(*prompt.text, prompt.id);
  for (const auto& [id, tokens] : {std::pair{"long", 300}, {"middle", 41}}) {
    Prompt& prompt = prompts.emplace_back(Prompt{id, std::nullopt, {}});
    for (std::int64_t i = 0; i < tokens; ++i) prompt.input_ids.push_back((i * 7919 + 13) % 2560);
  }
  return prompts;
}

const std::vector<std::string> kDigestTaps = {"layer_05_*", "layer_27_*"};

// SHA-256 of every array, by prompt.
Json digests_of(const std::vector<Prompt>& prompts, Numerics numerics, int threads) {
  const TemporaryDirectory out;
  ExtractOptions options = options_for(out.path(), numerics);
  options.threads = threads;
  options.taps = kDigestTaps;
  extract(options, prompts);
  const Json manifest = load(out / "manifest.json");
  Json digests;
  for (const Json& prompt : manifest["prompts"]) {
    Json& of_prompt = digests[prompt["id"].get<std::string>()];
    for (const auto& [name, record] : prompt["arrays"].items()) {
      of_prompt[name] = record["sha256"];
    }
  }
  return digests;
}

constexpr Numerics kAllNumerics[] = {Numerics::kBf16, Numerics::kF32, Numerics::kF64};

// To change them on purpose: ASSAY_WRITE_DIGESTS=1 build/tests/test_reference
TEST(Digests, HaveNotMoved) {
  const fs::path file = kData / "digests.json";
  Json found;
  for (const Numerics numerics : kAllNumerics) {
    found[std::string(numerics_name(numerics))] = digests_of(digest_prompts(), numerics, 0);
  }
  if (std::getenv("ASSAY_WRITE_DIGESTS") != nullptr) {
    std::ofstream(file) << found.dump(1) << '\n';
    return;
  }
  const Json expected = load(file);
  for (const auto& [numerics, prompts] : expected.items()) {
    for (const auto& [prompt, digests] : prompts.items()) {
      for (const auto& [name, digest] : digests.items()) {
        EXPECT_EQ(found[numerics][prompt][name], digest)
            << numerics << " " << prompt << " " << name;
      }
    }
  }
  EXPECT_EQ(found.dump().size(), expected.dump().size());
}

// One digest per array, however it is computed.
TEST(Digests, AreTheSameOnAllThreadsAndInstructionSets) {
  const Json expected = load(kData / "digests.json");
  for (const Numerics numerics : kAllNumerics) {
    const Json& of_numerics = expected[std::string(numerics_name(numerics))];
    for (const int threads : {1, 2, 3, 7}) {
      EXPECT_EQ(digests_of(digest_prompts(), numerics, threads), of_numerics)
          << numerics_name(numerics) << ", " << threads << " threads";
    }
    for (const Simd simd : supported_simd()) {
      ::setenv("ASSAY_SIMD", std::string(simd_name(simd)).c_str(), 1);
      EXPECT_EQ(digests_of(digest_prompts(), numerics, 2), of_numerics)
          << numerics_name(numerics) << ", " << simd_name(simd);
    }
    ::unsetenv("ASSAY_SIMD");
    for (const Prompt& prompt : digest_prompts()) {
      EXPECT_EQ(digests_of({prompt}, numerics, 2)[prompt.id], of_numerics[prompt.id])
          << numerics_name(numerics) << ", " << prompt.id << " alone";
    }
  }
}

// The prompt's ids in pieces of at most `piece`: the recorder's arrays have the same digests.
template <class N>
void expect_digests_in_pieces(const Prompt& prompt, std::size_t piece, const Json& expected) {
  static const Model model = load_model(kModel);
  ThreadPool pool(2);
  Executor<N> executor(model, pool);
  SequenceState<N> sequence(model.program, prompt.input_ids.size());
  TapSet taps = TapSet::classic(model.spec);
  for (const std::string& glob : kDigestTaps) taps.add(glob);
  Recorder<typename N::Real> recorder(model.spec, taps, std::ssize(prompt.input_ids));
  for (std::span<const std::int64_t> left = prompt.input_ids; !left.empty();) {
    const Chunk<N> chunk{left.first(std::min(piece, left.size())), &sequence, &recorder};
    executor.run({&chunk, 1});
    left = left.subspan(chunk.ids.size());
  }
  const std::vector<Array> arrays = recorder.take();
  EXPECT_EQ(arrays.size() + 4, expected.size());  // ids and rotary tables
  for (const Array& array : arrays) {
    EXPECT_EQ(sha256_hex(array.bytes), expected[array.name])
        << numerics_name(N::kNumerics) << ", " << prompt.id << " in pieces of " << piece << ": "
        << array.name;
  }
}

TEST(Digests, AreTheSameWholeInChunksAndTokenByToken) {
  const Json expected = load(kData / "digests.json");
  for (const Prompt& prompt : digest_prompts()) {
    for (const std::size_t piece : {1, 2, 29, 1000}) {
      expect_digests_in_pieces<Bf16>(prompt, piece, expected["bf16"][prompt.id]);
      expect_digests_in_pieces<F32>(prompt, piece, expected["f32"][prompt.id]);
      expect_digests_in_pieces<F64>(prompt, piece, expected["f64"][prompt.id]);
    }
  }
}

}  // namespace
}  // namespace assay
