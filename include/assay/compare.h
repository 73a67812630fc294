// Comparison: is another engine's dump right, and where does it first go wrong?
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "assay/array.h"
#include "assay/grid.h"

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

// Upper limits of a profile; cosine's is a lower one. What is not set is not looked at.
struct Limits {
  std::optional<double> mse;
  std::optional<double> relative_l2;
  std::optional<double> cosine;
  std::optional<double> max_abs;
  std::optional<double> noise_ratio;  // holds for noise_ratio and position_ratio
  std::optional<double> precision_ratio;
};

// What a report shows of a tensor beside its metrics.
struct TensorDetail {
  // Bins [edges[i], edges[i + 1]): linear around 0, logarithmic beyond the typical magnitude.
  // Finite elements only.
  std::vector<double> edges;
  std::vector<std::int64_t> reference_counts;
  std::vector<std::int64_t> candidate_counts;
  struct Element {
    std::vector<std::int64_t> index;  // in the reference
    double reference = 0;
    double candidate = 0;
  };
  std::vector<Element> worst;  // largest difference first; what is NaN on one side before all
};

enum class Verdict {
  kPass,
  kCoarse,  // within BF16's noise, yet beyond what the candidate's own type allows
  kFail,
  kError,        // shapes that fit no reading, or an array that cannot be read
  kNotCompared,  // the candidate has no such array
};

// "pass", "coarse", "fail", "error", "not compared"
constexpr std::string_view verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kPass:
      return "pass";
    case Verdict::kCoarse:
      return "coarse";
    case Verdict::kFail:
      return "fail";
    case Verdict::kError:
      return "error";
    case Verdict::kNotCompared:
      break;
  }
  return "not compared";
}

// How far the candidate lies from the oracle: relative L2 distances.
struct OracleError {
  double whole = 0;
  std::vector<double> positions;  // as TensorMetrics::position_error
};

// Of one array.
struct TensorResult {
  std::string name;  // tap name
  std::optional<std::int64_t> layer;
  Verdict verdict = Verdict::kNotCompared;
  std::string reason;          // why it is no pass, in words; empty for a pass
  std::string candidate_name;  // the array's own name in the candidate
  std::string reading;         // how the candidate's layout was read where it was not the same
  TensorMetrics metrics;
  std::optional<double> noise;           // the reference's own distance from the oracle
  std::optional<double> noise_ratio;     // error from the oracle over the reference's own
  std::optional<double> position_ratio;  // the same, every position counting alike
  std::optional<Grid> grid;  // on which the candidate's values lie; none where too few tell
  std::optional<Grid> type;  // that it is held to; BF16 asks no more than the noise does
  std::optional<OracleError> oracle_error;
  // Of a mixture of experts: positions before the first token that went to other experts than the
  // reference's, of nearly equal router logits. What follows need not be the reference's.
  std::optional<std::int64_t> same_until;
  std::optional<double> precision_ratio;  // error from the oracle over what that type makes
  std::optional<LogitMetrics> logits;
  std::optional<Limits> limits;        // the profile's for this tap
  std::optional<TensorDetail> detail;  // when asked for
};

// One step of the greedy text.
enum class StepVerdict { kMatch, kTie, kDiverged, kUnknown };
struct TokenStep {
  std::int64_t position = 0;  // in generated_ids
  std::int64_t reference_id =
      -1;  // what the reference chooses after the candidate's own text so far
  std::int64_t candidate_id = -1;
  StepVerdict verdict = StepVerdict::kUnknown;
  double steps = 0;  // BF16 steps between the two logits
};
// Of the whole text, generated_ids.
struct TokenResult {
  bool compared = false;
  bool replayed = false;                         // the model was run on the candidate's text
  std::optional<std::int64_t> first_difference;  // from the reference's text, in generated_ids
  std::vector<TokenStep> steps;       // replayed: of the candidate; else as far as both go
  std::int64_t reference_tokens = 0;  // new ones, after the prompt
  std::int64_t candidate_tokens = 0;
  Verdict verdict = Verdict::kNotCompared;
  std::string reason;  // of a failure or error; of a pass where one text is longer: that
};

// Whether the step is another than the reference's, as far as that can be told: the first
// difference counts unless it is a near tie.
inline bool is_wrong(const TokenResult& tokens, const TokenStep& step) {
  return step.verdict == StepVerdict::kDiverged ||
         (step.verdict == StepVerdict::kUnknown && tokens.first_difference == step.position);
}

// What was found out about the dump itself.
struct DumpFinding {
  std::string tensor;  // its name, or several in words
  std::string text;
};

