// Small texts that several modules print.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace assay {

// "1.2 MB", "937 B"; decimal units.
std::string bytes_text(std::uint64_t bytes);

// Whether this is a valid prompt id; files and directories are named after it. Valid ids have at
// most 100 ASCII letters, digits, '-', '_' and '.', do not begin with '.', and are not
// "manifest.json".
bool is_prompt_id(std::string_view id);

// "FILE: field 'NAME'", for messages about a file's field.
std::string field_text(std::string_view file, std::string_view name);

// Text from outside, made safe for a message, a terminal or XML: one line, valid UTF-8. Control
// characters (C0, DEL, C1), line separators, marks that change the direction of writing, tags and
// bytes that are not UTF-8 become escapes such as \n, \x1b and \u202e.
std::string visible(std::string_view text);

// The same text, cut to at most `most` bytes, with "..." at the end if it was longer.
std::string shown(std::string_view text, std::size_t most = 100);

// The same for a text whose colours (ESC [ digits m) are kept.
std::string visible_in_colors(std::string_view text);

// Assay's own text with parts from outside, made safe for a terminal: like `visible`, but newlines
// are kept, and with `color` also colours.
std::string for_terminal(std::string_view text, bool color);

// JSON text in which everything that `visible` replaces is a \u escape. It parses to the same
// value.
std::string escaped_json(std::string_view json);

}  // namespace assay
