// assay inspect: what is in an array file.
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
#include "cli/commands.h"
#include "formats/array_file.h"
#include "reference/statistics.h"
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
                        fmt::format("one of its {} arrays, such as '{}'", file.names().size(),
                                    file.names().empty() ? "" : file.names().front()));
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

int run(const InspectArguments& args) {
  using enum Table::Align;
  const ArrayFile file(args.file);
  Table table({{"name"},
               {"shape"},
               {"min", kRight},
               {"max", kRight},
               {"mean", kRight},
               {"std", kRight},
               {"nan", kRight},
               {"inf", kRight},
               {"zeros", kRight}});
  Json list = Json::array();
  std::string details;
  std::optional<Error> unreadable;
  for (const std::string& name : matching(file, args.names)) {
    LoadedArray loaded;
    try {
      loaded = file.load(name);
    } catch (const Error& error) {
      // The other arrays are still shown.
      if (!unreadable) unreadable = error;
      list.push_back({{"name", name}, {"error", error.what()}});
      table.add({name, "-", "not read"});
      continue;
    }
    const ArrayView& array = loaded.view;
    const Statistics s = statistics(array);
    if (args.json) {
      list.push_back(to_json(args, array, s));
      continue;
    }
    table.add({array.name, fmt::format("{}{}", dtype_name(array.dtype), short_shape(array.shape)),
               number_text(s.min), number_text(s.max), number_text(s.mean), number_text(s.std),
               std::to_string(s.nan), std::to_string(s.inf), std::to_string(s.zeros)});
    details += details_text(args, array, s);
  }
  if (args.json) {
    print_json(list);
  } else {
    print(table.text() + details);
  }
  if (unreadable) throw *unreadable;
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  auto args = std::make_shared<InspectArguments>();
  CLI::App* command = app.add_subcommand("inspect", "Show what is in an array file");
  command
      ->add_option("file", args->file,
                   "A .npz, .npy, .safetensors, .pt or .gguf file, a raw dump's .json, or a "
                   "directory")
      ->required();
  command->add_option("name", args->names, "Arrays to show, as globs (default: all)");
  command->add_option("--slice", args->slice, "Print these elements, e.g. '0,-1,:8'");
  command->add_option("--histogram", args->histogram, "Print a histogram with this many bins")
      ->check(CLI::Range(1, 1000));
  command
      ->add_option("--channels", args->channels,
                   "Print this many channels with the largest magnitudes")
      ->check(CLI::Range(1, 1000000));
  command->add_flag("--json", args->json, "Print JSON");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace assay
