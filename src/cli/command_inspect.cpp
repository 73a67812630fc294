// assay inspect: what is in a file or a directory of arrays.
#include <fmt/format.h>
#include <fnmatch.h>

#include <CLI/Option.hpp>
#include <CLI/Validators.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "assay/error.h"
#include "base/nearest_name.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/inspected.h"
#include "cli/option_values.h"
#include "formats/array_file.h"
#include "reference/statistics.h"
#include "report/progress.h"
#include "report/table.h"

namespace assay {
namespace {

using Json = nlohmann::ordered_json;

struct InspectArguments {
  std::string file;
  std::vector<std::string> names;
  std::string slice;
  std::size_t histogram = 0;
  std::size_t channels = 0;
  bool json = false;
};

// The arrays that match one of the globs, or all arrays when there is no glob. A glob without a
// match is an error.
std::vector<std::string> matching(const ArrayFile& file, const std::vector<std::string>& globs) {
  if (globs.empty()) return file.names();
  std::vector<std::string> result;
  for (const std::string& glob : globs) {
    const std::size_t before = result.size();
    for (const std::string& name : file.names()) {
      if (fnmatch(glob.c_str(), name.c_str(), 0) == 0) result.push_back(name);
    }
    if (result.size() == before) {
      throw input_error(file.path().string(), "no array matches '" + glob + "'",
                        fmt::format("one of its {} arrays, such as '{}'{}", file.names().size(),
                                    file.names().empty() ? "" : file.names().front(),
                                    did_you_mean(glob, file.names())));
    }
  }
  return result;
}

struct Range {
  std::int64_t begin;
  std::int64_t end;
};

// Parses "0,2:5,:8" for the array's shape, like numpy's basic slices without steps. Axes that are
// not mentioned are taken whole.
std::vector<Range> parse_slice(std::string_view text, const ArrayView& array) {
  std::vector<Range> ranges;
  for (const std::int64_t size : array.shape) {
    const std::size_t comma = std::min(text.find(','), text.size());
    const std::string_view part = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    const auto number = [&](std::string_view digits, std::int64_t fallback) {
      if (digits.empty()) return fallback;
      std::int64_t value = 0;
      const char* last = digits.data() + digits.size();
      const auto [end, error] = std::from_chars(digits.data(), last, value);
      if (value < 0) value += size;
      if (error != std::errc() || end != last || value < 0 || value > size) {
        throw usage_error("--slice", fmt::format("'{}'", part),
                          fmt::format("an index or begin:end within an axis of {}", size));
      }
      return value;
    };
    const std::size_t colon = part.find(':');
    if (part.empty() || colon != part.npos) {
      const std::int64_t begin = number(part.substr(0, std::min(colon, part.size())), 0);
      const std::int64_t end = part.empty() ? size : number(part.substr(colon + 1), size);
      ranges.push_back({begin, std::max(begin, end)});
    } else {
      const std::int64_t at = number(part, 0);
      if (at >= size) {
        throw usage_error("--slice", fmt::format("'{}'", part), fmt::format("below {}", size));
      }
      ranges.push_back({at, at + 1});
    }
  }
  if (!text.empty()) {
    throw usage_error("--slice", fmt::format("'{}' beyond the last axis", text),
                      fmt::format("at most {} axes", array.shape.size()));
  }
  return ranges;
}

// The slice's elements as nested lists.
Json slice_values(const ArrayView& array, std::span<const Range> ranges, std::size_t axis,
                  std::size_t offset) {
  if (axis == ranges.size()) {
    const double x = element(array, offset);
    return std::isfinite(x) ? Json(x) : Json(fmt::format("{}", x));
  }
  Json list = Json::array();
  for (std::int64_t i = ranges[axis].begin; i < ranges[axis].end; ++i) {
    const auto size = static_cast<std::size_t>(array.shape[axis]);
    list.push_back(
        slice_values(array, ranges, axis + 1, offset * size + static_cast<std::size_t>(i)));
  }
  return list;
}

std::string number_text(double x) { return fmt::format("{:.3g}", x); }

// Without spaces: tables of many columns have few to spare.
std::string short_shape(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ",")); }

