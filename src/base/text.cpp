#include "base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/utf8.h"

namespace assay {
namespace {

constexpr std::size_t kLongestCodePoint = 4;

struct Range {
  char32_t first;
  char32_t last;
};
// Controls; Arabic letter mark, directional marks, separators, embeddings, overrides and isolates;
// the byte order mark, interlinear annotation, tags.
constexpr std::array<Range, 9> kHidden = {{{0, 0x1F},
                                           {0x7F, 0x9F},
                                           {0x61C, 0x61C},
                                           {0x200E, 0x200F},
                                           {0x2028, 0x202E},
                                           {0x2066, 0x2069},
                                           {0xFEFF, 0xFEFF},
                                           {0xFFF9, 0xFFFB},
                                           {0xE0000, 0xE007F}}};

bool is_hidden(char32_t c) {
  return std::ranges::any_of(kHidden, [c](Range r) { return r.first <= c && c <= r.last; });
}

void append_escape(std::string& text, char32_t c) {
  const auto value = static_cast<std::uint32_t>(c);
  if (c == '\n') {
    text += "\\n";
  } else if (c == '\r') {
    text += "\\r";
  } else if (c == '\t') {
    text += "\\t";
  } else if (c < 0x80) {
    text += fmt::format("\\x{:02x}", value);
  } else if (c < 0x10000) {
    text += fmt::format("\\u{:04x}", value);
  } else {
    text += fmt::format("\\U{:08x}", value);
  }
}

// A JSON escape: two surrogates above U+FFFF.
void append_json_escape(std::string& text, char32_t c) {
  const auto value = static_cast<std::uint32_t>(c);
  if (c < 0x10000) {
    text += fmt::format("\\u{:04x}", value);
  } else {
    text += fmt::format("\\u{:04x}\\u{:04x}", 0xD7C0u + (value >> 10), 0xDC00u + (value & 0x3FFu));
  }
}

std::size_t length_of_color(std::string_view text) {
  if (!text.starts_with("\x1b[")) return 0;
  const std::size_t end = text.find_first_not_of("0123456789", 2);
  return end != text.npos && text[end] == 'm' ? end + 1 : 0;
}

// stays: the number of bytes at the beginning of the rest that are kept unchanged.
template <class Stays>
std::string with_hidden_shown(std::string_view text, const Stays& stays) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    if (step.valid && !is_hidden(step.code_point)) {
      result += text.substr(at, step.length);
      at += step.length;
    } else if (const std::size_t length = step.valid ? stays(text.substr(at)) : 0; length > 0) {
      result += text.substr(at, length);
      at += length;
    } else {
      if (step.valid) append_escape(result, step.code_point);
      for (std::size_t i = 0; !step.valid && i < step.length; ++i) {
        result += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[at + i]));
      }
      at += step.length;
    }
  }
  return result;
}

}  // namespace

std::string bytes_text(std::uint64_t bytes) {
  static constexpr std::array<const char*, 4> kUnits = {"kB", "MB", "GB", "TB"};
  if (bytes < 1000) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1000;
  std::size_t unit = 0;
  for (; value >= 999.95 && unit + 1 < kUnits.size(); value /= 1000) ++unit;
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

bool is_prompt_id(std::string_view id) {
  if (id.empty() || id.size() > 100 || id.front() == '.' || id == "manifest.json") return false;
  return std::ranges::all_of(id, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

std::string field_text(std::string_view file, std::string_view name) {
  return fmt::format("{}: field '{}'", file, name);
}

std::string visible(std::string_view text) {
  return with_hidden_shown(text, [](std::string_view) { return std::size_t{0}; });
}

std::string shown(std::string_view text, std::size_t most) {
  // Escapes are longer than what they replace, so at most `most` bytes of the text are needed.
  std::string result = visible(text.substr(0, std::min(text.size(), most + kLongestCodePoint)));
  if (text.size() <= most && result.size() <= most) return result;
  std::size_t end = std::min(most - 3, result.size());
  while (end > 0 && (static_cast<unsigned char>(result[end]) & 0xC0) == 0x80) --end;
  result.resize(end);
  return result + "...";
}

std::string visible_in_colors(std::string_view text) {
  return with_hidden_shown(text, length_of_color);
}

std::string for_terminal(std::string_view text, bool color) {
  return with_hidden_shown(text, [color](std::string_view rest) {
    if (rest[0] == '\n') return std::size_t{1};
    return color ? length_of_color(rest) : 0;
  });
}

std::string escaped_json(std::string_view json) {
  std::string result;
  for (std::size_t at = 0; at < json.size();) {
    const Utf8Step step = utf8_step(json, at);
    // Outside of strings there is only ASCII, including newlines.
    if (step.valid && step.code_point >= 0x7F && is_hidden(step.code_point)) {
      append_json_escape(result, step.code_point);
    } else {
      result += json.substr(at, step.length);
    }
    at += step.length;
  }
  return result;
}

}  // namespace assay
