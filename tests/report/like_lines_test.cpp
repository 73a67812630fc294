#include "report/like_lines.h"

#include <gtest/gtest.h>

namespace assay {
namespace {

using Lines = std::vector<std::string>;

TEST(LikeLines, DifferOnlyInTheirLayers) {
  EXPECT_EQ(one_of_each_kind({"layer_00_q_norm: holds layer_00_q_proj", "logits: wrong",
                              "layer_01_q_norm: holds layer_01_q_proj",
                              "layer_12_q_norm: holds layer_12_q_proj"}),
            (Lines{"layer_00_q_norm: holds layer_00_q_proj (and 2 like it)", "logits: wrong"}));
  EXPECT_EQ(one_of_each_kind({"model.layers.3.mlp: twice", "model.layers.10.mlp: twice"}),
            (Lines{"model.layers.3.mlp: twice (and 1 like it)"}));
}

TEST(LikeLines, KeepOtherNumbers) {
  const Lines lines = {"layer_00_q_rope: by 1.5", "layer_00_q_rope: by 2.5",
                       "layer_00_k_rope: by 1.5", "layer_: 7", "8"};
  EXPECT_EQ(one_of_each_kind(lines), lines);
  EXPECT_EQ(one_of_each_kind({}), Lines());
}

}  // namespace
}  // namespace assay
