#include "tokenizer/unicode_forms.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/utf8.h"
#include "tokenizer/unicode_differences.h"

namespace assay {
namespace {

int combining_class(utf8proc_int32_t code_point) {
  return utf8proc_get_property(code_point)->combining_class;
}

bool is_compatible(UnicodeForm form) {
  return form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
}

bool is_inert(UnicodeForm form, char32_t code_point) {
  return is_nfc_inert(code_point) || (is_compatible(form) && is_nfkc_inert(code_point));
}

// Appends the full decomposition.
void decompose(UnicodeForm form, char32_t code_point, std::vector<utf8proc_int32_t>& out) {
  std::array<utf8proc_int32_t, 32> parts;  // the longest has eighteen
  int boundary = 0;
  const int options = UTF8PROC_DECOMPOSE | (is_compatible(form) ? UTF8PROC_COMPAT : 0);
  const utf8proc_ssize_t count =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code_point), parts.data(), parts.size(),
                              static_cast<utf8proc_option_t>(options), &boundary);
  out.insert(out.end(), parts.begin(), parts.begin() + count);
}

// Sorts the marks of each run by combining class. utf8proc_decompose is not used, because it is
// quadratic in a run's length.
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

// Appends the decomposed `points`, composed if the form is a composed one, and clears them.
void finish(UnicodeForm form, std::vector<utf8proc_int32_t>& points, std::string& out) {
  order_marks(points);
  auto count = static_cast<utf8proc_ssize_t>(points.size());
  if (form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc) {
    count = utf8proc_normalize_utf32(
        points.data(), count, static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  }
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    append_utf8(out, static_cast<char32_t>(points[static_cast<std::size_t>(i)]));
  }
  points.clear();
}

// The small letter of a capital of Unicode 16 and 17, which the library may not know; else itself.
char32_t new_small_letter(char32_t c) {
  if (c >= 0x10D50 && c <= 0x10D65) return c + 0x20;
  if (c >= 0x16EA0 && c <= 0x16EB8) return c + 0x1B;
  switch (c) {
    case 0xA7CB:
      return 0x264;
    case 0xA7DC:
      return 0x19B;
    case 0x1C89:
    case 0xA7CC:
    case 0xA7CE:
    case 0xA7D2:
    case 0xA7D4:
    case 0xA7DA:
      return c + 1;
    default:
      return c;
  }
}

}  // namespace

std::string in_form(UnicodeForm form, std::string_view text) {
  // U+0300 is the first code point that NFC may change or that may compose; its lead byte is 0xCC.
  // The other forms may change anything but ASCII.
  const unsigned first = form == UnicodeForm::kNfc ? 0xCC : 0x80;
  const auto plain = [=](char c) { return static_cast<unsigned char>(c) < first; };
  if (std::ranges::all_of(text, plain)) return std::string(text);

  std::string result;
  result.reserve(text.size());
  std::vector<utf8proc_int32_t> points;
  points.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    if (is_inert(form, step.code_point)) {
      finish(form, points, result);
      result += text.substr(at, step.length);
    } else {
      decompose(form, step.code_point, points);
    }
    at += step.length;
  }
  finish(form, points, result);
  return result;
}

std::string lower_case(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    at += step.length;
    if (step.code_point == 0x130) {  // the only one that becomes two code points
      result += "i\u0307";
      continue;
    }
    const char32_t known = new_small_letter(step.code_point);
    append_utf8(result, known != step.code_point
                            ? known
                            : static_cast<char32_t>(utf8proc_tolower(
                                  static_cast<utf8proc_int32_t>(step.code_point))));
  }
  return result;
}

}  // namespace assay
