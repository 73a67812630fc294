// Any bytes as a .safetensors, of which some are shown in parts (formats/joined_arrays.h).
#include "formats/safetensors.h"

#include "base/memory_file.h"
#include "formats/array_file.h"
#include "target.h"

namespace assay {

FUZZ_TARGET(safetensors) {
  const MemoryFile file(input);
  accepts([&] {
    const Weights weights = Weights::open_file(file.path());
    std::size_t bytes = 0;
    for (const ArrayView& tensor : weights.tensors()) {
      for (const std::byte byte : tensor.bytes) bytes += byte == std::byte{0} ? 1 : 0;
      require(weights.find(tensor.name) == &tensor, "a tensor is found by its name");
    }
    require(bytes <= input.size(), "tensors do not overlap");
  });
  const std::filesystem::path whole = scratch_file("x.safetensors", input);
  accepts([&] {
    const ArrayFile arrays(whole);
    for (const std::string& name : arrays.names()) {
      const ArrayForm form = arrays.form_of(name);
      const LoadedArray array = arrays.load(name);
      require(array.view.shape == form.shape && array.view.dtype == form.dtype,
              "form_of says what load gives");
      const auto count = static_cast<std::size_t>(element_count(form.shape, name));
      require(array.view.bytes.size() == count * dtype_size(form.dtype),
              "as many bytes as elements");
    }
  });
}

}  // namespace assay
