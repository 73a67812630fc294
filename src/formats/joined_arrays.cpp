#include "formats/joined_arrays.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "assay/error.h"
#include "base/text.h"
#include "formats/array_room.h"
#include "formats/dump_names.h"

namespace assay {
namespace {

namespace fs = std::filesystem;
using Source = ArrayFile::Source;

// More layers than any model has.
constexpr std::int64_t kMostParts = 4096;

// A range of one axis; `one`: a single index, whose axis is dropped.
struct AxisRange {
  std::int64_t begin = 0;
  std::int64_t count = 0;
  bool one = false;
};

// A part of an array: a range for each of its axes.
struct ArrayPart {
  std::string name;
  std::string from;
  std::vector<AxisRange> ranges;
};

Shape shape_of(const ArrayPart& part) {
  Shape shape;
  for (const AxisRange& range : part.ranges) {
    if (!range.one) shape.push_back(range.count);
  }
  return shape;
}

// Copies the part at `axis` and below of the array with this shape; returns the bytes written.
std::size_t copy_part(const std::byte* from, std::span<const std::int64_t> shape, std::size_t item,
                      std::span<const AxisRange> ranges, std::byte* to) {
  std::size_t stride = item;  // bytes from one index of the first axis to the next
  for (const std::int64_t extent : shape.subspan(1)) stride *= static_cast<std::size_t>(extent);
  const AxisRange& range = ranges.front();
  const std::byte* first = from + static_cast<std::size_t>(range.begin) * stride;
  const auto is_whole = [&](std::size_t axis) {
    return ranges[axis].begin == 0 && ranges[axis].count == shape[axis];
  };
  bool rows_whole = true;
  for (std::size_t axis = 1; axis < shape.size(); ++axis) rows_whole = rows_whole && is_whole(axis);
  if (rows_whole) {
    const std::size_t bytes = static_cast<std::size_t>(range.count) * stride;
    if (bytes > 0) std::memcpy(to, first, bytes);
    return bytes;
  }
  std::size_t written = 0;
  for (std::int64_t i = 0; i < range.count; ++i) {
    written += copy_part(first + static_cast<std::size_t>(i) * stride, shape.subspan(1), item,
                         ranges.subspan(1), to + written);
  }
  return written;
}

// Another source's arrays, some of them in parts.
class PartsSource : public Source {
 public:
  PartsSource(std::unique_ptr<Source> whole, fs::path path, std::vector<ArrayPart> parts)
      : whole_(std::move(whole)), path_(std::move(path)) {
    std::set<std::string> in_parts;
    for (const ArrayPart& part : parts) in_parts.insert(part.from);
    for (std::string& name : whole_->names()) {
      if (!in_parts.contains(name)) names_.push_back(std::move(name));
    }
    // A name that the file itself uses stays the file's.
    const std::set<std::string> own(names_.begin(), names_.end());
    for (ArrayPart& part : parts) {
      if (own.contains(part.name)) continue;
      names_.push_back(part.name);
      parts_.emplace(part.name, std::move(part));
    }
  }

  std::vector<std::string> names() const override { return names_; }
  std::uint64_t size_of(std::string_view name) const override {
    const auto part = parts_.find(name);
    if (part == parts_.end()) return whole_->size_of(name);
    const ArrayForm form = form_of(name);
    return static_cast<std::uint64_t>(element_count(form.shape, name)) * dtype_size(form.dtype);
  }
  ArrayForm form_of(std::string_view name) const override {
    const auto part = parts_.find(name);
    if (part == parts_.end()) return whole_->form_of(name);
    return {whole_->form_of(part->second.from).dtype, shape_of(part->second)};
  }
  LoadedArray load(std::string_view name) const override {
    const auto found = parts_.find(name);
    if (found == parts_.end()) return whole_->load(name);
    const ArrayPart& part = found->second;
    const LoadedArray whole = whole_->load(part.from);
    LoadedArray array;
    const std::span<std::byte> room = make_room(array, size_of(name), path_.string());
    if (!room.empty()) {
      copy_part(whole.view.bytes.data(), whole.view.shape, dtype_size(whole.view.dtype),
                part.ranges, room.data());
    }
    array.view = {part.name, whole.view.dtype, shape_of(part), room, array.view.mapped};
    return array;
  }

