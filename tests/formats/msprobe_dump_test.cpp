// Dumps of msprobe: one that it wrote (python/make_msprobe_golden.py), and what nobody should
// write.
#include "formats/msprobe_dump.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "base/expect_error.h"
#include "base/temporary_directory.h"
#include "formats/array_file.h"
#include "formats/dump_names.h"
#include "formats/golden_arrays.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

TEST(MsprobeDump, ReadsWhatMsprobeWrote) {
  const ArrayFile step(golden("msprobe/step0"));
  EXPECT_EQ(step.load("model.embed_tokens.input.0").view.shape, (Shape{1, 5}));
  EXPECT_EQ(step.load("model.embed_tokens.input.0").view.dtype, DType::kI64);
  const LoadedArray output = step.load("model.layers.0.output.0");
  EXPECT_EQ(output.view.shape, (Shape{1, 5, 64}));
  EXPECT_EQ(output.view.dtype, DType::kBF16);
  EXPECT_EQ(step.form_of("model.layers.0.self_attn.q_norm.output.0").shape, (Shape{1, 5, 4, 32}));
  EXPECT_TRUE(step.contains("model.layers.0.self_attn.kwargs.hidden_states"));
  // Listed, but left out of the golden.
  expect_error(ErrorKind::kInput, {"q_proj.Linear.forward.0.parameters.weight.pt"},
               [&] { step.load("model.layers.0.self_attn.q_proj.parameters.weight"); });
  EXPECT_EQ(step.size_of("model.layers.0.self_attn.q_proj.parameters.weight"), 0u);
}

TEST(MsprobeDump, IsFoundAtEveryLevel) {
  const fs::path rank = golden("msprobe/step1/proc1");
  for (const fs::path& path :
       {rank, rank / "dump.json", rank / "dump_tensor_data", fs::path(golden("msprobe/step1"))}) {
    SCOPED_TRACE(path);
    EXPECT_TRUE(is_msprobe_dump(path));
    EXPECT_TRUE(ArrayFile(path).contains("model.norm.output.0"));
  }
  EXPECT_FALSE(is_msprobe_dump(rank.parent_path() / "nothing"));
  EXPECT_FALSE(is_msprobe_dump(fs::path(golden("views.pt")).parent_path()));
}

TEST(MsprobeDump, NamesTheFirstStepPlainly) {
  const ArrayFile both(golden("msprobe"));
  EXPECT_EQ(both.form_of("model.norm.output.0").shape, (Shape{1, 5, 64}));
  EXPECT_EQ(both.form_of("model.norm.output.0___step=1").shape, (Shape{1, 2, 64}));
  const std::vector<fs::path> steps = msprobe_steps(golden("msprobe"));
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_EQ(steps[1].filename(), "step1");
  EXPECT_TRUE(msprobe_steps(golden("msprobe/step0")).empty());
}

TEST(MsprobeDump, NamesModulesWithoutTheirClass) {
  const auto name = [](const char* stem) { return parse_dump_name(stem).name; };
  EXPECT_EQ(name("Module.model.layers.0.mlp.LlamaMLP.forward.0.output.0"),
            "model.layers.0.mlp.output.0");
  EXPECT_EQ(name("Module.lm_head.Linear.forward.2.input.0"), "lm_head.call2.input.0");
  EXPECT_EQ(name("Module.model.LlamaModel.forward.0.kwargs.input_ids"), "model.kwargs.input_ids");
  EXPECT_EQ(name("Cell.network.layers.1.Dense.forward.0.output.0"), "network.layers.1.output.0");
  EXPECT_EQ(name("Module.0.module.layers.3.mlp.MLP.forward.0.output.0"),
            "module.layers.3.mlp.output.0");
  EXPECT_EQ(name("Module.0.Linear.forward.0.output.0"), "0.output.0");
  EXPECT_EQ(name("layer_00_output.0.debug"), "layer_00_output");
  EXPECT_EQ(name("states.1.debug.0"), "states.call1.0");
  for (const char* same :
       {"Torch.matmul.0.forward.output.0", "Module.fc.Linear.backward.0.input.0", "a.debug",
        "Module.forward.0", "Module..forward.x", "x.y.debugger", ".0.debug"}) {
    EXPECT_EQ(name(same), same);
  }
}

// A copy of the second step that a test may spoil.
class SpoiledMsprobe : public testing::Test {
 protected:
  void SetUp() override {
    fs::copy(golden("msprobe/step1/proc1"), dump(), fs::copy_options::recursive);
  }
  fs::path dump() const { return directory_ / "rank0"; }
  fs::path tensor() const { return dump() / "dump_tensor_data" / kFile; }
  void write_index(const std::string& text) const { write_text(dump() / "dump.json", text); }
  void refuses(const std::string& index, std::initializer_list<std::string_view> words) const {
    SCOPED_TRACE(index);
    write_index(index);
    expect_error(ErrorKind::kInput, words, [&] { ArrayFile{dump()}; });
  }

