// What the files of a dump that has one file for each tensor are called.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace assay {

// A file's name without its extension, taken apart. SGLang's dumper writes tags:
// "step=0___rank=0___dump_index=7___name=attn_out___layer_id=3", in any order; its forward hook
// "Pass00000". Every other name is a tensor's name.
struct DumpFile {
  std::string name;  // of the tensor: "layers.3.attn_out" here; empty for "Pass00000"
  std::int64_t step =
      -1;  // of the engine, or its number of the forward pass; -1: the name has none
  std::int64_t rank = -1;
  std::int64_t index = -1;                                     // of the call of the dumper
  std::vector<std::pair<std::string, std::string>> tags = {};  // other ones
};
DumpFile parse_dump_name(std::string_view stem);

// An array of such a dump, from the file `file`.
struct DumpArray {
  DumpFile file;
  // Within the file: keys of a dict, which name it by themselves; or places in what the file's name
  // names; empty where the file is the one tensor.
  std::string inner = {};
  bool is_named = false;
};

// A name for each, none twice. Of arrays that would have the same name the first has it: of the
// dump's first step, of the lowest rank and call. The others' names say what sets them apart:
// "attn_out___step=1". Keys of dicts that several files have get the file's name in front.
std::vector<std::string> name_dump_arrays(const std::vector<DumpArray>& arrays);

}  // namespace assay
