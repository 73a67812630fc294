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

// Part of the work that is done, for a progress bar: called from one thread, often.
using OnProgress = std::function<void(std::string_view what, double fraction)>;

// A mistake that no prompt of a set shows: a green check says nothing about it.
struct UnseenMistake {
  std::string id;    // of assay diagnose's catalog
  std::string name;  // in a few words
  bool common = false;
};

struct ExtractOptions {
  std::filesystem::path model;  // checkpoint directory, or GGUF file
  std::filesystem::path out;    // created where missing
  // The first is written as reference.npz. A later f64 is written as oracle.npz, and each array's
  // distance from it goes into the manifest as noise; any other later one as <name>.npz.
  std::vector<Numerics> numerics = {Numerics::kBf16};
  std::vector<std::string> taps;  // globs; what they match is recorded beside the classic set
  std::int64_t max_new_tokens = 20;
  DType store = DType::kF32;  // kF64 stores the activations of a run as float64
  Compression compression = Compression::kFast;
  int threads = 0;  // 0: all cores; the result does not depend on it
  // Hold no more than a layer of the weights in memory, and leave none in the page cache. A
  // checkpoint larger than half of the memory that this process may use is streamed anyway. The
  // result does not depend on it.
  bool stream = false;
  // Called from one thread with what is wrong without being in the way: weights that are no
  // numbers, a tokenizer that cannot be read where no prompt needs it. The manifest has it too.
  std::function<void(const std::string& warning)> on_warning = {};
  // Goes into the manifest as it is; see find_blind_spots in assay/diagnose.h.
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

// Writes OUT/manifest.json and OUT/<prompt id>/*.npz; see docs/reference-data-format.md. Each file
// appears under its name only when complete, the manifest last; an old manifest is removed first.
// Throws input errors (checkpoint, prompts), usage errors (a glob that matches no tap) and system
// errors (disk full, OUT not writable).
std::vector<ExtractedPrompt> extract(const ExtractOptions& options, std::vector<Prompt> prompts,
                                     const OnProgress& on_progress = {});

}  // namespace assay
