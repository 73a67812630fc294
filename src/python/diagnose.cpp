#include "assay/diagnose.h"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/string.h>

#include <nlohmann/json.hpp>

#include "python/bindings.h"
#include "python/run.h"
#include "report/diagnose_report.h"
#include "report/json_text.h"

namespace assay::python {
namespace {

namespace nb = nanobind;
namespace fs = std::filesystem;

Diagnosis diagnose_files(const fs::path& model, const fs::path& candidate,
                         const fs::path& reference, const std::string& prompt,
                         const std::string& map, int threads, const std::string& as,
                         nb::object on_progress) {
  const DiagnoseOptions options = {model, candidate, reference, prompt, map, threads, as};
  Run run(std::move(on_progress));
  return run.result_of([&] {
    return diagnose(options, [&](std::string_view what, double done) { run.progress(what, done); });
  });
}

}  // namespace

void bind_diagnose(nb::module_& module) {
  nb::class_<Diagnosis>(module, "Diagnosis", "Which mistakes explain a dump.")
      .def("text", &diagnose_text, nb::arg("color"))
      .def("json", [](const Diagnosis& d) { return json_text(diagnose_json(d), 2); });
  module.def("diagnose", &diagnose_files, nb::arg("model"), nb::arg("candidate"),
             nb::arg("reference"), nb::arg("prompt"), nb::arg("map"), nb::arg("threads"),
             nb::arg("as_type"), nb::arg("on_progress").none());
  module.def("known_mistakes", [] { return json_text(mistakes_json(known_mistakes()), 2); });
}

}  // namespace assay::python
