#include "base/nearest_name.h"

#include <gtest/gtest.h>

#include <vector>

namespace assay {
namespace {

const std::vector<std::string> kNames = {"--prompt", "--prompts", "--profile",
                                         "vLLM",     "llama.cpp", "transformers"};

TEST(NearestName, FindsWhatWasMeant) {
  EXPECT_EQ(nearest_name("--promt", kNames), "--prompt");
  EXPECT_EQ(nearest_name("--promtps", kNames), "--prompts");  // two neighbours exchanged: one error
  EXPECT_EQ(nearest_name("--proflie", kNames), "--profile");
  EXPECT_EQ(nearest_name("vlm", kNames), "vLLM");
  EXPECT_EQ(nearest_name("LLAMA.CPP", kNames), "llama.cpp");
  EXPECT_EQ(nearest_name("transf", kNames), "transformers");
}

TEST(NearestName, FindsNothingInOtherWords) {
  EXPECT_EQ(nearest_name("", kNames), "");
  EXPECT_EQ(nearest_name("ab", kNames), "");
  EXPECT_EQ(nearest_name("onnxruntime", kNames), "");
  EXPECT_EQ(nearest_name("tr", kNames), "");
  EXPECT_EQ(nearest_name(std::string(101, 'v'), kNames), "");
  EXPECT_EQ(nearest_name("x", {}), "");
}

TEST(NearestName, IsASentencesEnd) {
  EXPECT_EQ(did_you_mean("--promt", kNames), "; did you mean '--prompt'?");
  EXPECT_EQ(did_you_mean("--quiet", kNames), "");
}

}  // namespace
}  // namespace assay
