// Files of known programs whose arrays each hold several tensors, or a tensor in a larger buffer.
#pragma once

#include <filesystem>
#include <memory>

#include "formats/array_file.h"

namespace assay {

// Shows the tensors of these files, by their contents, one by one; other files as they are:
//
// vLLM's hidden-state files (ExampleHiddenStatesConnector, speculators): hidden_states [S, N, H],
// of N layers, and token_ids [S]. The file does not say which layers. They become
// "hidden_states[:,0]", [S, H], and so on.
//
// speculators' older files (data_0.pt): a list hidden_states of [S, H], input_ids and loss_mask.
// The list has the same layers, and gets the same names.
//
// TensorRT Edge-LLM's dumps (EDGELLM_DUMP_LOGITS_KVCACHE_DIR): for each round R (0: the prompt,
// then one per token) round_R.logits [B, V] of the last position, round_R.layer_L.kv [B, 2, heads,
// longest, head size], round_R.context_lengths [B] and round_R.generated_token_ids [B]. Round 0's
// caches become "round_0.layer_L.kv[0]" (keys) and "...[1]" (values), [heads, length, head size].
//
// path: for messages. Throws an input error when such a file contradicts itself, or holds a batch.
std::unique_ptr<ArrayFile::Source> with_parts_apart(std::unique_ptr<ArrayFile::Source> whole,
                                                    const std::filesystem::path& path);

}  // namespace assay
