// There is one list of taps; copies of it elsewhere are equal.
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "models/taps.h"

namespace assay {
namespace {

std::string text_of(const std::string& file) {
  const MappedFile mapped(std::string(ASSAY_ROOT) + "/" + file);
  const auto bytes = mapped.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::vector<std::string> taps(bool of_layers) {
  std::vector<std::string> all;
  for (int t = 0; t < kTapCount; ++t) {
    const Tap tap = static_cast<Tap>(t);
    if (is_layer_tap(tap) == of_layers) all.emplace_back(tap_base_name(tap));
  }
  return all;
}

std::vector<std::string> matches(const std::string& text, const char* pattern) {
  const std::regex regex(pattern);
  std::vector<std::string> all;
  for (std::sregex_iterator i(text.begin(), text.end(), regex); i != std::sregex_iterator(); ++i) {
    all.push_back((*i)[1]);
  }
  return all;
}

TEST(TapLists, OfThePythonExtractorAreTheSame) {
  const std::string text = text_of("python/assay_hf/taps.py");
  const std::size_t begin = text.find("LAYER_TAPS = (");
  ASSERT_NE(begin, text.npos);
  const std::string list = text.substr(begin, text.find(")", begin + 15) - begin);
  EXPECT_EQ(matches(list, "\"(\\w+)\""), taps(true));
  for (const std::string& name : taps(false)) {
    EXPECT_NE(text.find('"' + name + '"'), text.npos) << name;
  }
}

// A row of the table may have two: `layer_NN_q_norm`, `_k_norm`.
TEST(TapLists, OfTheFormatsPageAreTheSame) {
  const std::string text = text_of("docs/reference-data-format.md");
  std::vector<std::string> rows;
  for (const std::string& row : matches(text, "\n\\| (`[^|]*)\\|")) {
    for (const std::string& name : matches(row, "`(?:layer_NN)?_(\\w+)`")) rows.push_back(name);
  }
  EXPECT_EQ(rows, taps(true));
  for (const std::string& name : taps(false)) {
    EXPECT_NE(text.find("| `" + name + "` |"), text.npos) << name;
  }
}

}  // namespace
}  // namespace assay
