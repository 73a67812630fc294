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
  std::filesystem::path candidate;  // as CompareOptions
  // Where the candidate does not hold its input_ids, or to check those it holds: a reference_data
  // directory or one file. Empty: none.
  std::filesystem::path reference;
  std::string prompt;  // id, as CompareOptions
  std::string map;     // as CompareOptions
  int threads = 0;     // 0: all cores; the result does not depend on it
  std::string as;      // as CompareOptions
};

// A mistake of the catalog.
struct Mistake {
  std::string id;           // "rope-theta"
  std::string group;        // "RoPE"
  std::string name;         // in a few words
  std::string explanation;  // in a sentence
  std::string look_at;      // in one's own code
  bool rounding = false;    // changes roundings alone
};

// A mistake that explains what the candidate does.
struct Finding {
  Mistake mistake;
  std::string detail;                // "10000", "of k_proj"; may be empty
  std::string where;                 // "in every layer", "in layer 5", "behind the layers"
  std::vector<std::int64_t> layers;  // where it was seen; none outside the layers
  std::vector<std::string> taps;     // base names of the taps that it puts right
  double error_before = 0;           // root mean square over those of the relative errors
  double error_after = 0;            // with the mistake built in
  double noise = 0;                  // what rounding alone makes there
  double exact_after = 0;            // part of the elements that are then equal to the last bit
  bool of_text = false;              // in tokens or text: there are no errors to measure
  bool built_in = true;  // false: the errors say it by themselves; error_after is error_before
  struct Alternative {
    Mistake mistake;
    std::string detail;
    double error_after = 0;
    std::string separated_by;  // a further tap or prompt that would tell them apart; may be empty
  };
  std::vector<Alternative> alternatives;  // that explain the same as well, best first
};

// A relation between the reference's values and the candidate's, fitted where they first differ.
struct Relation {
  std::string text;  // "candidate = 0.5 x reference"
  double error = 0;  // relative, that is left after it
};

// Where an error arises: the operation's own inputs were the candidate's.
struct Place {
  std::string prompt;
  std::string tap;        // full name
  std::string operation;  // in words: "the o_proj projection", "between q_proj and attn_output"
  bool is_one_operation = true;  // false: `operation` is a stretch, of which no tap was dumped
  double error = 0;
  double noise = 0;
  std::vector<std::int64_t> layers;     // in which the same tap goes wrong
  std::int64_t layer_count = 0;         // of layers in which that tap was seen
  std::vector<std::int64_t> positions;  // with the error; none: in all
  std::vector<std::int64_t> heads;      // with the error; none: in all, or no heads there
  std::vector<std::int64_t> channels;   // that hold most of the error, where these are few
  std::vector<Relation> relations;      // best first
};

enum class DiagnosisVerdict : std::uint8_t {
  kCorrect,      // nothing is wrong
  kRounding,     // nothing is wrong but roundings: coarser than the candidate's own type
  kNamed,        // all that is wrong is explained
  kPartlyNamed,  // some of it
  kUnexplained,  // something is wrong that no mistake of the catalog explains
  kIncomplete,   // nothing is wrong in what can be read, but an array cannot
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
  std::int64_t arrays = 0;         // compared
  std::int64_t hypotheses = 0;     // tried
  std::vector<Finding> findings;   // in data-flow order
  std::optional<Place> first;      // the first error of all
  std::vector<Place> unexplained;  // the first errors that no finding explains
  // What the dump's arrays are where they are not their taps, or lie in another layout: taken a
  // step too early or late, the residual not yet added. No mistake of the engine; read so.
  std::vector<std::string> dump;
  std::vector<std::string> unreadable;  // arrays that cannot be read as their taps, and why
  std::vector<std::string> notes;       // what could not be seen, what was not recognised
};

// Hears what is being done and how much of it is done (0 to 1), from one thread.
using OnDiagnoseProgress = std::function<void(std::string_view what, double fraction)>;

// Runs each operation of the model on the candidate's own arrays, as the model is and with each
// mistake of the catalog built in, and names the mistakes whose numbers the candidate has. Throws
// input errors (files, ids, shapes) and usage errors (prompt in doubt).
Diagnosis diagnose(const DiagnoseOptions& options, const OnDiagnoseProgress& on_progress = {});

// The catalog: tokens, the forward pass in data-flow order, generation.
std::vector<Mistake> known_mistakes();

// How well prompts show a mistake, in what a classic reference holds: embedding_output, every
// layer_NN_output, final_norm_output, logits, of BF16 runs.
struct BlindSpot {
  std::string id;  // of the mistake
  std::string group;
  std::string name;
  bool common = false;               // people make it often
  std::vector<std::string> seen_by;  // prompts in which a variant of it shows
  std::int64_t variants = 0;         // ways to make it, over all prompts
  std::int64_t seen_variants = 0;    // of these, such as show
  bool is_blind() const { return seen_by.empty(); }
};

// Runs every mistake of the forward pass over the prompts and says which of them show beyond
// rounding. Mistakes of decoding are tried as if the second half of the prompt were decoded. Throws
// input errors.
std::vector<BlindSpot> find_blind_spots(const std::filesystem::path& model,
                                        std::vector<Prompt> prompts, int threads = 0,
                                        const OnDiagnoseProgress& on_progress = {});

}  // namespace assay
