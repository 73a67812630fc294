// Tables and colours for terminals.
#pragma once

#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace assay {

enum class ColorMode { kAuto, kAlways, kNever };
// What --color says, for the whole program. Call it before there are threads.
void set_color_mode(ColorMode mode);
// With kAuto, the default: true when `stream` is a terminal, NO_COLOR is not set and TERM is not
// "dumb".
bool wants_color(std::FILE* stream);

enum class Color { kRed, kGreen, kYellow, kDim, kBold };
// `text` wrapped in the colour's escape codes, or unchanged when `on` is false.
std::string colored(std::string_view text, Color color, bool on);

// The width of what is printed. Only a single longer word may exceed it.
constexpr std::size_t kTerminalWidth = 80;

// `text` in lines of at most kTerminalWidth, broken at spaces. Continuation lines begin with
// `indent` spaces. Newlines are kept. Colours have no width.
std::string wrapped(std::string_view text, std::size_t indent);

// Columns as wide as their widest cell, two spaces between them; no trailing spaces. Where that is
// wider than kTerminalWidth, a last column of text is broken into lines, or else the first cell of
// each row gets its own line. UTF-8 is measured in code points.
class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns);
  // cells: one per column. Missing cells are empty.
  void add(std::vector<std::string> cells);
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace assay
