#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "formats/array_file.h"
#include "python/bindings.h"
#include "python/host_array.h"

namespace assay::python {

namespace nb = nanobind;

void bind_arrays(nb::module_& module) {
  nb::class_<ArrayFile>(
      module, "ArrayFile",
      "The arrays of a file or directory, whoever wrote it. Nothing is read before "
      "it is asked for.")
      .def(nb::init<const std::filesystem::path&>(), nb::arg("path"))
      .def_prop_ro("names", &ArrayFile::names, "The arrays' names, in the file's order.")
      .def("__contains__", &ArrayFile::contains, nb::arg("name"))
      .def(
          "form",
          [](const ArrayFile& file, const std::string& name) {
            const ArrayForm form = file.form_of(name);
            return std::pair(host_dtype_name(form.dtype), form.shape);
          },
          nb::arg("name"), "The array's element type, as torch names it, and its shape.")
      .def(
          "load",
          [](nb::handle_t<ArrayFile> self, const std::string& name) {
            return numpy_view(nb::cast<const ArrayFile&>(self).load(name), nb::borrow(self));
          },
          nb::arg("name"),
          "A read-only numpy array: the file's own bytes where they lie in it row-major and "
          "uncompressed. BF16 is uint16 and FP8 uint8.");
}

}  // namespace assay::python
