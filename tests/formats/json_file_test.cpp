#include "formats/json_file.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/expect_error.h"
#include "base/temporary_directory.h"

namespace assay {
namespace {

class JsonFile : public testing::Test {
 protected:
  JsonObject object(std::string_view text) {
    write_text(path(), text);
    return JsonObject(path());
  }
  std::filesystem::path path() const { return directory_ / "config.json"; }
  template <class Call>
  void refuse(std::string_view text, std::string_view message, Call&& call) {
    const JsonObject json = object(text);
    expect_error(ErrorKind::kInput, {"config.json: field '", message}, [&] { call(json); });
  }

 private:
  TemporaryDirectory directory_;
};

TEST_F(JsonFile, ReadsFieldsOfEveryKind) {
  const JsonObject json = object(
      R"({"s": "text", "yes": true, "n": 7, "e": 1e6, "x": 0.5, "ids": [0, 2], "id": 3,
          "nothing": null, "inner": {"y": 2}})");
  EXPECT_EQ(json.string("s"), "text");
  EXPECT_EQ(json.string("nothing", "fallback"), "fallback");
  EXPECT_TRUE(json.boolean("yes", false));
  EXPECT_TRUE(json.boolean("nothing", true));
  EXPECT_EQ(json.positive_integer("n"), 7);
  EXPECT_EQ(json.positive_integer("e"), 1000000);
  EXPECT_EQ(json.positive_number("x"), 0.5);
  EXPECT_EQ(json.integers("ids"), (std::vector<std::int64_t>{0, 2}));
  EXPECT_EQ(json.integers("id"), std::vector<std::int64_t>{3});
  EXPECT_EQ(json.object("inner").positive_integer("y"), 2);
  EXPECT_FALSE(json.has("nothing"));
  EXPECT_FALSE(json.has("absent"));
  EXPECT_EQ(json.text("ids"), "[0,2]");
  EXPECT_EQ(json.text("absent"), "missing");
}

TEST_F(JsonFile, AWrongFieldIsAnInputErrorThatNamesItAndShowsTheValue) {
  refuse("{}", "field 's': missing; expected a string", [](auto& j) { j.string("s"); });
  refuse(R"({"s": 3})", "field 's': 3; expected a string", [](auto& j) { j.string("s"); });
  refuse(R"({"s": 3})", "field 's': 3; expected a string", [](auto& j) { j.string("s", ""); });
  refuse(R"({"b": 1})", "field 'b': 1; expected true or false",
         [](auto& j) { j.boolean("b", true); });
  for (const char* value : {"0", "-3", "1.5", "2147483648", "1e300", "\"7\"", "[7]", "true"}) {
    refuse(std::string("{\"n\": ") + value + "}", "expected a positive integer below 2^31",
           [](auto& j) { j.positive_integer("n"); });
  }
  for (const char* value : {"0", "-1", "\"x\"", "[]"}) {
    refuse(std::string("{\"n\": ") + value + "}", "expected a positive number",
           [](auto& j) { j.positive_number("n"); });
  }
  for (const char* value : {"-1", "[1, -1]", "[1.5]", "4294967296", "\"1\"", "[[1]]"}) {
    refuse(std::string("{\"n\": ") + value + "}", "expected a non-negative integer or a list",
           [](auto& j) { j.integers("n"); });
  }
  refuse(R"({"o": []})", "field 'o': []; expected a JSON object", [](auto& j) { j.object("o"); });
  refuse(R"({"o": {"n": "x"}})", "field 'o.n': \"x\"; expected a positive integer",
         [](auto& j) { j.object("o").positive_integer("n"); });
  refuse(R"({"s": [")" + std::string(5000, 'x') + "\"]}", "xxx...; expected a string",
         [](auto& j) { j.string("s"); });
}

TEST_F(JsonFile, ANonObjectIsAnInputErrorWithItsPlace) {
  const struct {
    std::string text;
    std::string_view message;
  } cases[] = {
      {"", "not valid JSON at byte 1"},
      {"{\"a\": 1", "not valid JSON at byte 8"},
      {"{\"a\": 1} x", "not valid JSON at byte 10"},
      {"{\"a\": \"\xFF\"}", "not valid JSON at byte 8"},
      {"{\"a\": NaN}", "not valid JSON at byte 7"},
      {"{\"a\": 1e999}", "number overflow"},
      {"[1]", "a JSON array; expected a JSON object"},
      {"null", "a JSON null; expected a JSON object"},
      {"{\"a\": " + std::string(1000000, '['), "brackets nested too deeply at byte 206"},
      {std::string(1000000, '['), "brackets nested too deeply at byte 201"},
  };
  for (const auto& c : cases) {
    expect_error(ErrorKind::kInput, {"config.json: ", c.message}, [&] { object(c.text); });
  }
  expect_error(ErrorKind::kInput, {"absent.json: cannot open"}, [] { load_json("absent.json"); });
}

TEST_F(JsonFile, BracketsInStringsAreNotNesting) {
  const std::string many(300, '[');
  EXPECT_EQ(object(R"({"s": "\"\\)" + many + "\"}").string("s"), "\"\\" + many);
}

TEST_F(JsonFile, AFileAbove64MiBIsRefused) {
  write_text(path(), "");
  std::filesystem::resize_file(path(), (std::uintmax_t{64} << 20) + 1);
  expect_error(ErrorKind::kInput, {"67108865 bytes; expected at most 67108864"},
               [&] { load_json(path()); });
}

// As OrderedJson::parse reads it, and an object of any size in linear time: this once took minutes.
TEST_F(JsonFile, ObjectsMayHaveManyFields) {
  for (const char* text :
       {R"({"b": [1, -2, 1.5, "x", null, true, {}], "a": {"c": {"d": []}}, "e": "\u00e4"})",
        R"({"a": 1, "b": 2, "a": [3]})", "[]", "7", "\"x\"", R"([[1, {"a": 2}], {"b": [3]}, 4])"}) {
    EXPECT_EQ(parse_json(text, "x").dump(), OrderedJson::parse(text).dump());
  }
  std::string text = "{";
  for (int i = 0; i < 400000; ++i) text += fmt::format("\"k{}\": {}, ", i, i);
  const OrderedJson json = parse_json(text + "\"k5\": \"last\"}", "x");
  EXPECT_EQ(json.size(), 400000u);
  EXPECT_EQ(json["k5"], "last");
  EXPECT_EQ(json["k399999"], 399999);
}

TEST_F(JsonFile, WritesWhatItReadsInOrder) {
  const OrderedJson json = {{"z", 1}, {"a", {1.5, "größe"}}};
  write_json(path(), json);
  EXPECT_EQ(read_text(path()), "{\n  \"z\": 1,\n  \"a\": [\n    1.5,\n    \"größe\"\n  ]\n}\n");
  EXPECT_EQ(load_json(path()), json);
}

}  // namespace
}  // namespace assay
