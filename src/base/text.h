// Small texts that several rooms show.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace assay {

// "1.2 MB", "937 B"; decimal units.
std::string bytes_text(std::uint64_t bytes);

// Whether a prompt may be called so: files and directories are named by it. Letters and digits of
// ASCII, '-', '_' and '.', which does not come first; at most 100; not "manifest.json".
bool is_prompt_id(std::string_view id);

// Text from outside as it may stand in a message, a terminal or XML: one line, valid UTF-8. Control
// characters (C0, DEL, C1), line separators, marks that turn the direction of writing, tags and
// bytes that are no UTF-8 become \n, \x1b, \u202e.
std::string visible(std::string_view text);

// The same, cut to at most `most` bytes, with "..." at the end where it was longer.
std::string shown(std::string_view text, std::size_t most = 100);

// The same of a text whose colours stay: ESC [ digits m.
std::string visible_in_colors(std::string_view text);

// A text of our own with parts from outside, for a terminal: as `visible`, but newlines stay, and
// with `color` colours do.
std::string for_terminal(std::string_view text, bool color);

// JSON text whose strings have what `visible` hides as \u escapes: it reads back the same.
std::string escaped_json(std::string_view json);

}  // namespace assay