std::string bar(std::int64_t count, std::int64_t highest) {
  std::string text;
  constexpr std::int64_t kWidth = 40;
  for (std::int64_t i = 0; i < count * kWidth / std::max<std::int64_t>(highest, 1); ++i)
    text += "█";
  return text;
}

// What was asked for beside the statistics.
std::string details_text(const InspectArguments& args, const ArrayView& array,
                         const Statistics& s) {
  using enum Table::Align;
  std::string text;
  if (args.channels > 0) {
    Table table({{"channel", kRight}, {"largest", kRight}, {"row", kRight}});
    for (const Channel& c : largest_channels(array, args.channels)) {
      table.add({std::to_string(c.index), number_text(c.value), std::to_string(c.position)});
    }
    text += table.text();
  }
  if (args.histogram > 0) {
    const std::vector<std::int64_t> counts = histogram(array, s.min, s.max, args.histogram);
    const double step = (s.max - s.min) / static_cast<double>(args.histogram);
    Table table({{"from", kRight}, {"to", kRight}, {"count", kRight}, {""}});
    for (std::size_t b = 0; b < counts.size(); ++b) {
      table.add({number_text(s.min + step * static_cast<double>(b)),
                 number_text(s.min + step * static_cast<double>(b + 1)), std::to_string(counts[b]),
                 bar(counts[b], *std::ranges::max_element(counts))});
    }
    text += table.text();
  }
  if (!args.slice.empty()) {
    text += slice_values(array, parse_slice(args.slice, array), 0, 0).dump() + "\n";
  }
  return text.empty() ? text
                      : fmt::format("\n{} {}\n{}", array.name, shape_text(array.shape), text);
}

Json to_json(const InspectArguments& args, const ArrayView& array, const Statistics& s) {
  Json json = {{"name", array.name},   {"dtype", dtype_name(array.dtype)},
               {"shape", array.shape}, {"min", s.min},
               {"max", s.max},         {"mean", s.mean},
               {"std", s.std},         {"nan", s.nan},
               {"inf", s.inf},         {"zeros", s.zeros}};
  if (args.channels > 0) {
    for (const Channel& c : largest_channels(array, args.channels)) {
      json["channels"].push_back({{"channel", c.index}, {"value", c.value}, {"row", c.position}});
    }
  }
  if (args.histogram > 0) json["histogram"] = histogram(array, s.min, s.max, args.histogram);
  if (!args.slice.empty()) {
    json["slice"] = slice_values(array, parse_slice(args.slice, array), 0, 0);
  }
  return json;
}

// The arrays of one file, as a table or as JSON.
struct FileReport {
  std::string text;
  Json arrays = Json::array();
  std::optional<Error> unreadable;  // the first one; the other arrays are still shown
};

FileReport report_of(const InspectArguments& args, const ArrayFile& file,
                     const std::vector<std::string>& names, ProgressBar& bar) {
  using enum Table::Align;
  Table table({{"name"},
               {"shape"},
               {"min", kRight},
               {"max", kRight},
               {"mean", kRight},
               {"std", kRight},
               {"nan", kRight},
               {"inf", kRight},
               {"zeros", kRight}});
  FileReport report;
  std::string details;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::string& name = names[i];
    bar.update(name, static_cast<double>(i) / static_cast<double>(names.size()));
    LoadedArray loaded;
    try {
      loaded = file.load(name);
    } catch (const Error& error) {
      if (!report.unreadable) report.unreadable = error;
      report.arrays.push_back({{"name", name}, {"error", error.what()}});
      table.add({name, "-", "not read"});
      continue;
    }
    const ArrayView& array = loaded.view;
    const Statistics s = statistics(array);
    if (args.json) {
      report.arrays.push_back(to_json(args, array, s));
      continue;
    }
    table.add({array.name, fmt::format("{}{}", dtype_name(array.dtype), short_shape(array.shape)),
               number_text(s.min), number_text(s.max), number_text(s.mean), number_text(s.std),
               std::to_string(s.nan), std::to_string(s.inf), std::to_string(s.zeros)});
    details += details_text(args, array, s);
  }
  report.text = table.text() + details;
  return report;
}

