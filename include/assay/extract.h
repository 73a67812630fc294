// Extraction: runs a checkpoint over prompts and writes reference activations to disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "assay/array.h"
#include "assay/npz.h"
#include "assay/numerics.h"
#include "assay/prompt.h"

namespace assay {

// The part of the work that is done, for a progress bar. Called often, from one thread at a time.
using OnProgress = std::function<void(std::string_view what, double fraction)>;

// A mistake that no prompt of a set shows: passing the check does not exclude it.
struct UnseenMistake {
  std::string id;    // of assay diagnose's catalog
  std::string name;  // in a few words
  bool common = false;
};

struct ExtractOptions {
  std::filesystem::path model;  // checkpoint directory, or GGUF file
  std::filesystem::path out;    // created if missing
  // The first is written as reference.npz. A later f64 is written as oracle.npz, and each array's
  // distance from it goes into the manifest as noise; any other later one as <name>.npz.
  std::vector<Numerics> numerics = {Numerics::kBf16};
  std::vector<std::string> taps;  // globs; recorded in addition to the classic set
  std::int64_t max_new_tokens = 20;
  DType store = DType::kF32;  // kF64 stores the activations of a run as float64
  Compression compression = Compression::kFast;
  int threads = 0;  // 0: all cores; the result does not depend on it
  // Keep at most one layer's weights in memory, and none in the page cache. A checkpoint larger
  // than half of the memory that this process may use is streamed anyway. The result does not
  // depend on it.
  bool stream = false;
  // Called from one thread with problems that do not stop the run: weights that are NaN, a
  // tokenizer that cannot be read but is not needed. They are also in the manifest.
  std::function<void(const std::string& warning)> on_warning = {};
  // Copied into the manifest; see find_blind_spots in assay/diagnose.h.
  std::optional<std::vector<UnseenMistake>> blind_spots = {};
};

// One of the files of a prompt.
struct ExtractedFile {
  std::string role;  // "reference", "oracle", "f32", ...
  std::string path;  // relative to the output directory
  std::uint64_t bytes = 0;
  std::size_t arrays = 0;
};

// One prompt of a run, its tokens, text and files.
struct ExtractedPrompt {
  Prompt prompt;
  std::vector<std::int64_t> generated_ids;    // prompt and continuation
  std::optional<std::string> generated_text;  // of the continuation; none without a tokenizer
  bool stopped_by_eos = false;
  std::vector<ExtractedFile> files;
};

// Writes OUT/manifest.json and OUT/<prompt id>/*.npz; see docs/reference-data-format.md. The files
// get their names only when all are complete, the manifest last; an earlier set stays until then.
// Throws input errors (checkpoint, prompts), usage errors (a glob that matches no tap) and system
// errors (disk full, OUT not writable).
std::vector<ExtractedPrompt> extract(const ExtractOptions& options, std::vector<Prompt> prompts,
                                     const OnProgress& on_progress = {});

}  // namespace assay
