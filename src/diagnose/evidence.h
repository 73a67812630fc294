// A candidate's arrays for one prompt, in the forward pass's layout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "candidate/data_flow.h"
#include "candidate/name_map.h"
#include "formats/array_file.h"
#include "model/model.h"
#include "models/spec.h"
#include "numerics/noise.h"

namespace assay {

// An array of the candidate, as its tap.
struct Site {
  TapPlace place;
  std::string name;        // of the tap
  std::size_t rows = 0;    // positions; of scores and probabilities: heads
  std::size_t width = 0;   // elements per row
  bool last_only = false;  // only the last position is present: rows is 1
  std::vector<float> values = {};
  // False: only compared; the replay continues with its own value.
  bool taken = true;
  std::string array_name = {};  // in the dump
  bool is_result = false;       // see CandidateArray
  bool is_attention() const {
    return place.tap == Tap::kAttnScores || place.tap == Tap::kAttnProbs;
  }
};

// The tap's site in a run of that many tokens, without values.
Site site_of(const TapPlace& place, const ModelSpec& spec, std::size_t tokens);

struct Evidence {
  std::string id;                       // of the prompt
  std::vector<std::int64_t> ids;        // that the candidate ran, without padding
  std::size_t prompt = 0;               // number of ids before the continuation
  bool ran_other_tokens = false;        // not the reference's prompt and a continuation
  std::vector<std::string> notes;       // how the dump was read, what was ignored
  std::vector<std::string> unreadable;  // arrays that cannot be read as their taps, and why
  std::vector<Site> sites;              // in data-flow order
  std::vector<std::string> unmatched;   // arrays that no rule maps to a tap of the model
  std::optional<std::vector<std::int64_t>> generated;  // prompt and continuation

  // Null if the candidate does not have the tap.
  const Site* find(Tap tap, std::int64_t layer) const;
  // Index into sites, or -1.
  std::ptrdiff_t index_of(Tap tap, std::int64_t layer) const;
};

// file: the arrays of one prompt. reference: of the same prompt, or null. Its values, or a run of
// the model, decide what shapes and names leave open. Arrays that cannot be read are listed in
// `unreadable`. Throws input errors: an unreadable file, no ids in it or the reference, not a
// single tap.
Evidence read_evidence(const std::filesystem::path& file, const NameMap& map, const Model& model,
                       std::string id, const ArrayFile* reference, ThreadPool& pool);

// The grid of all values together, or of those of one tap.
Grid grid_of(const std::vector<Evidence>& all, const Program& program);
Grid grid_of(const std::vector<Evidence>& all, Tap tap);

}  // namespace assay
