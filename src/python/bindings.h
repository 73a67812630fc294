// The parts of the Python module assay._core. Its public face is python/assay.
#pragma once

#include <nanobind/nanobind.h>

namespace assay::python {

void bind_arrays(nanobind::module_& module);   // files of arrays
void bind_extract(nanobind::module_& module);  // prompts, reference activations, explain
void bind_compare(nanobind::module_& module);  // compare, the check from inside an engine
void bind_diagnose(nanobind::module_& module);

}  // namespace assay::python
