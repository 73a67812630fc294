#include "report/explain_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "report/table.h"

namespace assay {
namespace {

using Json = nlohmann::ordered_json;

std::string text(const Json& of, const char* field) { return of.at(field).get<std::string>(); }

std::string number(const Json& value) {
  return value.is_number_float() ? fmt::format("{}", value.get<double>()) : value.dump();
}

// [S, 16, 128]
std::string shape_text(const Json& shape) {
  std::vector<std::string> sizes;
  for (const Json& size : shape) {
    sizes.push_back(size.is_string() ? size.get<std::string>() : size.dump());
  }
  return fmt::format("[{}]", fmt::join(sizes, ", "));
}

// "0 to 27" or "0, 2, 4": runs of three or more numbers are shown by their ends.
std::string layers_text(const Json& layers) {
  const auto all = layers.get<std::vector<std::int64_t>>();
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < all.size();) {
    std::size_t end = i + 1;
    while (end < all.size() && all[end] == all[end - 1] + 1) ++end;
    if (end - i > 2) {
      parts.push_back(fmt::format("{} to {}", all[i], all[end - 1]));
      i = end;
    } else {
      parts.push_back(std::to_string(all[i++]));
    }
  }
  return fmt::format("{} {}", all.size() == 1 ? "Layer" : "Layers", fmt::join(parts, ", "));
}

std::string title_of(const Json& block) {
  if (block.contains("layers")) {
    return layers_text(block["layers"]) +
           (block.contains("window")
                ? fmt::format(" (sliding window of {})", number(block["window"]))
                : "");
  }
  return text(block, "block") == "embedding" ? "Embedding" : "After the layers";
}

// "model.layers.*.self_attn.qkv_proj.weight [9216, 3072] BF16, rows 0 to 3071"
std::string tensor_text(const Json& tensor) {
  std::string line = fmt::format("{} {}", text(tensor, "name"), shape_text(tensor["shape"]));
  if (tensor.contains("dtype")) line += " " + text(tensor, "dtype");
  if (tensor.contains("rows")) {
    const auto rows = tensor["rows"].get<std::vector<std::int64_t>>();
    line += fmt::format(", rows {} to {}", rows[0], rows[1] - 1);
  }
  if (tensor.contains("experts")) {
    line += fmt::format(", and the same for each of the {} experts", tensor["experts"].dump());
  }
  return line;
}

std::string writes_text(const Json& step) {
  std::vector<std::string> all;
  for (const Json& value : step["writes"]) {
    all.push_back(fmt::format("{} {}{}", text(value, "name"), shape_text(value["shape"]),
                              value["tap"].get<bool>() ? "" : " (not a tap)"));
  }
  return fmt::format("{}", fmt::join(all, ", "));
}

std::string sizes_text(const Json& explanation) {
  const Json& s = explanation["sizes"];
  return fmt::format(
      "{}: {} layers, hidden size {}, {} query heads, {} key/value heads, head_dim {}, "
      "vocabulary {}",
      text(explanation, "model_type"), number(s["num_hidden_layers"]), number(s["hidden_size"]),
      number(s["num_attention_heads"]), number(s["num_key_value_heads"]), number(s["head_dim"]),
      number(s["vocab_size"]));
}

std::vector<std::string> rotary_lines(const Json& table) {
  std::vector<std::string> lines = {text(table, "formula"), text(table, "frequencies")};
  const auto& all = table["inv_freq"];
  constexpr std::size_t kShown = 4;
  std::vector<std::string> values;
  for (std::size_t i = 0; i < std::min(kShown, all.size()); ++i) values.push_back(number(all[i]));
  lines.push_back(fmt::format("inv_freq {}{} (full list with --json)", fmt::join(values, ", "),
                              all.size() > kShown ? ", ..." : ""));
  if (table.contains("note")) lines.push_back(text(table, "note"));
  return lines;
}

}  // namespace

std::string explain_text(const Json& explanation, bool color) {
  std::string out = colored(wrapped(sizes_text(explanation), 2), Color::kBold, color) + "\n\n";
  for (const Json& line : explanation["conventions"]) {
    out += wrapped(line.get<std::string>(), 0) + "\n";
  }
  for (const Json& table : explanation["rotary"]) {
    out += "\n" +
           colored(fmt::format("Rotary table {}", number(table["table"])), Color::kBold, color) +
           "\n";
    for (const std::string& line : rotary_lines(table)) out += wrapped("  " + line, 4) + "\n";
  }
  for (const Json& block : explanation["blocks"]) {
    out += "\n" + colored(title_of(block), Color::kBold, color) + "\n";
    std::size_t count = 0;
    for (const Json& step : block["steps"]) {
      out += wrapped(fmt::format("{:>3}  {}", ++count, writes_text(step)), 5) + "\n";
      out += wrapped("     " + text(step, "formula"), 7) + "\n";
      for (const Json& tensor : step["tensors"]) {
        out += wrapped("     tensor   " + tensor_text(tensor), 14) + "\n";
      }
      out += wrapped("     rounds   " + text(step, "rounding"), 14) + "\n";
      if (step.contains("position")) {
        out += wrapped("     position " + text(step, "position"), 14) + "\n";
      }
    }
  }
  return out;
}

std::string explain_markdown(const Json& explanation) {
  std::string out =
      fmt::format("# {}\n\n{}\n\n", text(explanation, "model_type"), sizes_text(explanation));
  for (const Json& line : explanation["conventions"]) {
    out += fmt::format("- {}\n", line.get<std::string>());
  }
  for (const Json& table : explanation["rotary"]) {
    out += fmt::format("\n## Rotary table {}\n\n", number(table["table"]));
    for (const std::string& line : rotary_lines(table)) out += fmt::format("- {}\n", line);
  }
  for (const Json& block : explanation["blocks"]) {
    out += fmt::format("\n## {}\n", title_of(block));
    std::size_t count = 0;
    for (const Json& step : block["steps"]) {
      out += fmt::format("\n{}. {}\n\n", ++count, writes_text(step));
      out += fmt::format("    - `{}`\n", text(step, "formula"));
      for (const Json& tensor : step["tensors"]) {
        out += fmt::format("    - tensor: `{}`\n", tensor_text(tensor));
      }
      out += fmt::format("    - rounds: {}\n", text(step, "rounding"));
      if (step.contains("position")) {
        out += fmt::format("    - position: {}\n", text(step, "position"));
      }
    }
  }
  return out;
}

}  // namespace assay
