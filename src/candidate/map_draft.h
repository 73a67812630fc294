// Drafts the rules that a dump needs, from its arrays' shapes and values.
#pragma once

#include <cstdint>
#include <span>

#include "assay/map_draft.h"
#include "candidate/name_map.h"
#include "formats/array_file.h"
#include "models/spec.h"

namespace assay {

// Rules for arrays that `map` does not know. reference: of the same prompt, with ids `ids`. A name
// that counts layers gets one rule for all of them, from the layer whose values fit best, since
// after an engine's mistake none do.
MapDraft draft_map(const ArrayFile& candidate, const ArrayFile& reference, const NameMap& map,
                   const ModelSpec& model, std::span<const std::int64_t> ids);

}  // namespace assay
