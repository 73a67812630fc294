// The bits of every model type, which are the same on every machine.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "assay/extract.h"
#include "base/sha256.h"
#include "base/temporary_directory.h"
#include "model/families.h"
#include "model/synth.h"

namespace assay {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// One digest over the digests of all arrays of a run.
std::string digest_of(const fs::path& model, Numerics numerics) {
  const TemporaryDirectory out;
  ExtractOptions options;
  options.model = model;
  options.out = out.path();
  options.numerics = {numerics};
  options.taps = {"*"};
  options.max_new_tokens = 4;
  Prompt prompt{"p", std::nullopt, {}};
  for (std::int64_t i = 0; i < 37; ++i) prompt.input_ids.push_back((i * 7919 + 13) % 101);
  extract(options, {prompt});
  const Json manifest = Json::parse(read_text(out / "manifest.json"));
  std::string all;
  for (const auto& [name, record] : manifest["prompts"][0]["arrays"].items()) {
    all += name + " " + record["sha256"].get<std::string>() + "\n";
  }
  return sha256_hex(std::as_bytes(std::span(all)));
}

// To change them on purpose: ASSAY_WRITE_DIGESTS=1 build/tests/test_reference
TEST(Digests, HaveNotMovedInTheFamily) {
  const TemporaryDirectory directory;
  Json found;
  for (const auto& [name, config] : family_configs()) {
    write_text(directory / "shape.json", config.dump());
    SynthOptions options;
    options.config = directory / "shape.json";
    options.out = directory / "model";
    options.seed = 11;
    synthesize(options);
    for (const Numerics numerics : {Numerics::kBf16, Numerics::kF32, Numerics::kF64}) {
      found[name][std::string(numerics_name(numerics))] = digest_of(options.out, numerics);
    }
  }
  const fs::path file = ASSAY_TEST_DATA "/reference/data/family_digests.json";
  if (std::getenv("ASSAY_WRITE_DIGESTS") != nullptr) {
    std::ofstream(file) << found.dump(1) << '\n';
    return;
  }
  EXPECT_EQ(found, Json::parse(read_text(file)));
}

}  // namespace
}  // namespace assay
