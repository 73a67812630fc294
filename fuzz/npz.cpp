// Any bytes as a .npz.
#include "assay/npz.h"

#include "base/memory_file.h"
#include "target.h"

namespace assay {

FUZZ_TARGET(npz) {
  const MemoryFile file(input);
  accepts([&] {
    const NpzReader reader(file.path());
    for (const std::string& name : reader.names()) {
      ArrayForm form;
      const bool has_form = accepts([&] { form = reader.form_of(name); });
      Array array;
      const bool whole = accepts([&] { array = reader.read(name); });
      if (whole) {
        require(has_form && form.dtype == array.dtype && form.shape == array.shape,
                "form_of says what read gives");
        const auto count = static_cast<std::size_t>(element_count(array.shape, name));
        require(array.bytes.size() == count * dtype_size(array.dtype), "as many bytes as elements");
        require(array.bytes.size() <= reader.size_of(name),
                "the member is large enough for its elements");
      }
      accepts([&] {
        const LoadedArray loaded = reader.load(name);
        if (whole) {
          require(std::ranges::equal(loaded.view.bytes, array.bytes), "load gives what read gives");
        }
      });
    }
  });
}

}  // namespace assay
