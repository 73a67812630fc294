#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/split.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <string>

#include "assay/error.h"
#include "tokenizer/unicode_differences.h"
#include "tokenizer/utf8.h"

namespace assay {

namespace {

constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Llama 3, OLMo 2, Phi-4: OpenAI's cl100k_base.
constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Mistral-Nemo, Mistral-Small: tekken.
constexpr std::string_view kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Phi-4-mini: OpenAI's o200k_base.
constexpr std::string_view kO200kPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::string_view kVerified[] = {kGpt2Pattern, kQwen2Pattern, kLlama3Pattern,
                                          kTekkenPattern, kO200kPattern};

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
  constexpr std::string_view kStandIns[][3] = {
      {"\u00C0", "\u1E00", "\U00010400"},  // kUpper
      {"\u00FF", "\u1E01", "\U00010428"},  // kLower
      {"\u01BB", "\u4E00", "\U00020000"},  // kLetter
      {"\u0300", "\u20D0", "\U0001D165"},  // kMark
      {"\u00B2", "\u2460", "\U0001D7CE"},  // kNumber
      {"\u00A7", "\u2030", "\U0001F600"},  // kOther
  };
  return kStandIns[static_cast<std::size_t>(char_class)][length - 2];
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

bool is_verified_pattern(std::string_view pattern) {
  return std::ranges::find(kVerified, pattern) != std::end(kVerified);
}

std::vector<std::string_view> verified_patterns() {
  return {std::begin(kVerified), std::end(kVerified)};
}

Splitter::Splitter(std::string_view pattern) : impl_(std::make_unique<Impl>()) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  impl_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                  PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr));
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
    // Every code point is a letter, a number, a space or none of them: each pattern matches
    // anywhere.
    if (found < 0) throw system_error("split pattern", message(found));
    const std::size_t end = pcre2_get_ovector_pointer(data.get())[1];
    pieces.push_back(text.substr(at, end - at));
    at = end;
  }
  return pieces;
}

}  // namespace assay
