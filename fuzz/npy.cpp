// Any bytes as a .npy.
#include "formats/npy.h"

#include "assay/npz.h"
#include "base/memory_file.h"
#include "formats/array_file.h"
#include "target.h"

namespace assay {

FUZZ_TARGET(npy) {
  Array array;
  const MemoryFile file(input);
  const bool whole = accepts([&] { array = read_npy(file.path()); });
  ArrayForm form;
  const bool has_form = accepts([&] { form = npy_form(input, "npy"); });
  if (whole) {
    require(has_form && form.dtype == array.dtype && form.shape == array.shape,
            "npy_form says what read_npy gives");
    const auto count = static_cast<std::size_t>(element_count(array.shape, "npy"));
    require(array.bytes.size() == count * dtype_size(array.dtype), "as many bytes as elements");
  }
  accepts([&] {
    const NpyData data = npy_data("npy", input, "npy");
    require(whole, "npy_data takes no more than read_npy");
    if (!data.fortran_order) {
      require(std::ranges::equal(data.view.bytes, array.bytes),
              "npy_data gives what read_npy does");
    }
  });
}

}  // namespace assay
