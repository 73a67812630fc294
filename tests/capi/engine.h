// An engine that uses the C API, for tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "assay.h"
#include "assay/npz.h"
#include "cli/program.h"

namespace assay {

using nlohmann::json;
namespace fs = std::filesystem;

// References of the bundled model for one prompt and for three, and the arrays of the single one.
class CApi : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = new TemporaryDirectory;
    for (const auto& [name, prompts] : {std::pair{"one", 1}, std::pair{"three", 3}}) {
      std::vector<std::string> words = {"extract", "--numerics", "bf16,f64", "--taps",
                                        "layer_05_*"};
      for (const char* text : {"The capital of France is", "Hello", "What is 2+2?"}) {
        if (words.size() >= 5 + 2 * static_cast<std::size_t>(prompts)) break;
        words.insert(words.end(), {"--prompt", text});
      }
      words.insert(words.end(), {"--out", *directory_ / name});
      const Result made = run_program(words);
      ASSERT_EQ(made.exit_code, 0) << made.err;
    }
    const NpzReader npz(*directory_ / "one/prompt1/reference.npz");
    for (const std::string& name : npz.names()) arrays_->push_back(npz.read(name));
  }
  static void TearDownTestSuite() {
    delete directory_;
    arrays_->clear();
  }
  static std::string one() { return *directory_ / "one"; }
  static std::string three() { return *directory_ / "three"; }

  static Array array(const std::string& name) {
    return *std::ranges::find(*arrays_, name, &Array::name);
  }
  static std::size_t axis_of(const std::string& name) {
    return name.ends_with("_attn_scores") || name.ends_with("_attn_probs") ? 2 : 1;
  }
  static bool is_whole(const std::string& name) {
    return name.ends_with("_ids") || name.starts_with("rope_");
  }

  inline static TemporaryDirectory* directory_ = nullptr;
  inline static std::vector<Array>* arrays_ =
      new std::vector<Array>;  // of the single prompt, five tokens
};
inline assay_checker* open(const std::string& reference, const std::string& record = "") {
  const assay_options options = {.size = sizeof(assay_options),
                                 .reference = reference.empty() ? nullptr : reference.c_str(),
                                 .prompt = nullptr,
                                 .record = record.empty() ? nullptr : record.c_str(),
                                 .map = nullptr,
                                 .profile = nullptr,
                                 .tolerance = 0,
                                 .stop = ASSAY_STOP_NEVER,
                                 .print = 0,
                                 .as = nullptr,
                                 .strict = 0,
                                 .model = nullptr};
  return assay_open(&options);
}

inline assay_verdict check(assay_checker* checker, const Array& array,
                           assay_result* result = nullptr) {
  return assay_check(checker, array.name.c_str(), array.bytes.data(), static_cast<int>(array.dtype),
                     static_cast<int>(array.shape.size()), array.shape.data(), nullptr, result);
}

inline assay_result empty_result() {
  assay_result result = {};
  result.size = sizeof result;
  return result;
}

// One position of [1, S, ...], or of [1, N, S, S] with the keys up to it, as strides into `array`.
inline assay_verdict check_position(assay_checker* checker, const Array& array, std::size_t axis,
                                    std::int64_t position) {
  Shape shape = array.shape;
  Shape strides(shape.size(), 1);
  for (std::size_t a = shape.size() - 1; a-- > 0;) strides[a] = strides[a + 1] * shape[a + 1];
  shape[axis] = 1;
  if (axis == 2) shape[3] = position + 1;
  return assay_check(
      checker, array.name.c_str(),
      array.bytes.data() + static_cast<std::size_t>(position * strides[axis]) * sizeof(float),
      ASSAY_F32, static_cast<int>(shape.size()), shape.data(), strides.data(), nullptr);
}

inline json report_of(const assay_checker* checker) {
  return json::parse(assay_report_json(checker));
}

}  // namespace assay
