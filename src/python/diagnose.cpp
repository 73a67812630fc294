#include "assay/diagnose.h"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/string.h>

#include <nlohmann/json.hpp>

#include "python/bindings.h"
#include "python/judging.h"
#include "python/run.h"
#include "report/diagnose_report.h"
#include "report/json_text.h"

namespace assay::python {
namespace {

namespace nb = nanobind;
namespace fs = std::filesystem;

Diagnosis diagnose_files(const fs::path& reference, const fs::path& candidate,
                         const nb::dict& judging, int threads, nb::object on_progress) {
  auto options = with_judging<DiagnoseOptions>(judging);
  options.reference = reference;
  options.candidate = candidate;
  options.threads = threads;
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
  module.def("diagnose", &diagnose_files, nb::arg("reference"), nb::arg("candidate"),
             nb::arg("judging"), nb::arg("threads"), nb::arg("on_progress").none(),
             "judging: what assay._judging.judging returns.");
  module.def("known_mistakes", [] { return json_text(mistakes_json(known_mistakes()), 2); });
}

}  // namespace assay::python
