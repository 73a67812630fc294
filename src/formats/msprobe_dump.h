// Dumps of msprobe, the accuracy tool of Huawei's MindStudio (package mindstudio-probe).
//
//   DUMP/step0/rank0/dump.json          what was saved, by module or operation; "proc1234" instead
//                                       of "rank0" when the run is not distributed
//                    dump_tensor_data/  one .pt (MindSpore: .npy) per tensor
//                    construct.json, stack.json
//
// Arrays that PrecisionDebugger.save() wrote are listed in debug.json instead. Tensors are found by
// the field data_name, whatever the path that the file says it was written to.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "formats/array_file.h"

namespace assay {

// Whether the path is a dump: one of the directories above, or dump.json itself.
bool is_msprobe_dump(const std::filesystem::path& path);

// The step directories of DUMP in their order; empty unless there are several.
std::vector<std::filesystem::path> msprobe_steps(const std::filesystem::path& dump);

// The arrays of all steps and ranks below the path, named as parse_dump_name says; those of the
// first step and lowest rank have the plain names. Only the JSON is read. Throws an input error
// when it is damaged, names files elsewhere, or lists no saved tensor.
std::unique_ptr<ArrayFile::Source> open_msprobe_dump(const std::filesystem::path& path);

}  // namespace assay