 private:
  std::unique_ptr<Source> whole_;
  fs::path path_;
  std::vector<std::string> names_;
  std::map<std::string, ArrayPart, std::less<>> parts_;
};

// The integers of a small array.
std::vector<std::int64_t> integers_of(const Source& source, const std::string& name,
                                      const std::string& where) {
  const LoadedArray array = source.load(name);
  std::vector<std::int64_t> values;
  const auto read = [&](auto sample) {
    values.resize(array.view.bytes.size() / sizeof sample);
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::memcpy(&sample, array.view.bytes.data() + i * sizeof sample, sizeof sample);
      values[i] = static_cast<std::int64_t>(sample);
    }
  };
  if (array.view.dtype == DType::kI32) {
    read(std::int32_t{});
  } else if (array.view.dtype == DType::kI64) {
    read(std::int64_t{});
  } else {
    throw input_error(where, std::string(dtype_name(array.view.dtype)), "I32 or I64");
  }
  return values;
}

// vLLM's hidden states, if these are some.
std::vector<ArrayPart> states_apart(const Source& file, const std::set<std::string>& names) {
  const std::string states = "hidden_states";
  if (!names.contains(states) || !names.contains("token_ids")) return {};
  const Shape shape = file.form_of(states).shape;
  const Shape tokens = file.form_of("token_ids").shape;
  const bool fits = shape.size() == 3 && tokens.size() == 1 && shape[0] == tokens[0] &&
                    shape[1] > 0 && shape[1] <= kMostParts;
  if (!fits) return {};
  std::vector<ArrayPart> parts;
  for (std::int64_t i = 0; i < shape[1]; ++i) {
    parts.push_back({stacked_name(states, i),
                     states,
                     {{0, shape[0], false}, {i, 1, true}, {0, shape[2], false}}});
  }
  return parts;
}

// The list of layers' outputs in speculators' older files.
std::vector<ArrayPart> listed_states(const Source& file, const std::set<std::string>& names) {
  if (!names.contains("input_ids") || !names.contains("loss_mask")) return {};
  std::vector<ArrayPart> parts;
  for (std::int64_t i = 0;; ++i) {
    const std::string name = fmt::format("hidden_states.{}", i);
    if (!names.contains(name)) return parts;
    ArrayPart part{stacked_name("hidden_states", i), name, {}};
    try {
      for (const std::int64_t extent : file.form_of(name).shape) {
        part.ranges.push_back({0, extent, false});
      }
    } catch (const Error&) {  // reported when the array is read, under its own name
      return {};
    }
    if (part.ranges.empty()) return {};
    parts.push_back(std::move(part));
  }
}

// An Edge-LLM dump with one sequence.
class EdgeDump {
 public:
  EdgeDump(const Source& file, const std::set<std::string>& names, const fs::path& path)
      : file_(file), names_(names), path_(path) {}

  bool is_one() const {
    return names_.contains("round_0.logits") && names_.contains("round_0.context_lengths");
  }

  // The prompt's caches.
  std::vector<ArrayPart> caches() const {
    const std::string lengths = "round_0.context_lengths";
    const std::vector<std::int64_t> context = integers_of(file_, lengths, where(lengths));
    if (context.size() != 1) {
      throw input_error(path_.string(), fmt::format("a batch of {} sequences", context.size()),
                        "a dump of one: send each prompt in a request of its own, with "
                        "max_batch_size 1");
    }
    std::vector<ArrayPart> parts;
    for (const std::string& name : names_) {
      if (!name.starts_with("round_0.layer_") || !name.ends_with(".kv")) continue;
      const Shape shape = file_.form_of(name).shape;
      const std::int64_t length = context.front();
      if (shape.size() != 5 || shape[0] != 1 || shape[1] != 2) {
        throw input_error(where(name), shape_text(shape),
                          "[1, 2, heads, longest sequence, head size]");
      }
      if (length < 1 || length > shape[3]) {
        throw input_error(where(lengths), std::to_string(length),
                          fmt::format("1 to {}, the length of {}", shape[3], shown(name)));
      }
      for (std::int64_t i = 0; i < 2; ++i) {
        parts.push_back({fmt::format("{}[{}]", name, i),
                         name,
                         {{0, 1, true},
                          {i, 1, true},
                          {0, shape[2], false},
                          {0, length, false},
                          {0, shape[4], false}}});
      }
    }
    return parts;
  }

 private:
  std::string where(const std::string& name) const {
    return fmt::format("{}: tensor '{}'", path_.string(), shown(name));
  }

  const Source& file_;
  const std::set<std::string>& names_;
  const fs::path& path_;
};

}  // namespace

std::unique_ptr<Source> with_parts_apart(std::unique_ptr<Source> whole, const fs::path& path) {
  const std::vector<std::string> all = whole->names();
  const std::set<std::string> names(all.begin(), all.end());
  std::vector<ArrayPart> parts = states_apart(*whole, names);
  if (parts.empty()) parts = listed_states(*whole, names);
  if (const EdgeDump edge(*whole, names, path); edge.is_one()) parts = edge.caches();
  if (parts.empty()) return whole;
  return std::make_unique<PartsSource>(std::move(whole), path, std::move(parts));
}

}  // namespace assay
