// A checkpoint larger than the allowed memory: `extract --stream`. scripts/prove-streaming runs it
// under the kernel's limit.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/statfs.h>

#include <nlohmann/json.hpp>

#include "assay/npz.h"
#include "base/mapped_file.h"
#include "cli/program.h"

namespace assay {
namespace {

// How many KiB of the file the page cache holds.
long cached_kib(const std::filesystem::path& path) {
  const MappedFile file(path);
  const long page = ::sysconf(_SC_PAGESIZE);
  const std::size_t pages = (file.bytes().size() - 1) / static_cast<std::size_t>(page) + 1;
  std::vector<unsigned char> there(pages);
  if (::mincore(const_cast<std::byte*>(file.bytes().data()), file.bytes().size(), there.data()) !=
      0) {
    return -1;
  }
  return std::ranges::count_if(there, [](unsigned char c) { return (c & 1) != 0; }) * page / 1024;
}

// File systems that are only page cache.
bool is_memory_file(const std::filesystem::path& path) {
  constexpr long kTmpfs = 0x01021994;
  constexpr long kRamfs = 0x858458f6;
  struct statfs status {};
  ::statfs(path.c_str(), &status);
  return status.f_type == kTmpfs || status.f_type == kRamfs;
}

TEST(Stream, HoldsNoMoreThanALayerAndChangesNoBit) {
  const TemporaryDirectory directory;
  constexpr long kLayers = 12;
  nlohmann::json config =
      nlohmann::json::parse(read_text(ASSAY_ROOT "/models/tiny-qwen3/config.json"));
  config.update({{"hidden_size", 512},
                 {"intermediate_size", 2048},
                 {"num_attention_heads", 8},
                 {"num_key_value_heads", 8},
                 {"head_dim", 128},
                 {"num_hidden_layers", kLayers}});
  config.erase("max_window_layers");
  write_text(directory / "config.json", config.dump());
  const std::string model = directory / "model";
  const Result made = run_program({"synth", "--config", directory / "config.json", "--out", model,
                                   "--seed", "1", "--shards", "3"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  std::vector<std::filesystem::path> shards;
  long weights = 0;
  for (const auto& entry : std::filesystem::directory_iterator(model)) {
    if (entry.path().extension() != ".safetensors") continue;
    shards.push_back(entry.path());
    weights += static_cast<long>(entry.file_size() >> 10);
  }
  ASSERT_EQ(shards.size(), 3u);
  // 40 tokens: more than the head takes at once.
  nlohmann::json prompt = {{"input_ids", nlohmann::json::array()}};
  for (int id = 1; id <= 40; ++id) prompt["input_ids"].push_back(id * 50);
  write_text(directory / "prompts.jsonl", prompt.dump() + "\n");

  const auto extract = [&](const std::string& out, const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {
        "extract", "--model",    model,      "--prompts", directory / "prompts.jsonl", "--out",
        out,       "--numerics", "bf16,f32", "--json",    "--max-new-tokens",          "3"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    Result result = run_program(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result;
  };
  const Result whole = extract(directory / "whole", {});
  const Result streamed = extract(directory / "streamed", {"--stream"});
  for (const char* file : {"manifest.json", "prompt1/reference.npz", "prompt1/f32.npz"}) {
    EXPECT_TRUE(read_text(directory / "whole" / file) == read_text(directory / "streamed" / file))
        << file;
  }

  // Everything except the weights takes the same memory in both; one layer is allowed for
  // differences between the runs.
  const long layer = weights / kLayers;
  EXPECT_GT(whole.peak_kib, weights);
  EXPECT_LT(streamed.peak_kib, whole.peak_kib - weights + 2 * layer);
  // The kernel does not drop pages that somebody is using.
  if (is_memory_file(shards.front())) return;
  long cached = 0;
  for (const std::filesystem::path& shard : shards) cached += cached_kib(shard);
  EXPECT_LT(cached, weights / 4);
}

// Read from memory or streamed.
TEST(Stream, WarnsOfNanInWeights) {
  const TemporaryDirectory directory;
  const std::filesystem::path model = directory / "model";
  std::filesystem::copy(ASSAY_ROOT "/models/tiny-qwen3", model);
  std::filesystem::permissions(model / "model.safetensors", std::filesystem::perms::owner_write,
                               std::filesystem::perm_options::add);
  std::string weights = read_text(model / "model.safetensors");
  const std::size_t header = 8 + *reinterpret_cast<const std::uint64_t*>(weights.data());
  const auto json = nlohmann::json::parse(weights.substr(8, header - 8));
  const auto begin =
      json["model.layers.3.mlp.up_proj.weight"]["data_offsets"][0].get<std::size_t>();
  weights[header + begin + 1] =
      '\xff';  // of a BF16, low byte first; a different NaN from the one that is written
  weights[header + begin] = '\xe5';
  write_text(model / "model.safetensors", weights);
  const std::vector<std::string> words = {"extract",  "--model",    model,
                                          "--prompt", "Hello",      "--max-new-tokens",
                                          "0",        "--numerics", "bf16,f64"};
  const auto run = [&](const char* out, const char* how) {
    std::vector<std::string> all = words;
    all.insert(all.end(), {"--out", directory / out});
    if (*how != '\0') all.emplace_back(how);
    return run_program(all);
  };
  const Result plain = run("plain", "");
  EXPECT_EQ(plain.exit_code, 0) << plain.err;
  EXPECT_NE(plain.err.find("'model.layers.3.mlp.up_proj.weight': NaN at [0, 0], 1 in all"),
            std::string::npos)
      << plain.err;
  // The NaN is the same whichever one the CPU makes.
  const NpzReader npz(directory / "plain/prompt1/reference.npz");
  const Array output = npz.read("layer_03_output");
  for (const std::uint32_t bits : output.as<std::uint32_t>()) EXPECT_EQ(bits, 0x7FC00000u);
  // JSON has no NaN, yet the manifest is readable.
  const Result compared = run_program({"compare", directory / "plain", directory / "plain"});
  EXPECT_EQ(compared.exit_code, 1) << compared.err;
  EXPECT_NE(compared.out.find("64 of 64 elements are NaN"), std::string::npos) << compared.out;
  const Result streamed = run("streamed", "--stream");
  EXPECT_EQ(streamed.exit_code, 0) << streamed.err;
  EXPECT_NE(streamed.err.find("of the elements of layer_03_output are NaN"), std::string::npos)
      << streamed.err;
}

}  // namespace
}  // namespace assay
