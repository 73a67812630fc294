// How far arrays and logits lie apart.
#pragma once

#include <cstdint>
#include <vector>

namespace assay {

// How far a candidate array is from the reference's: over the pairs of elements that are both
// finite and not hidden by the causal mask, with all sums in double.
struct TensorMetrics {
  std::int64_t compared = 0;    // pairs
  double mse = 0;               // mean of (r - c)^2
  double rmse = 0;              // sqrt(mse)
  double relative_l2 = 0;       // |r - c| / |r|; 0 when both are 0, infinite when only r is
  double cosine = 1;            // <r, c> / (|r| |c|); 1 when both are 0, 0 when one is
  double scale_difference = 0;  // 1 - 2<r, c> / (|r|^2 + |c|^2), since cosine misses a wrong scale
  double max_abs = 0;           // largest |r - c|, at max_index
  std::vector<std::int64_t> max_index;
  double max_reference = 0;  // the reference's value at max_index
  double max_candidate = 0;  // the candidate's
  std::int64_t max_ulp = 0;  // distance in BF16 steps, both rounded to BF16
  double mean_ulp = 0;
  double exact_share = 0;  // share of the pairs that are equal
  std::int64_t nan_reference = 0;
  std::int64_t nan_candidate = 0;
  std::int64_t inf_reference = 0;
  std::int64_t inf_candidate = 0;
  std::int64_t unlike = 0;      // pairs of which one is NaN or infinite and the other differs
  std::int64_t not_hidden = 0;  // scores that are masked in the reference but not in the candidate
  std::vector<double> position_error;  // relative L2 of each position: S of them, or only the last
  std::vector<double> channel_rmse;    // RMSE of each channel; empty for more than 2^20
};

// How far the candidate's logits are from the reference's, position by position.
struct LogitMetrics {
  double top1_agreement = 0;  // share of the positions with the same top token
  double top5_agreement = 0;  // mean share of the reference's top 5 in the candidate's
  double kl_divergence = 0;   // mean over positions of KL(softmax(reference) || softmax(candidate))
  struct Flip {               // a position whose top token differs
    std::int64_t position = 0;
    std::int64_t reference_id = 0;
    std::int64_t candidate_id = 0;
    double margin = 0;  // the reference's logits: its own top token's minus the candidate's
    double steps = 0;   // the margin in BF16 steps of the top logit; up to 2 is a tie
  };
  std::vector<Flip> flips;
  struct Score {
    std::int64_t id = 0;
    double logit = 0;
  };
  // The top 5 of each compared position. The last entry is for the reference's last position.
  std::vector<std::vector<Score>> best_of_reference;
  std::vector<std::vector<Score>> best_of_candidate;
};

}  // namespace assay
