// What a comparison finds: of an array, a prompt, a whole dump.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "assay/grid.h"
#include "assay/metrics.h"

namespace assay {

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

}  // namespace assay
