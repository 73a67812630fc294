#include "models/tap_suggestion.h"

#include <gtest/gtest.h>

namespace assay {
namespace {

ModelSpec small_model() {
  ModelSpec spec;
  spec.model_type = "qwen3";
  spec.num_hidden_layers = 4;
  spec.num_attention_heads = 2;
  spec.num_key_value_heads = 1;
  spec.head_dim = 8;
  spec.hidden_size = 16;
  return spec;
}

TEST(TapSuggestion, FindsTheTapThatWasMeant) {
  const ModelSpec spec = small_model();
  const auto suggested = [&](std::string_view glob) { return tap_suggestion(glob, spec); };
  EXPECT_EQ(suggested("layer_03_q_porj"), "; did you mean 'layer_03_q_proj'?");
  EXPECT_EQ(suggested("layer_3_q_proj"), "; did you mean 'layer_03_q_proj'?");
  EXPECT_EQ(suggested("layer_3_*"), "; did you mean 'layer_03_*'?");
  EXPECT_EQ(suggested("layer_*_q_porj"), "; did you mean 'layer_*_q_proj'?");
  EXPECT_EQ(suggested("q_proj"), "; did you mean 'layer_*_q_proj'?");
  EXPECT_EQ(suggested("*_atn_scores"), "; did you mean '*_attn_scores'?");
  EXPECT_EQ(suggested("logit"), "; did you mean 'logits'?");
  EXPECT_EQ(suggested("layer_04_q_proj"), "; this model has the layers 0 to 3");
}

TEST(TapSuggestion, FindsNothingInOtherWords) {
  const ModelSpec spec = small_model();
  for (const char* glob : {"", "kv_cache", "layer_", "layer_x", "[", "blk.0.*", "layer_99999999999",
                           "layer_99999999999999999999_q_proj"}) {
    const std::string suggestion = tap_suggestion(glob, spec);
    EXPECT_TRUE(suggestion.empty() || suggestion.starts_with("; this model has")) << glob;
  }
}

}  // namespace
}  // namespace assay
