#include "report/table.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <numeric>

#include "base/text.h"

namespace assay {
namespace {

ColorMode color_mode = ColorMode::kAuto;

// The width in code points, without colours.
std::size_t width(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') {
      while (i < text.size() && text[i] != 'm') ++i;
    } else {
      count += (static_cast<unsigned char>(text[i]) & 0xC0u) != 0x80u;
    }
  }
  return count;
}

}  // namespace

void set_color_mode(ColorMode mode) { color_mode = mode; }

bool wants_color(std::FILE* stream) {
  if (color_mode != ColorMode::kAuto) return color_mode == ColorMode::kAlways;
  const char* no_color = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  return (no_color == nullptr || *no_color == '\0') &&
         (terminal == nullptr || std::string_view(terminal) != "dumb") &&
         isatty(fileno(stream)) != 0;
}

std::string colored(std::string_view text, Color color, bool on) {
  if (!on) return std::string(text);
  static constexpr std::array<int, 5> kCodes = {31, 32, 33, 2, 1};
  return fmt::format("\x1b[{}m{}\x1b[0m", kCodes[static_cast<std::size_t>(color)], text);
}

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

void Table::add(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  for (std::string& cell : cells) cell = visible_in_colors(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (const Column& column : columns_) widths.push_back(width(column.title));
  for (const auto& row : rows_) {
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], width(row[c]));
  }
  constexpr std::size_t kGap = 2;
  const std::size_t all =
      std::accumulate(widths.begin(), widths.end(), kGap * (columns_.size() - 1));
  const bool too_wide = all > kTerminalWidth && columns_.size() > 1;
  const std::size_t before_last = all - (widths.empty() ? 0 : widths.back());
  const bool last_in_lines =
      too_wide && columns_.back().align == Align::kLeft && before_last <= kTerminalWidth * 2 / 3;
  const bool apart = too_wide && !last_in_lines;
  std::string out;
  const auto add_line = [&](auto&& cell) {
    std::string line;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      const std::string& text = cell(c);
      if (apart && c == 0) {
        if (!text.empty()) out += text + "\n";
        continue;
      }
      const std::string pad(widths[c] - width(text), ' ');
      if (c != 0) line += std::string(kGap, ' ');
      line += columns_[c].align == Align::kRight ? pad + text : text + pad;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += (last_in_lines ? wrapped(line, before_last) : line) + "\n";
  };
  add_line([&](std::size_t c) -> const std::string& { return columns_[c].title; });
  for (const auto& row : rows_) {
    add_line([&](std::size_t c) -> const std::string& { return row[c]; });
  }
  return out;
}

std::string wrapped(std::string_view text, std::size_t indent) {
  std::string out;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size());
    std::size_t column = 0;
    while (!line.empty()) {
      const std::size_t spaces = std::min(line.find_first_not_of(' '), line.size());
      const std::string_view word = line.substr(spaces, line.find(' ', spaces) - spaces);
      line.remove_prefix(spaces + word.size());
      if (word.empty()) break;
      if (column > indent && column + spaces + width(word) > kTerminalWidth) {
        out += '\n' + std::string(indent, ' ');
        column = indent + width(word);
      } else {
        out.append(spaces, ' ');
        column += spaces + width(word);
      }
      out += word;
    }
    if (!text.empty()) {
      out += '\n';
      text.remove_prefix(1);
    }
  }
  return out;
}

}  // namespace assay
