#include "tokenizer/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "tokenizer/unicode_differences.h"
#include "tokenizer/utf8.h"

namespace assay {
namespace {

int combining_class(utf8proc_int32_t code_point) {
  return utf8proc_get_property(code_point)->combining_class;
}

// Appends the full canonical decomposition.
void decompose(char32_t code_point, std::vector<utf8proc_int32_t>& out) {
  std::array<utf8proc_int32_t, 16> parts;  // the longest has four
  int boundary = 0;
  const utf8proc_ssize_t count =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code_point), parts.data(), parts.size(),
                              UTF8PROC_DECOMPOSE, &boundary);
  out.insert(out.end(), parts.begin(), parts.begin() + count);
}

// Sorts the marks of each run by combining class. Not by utf8proc_decompose, whose way is quadratic
// in a run's length.
void order_marks(std::vector<utf8proc_int32_t>& points) {
  const auto is_mark = [](utf8proc_int32_t point) { return combining_class(point) != 0; };
  for (auto run = points.begin(); run != points.end();) {
    run = std::find_if(run, points.end(), is_mark);
    const auto end = std::find_if_not(run, points.end(), is_mark);
    std::stable_sort(run, end, [](utf8proc_int32_t a, utf8proc_int32_t b) {
      return combining_class(a) < combining_class(b);
    });
    run = end;
  }
}

// Appends the composition of the decomposed `points` and empties them.
void compose(std::vector<utf8proc_int32_t>& points, std::string& out) {
  order_marks(points);
  const utf8proc_ssize_t count =
      utf8proc_normalize_utf32(points.data(), static_cast<utf8proc_ssize_t>(points.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    append_utf8(out, static_cast<char32_t>(points[static_cast<std::size_t>(i)]));
  }
  points.clear();
}

}  // namespace

std::string nfc(std::string_view text) {
  // U+0300 is the first code point that NFC may change or that may compose; its lead byte is 0xCC.
  const auto plain = [](char c) { return static_cast<unsigned char>(c) < 0xCC; };
  if (std::ranges::all_of(text, plain)) return std::string(text);

  std::string result;
  result.reserve(text.size());
  std::vector<utf8proc_int32_t> points;
  points.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    if (is_nfc_inert(step.code_point)) {
      compose(points, result);
      result += text.substr(at, step.length);
    } else {
      decompose(step.code_point, points);
    }
    at += step.length;
  }
  compose(points, result);
  return result;
}

}  // namespace assay
