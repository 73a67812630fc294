#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/split.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <limits>
#include <string>

#include "assay/error.h"
#include "tokenizer/unicode_differences.h"
#include "tokenizer/utf8.h"

namespace assay {

const std::string_view kSplitPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace {

struct CodeFree {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
};
struct ContextFree {
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
};
struct DataFree {
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
};

// A code point of the class whose UTF-8 has `length` bytes.
std::string_view stand_in(CharClass char_class, std::size_t length) {
  switch (char_class) {
    case CharClass::kLetter:
      return length == 2 ? "\u00FF" : length == 3 ? "\u4E00" : "\U00020000";
    case CharClass::kNumber:
      return length == 2 ? "\u00B2" : length == 3 ? "\u2460" : "\U0001D7CE";
    case CharClass::kOther:
      break;
  }
  return length == 2 ? "\u00A7" : length == 3 ? "\u2030" : "\U0001F600";
}

// Puts stand-ins, as long as the originals, where PCRE2 would see another class than tokenizers.
// False, and `copy` untouched, when the text has no such code point.
bool replace_misjudged(std::string_view text, std::string& copy) {
  bool replaced = false;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    if (step.length > 1) {
      if (const auto char_class = class_override(step.code_point)) {
        if (!replaced) copy = text;
        replaced = true;
        copy.replace(at, step.length, stand_in(*char_class, step.length));
      }
    }
    at += step.length;
  }
  return replaced;
}

std::string message(int code) {
  PCRE2_UCHAR text[200];
  pcre2_get_error_message(code, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

}  // namespace

struct Splitter::Impl {
  std::unique_ptr<pcre2_code, CodeFree> code;
  std::unique_ptr<pcre2_match_context, ContextFree> context;
};

Splitter::Splitter() : impl_(std::make_unique<Impl>()) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  impl_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(kSplitPattern.data()),
                                  kSplitPattern.size(), PCRE2_UTF | PCRE2_UCP, &error, &offset,
                                  nullptr));
  impl_->context.reset(pcre2_match_context_create(nullptr));
  if (!impl_->code || !impl_->context) {
    throw system_error("split pattern", impl_->code ? "out of memory" : message(error));
  }
  // Without the JIT (an unusual CPU) pcre2_match interprets: slower, same pieces.
  pcre2_jit_compile(impl_->code.get(), PCRE2_JIT_COMPLETE);
  // The pattern's work is linear in the text, so a limit would only refuse long texts.
  pcre2_set_match_limit(impl_->context.get(), std::numeric_limits<std::uint32_t>::max());
}

Splitter::~Splitter() = default;
Splitter::Splitter(Splitter&&) noexcept = default;
Splitter& Splitter::operator=(Splitter&&) noexcept = default;

std::vector<std::string_view> Splitter::split(std::string_view text) const {
  const std::unique_ptr<pcre2_match_data, DataFree> data(
      pcre2_match_data_create_from_pattern(impl_->code.get(), nullptr));
  if (!data) throw system_error("split pattern", "out of memory");
  std::string copy;
  const std::string_view subject = replace_misjudged(text, copy) ? copy : text;
  std::vector<std::string_view> pieces;
  for (std::size_t at = 0; at < text.size();) {
    const auto match = [&](std::uint32_t options) {
      return pcre2_match(impl_->code.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()),
                         subject.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_ANCHORED | options,
                         data.get(), impl_->context.get());
    };
    int found = match(0);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = match(PCRE2_NO_JIT);
    // Every code point is a letter, a number, a space or none of them: the pattern matches
    // anywhere.
    if (found < 0) throw system_error("split pattern", message(found));
    const std::size_t end = pcre2_get_ovector_pointer(data.get())[1];
    pieces.push_back(text.substr(at, end - at));
    at = end;
  }
  return pieces;
}

}  // namespace assay