  static constexpr const char* kFile = "Module.model.norm.Qwen3RMSNorm.forward.0.output.0.pt";
  TemporaryDirectory directory_;
};

TEST_F(SpoiledMsprobe, ReadsNumbersThatOnlyPythonWrites) {
  write_index(R"({"data": {"Infinity \" NaN": {"Max": NaN, "Min": -Infinity, "x": [Infinity],
                  "data_name": ")" +
              std::string(kFile) + R"("}}})");
  EXPECT_EQ(ArrayFile(dump()).names(), std::vector<std::string>{"model.norm.output.0"});
}

TEST_F(SpoiledMsprobe, RefusesAnIndexThatIsNone) {
  refuses("", {"dump.json", "not valid JSON"});
  refuses("{", {"dump.json", "not valid JSON"});
  refuses(R"({"data": Infinit})", {"dump.json", "not valid JSON"});
  for (const char* wrong : {"[]", "null", "{}", R"({"data": []})", R"({"data": "x"})"}) {
    refuses(wrong, {"dump.json", "'data'"});
  }
  refuses(R"({"data": {"a": 1}})", {"data.a", "an object or a list"});
  refuses(R"({"data": {"a\u001b[31m": "b"}})", {"data.a\\x1b[31m"});
  refuses(R"({"data": {"a": )" + std::string(100000, '[') + "}}", {"dump.json"});
}

TEST_F(SpoiledMsprobe, SaysThatStatisticsHaveNoTensors) {
  refuses(R"({"task": "statistics", "data": {"a": {"output": [{"Max": 1}]}}})",
          {"without tensors", R"("task": "tensor")"});
  refuses(R"({"data": {"a": {"data_name": null}, "b": [{"data_name": -1}]}})", {"without tensors"});
}

TEST_F(SpoiledMsprobe, StaysInItsDirectory) {
  write_text(directory_ / "secret.pt", "secret");
  for (const char* name : {"../../secret.pt", "/etc/secret.pt", "..", ".", "a/b.pt", "", "x.json",
                           ".pt", "x\\u0000.pt"}) {
    refuses(R"({"data": {"a": {"data_name": ")" + std::string(name) + R"("}}})",
            {"dump.json", "data_name", "dump_tensor_data"});
  }
  refuses(R"({"data": {"a": {"data_name": {}}}})", {"data_name", "object"});
  refuses(R"({"data": {"a": {"data_name": ["x.pt"]}}})", {"data_name", "array"});
}

TEST_F(SpoiledMsprobe, FollowsNoLinks) {
  fs::rename(tensor(), directory_ / "elsewhere.pt");
  fs::create_symlink(directory_ / "elsewhere.pt", tensor());
  const ArrayFile file(dump());
  expect_error(ErrorKind::kInput, {kFile, "symbolic link"},
               [&] { file.load("model.norm.output.0"); });
  expect_error(ErrorKind::kInput, {kFile, "symbolic link"},
               [&] { file.form_of("model.norm.output.0"); });
}

TEST_F(SpoiledMsprobe, JudgesTheOtherArraysOfADamagedDump) {
  write_text(tensor(), "not a tensor");
  const ArrayFile file(dump());
  expect_error(ErrorKind::kInput, {kFile}, [&] { file.load("model.norm.output.0"); });
  EXPECT_EQ(file.load("model.layers.0.output.0").view.shape, (Shape{1, 2, 64}));
  fs::copy_file(golden("views.pt"), tensor(), fs::copy_options::overwrite_existing);
  expect_error(ErrorKind::kInput, {kFile, "9 tensors"}, [&] { file.load("model.norm.output.0"); });
  fs::remove_all(dump() / "dump_tensor_data");
  write_text(dump() / "stack.json", "{}");
  expect_error(ErrorKind::kInput, {kFile, "No such file"},
               [&] { ArrayFile(dump()).load("model.norm.output.0"); });
}

TEST_F(SpoiledMsprobe, NamesTheArraysOfOtherRanksByTheirRank) {
  fs::copy(dump(), directory_ / "rank10", fs::copy_options::recursive);
  fs::copy(dump(), directory_ / "rank1", fs::copy_options::recursive);
  const ArrayFile file(directory_.path());
  EXPECT_TRUE(file.contains("model.norm.output.0"));
  EXPECT_TRUE(file.contains("model.norm.output.0___rank=1"));
  EXPECT_TRUE(file.contains("model.norm.output.0___rank=10"));
}

}  // namespace
}  // namespace assay
