#include "candidate/reference_files.h"

#include <gtest/gtest.h>

#include "assay/npz.h"
#include "base/expect_error.h"
#include "base/temporary_directory.h"
#include "candidate/data_flow.h"

namespace assay {
namespace {

Array zeros(std::string name, Shape shape) {
  Array array{std::move(name), DType::kF32, std::move(shape), {}};
  array.bytes.resize(static_cast<std::size_t>(element_count(array.shape, array.name)) * 4);
  return array;
}

class ReferenceFilesTest : public testing::Test {
 protected:
  void write(const char* file, const std::vector<Array>& arrays) {
    std::vector<ArrayView> views;
    for (const Array& array : arrays) views.push_back(array.view());
    write_npz(directory_ / file, views, Compression::kNone);
  }
  ReferenceFiles open() const {
    return ReferenceFiles(
        {"p", directory_ / "reference.npz", directory_ / "oracle.npz", std::nullopt});
  }

 private:
  TemporaryDirectory directory_;
};

TEST_F(ReferenceFilesTest, RefusesArraysWithoutThePositionsOfTheirTap) {
  write("oracle.npz", {});
  const auto refused = [&](const std::string& name, Shape shape, std::string_view expected) {
    write("reference.npz", {zeros(name, shape)});
    expect_error(ErrorKind::kInput,
                 {"reference.npz", "'" + name + "'", "shape " + shape_text(shape), expected},
                 [&] { open(); });
  };
  refused("logits", {300}, "[1, S, ...]");
  refused("logits", {1, 0, 300}, "[1, S, ...]");
  refused("rope_cos", {16}, "[1, S, ...]");
  refused("layer_00_attn_scores", {2, 5, 5}, "[1, heads, S, S]");
  refused("layer_00_attn_probs", {1, 2, 5, 6}, "[1, heads, S, S]");
  refused("layer_00_attn_probs", {1, 0, 5, 5}, "[1, heads, S, S]");

  const std::vector<Array> good = {zeros("logits", {1, 5, 30}),
                                   zeros("layer_00_attn_probs", {1, 2, 5, 5}),
                                   zeros("somebody's", {0})};
  write("reference.npz", good);
  write("oracle.npz", good);
  EXPECT_EQ(open().arrays().names().size(), 3u);
}

TEST_F(ReferenceFilesTest, TheOracleHasTheReferencesTapsInTheirShapes) {
  write("reference.npz", {zeros("embedding_output", {1, 5, 8}), zeros("logits", {1, 5, 30})});
  write("oracle.npz", {zeros("embedding_output", {1, 5, 8}), zeros("logits", {1, 5, 30})});
  EXPECT_EQ(open().exact("logits").view.shape, (Shape{1, 5, 30}));
  EXPECT_TRUE(open().exact("input_ids").view.shape.empty());
  write("oracle.npz", {zeros("logits", {1, 5, 30})});
  expect_error(ErrorKind::kInput, {"oracle.npz", "no array 'embedding_output'", "reference.npz"},
               [&] { open(); });
  for (const Shape& other : {Shape{1, 6, 30}, Shape{1, 5, 31}, Shape{5, 30}, Shape{1, 4, 30}}) {
    write("oracle.npz", {zeros("embedding_output", {1, 5, 8}), zeros("logits", other)});
    expect_error(ErrorKind::kInput,
                 {"oracle.npz", "'logits'", shape_text(other), "[1, 5, 30]", "reference.npz"},
                 [&] { open(); });
  }
}

// A number from a file must not make the program allocate, or loop over, that many layers.
TEST(TapNames, HaveLayersThatAModelMayHave) {
  EXPECT_EQ(parse_tap_name("layer_999_q_proj")->layer, 999);
  EXPECT_FALSE(parse_tap_name("layer_1000_q_proj"));
  EXPECT_FALSE(parse_tap_name("layer_9223372036854775807_output"));
  EXPECT_FALSE(parse_tap_name("layer_-1_output"));
  ModelSpec model;
  model.num_hidden_layers = 2;
  model.attention.window = 8;
  model.moe.num_experts = 4;
  model.sliding_layers = model.sparse_layers = {true, false};
  EXPECT_TRUE(model.is_sparse(0) && model.is_sliding(0));
  EXPECT_FALSE(model.is_sparse(1) || model.is_sliding(1));
  EXPECT_FALSE(model.is_sparse(500) || model.is_sliding(500));
}

}  // namespace
}  // namespace assay
