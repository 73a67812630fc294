// The tensors in a pickle that torch.save wrote.
#pragma once

#include <string_view>
#include <vector>

#include "formats/pickle.h"
#include "formats/torch_file.h"

namespace assay {

// Whether `name` ("module.name") is one of the few that tensors and their containers need.
bool is_torch_name(std::string_view name);

struct TorchObjects {
  std::vector<TorchFile::Tensor> tensors;
  bool is_dict = false;  // see TorchFile
};
// `where` names the file in errors. Throws an input error.
TorchObjects torch_objects(const Pickle& pickle, std::string_view where);

}  // namespace assay
