// How far arrays and logits lie apart.
#pragma once

#include <cstdint>
#include <vector>

namespace assay {

// How far a candidate array lies from the reference's. Over the pairs in which both are finite and
// the causal mask hides neither; all sums in double.
struct TensorMetrics {
  std::int64_t compared = 0;    // pairs
  double mse = 0;               // mean of (r - c)^2
  double rmse = 0;              // its root
  double relative_l2 = 0;       // |r - c| / |r|; 0 when both are 0, infinite when only r is
  double cosine = 1;            // <r, c> / (|r| |c|); 1 when both are 0, 0 when one is
  double scale_difference = 0;  // 1 - 2<r, c> / (|r|^2 + |c|^2): cosine does not see a wrong scale
  double max_abs = 0;           // largest |r - c|, at max_index
  std::vector<std::int64_t> max_index;
  double max_reference = 0;  // the two values there
  double max_candidate = 0;
  std::int64_t max_ulp = 0;  // distance in BF16 steps, both rounded to BF16
  double mean_ulp = 0;
  double exact_share = 0;  // part of the pairs that are equal
  std::int64_t nan_reference = 0;
  std::int64_t nan_candidate = 0;
  std::int64_t inf_reference = 0;
  std::int64_t inf_candidate = 0;
  std::int64_t unlike = 0;      // one of the two is NaN or infinite, the other something else
  std::int64_t not_hidden = 0;  // scores that the reference's mask hides and the candidate's not
  std::vector<double> position_error;  // relative L2 of each position (S, or 1 of the last only)
  std::vector<double> channel_rmse;    // of each channel; none beyond 2^20 of them
};

// Of logits, position by position.
struct LogitMetrics {
  double top1_agreement = 0;  // part of the positions with the same best token
  double top5_agreement = 0;  // mean part of the reference's five best among the candidate's
  double kl_divergence = 0;   // mean over positions of KL(softmax(reference) || softmax(candidate))
  struct Flip {               // a position whose best token differs
    std::int64_t position = 0;
    std::int64_t reference_id = 0;
    std::int64_t candidate_id = 0;
    double margin = 0;  // reference's logit of its best token minus that of the candidate's
    double steps = 0;   // the same in BF16 steps of the best logit: up to 2 is a tie
  };
  std::vector<Flip> flips;
  struct Score {
    std::int64_t id = 0;
    double logit = 0;
  };
  // Each side's five best of every compared position, the last of which is the reference's last.
  std::vector<std::vector<Score>> best_of_reference;
  std::vector<std::vector<Score>> best_of_candidate;
};

}  // namespace assay
