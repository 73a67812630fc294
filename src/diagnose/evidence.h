// What a candidate gives for one prompt, laid out as the forward pass has it.
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

// One tap that the candidate has.
struct Site {
  TapPlace place;
  std::string name;        // of the tap
  std::size_t rows = 0;    // positions; of scores and probabilities: heads
  std::size_t width = 0;   // elements of each
  bool last_only = false;  // only the last position is there: rows is 1
  std::vector<float> values = {};
  // False: looked at only; a replay goes on with what it computes here.
  bool taken = true;
  std::string array_name = {};  // in the dump
  bool is_attention() const {
    return place.tap == Tap::kAttnScores || place.tap == Tap::kAttnProbs;
  }
};

struct Evidence {
  std::string id;                       // of the prompt
  std::vector<std::int64_t> ids;        // that the candidate ran, without padding
  std::size_t prompt = 0;               // tokens of these before the continuation
  bool ran_other_tokens = false;        // than the reference's prompt and a continuation
  std::vector<std::string> notes;       // how the dump was read, what was left out
  std::vector<std::string> unreadable;  // arrays that cannot be read as their taps, and why
  std::vector<Site> sites;              // in data-flow order
  std::vector<std::string> unmatched;   // arrays that no rule maps to a tap of the model
  std::optional<std::vector<std::int64_t>> generated;  // prompt and continuation

  // Null where the candidate has no such tap.
  const Site* find(Tap tap, std::int64_t layer) const;
  // Index into sites, or -1.
  std::ptrdiff_t index_of(Tap tap, std::int64_t layer) const;
};

// file: arrays of one prompt. reference: of the same prompt; null: none is given. What shapes and
// names leave open is held against its values, or a run of the model's own. Throws input errors: a
// file that cannot be read, no ids there nor in the reference, no tap at all. An array that cannot
// be read is said in `unreadable`.
Evidence read_evidence(const std::filesystem::path& file, const NameMap& map, const Model& model,
                       std::string id, const ArrayFile* reference, ThreadPool& pool);

// Of all values together; of those of one tap.
Grid grid_of(const std::vector<Evidence>& all);
Grid grid_of(const std::vector<Evidence>& all, Tap tap);

}  // namespace assay
