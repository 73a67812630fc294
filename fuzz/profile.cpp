// Any bytes as a profile, and what it says of tensors.
#include "verify/profile.h"

#include "target.h"

namespace assay {

FUZZ_TARGET(profile) {
  const auto file = scratch_file("p.json", input);
  accepts([&] {
    const Profile profile(file.string(), true);
    for (const char* tap : {"logits", "rope_cos", "layer_00_attn_post_norm", "layer_27_q_proj"}) {
      TensorResult tensor;
      tensor.name = tap;
      tensor.metrics.compared = 1;
      judge(tensor, profile);
      require(tensor.verdict == (tensor.reason.empty() ? Verdict::kPass : Verdict::kFail),
              "a failure has a reason");
    }
  });
}

}  // namespace assay
