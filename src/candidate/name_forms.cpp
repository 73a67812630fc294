#include "candidate/name_forms.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <optional>
#include <utility>

namespace assay {
namespace {

// Prefixes of a model's own names if it is wrapped or one of several.
constexpr std::pair<std::string_view, std::string_view> kWrappers[] = {
    {"module.", ""},
    {"_orig_mod.", ""},
    {"_fsdp_wrapped_module.", ""},
    {"base_model.model.", ""},
    {"model.language_model.", "model."},
    {"language_model.model.", "model."},
    {"language_model.lm_head", "lm_head"},
};

std::string without_wrappers(std::string_view name) {
  std::string result(name);
  std::ranges::replace(result, '/', '.');
  // The rest of the name begins here; what replaces a wrapper is written before it.
  std::size_t begin = std::min(result.find_first_not_of('.'), result.size());
  for (bool again = true; again;) {
    again = false;
    for (const auto& [wrapper, stands_for] : kWrappers) {
      if (!std::string_view(result).substr(begin).starts_with(wrapper)) continue;
      begin += wrapper.size() - stands_for.size();
      std::ranges::copy(stands_for, result.begin() + static_cast<std::ptrdiff_t>(begin));
      again = true;
    }
  }
  return result.substr(begin);
}

// Takes the digits off the end; none if there are none, or nothing would be left.
std::optional<std::string> take_number(std::string_view& text) {
  const std::size_t last = text.find_last_not_of("0123456789");
  if (last == text.npos || last + 1 == text.size()) return std::nullopt;
  std::string number(text.substr(last + 1));
  text = text.substr(0, last + 1);
  const std::size_t first = std::min(number.find_first_not_of('0'), number.size() - 1);
  return number.substr(first);
}

bool take_end(std::string_view& text, std::string_view end) {
  if (!text.ends_with(end) || text.size() == end.size()) return false;
  text.remove_suffix(end.size());
  return true;
}

std::string indexed(std::string_view base, std::string_view index) {
  return index == "0" ? std::string(base) : fmt::format("{}[{}]", base, index);
}

// Removes ".output", ".output.1", ".output_1", "[1]" or ".1"; inputs keep their ".input".
std::optional<std::string> without_output(std::string_view text) {
  std::string_view rest = text;
  std::string index = "0";
  bool numbered = false;
  if (take_end(rest, "]")) {
    const auto number = take_number(rest);
    if (!number || !take_end(rest, "[")) return std::nullopt;
    index = *number;
    numbered = true;
  } else if (const auto number = take_number(rest)) {
    if (!take_end(rest, ".") && !(rest.ends_with("put_") && take_end(rest, "_"))) {
      return std::nullopt;
    }
    index = *number;
    numbered = true;
  }
  for (const std::string_view word : {".outputs", ".output", ".out"}) {
    if (take_end(rest, word)) return indexed(rest, index);
  }
  if (take_end(rest, ".inputs")) return indexed(fmt::format("{}.input", rest), index);
  if (numbered) return indexed(rest, index);
  return std::nullopt;
}

// "x.call3", "x.call_3" and "x.call3.output" become "x#4": these count calls from 0.
std::optional<std::string> with_call(std::string_view text) {
  constexpr std::array<std::string_view, 2> kWords = {".call", ".call_"};
  for (const std::string_view word : kWords) {
    const std::size_t at = text.rfind(word);
    if (at == text.npos || at == 0) continue;
    const std::size_t begin = at + word.size();
    const std::size_t end = std::min(text.find_first_not_of("0123456789", begin), text.size());
    if (end == begin) continue;
    std::uint64_t calls = 0;
    const auto digits = text.substr(begin, end - begin);
    if (std::from_chars(digits.data(), digits.data() + digits.size(), calls).ec != std::errc()) {
      continue;
    }
    const std::string call = calls == 0 ? std::string() : fmt::format("#{}", calls + 1);
    return fmt::format("{}{}{}", text.substr(0, at), call, text.substr(end));
  }
  return std::nullopt;
}

// assay.record writes x~2 where another array has the name x already.
std::string_view without_count(std::string_view name) {
  std::string_view rest = name;
  return take_number(rest) && take_end(rest, "~") ? rest : name;
}

}  // namespace

std::vector<std::string> name_forms(std::string_view name) {
  std::vector<std::string> forms = {without_wrappers(without_count(name))};
  if (auto form = with_call(forms.front())) forms.push_back(std::move(*form));
  for (std::size_t i = 0, literal = forms.size(); i < literal; ++i) {
    if (auto form = without_output(forms[i])) forms.push_back(std::move(*form));
  }
  return forms;
}

}  // namespace assay
