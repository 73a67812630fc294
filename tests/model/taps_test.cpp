#include "models/taps.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "model/recorder.h"
#include "numerics/numerics.h"

namespace assay {
namespace {

ModelSpec small_spec(std::int64_t layers) {
  ModelSpec spec;
  spec.model_type = "llama";
  spec.num_hidden_layers = layers;
  spec.hidden_size = 8;
  spec.intermediate_size = 12;
  spec.num_attention_heads = 4;
  spec.num_key_value_heads = 2;
  spec.head_dim = 6;
  spec.vocab_size = 20;
  spec.qk_norm = true;
  return spec;
}

TEST(TapName, LayersHaveTwoDigitsAndThreeAboveAHundredLayers) {
  EXPECT_EQ(tap_name(Tap::kQProj, 3, small_spec(28)), "layer_03_q_proj");
  EXPECT_EQ(tap_name(Tap::kLayerOutput, 27, small_spec(28)), "layer_27_output");
  EXPECT_EQ(tap_name(Tap::kLayerOutput, 7, small_spec(100)), "layer_07_output");
  EXPECT_EQ(tap_name(Tap::kLayerOutput, 7, small_spec(101)), "layer_007_output");
  EXPECT_EQ(tap_name(Tap::kLogits, 0, small_spec(28)), "logits");
}

TEST(TapShape, FollowsTheTable) {
  const ModelSpec spec = small_spec(2);
  using Shape = std::vector<std::int64_t>;
  EXPECT_EQ(tap_shape(Tap::kQRope, 0, spec, 5), (Shape{1, 5, 4, 6}));
  EXPECT_EQ(tap_shape(Tap::kVProj, 0, spec, 5), (Shape{1, 5, 2, 6}));
  EXPECT_EQ(tap_shape(Tap::kAttnScores, 0, spec, 5), (Shape{1, 4, 5, 5}));
  EXPECT_EQ(tap_shape(Tap::kAttnContext, 0, spec, 5), (Shape{1, 5, 24}));
  EXPECT_EQ(tap_shape(Tap::kMlpAct, 0, spec, 5), (Shape{1, 5, 12}));
  EXPECT_EQ(tap_shape(Tap::kLogits, 0, spec, 5), (Shape{1, 5, 20}));
  EXPECT_EQ(tap_shape(Tap::kFinalNormOutput, 0, spec, 5), (Shape{1, 5, 8}));
}

TEST(TapSet, ClassicIsLayerOutputsAndTheEnds) {
  const TapSet taps = TapSet::classic(small_spec(3));
  for (const Tap tap : {Tap::kEmbeddingOutput, Tap::kFinalNormOutput, Tap::kLogits}) {
    EXPECT_TRUE(taps.wants(tap));
  }
  for (std::int64_t layer = 0; layer < 3; ++layer) {
    EXPECT_TRUE(taps.wants(Tap::kLayerOutput, layer));
    EXPECT_FALSE(taps.wants(Tap::kAttnOutput, layer));
    EXPECT_FALSE(taps.wants(Tap::kMlpOutput, layer));
  }
}

TEST(TapSet, GlobsAddAndCountWhatTheyMatch) {
  TapSet taps(small_spec(12));
  EXPECT_TRUE(taps.empty());
  EXPECT_EQ(taps.add("nothing_*"), 0);
  EXPECT_EQ(taps.add("layer_1?_q_*"), 6);  // q_proj, q_norm, q_rope of layers 10 and 11
  EXPECT_TRUE(taps.wants(Tap::kQNorm, 11));
  EXPECT_FALSE(taps.wants(Tap::kQNorm, 1));
  EXPECT_EQ(taps.add("*"), 12 * 19 + 3);
}

TEST(TapSet, ModelsWithoutQkNormHaveNoSuchTaps) {
  ModelSpec spec = small_spec(2);
  spec.qk_norm = false;
  EXPECT_EQ(TapSet(spec).add("*"), 2 * 17 + 3);
}

TEST(Recorder, KeepsDataFlowOrderAndJoinsPieces) {
  const ModelSpec spec = small_spec(2);
  TapSet taps(spec);
  taps.add("*");
  Recorder<float> recorder(spec, taps, 3);
  std::vector<float> rows = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
                             12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23};
  recorder.rows(Tap::kLayerOutput, 1, 0, 1, 8, rows.data());
  recorder.rows(Tap::kLayerOutput, 1, 1, 2, 8, rows.data() + 8);
  recorder.rows(Tap::kInputNorm, 1, 0, 3, 8, rows.data());
  recorder.rows(Tap::kEmbeddingOutput, 0, 0, 3, 8, rows.data());
  const std::vector<Array> arrays = recorder.take();
  ASSERT_EQ(arrays.size(), 3u);
  EXPECT_EQ(arrays[0].name, "embedding_output");
  EXPECT_EQ(arrays[1].name, "layer_01_input_norm");
  EXPECT_EQ(arrays[2].name, "layer_01_output");
  EXPECT_TRUE(std::ranges::equal(arrays[2].as<float>(), rows));
}

TEST(Recorder, MaskedScoresStayFiniteInFp32) {
  const ModelSpec spec = small_spec(1);
  TapSet taps(spec);
  taps.add("*_attn_scores");
  Recorder<double> recorder(spec, taps, 2);
  recorder.begin_attention(Tap::kAttnScores, 0, F64::kMasked);
  double scores[] = {1.5, -2.5};
  recorder.attention(Tap::kAttnScores, 0, {3, 1, 1, 0, 2, scores, 2});
  recorder.begin_attention(Tap::kAttnScores, 0, F64::kMasked);  // a second chunk: keeps the rows
  const std::vector<Array> arrays = recorder.take();
  const auto values = arrays[0].as<float>();
  EXPECT_EQ(values[0], std::numeric_limits<float>::lowest());
  EXPECT_EQ(values[14], 1.5F);
  EXPECT_EQ(values[15], -2.5F);
}

}  // namespace
}  // namespace assay
