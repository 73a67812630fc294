#include "assay/compare.h"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <nlohmann/json.hpp>

#include "assay/check.h"
#include "base/float_mode.h"
#include "python/bindings.h"
#include "python/host_array.h"
#include "python/judging.h"
#include "python/run.h"
#include "report/compare_report.h"
#include "report/json_text.h"
#include "report/map_draft_report.h"

namespace assay::python {
namespace {

namespace nb = nanobind;
namespace fs = std::filesystem;

CompareReport compare_files(const fs::path& reference, const fs::path& candidate,
                            const nb::dict& judging, int threads, bool details,
                            nb::object on_progress) {
  auto options = with_judging<CompareOptions>(judging);
  options.reference = reference;
  options.candidate = candidate;
  options.threads = threads;
  options.details = details;
  Run run(std::move(on_progress));
  return run.result_of([&] {
    return compare(options, [&](std::string_view what, double done) { run.progress(what, done); });
  });
}

std::pair<std::string, std::string> draft(const fs::path& reference, const fs::path& candidate,
                                          const nb::dict& judging) {
  auto options = with_judging<CompareOptions>(judging);
  options.reference = reference;
  options.candidate = candidate;
  Run run{nb::none()};
  const MapDraft found = run.result_of([&] { return draft_map(options); });
  return {map_draft_rules(found), json_text(map_draft_json(found), 2)};
}

std::string check_array(Checker& checker, const std::string& name, const HostArray& array,
                        const std::string& dtype) {
  const Strided tensor = strided_view(name, array, dtype);
  const nb::gil_scoped_release released;
  const DefaultFloatMode mode;
  return json_text(tensor_json(checker.check(tensor.view())), -1);
}

}  // namespace

void bind_compare(nb::module_& module) {
  nb::class_<CompareReport>(module, "Report", "What a comparison found.")
      .def_ro("passed", &CompareReport::passed)
      .def_ro("coarse", &CompareReport::coarse)
      .def("text", &compare_text, nb::arg("every_tensor"), nb::arg("color"))
      .def("json", [](const CompareReport& r) { return json_text(compare_json(r), 2); })
      .def("junit", &compare_junit)
      .def("html", [](const CompareReport& r) { return compare_html(r); });
  module.def("compare", &compare_files, nb::arg("reference"), nb::arg("candidate"),
             nb::arg("judging"), nb::arg("threads"), nb::arg("details"),
             nb::arg("on_progress").none(), "judging: what assay._judging.judging returns.");
  module.def("draft_map", &draft, nb::arg("reference"), nb::arg("candidate"), nb::arg("judging"),
             "The drafted rules as the text of a file, and as JSON.");
  nb::class_<Checker>(module, "Checker", "The check of one tensor at a time.")
      .def(
          "__init__",
          [](Checker* self, fs::path reference, const nb::dict& judging, fs::path record) {
            auto options = with_judging<CheckerOptions>(judging);
            options.reference = std::move(reference);
            options.record = std::move(record);
            new (self) Checker(std::move(options));
          },
          nb::arg("reference"), nb::arg("judging"), nb::arg("record"))
      .def("wants", &Checker::wants, nb::arg("name"))
      .def("set_positions", &Checker::set_positions, nb::arg("first"), nb::arg("count"))
      .def("check", &check_array, nb::arg("name"), nb::arg("array"), nb::arg("dtype") = "",
           "The result for the tensor, as JSON.")
      .def("report", &Checker::report)
      .def("write_record", &Checker::write_record, nb::call_guard<nb::gil_scoped_release>());
}

}  // namespace assay::python
