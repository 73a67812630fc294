// How a comparison judges, as assay._judging hands it over: one place for the options that compare,
// the check and diagnose share.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <filesystem>
#include <optional>
#include <string>

namespace assay::python {

// Options: CompareOptions, CheckerOptions or DiagnoseOptions, of which the last has no profile.
template <class Options>
Options with_judging(const nanobind::dict& judging) {
  namespace nb = nanobind;
  Options options;
  options.prompt = nb::cast<std::string>(judging["prompt"]);
  options.map = nb::cast<std::string>(judging["map"]);
  options.as = nb::cast<std::string>(judging["as"]);
  options.model = nb::cast<std::filesystem::path>(judging["model"]);
  if constexpr (requires { options.tolerance; }) {
    options.profile = nb::cast<std::string>(judging["profile"]);
    options.tolerance = nb::cast<std::optional<double>>(judging["tolerance"]);
  }
  return options;
}

}  // namespace assay::python
