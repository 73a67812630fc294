// assay._core: the C++ API for the package in python/assay, which documents it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <exception>
#include <string>

#include "assay/error.h"
#include "base/text.h"
#include "python/bindings.h"

namespace nb = nanobind;

namespace {

const char* class_of(assay::ErrorKind kind) {
  switch (kind) {
    case assay::ErrorKind::kUsage:
      return "UsageError";
    case assay::ErrorKind::kInput:
      return "InputError";
    case assay::ErrorKind::kSystem:
      return "MachineError";
    case assay::ErrorKind::kCheckFailed:
      break;
  }
  return "AssayError";
}

// An assay::Error becomes the class of assay._errors for its kind, with its parts.
void translate(const std::exception_ptr& thrown, void*) {
  try {
    std::rethrow_exception(thrown);
  } catch (const assay::Error& error) {
    const auto text = [](const std::string& part) { return assay::visible(part); };
    const nb::object type = nb::module_::import_("assay._errors").attr(class_of(error.kind()));
    const nb::object instance =
        type(text(error.what()), text(error.where()), text(error.found()), text(error.expected()));
    PyErr_SetObject(type.ptr(), instance.ptr());
  }
}

}  // namespace

NB_MODULE(_core, module) {
  nb::register_exception_translator(translate);
  module.attr("version") = ASSAY_VERSION;
  assay::python::bind_arrays(module);
  assay::python::bind_extract(module);
  assay::python::bind_compare(module);
  assay::python::bind_diagnose(module);
}