// Of one prompt.
struct PromptResult {
  std::string id;
  bool passed = false;
  std::vector<std::int64_t> input_ids;          // of the reference
  std::vector<std::string> tokens_text;         // theirs, one by one; empty where nothing says it
  std::vector<TensorResult> tensors;            // in data-flow order
  std::optional<std::size_t> first_divergence;  // index into tensors
  std::string divergence_text;                  // what lies between the last good tap and that one
  std::vector<DumpFinding> findings;
  std::vector<std::string> remarks;    // how the dump as a whole was read, a line each
  std::vector<std::string> unmatched;  // candidate arrays that no rule maps to a tap
  TokenResult tokens;
};

// What made the reference, as its manifest says; all empty for a lone file of arrays.
struct ReferenceSource {
  std::string model;       // the checkpoint's own name
  std::string model_type;  // "qwen3"
  // Of the checkpoint's weights: of its one file, or of the lines "SHA-256  file" of several.
  std::string weights_sha256;
  std::string program;   // "assay 0.1.0"
  std::string numerics;  // "bf16"
  std::string oracle;    // "f64", or empty
};

// What compare() found.
struct CompareReport {
  std::string date;     // when it was made: "2026-01-31 12:00 UTC"
  std::string program;  // that made it
  ReferenceSource source;
  std::string reference;  // paths, as given
  std::string candidate;
  std::string profile;
  std::string statement;  // what the profile's verdict rests on, in a sentence
  std::string precision;  // what is asked of the candidate's own type, in a sentence; may be empty
  bool passed = false;    // nothing failed
  bool coarse = false;    // some tensor is coarse
  std::vector<PromptResult> prompts;
  // Where the candidate is a directory with a place for each prompt: prompts that it has nothing
  // for, and files and directories in it that are no prompt's.
  std::vector<std::string> missing_prompts;
  std::vector<std::string> unused_files;
  // Common mistakes that the reference's prompts do not show, by its manifest: a pass says nothing
  // about them. Empty where the manifest does not say.
  std::vector<std::string> blind_spots;
  // Texts of the token ids in the report, when details were asked for and a model is given.
  std::map<std::int64_t, std::string> token_text;
};

struct CompareOptions {
  std::filesystem::path reference;  // a reference_data directory, or one file of arrays
  // The engine's dump: .npz, .npy, .safetensors, .pt, .gguf, the .json sidecar of raw files, a
  // directory of .npy or .pt files, or a directory with one of these for each prompt.
  std::filesystem::path candidate;
  std::string prompt;  // id; empty: the candidate's ids or layout say which
  // From the candidate's names to taps: engines ("llama.cpp") and .json files of rules, separated
  // by commas (docs/names.md); empty: all engines that are known.
  std::string map;
  std::string profile = "noise";    // "noise", "table", or a .json file
  std::optional<double> tolerance;  // relative L2 for every tap, instead of a profile
  // To replay the candidate's text, and to measure what its type allows where the reference does
  // not say; none when empty.
  std::filesystem::path model;
  int threads = 0;       // 0: all cores; the result does not depend on it
  bool details = false;  // TensorDetail for every tensor: about as long again
  std::string as;        // the type to expect: f32, f16, bf16, q8; empty: what the values show.
                         // f16 and q8 need `model`
};

// Rules for a dump's names, as its values show them: a draft, to be read before it is used.
struct MapDraft {
  struct Rule {
    std::string from;         // as in a file of rules: "blk.{layer}.q"
    std::string to;           // "layer_{layer}_q_proj"
    std::int64_t arrays = 0;  // that it names
    double error = 0;         // relative L2 from the tap, of the layer that fits best
  };
  std::vector<Rule> rules;        // in data-flow order
  std::vector<std::string> open;  // arrays that no tap's values are found in
  std::string prompt;             // by which it was told
};

// Of the options reference, candidate, prompt and map are looked at: names that the map knows get
// no rule. Throws as compare, and a usage error where it is open which prompt the dump is of.
MapDraft draft_map(const CompareOptions& options);

// Compares what both have, prompt by prompt; CompareReport::passed is the verdict. on_progress
// hears what is being done and how much of it is done (0 to 1), from one thread. Throws an input
// error for files that cannot be read, when the prompt cannot be told, and when nothing at all
// could be compared, and a usage error for options that name nothing (a map, a profile, a type).
CompareReport compare(
    const CompareOptions& options,
    const std::function<void(std::string_view what, double fraction)>& on_progress = {});

}  // namespace assay
