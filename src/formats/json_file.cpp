#include "formats/json_file.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <unordered_map>
#include <utility>

#include "assay/error.h"
#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "base/text.h"

namespace assay {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{64} << 20;
constexpr int kMaxDepth = 200;
constexpr std::int64_t kMaxSize = std::numeric_limits<std::int32_t>::max();

std::string shortened(const OrderedJson& value) {
  return shown(value.dump(-1, ' ', false, OrderedJson::error_handler_t::replace));
}

// Copying and printing a value are recursive. A file of brackets must not exhaust the stack.
void check_depth(std::string_view text, std::string_view where) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    if (depth > kMaxDepth) {
      throw input_error(where, fmt::format("brackets nested too deeply at byte {}", i + 1),
                        fmt::format("at most {} levels", kMaxDepth));
    }
  }
}

// Builds the same value as OrderedJson::parse, but in linear time: OrderedJson::parse compares each
// key with all other keys of its object. A duplicate key gets its last value.
class Builder final : public nlohmann::json_sax<OrderedJson> {
 public:
  explicit Builder(std::string_view where) : where_(where) {}
  OrderedJson take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t& value) override { return add(std::move(value)); }
  bool start_object(std::size_t) override { return open(OrderedJson::object()); }
  bool start_array(std::size_t) override { return open(OrderedJson::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& value) override {
    open_.back().key = std::move(value);
    return true;
  }
  bool parse_error(std::size_t byte, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // 1e999
    if (error.id == kNumberOutOfRange) {
      throw input_error(where_, shown(error.what()), "numbers in the range of a double");
    }
    throw input_error(where_, fmt::format("not valid JSON at byte {}", byte),
                      "a JSON text (is the file cut short?)");
  }

 private:
  static constexpr int kNumberOutOfRange = 406;

  struct Open {
    OrderedJson* value;
    std::string key = {};
    std::unordered_map<std::string, std::size_t> places = {};  // of its keys
  };

  bool add(OrderedJson value) {
    place(std::move(value));
    return true;
  }
  bool open(OrderedJson value) {
    // Its address is stable, because its parent does not grow before it is closed.
    open_.push_back({place(std::move(value))});
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  OrderedJson* place(OrderedJson value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Open& in = open_.back();
    if (in.value->is_array()) {
      in.value->push_back(std::move(value));
      return &in.value->back();
    }
    using Object = OrderedJson::object_t;
    auto& fields = static_cast<Object::Container&>(in.value->get_ref<Object&>());
    const auto [known, is_new] = in.places.emplace(std::move(in.key), fields.size());
    if (is_new) {
      fields.emplace_back(known->first, std::move(value));
    } else {
      fields[known->second].second = std::move(value);
    }
    return &fields[known->second].second;
  }

  std::string_view where_;
  OrderedJson root_;
  std::vector<Open> open_;
};

// Numbers that come from a file are unsigned; those that C++ code put in may be int.
bool is_natural(const OrderedJson& value) {
  return value.is_number_unsigned() ||
         (value.is_number_integer() && value.get<std::int64_t>() >= 0);
}

}  // namespace

OrderedJson load_json(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_json({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()},
                    path.string());
}

OrderedJson parse_json(std::string_view text, std::string_view where) {
  if (text.size() > kMaxBytes) {
    throw input_error(where, fmt::format("{} bytes", text.size()),
                      fmt::format("at most {}", kMaxBytes));
  }
  check_depth(text, where);
  Builder builder(where);
  OrderedJson::sax_parse(text, &builder);
  return builder.take();
}

