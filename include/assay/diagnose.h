// Diagnosis: which porting mistake explains a candidate's activations.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "assay/prompt.h"

namespace assay {

struct DiagnoseOptions {
  std::filesystem::path model;      // checkpoint directory, or GGUF file
  std::filesystem::path candidate;  // see CompareOptions
  // A reference_data directory or one file: the tokens if the candidate has no input_ids, or to
  // check them. Empty: none.
  std::filesystem::path reference;
  std::string prompt;  // id, see CompareOptions
  std::string map;     // see CompareOptions
  int threads = 0;     // 0: all cores; the result does not depend on it
  std::string as;      // see CompareOptions
};

// A mistake of the catalog.
struct Mistake {
  std::string id;           // "rope-theta"
  std::string group;        // "RoPE"
  std::string name;         // in a few words
  std::string explanation;  // in a sentence
  std::string look_at;      // what to check in the user's code
  bool rounding = false;    // changes only roundings
};

// A mistake that explains the candidate's values.
struct Finding {
  Mistake mistake;
  std::string detail;                // "10000", "of k_proj"; may be empty
  std::string where;                 // "seen in every layer", "in layer 5", "outside the layers"
  std::vector<std::int64_t> layers;  // that show it; none outside the layers
  std::vector<std::string> taps;     // base names of the taps that it explains
  double error_before = 0;           // root mean square of the relative errors there
  double error_after = 0;            // against the model with the mistake
  double noise = 0;                  // expected rounding error
  double exact_after = 0;            // fraction of the elements that are then bit-identical
  bool of_text = false;              // in tokens or text: there are no errors to measure
  bool built_in = true;  // false: found from the errors alone; error_after is error_before
  struct Alternative {
    Mistake mistake;
    std::string detail;
    double error_after = 0;
    std::string separated_by;  // another tap or prompt that would tell them apart; may be empty
  };
  std::vector<Alternative> alternatives;  // that explain it as well, best first
};

// A relation between the reference's values and the candidate's, fitted where they first differ.
struct Relation {
  std::string text;  // "candidate = 0.5 x reference"
  double error = 0;  // the relative error that remains
};

// Where an error arises, given the candidate's own inputs.
struct Place {
  std::string prompt;
  std::string tap;        // full name
  std::string operation;  // in words: "the o_proj projection", "between q_proj and attn_output"
  bool is_one_operation = true;  // false: several operations, without dumped taps in between
  double error = 0;
  double noise = 0;
  std::vector<std::int64_t> layers;     // in which the same tap is wrong
  std::int64_t layer_count = 0;         // number of layers with that tap
  std::vector<std::int64_t> positions;  // that have the error; empty: all
  std::vector<std::int64_t> heads;      // that have the error; empty: all, or no heads
  std::vector<std::int64_t> channels;   // that have most of the error, if they are few
  std::vector<Relation> relations;      // best first
};

enum class DiagnosisVerdict : std::uint8_t {
  kCorrect,      // nothing is wrong
  kRounding,     // only roundings differ: coarser than the candidate's own type
  kNamed,        // everything that is wrong is explained
  kPartlyNamed,  // some of it is explained
  kUnexplained,  // no mistake of the catalog explains what is wrong
  kIncomplete,   // nothing is wrong in the readable arrays, but some are unreadable
};
std::string_view verdict_name(DiagnosisVerdict verdict);  // "correct", "named", ...

// What diagnose() found.
struct Diagnosis {
  std::string candidate;  // path, as given
  DiagnosisVerdict verdict = DiagnosisVerdict::kCorrect;
  std::string summary;   // in a sentence
  std::string rounding;  // "BF16": the grid on which the candidate's values lie
  std::string seen;      // "every operation", "some operations", "logits only"
  std::vector<std::string> prompts;
  std::int64_t arrays = 0;         // that were compared
  std::int64_t hypotheses = 0;     // tried
  std::vector<Finding> findings;   // in data-flow order
  std::optional<Place> first;      // the very first error
  std::vector<Place> unexplained;  // the first errors that no finding explains
  // Arrays that are not what their names say, and were read as what they are: taken a step too
  // early or late, before the residual is added, in a different layout. Not mistakes of the engine.
  std::vector<std::string> dump;
  std::vector<std::string> unreadable;  // arrays that cannot be read as their taps, and why
  std::vector<std::string> notes;       // what was not checked or not recognised
};

// Called from one thread with the current activity and how much of it is done (0 to 1).
using OnDiagnoseProgress = std::function<void(std::string_view what, double fraction)>;

// Runs each operation on the candidate's own arrays, in the correct model and with each mistake of
// the catalog, and names the mistakes that reproduce the candidate's numbers. Throws input errors
// (files, ids, shapes) and usage errors (ambiguous prompt).
Diagnosis diagnose(const DiagnoseOptions& options, const OnDiagnoseProgress& on_progress = {});

// The catalog: mistakes in tokens, in the forward pass (in data-flow order), in generation.
std::vector<Mistake> known_mistakes();

// How well prompts show a mistake in a classic reference's arrays, from BF16 runs:
// embedding_output, every layer_NN_output, final_norm_output, logits.
struct BlindSpot {
  std::string id;  // of the mistake
  std::string group;
  std::string name;
  bool common = false;               // a frequent mistake
  std::vector<std::string> seen_by;  // prompts that show a variant of it
  std::int64_t variants = 0;         // ways to make it, added up over all prompts
  std::int64_t seen_variants = 0;    // those that show
  bool is_blind() const { return seen_by.empty(); }
};

// Runs every mistake of the forward pass over the prompts and reports which of them exceed rounding
// errors. For mistakes in decoding, the second half of the prompt counts as decoded. Throws input
// errors.
std::vector<BlindSpot> find_blind_spots(const std::filesystem::path& model,
                                        std::vector<Prompt> prompts, int threads = 0,
                                        const OnDiagnoseProgress& on_progress = {});

}  // namespace assay
