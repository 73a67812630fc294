// Files of vLLM (python/make_vllm_golden.py) and TensorRT Edge-LLM (python/make_edgellm_golden.py),
// and files that are almost theirs.
#include "formats/joined_arrays.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/expect_error.h"
#include "base/temporary_directory.h"
#include "formats/array_file.h"
#include "formats/dump_names.h"
#include "formats/golden_arrays.h"

namespace assay {
namespace {

TEST(JoinedArrays, TakesVllmsHiddenStatesApart) {
  const ArrayFile file(golden("vllm/some.safetensors"));
  EXPECT_EQ(file.names(),
            (std::vector<std::string>{"token_ids", "hidden_states[:,0]", "hidden_states[:,1]",
                                      "hidden_states[:,2]", "hidden_states[:,3]"}));
  EXPECT_EQ(ArrayFile(golden("vllm/all.safetensors")).names().size(), 30u);
  const ArrayFile all(golden("vllm/all.safetensors"));
  // "some" has the states after 2, 14, 25 and 28 layers.
  for (const auto& [some, of_all] : {std::pair(0, 2), {1, 14}, {2, 25}, {3, 28}}) {
    const LoadedArray a = file.load(stacked_name("hidden_states", some));
    const LoadedArray b = all.load(stacked_name("hidden_states", of_all));
    EXPECT_EQ(a.view.shape, (Shape{5, 64}));
    EXPECT_EQ(a.view.dtype, DType::kBF16);
    EXPECT_EQ(file.form_of(a.view.name).shape, a.view.shape);
    EXPECT_EQ(file.size_of(a.view.name), a.view.bytes.size());
    EXPECT_TRUE(std::ranges::equal(a.view.bytes, b.view.bytes)) << some;
  }
}

TEST(JoinedArrays, NamesSpeculatorsListAsAStack) {
  const ArrayFile file(golden("speculators.pt"));
  EXPECT_EQ(file.names(), (std::vector<std::string>{"input_ids", "loss_mask", "hidden_states[:,0]",
                                                    "hidden_states[:,1]", "hidden_states[:,2]",
                                                    "hidden_states[:,3]"}));
  const LoadedArray second = file.load("hidden_states[:,1]");
  EXPECT_EQ(second.view.shape, (Shape{3, 2}));
  EXPECT_EQ(second.view.as<float>()[5], 15.0F);
  // Without the mask it is anybody's list.
  EXPECT_TRUE(ArrayFile(golden("containers.pt")).contains("list.0"));
}

TEST(JoinedArrays, TakesEdgeLlmsCachesApart) {
  const ArrayFile file(golden("edgellm/edgellm_dump.safetensors"));
  const LoadedArray keys = file.load("round_0.layer_1.kv[0]");
  const LoadedArray values = file.load("round_0.layer_1.kv[1]");
  EXPECT_EQ(keys.view.shape, (Shape{2, 5, 32}));
  EXPECT_EQ(values.view.shape, (Shape{2, 5, 32}));
  EXPECT_FALSE(std::ranges::equal(keys.view.bytes, values.view.bytes));
  // The same bytes, in the longer buffer of the next round.
  const LoadedArray later = file.load("round_1.layer_1.kv");
  ASSERT_EQ(later.view.shape, (Shape{1, 2, 2, 12, 32}));
  const std::size_t row = 5 * 32 * 2;
  const std::size_t head = 12 * 32 * 2;
  for (std::size_t h = 0; h < 2; ++h) {
    EXPECT_EQ(
        std::memcmp(keys.view.bytes.data() + h * row, later.view.bytes.data() + h * head, row), 0);
    EXPECT_EQ(std::memcmp(values.view.bytes.data() + h * row,
                          later.view.bytes.data() + (2 + h) * head, row),
              0);
  }
  EXPECT_FALSE(file.contains("round_0.layer_1.kv"));
  EXPECT_TRUE(file.contains("round_0.logits"));
}

TEST(JoinedArrays, NamesThePartsOfAStack) {
  EXPECT_EQ(stacked_name("x", 12), "x[:,12]");
  EXPECT_EQ(index_in_stack("x[:,12]"), 12);
  for (const char* other : {"x", "x[12]", "x[:,]", "x[:,-1]", "x[:,1", "x[:,1]]", "[:,a]"}) {
    EXPECT_FALSE(index_in_stack(other)) << other;
  }
}

// A safetensors file of zeros.
struct Zeros {
  std::string name;
  std::string dtype;
  Shape shape;
};

ArrayFile file_of(const TemporaryDirectory& directory, const std::vector<Zeros>& tensors) {
  std::string header = "{";
  std::size_t at = 0;
  for (const Zeros& tensor : tensors) {
    std::size_t bytes = tensor.dtype == "I64" ? 8 : tensor.dtype == "I32" ? 4 : 2;
    std::string shape;
    for (const std::int64_t extent : tensor.shape) {
      bytes *= static_cast<std::size_t>(extent);
      shape += (shape.empty() ? "" : ",") + std::to_string(extent);
    }
    header += (at == 0 && header.size() == 1 ? "" : ",") + ('"' + tensor.name) + R"(":{"dtype":")" +
              tensor.dtype + R"(","shape":[)" + shape + R"(],"data_offsets":[)" +
              std::to_string(at) + "," + std::to_string(at + bytes) + "]}";
    at += bytes;
  }
  header += "}";
  const std::uint64_t size = header.size();
  std::string text(sizeof size, '\0');
  std::memcpy(text.data(), &size, sizeof size);
  write_text(directory / "x.safetensors", text + header + std::string(at, '\0'));
  return ArrayFile(directory / "x.safetensors");
}

TEST(JoinedArrays, LeavesOtherFilesAsTheyAre) {
  const TemporaryDirectory directory;
  const auto is_whole = [&](const std::vector<Zeros>& tensors) {
    return file_of(directory, tensors).contains("hidden_states");
  };
  EXPECT_TRUE(is_whole({{"hidden_states", "F16", {5, 2, 3}}}));
  EXPECT_TRUE(is_whole({{"hidden_states", "F16", {5, 2, 3}}, {"token_ids", "I64", {4}}}));
  EXPECT_TRUE(is_whole({{"hidden_states", "F16", {5, 2}}, {"token_ids", "I64", {5}}}));
  EXPECT_TRUE(is_whole({{"hidden_states", "F16", {1, 5000, 1}}, {"token_ids", "I64", {1}}}));
  EXPECT_TRUE(is_whole({{"hidden_states", "F16", {5, 0, 3}}, {"token_ids", "I64", {5}}}));
  EXPECT_FALSE(is_whole({{"hidden_states", "F16", {5, 2, 3}}, {"token_ids", "I64", {5}}}));
  // No tokens, no width.
  EXPECT_FALSE(is_whole({{"hidden_states", "F16", {0, 2, 3}}, {"token_ids", "I64", {0}}}));
  EXPECT_EQ(file_of(directory, {{"hidden_states", "F16", {5, 2, 0}}, {"token_ids", "I64", {5}}})
                .load("hidden_states[:,1]")
                .view.bytes.size(),
            0u);
  // A name that the file has already.
  const ArrayFile own = file_of(directory, {{"hidden_states", "F16", {5, 2, 3}},
                                            {"hidden_states[:,0]", "F16", {7}},
                                            {"token_ids", "I64", {5}}});
  EXPECT_EQ(own.form_of("hidden_states[:,0]").shape, (Shape{7}));
  EXPECT_EQ(own.form_of("hidden_states[:,1]").shape, (Shape{5, 3}));
}

TEST(JoinedArrays, RefusesEdgeLlmDumpsThatContradictThemselves) {
  const TemporaryDirectory directory;
  const auto refuses = [&](const std::vector<Zeros>& more,
                           std::initializer_list<std::string_view> words,
                           const Zeros& lengths = {"round_0.context_lengths", "I32", {1}}) {
    std::vector<Zeros> tensors = {{"round_0.logits", "F16", {1, 4}}, lengths};
    tensors.insert(tensors.end(), more.begin(), more.end());
    expect_error(ErrorKind::kInput, words, [&] { file_of(directory, tensors); });
  };
  // The length is 0.
  refuses({{"round_0.layer_0.kv", "F16", {1, 2, 2, 8, 4}}},
          {"round_0.context_lengths", "0", "1 to 8"});
  refuses({{"round_0.layer_0.kv", "F16", {1, 2, 8, 4}}}, {"layer_0.kv", "[1, 2, 8, 4]"});
  refuses({{"round_0.layer_0.kv", "F16", {1, 1, 2, 8, 4}}}, {"layer_0.kv", "[1, 1, 2, 8, 4]"});
  refuses({}, {"a batch of 3 sequences", "a request of its own"},
          {"round_0.context_lengths", "I32", {3}});
  refuses({}, {"round_0.context_lengths", "F16", "I32 or I64"},
          {"round_0.context_lengths", "F16", {1}});
}

}  // namespace
}  // namespace assay