void write_json(const std::filesystem::path& path, const OrderedJson& json) {
  AtomicFile file(path);
  const std::string text =
      escaped_json(json.dump(2, ' ', false, OrderedJson::error_handler_t::replace)) + "\n";
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

JsonObject::JsonObject(const std::filesystem::path& path)
    : JsonObject(path.string(), load_json(path)) {}

JsonObject::JsonObject(std::string file, OrderedJson json)
    : file_(std::move(file)), json_(std::move(json)) {
  if (!json_.is_object()) {
    throw input_error(file_, fmt::format("a JSON {}", json_.type_name()), "a JSON object");
  }
}

JsonObject::JsonObject(std::string file, std::string_view path, OrderedJson json)
    : file_(std::move(file)), prefix_(fmt::format("{}.", path)), json_(std::move(json)) {
  if (!json_.is_object()) {
    throw input_error(field_text(file_, path), shortened(json_), "a JSON object");
  }
}

bool JsonObject::has(std::string_view field) const {
  const auto found = json_.find(std::string(field));
  return found != json_.end() && !found->is_null();
}

bool JsonObject::is_null(std::string_view field) const {
  const auto found = json_.find(std::string(field));
  return found != json_.end() && found->is_null();
}

const OrderedJson& JsonObject::get(std::string_view field, std::string_view expected) const {
  if (!has(field)) throw input_error(where(field), "missing", expected);
  return json_[std::string(field)];
}

std::string JsonObject::string(std::string_view field) const {
  const OrderedJson& value = get(field, "a string");
  if (!value.is_string()) throw input_error(where(field), shortened(value), "a string");
  return value;
}

std::string JsonObject::string(std::string_view field, std::string_view fallback) const {
  return has(field) ? string(field) : std::string(fallback);
}

bool JsonObject::boolean(std::string_view field, bool fallback) const {
  if (!has(field)) return fallback;
  const OrderedJson& value = get(field, "true or false");
  if (!value.is_boolean()) throw input_error(where(field), shortened(value), "true or false");
  return value;
}

std::int64_t JsonObject::positive_integer(std::string_view field) const {
  constexpr const char* kExpected = "a positive integer below 2^31";
  const OrderedJson& value = get(field, kExpected);
  const double number = value.is_number() ? value.get<double>() : 0;
  if (!(number >= 1 && number <= static_cast<double>(kMaxSize)) || number != std::floor(number)) {
    throw input_error(where(field), shortened(value), kExpected);
  }
  return static_cast<std::int64_t>(number);
}

double JsonObject::positive_number(std::string_view field) const {
  constexpr const char* kExpected = "a positive number";
  const OrderedJson& value = get(field, kExpected);
  const double number = value.is_number() ? value.get<double>() : 0;
  if (!(number > 0) || !std::isfinite(number)) {
    throw input_error(where(field), shortened(value), kExpected);
  }
  return number;
}

std::int64_t JsonObject::positive_integer(std::string_view field, std::int64_t fallback) const {
  return has(field) ? positive_integer(field) : fallback;
}

double JsonObject::positive_number(std::string_view field, double fallback) const {
  return has(field) ? positive_number(field) : fallback;
}

std::vector<double> JsonObject::positive_numbers(std::string_view field) const {
  constexpr const char* kExpected = "a list of positive numbers";
  const OrderedJson& value = get(field, kExpected);
  if (!value.is_array()) throw input_error(where(field), shortened(value), kExpected);
  std::vector<double> result;
  for (const OrderedJson& item : value) {
    const double number = item.is_number() ? item.get<double>() : 0;
    if (!(number > 0) || !std::isfinite(number)) {
      throw input_error(where(field), shortened(item), kExpected);
    }
    result.push_back(number);
  }
  return result;
}

std::vector<std::string> JsonObject::strings(std::string_view field) const {
  constexpr const char* kExpected = "a list of strings";
  const OrderedJson& value = get(field, kExpected);
  if (!value.is_array()) throw input_error(where(field), shortened(value), kExpected);
  std::vector<std::string> result;
  for (const OrderedJson& item : value) {
    if (!item.is_string()) throw input_error(where(field), shortened(item), kExpected);
    result.push_back(item);
  }
  return result;
}

std::vector<std::int64_t> JsonObject::sizes(std::string_view field) const {
  constexpr const char* kExpected = "a list of sizes";
  const OrderedJson& value = get(field, kExpected);
  if (!value.is_array() || !std::ranges::all_of(value, is_natural)) {
    throw input_error(where(field), shortened(value), kExpected);
  }
  return value;
}

std::uint64_t JsonObject::unsigned_integer(std::string_view field, std::uint64_t fallback) const {
  if (!has(field)) return fallback;
  const OrderedJson& value = get(field, "a non-negative integer");
  if (!is_natural(value)) {
    throw input_error(where(field), shortened(value), "a non-negative integer");
  }
  return value;
}

std::vector<std::int64_t> JsonObject::integers(std::string_view field) const {
  constexpr const char* kExpected = "a non-negative integer or a list of them";
  const OrderedJson& value = get(field, kExpected);
  std::vector<std::int64_t> result;
  const auto add = [&](const OrderedJson& item) {
    const bool negative = !item.is_number_unsigned() && item.is_number() && item < 0;
    if (!item.is_number_integer() || negative || item.get<std::uint64_t>() > kMaxSize) {
      throw input_error(where(field), shortened(value), kExpected);
    }
    result.push_back(item);
  };
  if (value.is_array()) {
    for (const OrderedJson& item : value) add(item);
  } else {
    add(value);
  }
  return result;
}

JsonObject JsonObject::object(std::string_view field) const {
  return {file_, prefix_ + std::string(field), get(field, "a JSON object")};
}

JsonObject JsonObject::updated(const JsonObject& with) const {
  JsonObject result = *this;
  result.json_.update(with.json_);
  return result;
}

JsonObject JsonObject::completed(OrderedJson defaults, const OrderedJson& fixed) const {
  JsonObject result = *this;
  defaults.update(json_);
  defaults.update(fixed);
  result.json_ = std::move(defaults);
  return result;
}

std::string JsonObject::where(std::string_view field) const {
  return field_text(file_, prefix_ + std::string(field));
}

std::string JsonObject::text(std::string_view field) const {
  return has(field) ? shortened(json_[std::string(field)]) : "missing";
}

}  // namespace assay
