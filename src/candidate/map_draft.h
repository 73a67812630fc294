// A draft of the rules that a dump needs, from its arrays' shapes and values.
#pragma once

#include <cstdint>
#include <span>

#include "assay/map_draft.h"
#include "candidate/name_map.h"
#include "formats/array_file.h"
#include "models/spec.h"

namespace assay {

// Rules for the arrays of which `map` knows nothing. reference: of the same prompt, whose ids are
// `ids`. A name that counts layers gets one rule for all of them, by the layer whose values fit
// best: behind an engine's mistake none do.
MapDraft draft_map(const ArrayFile& candidate, const ArrayFile& reference, const NameMap& map,
                   const ModelSpec& model, std::span<const std::int64_t> ids);

}  // namespace assay
