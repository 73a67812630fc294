// File names of a dump that has one file per tensor.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace assay {

// The parts of a file's name without its extension. SGLang's dumper writes tags:
// "step=0___rank=0___dump_index=7___name=attn_out___layer_id=3", in any order; its forward hook
// "Pass00000". msprobe writes "Module.model.layers.3.mlp.LlamaMLP.forward.0.output.0": what is
// called, its class, the number of the call, and which of its tensors. Every other name is a
// tensor's name.
struct DumpFile {
  std::string name;  // the tensor's name: "layers.3.attn_out" and "model.layers.3.mlp.output.0"
                     // here; empty for "Pass00000"
  std::int64_t step =
      -1;  // the engine's step, or the number of its forward pass; -1 when the name has none
  std::int64_t rank = -1;
  std::int64_t index = -1;                                     // number of the dumper's call
  std::vector<std::pair<std::string, std::string>> tags = {};  // other ones
};
DumpFile parse_dump_name(std::string_view stem);

// The number that the whole text is; none if it is not one, or negative.
std::optional<std::int64_t> number_of(std::string_view text);

// The name of one of the arrays that a dump stacked along its second axis: "hidden_states[:,3]".
std::string stacked_name(std::string_view stack, std::int64_t index);
// Its index; none for every other name.
std::optional<std::int64_t> index_in_stack(std::string_view name);

// An array of a dump with one file per tensor.
struct DumpArray {
  DumpFile file;
  // Where the array is in its file: keys of a dict, which name the array by themselves, or indices
  // into the object that the file's name stands for. Empty when the file is a single tensor.
  std::string inner = {};
  bool is_named = false;
};

// A unique name for each array. When several arrays would get the same name, the array of the first
// step, lowest rank and lowest call gets it. The names of the other arrays tell what is different:
// "attn_out___step=1". Dict keys that occur in several files are prefixed with the file's name.
std::vector<std::string> name_dump_arrays(const std::vector<DumpArray>& arrays);

}  // namespace assay
