// Drafts a map from the first prompt that the dump has.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "assay/compare.h"
#include "assay/error.h"
#include "base/float_mode.h"
#include "candidate/data_flow.h"
#include "candidate/ids.h"
#include "candidate/map_draft.h"
#include "candidate/name_map.h"
#include "candidate/prompt_pairs.h"
#include "candidate/reference_files.h"
#include "formats/array_file.h"

namespace assay {

MapDraft draft_map(const CompareOptions& options) {
  const DefaultFloatMode mode;
  NameMap map(options.map);
  const Pairing pairing = pair_prompts(options.reference, options.candidate, options.prompt, map);
  const auto pair = std::ranges::find_if(
      pairing.prompts, [](const PromptPair& p) { return p.candidate.has_value(); });
  if (pair->modules && !pairing.model) {
    throw usage_error("--suggest-map", "a captured reference, whose arrays are no taps",
                      "rules written by hand, from the dump's names to those that assay inspect "
                      "shows of the reference");
  }
  const ReferenceFiles files(*pair);
  const ArrayFile& reference = files.arrays();
  const ArrayFile candidate(*pair->candidate);
  const ModelSpec model = pairing.model ? *pairing.model : model_of_names(reference.names());
  map.adapt_to(model);
  map.adapt_to(candidate.names());
  std::vector<std::int64_t> ids;
  if (reference.contains("input_ids")) ids = read_ids(reference, "input_ids");
  MapDraft draft = draft_map(candidate, reference, map, model, ids);
  draft.prompt = pair->id;
  return draft;
}

}  // namespace assay
