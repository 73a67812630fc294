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

// Upper limits of a profile; that of cosine is a lower one. What is not set is not checked.
struct Limits {
  std::optional<double> mse;
  std::optional<double> relative_l2;
  std::optional<double> cosine;
  std::optional<double> max_abs;
  std::optional<double> noise_ratio;  // for noise_ratio and position_ratio
  std::optional<double> precision_ratio;
};

// What a report shows of a tensor besides its metrics.
struct TensorDetail {
  // Bins [edges[i], edges[i + 1]): linear around 0, logarithmic beyond the typical magnitude.
  // Finite elements only.
  std::vector<double> edges;
  std::vector<std::int64_t> reference_counts;
  std::vector<std::int64_t> candidate_counts;
  struct Element {
    std::vector<std::int64_t> index;  // in the reference's array
    double reference = 0;
    double candidate = 0;
  };
  std::vector<Element> worst;  // largest difference first, after elements that are NaN on one side
};

enum class Verdict {
  kPass,
  kCoarse,  // within BF16's noise, but less accurate than the candidate's own type allows
  kFail,
  kError,        // the array cannot be read, or its shape does not fit the tap
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

// The candidate's relative L2 distances from the oracle.
struct OracleError {
  double whole = 0;
  std::vector<double> positions;  // as TensorMetrics::position_error
  // The reference's, at least a rounding; empty if only the last position was read.
  std::vector<double> own = {};
};

// The result for one array.
struct TensorResult {
  std::string name;  // of the tap; in a captured reference of the module, or what a map made of it
  std::optional<std::int64_t> layer;
  std::string block;   // of a captured array: the layer that it is in, "model.layers.3", or empty
  std::string module;  // of a captured array: what made it, "model.layers.3.mlp (LlamaMLP)"
  Verdict verdict = Verdict::kNotCompared;
  std::string reason;          // why it is not a pass; empty for a pass
  bool other_rows = false;     // of an error: it has more or fewer rows than the reference's
  std::string candidate_name;  // the array's own name in the candidate
  std::string reading;         // how the candidate's layout was read, if it differs
  TensorMetrics metrics;
  std::optional<double> noise;           // the reference's own distance from the oracle
  std::optional<double> noise_ratio;     // error from the oracle over the reference's own
  std::optional<double> position_ratio;  // the same ratio, with every position counting equally
  std::optional<Grid> grid;  // type whose grid the candidate's values lie on; none for too few
  std::optional<Grid> type;  // type whose accuracy is expected; for BF16 the noise is the limit
  std::optional<OracleError> oracle_error;
  // In an MoE: how many positions precede the first token that nearly equal router logits sent to
  // other experts than in the reference. Later positions may differ.
  std::optional<std::int64_t> same_until;
  std::optional<double> precision_ratio;  // error from the oracle over that of a run in `type`
  std::optional<LogitMetrics> logits;
  std::optional<Limits> limits;        // the profile's limits for this tap
  std::optional<TensorDetail> detail;  // if CompareOptions::details is set
};

// One step of the greedy text: does the candidate's token follow from its own text so far?
enum class StepVerdict { kMatch, kTie, kDiverged, kUnknown };
struct TokenStep {
  std::int64_t position = 0;  // in generated_ids
  // The reference's choice after the candidate's own text so far.
  std::int64_t reference_id = -1;
  std::int64_t candidate_id = -1;
  StepVerdict verdict = StepVerdict::kUnknown;
  double steps = 0;  // BF16 steps between the two logits
};
// The result for the whole text, generated_ids.
struct TokenResult {
  bool compared = false;
  bool replayed = false;                         // the model was run on the candidate's text
  std::optional<std::int64_t> first_difference;  // between the texts, in generated_ids
  std::vector<TokenStep> steps;       // the candidate's if replayed, else those of both texts
  std::int64_t reference_tokens = 0;  // after the prompt
  std::int64_t candidate_tokens = 0;
  // The position at which the candidate's text goes on after an end token, if it does.
  std::optional<std::int64_t> past_end;
  Verdict verdict = Verdict::kNotCompared;
  std::string reason;  // of a failure or error, or that one text is longer
};

// Whether the step differs from the reference's. If the logits are unknown, the first difference
// counts as wrong.
inline bool is_wrong(const TokenResult& tokens, const TokenStep& step) {
  return step.verdict == StepVerdict::kDiverged ||
         (step.verdict == StepVerdict::kUnknown && tokens.first_difference == step.position);
}

// A finding about the dump itself.
struct DumpFinding {
  std::string tensor;  // a name, or several in words
  std::string text;
};

// The result for one prompt.
struct PromptResult {
  std::string id;
  bool passed = false;
  std::vector<std::int64_t> input_ids;          // the reference's
  std::vector<std::string> tokens_text;         // their texts, one by one; empty if not known
  std::vector<TensorResult> tensors;            // in data-flow order
  std::optional<std::size_t> first_divergence;  // index into tensors
  std::string divergence_text;                  // what lies between it and the last good tap
  std::vector<DumpFinding> findings;
  std::vector<std::string> remarks;    // how the dump was read, a line each
  std::vector<std::string> unmatched;  // candidate arrays that no rule maps to a tap
  TokenResult tokens;
};

// What made the reference, according to its manifest; all empty for a single file of arrays.
struct ReferenceSource {
  std::string model;       // the checkpoint's own name
  std::string model_type;  // "qwen3"
  // The hash of the checkpoint's one file, or of the lines "SHA-256  file" for several.
  std::string weights_sha256;
  std::string program;   // "assay 0.1.0"
  std::string numerics;  // "bf16"
  std::string oracle;    // "f64", or empty
};

// What compare() found.
struct CompareReport {
  std::string date;     // when it was made: "2026-01-31 12:00 UTC"
  std::string program;  // "assay 0.1.0"
  ReferenceSource source;
  std::string reference;  // paths, as given
  std::string candidate;
  std::string profile;
  std::string statement;  // what the profile's verdict rests on, in a sentence
  std::string precision;  // what is expected of the candidate's type, in a sentence; may be empty
  bool passed = false;    // nothing failed
  bool coarse = false;    // at least one tensor is coarse
  std::vector<PromptResult> prompts;
  // For a directory with an entry per prompt: prompts without an entry, and entries that belong to
  // no prompt.
  std::vector<std::string> missing_prompts;
  std::vector<std::string> unused_files;
  // Common mistakes that the reference's prompts do not show, according to its manifest: a pass
  // does not rule them out. Empty if the manifest does not list them.
  std::vector<std::string> blind_spots;
  // Texts of the token ids in the report; only with CompareOptions::details and a model.
  std::map<std::int64_t, std::string> token_text;
};

}  // namespace assay