// The files of a set; without statistics, for which every array would have to be read.
Json files_json(const Inspected& found, std::optional<Error>& unreadable) {
  Json files = Json::array();
  for (const InspectedFile& file : found.files) {
    Json entry = {{"file", file.name}, {"prompt", file.prompt}, {"role", file.role}};
    try {
      const ArrayFile arrays(file.path);
      std::uint64_t bytes = 0;
      for (const std::string& name : arrays.names()) bytes += arrays.size_of(name);
      entry["arrays"] = arrays.names().size();
      entry["array_bytes"] = bytes;
    } catch (const Error& error) {
      // The other files are still shown.
      if (!unreadable) unreadable = error;
      entry["error"] = error.what();
    }
    files.push_back(std::move(entry));
  }
  return files;
}

std::string files_text(const Json& files) {
  using enum Table::Align;
  Table table({{"prompt"}, {"file"}, {"arrays", kRight}, {"their size", kRight}});
  for (const Json& file : files) {
    if (file.contains("error")) {
      table.add({file["prompt"], file["file"], "-", "not read"});
      continue;
    }
    table.add({file["prompt"], file["file"], std::to_string(file["arrays"].get<std::size_t>()),
               bytes_text(file["array_bytes"].get<std::uint64_t>())});
  }
  return table.text();
}

int run(const InspectArguments& args) {
  const Inspected found = inspected(args.file);
  const bool only_files = found.is_set() && args.names.empty();
  Json json = {{"schema", "assay.inspect/1"}, {"path", args.file}, {"kind", found.kind}};
  if (!found.about.is_null()) json[found.kind] = found.about;
  std::optional<Error> unreadable;
  if (found.is_set()) json["files"] = files_json(found, unreadable);
  json["arrays"] = Json::array();
  std::string text = wrapped(found.summary, 2);
  if (only_files) {
    text += files_text(json["files"]);
    text += wrapped(fmt::format("\nFor the arrays: assay inspect {}\n",
                                shown((std::filesystem::path(args.file) / found.files[0].name)
                                          .lexically_normal()
                                          .string())),
                    2);
  } else {
    ProgressBar bar;
    for (const InspectedFile& place : found.files) {
      const ArrayFile file(place.path);
      FileReport report = report_of(args, file, matching(file, args.names), bar);
      if (!unreadable) unreadable = report.unreadable;
      if (found.is_set()) text += place.name + "\n";
      text += report.text + (found.is_set() ? "\n" : "");
      for (Json& array : report.arrays) {
        if (found.is_set()) array["file"] = place.name;
        json["arrays"].push_back(std::move(array));
      }
    }
  }
  if (args.json) {
    print_json(json);
  } else {
    print(text);
  }
  if (unreadable) {
    // Not thrown: what --json prints is complete.
    print_error("error", unreadable->what());
    return static_cast<int>(unreadable->kind());
  }
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  auto args = std::make_shared<InspectArguments>();
  CLI::App* command =
      app.add_subcommand("inspect", "Show what is in a file or directory of arrays");
  command
      ->add_option("file", args->file,
                   "A .npz, .npy, .safetensors, .pt or .gguf file, a raw dump's .json, or a "
                   "directory: a checkpoint, a reference, dumps")
      ->required()
      ->type_name("PATH");
  command->add_option("name", args->names, "Arrays to show, as globs (default: all)")
      ->type_name("GLOB");
  command->add_option("--slice", args->slice, "Print these elements, e.g. '0,-1,:8'")
      ->type_name("SLICE");
  take_number(
      command->add_option("--histogram", args->histogram, "Print a histogram with this many bins"),
      1, 1000);
  take_number(command->add_option("--channels", args->channels,
                                  "Print this many channels with the largest magnitudes"),
              1, 1000000);
  add_common(*command, args->json, "Print JSON");
  command->footer(
      "assay inspect reference_data\n"
      "assay inspect reference_data/prompt1/reference.npz 'layer_0?_output'\n"
      "assay inspect dump.safetensors logits --slice 0,-1,:8");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace assay
