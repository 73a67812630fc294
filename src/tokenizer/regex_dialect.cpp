// Translated:
//
//   \w \W \b \B    words by Unicode's Alphabetic, M, Nd and Pc (PCRE2: letters, numbers and _)
//   \h \H          hexadecimal digits (PCRE2: horizontal spaces)
//   \p{Han}        by Script (PCRE2: by Script_Extensions); \p{^L} as \P{L}
//   [a[bc]] [a&&b] unions and intersections of classes (PCRE2 takes the characters as they are)
//   \u0041         a code point
//   {,n}           {0,n}
//
// Refused: properties and classes whose sets differ (\p{Punct}, [[:punct:]]), options other than i,
// letters that fold to several letters under i, a possessive {n,m}+, and syntax that only Oniguruma
// has.
#include "tokenizer/regex_dialect.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

#include "assay/error.h"
#include "base/text.h"
#include "base/utf8.h"

namespace assay {
namespace {

// The inside of a class that matches the same characters as Oniguruma's \w.
constexpr std::string_view kWord =
    R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{24B6}-\x{24E9}\x{1F130}-\x{1F149}\x{1F150}-\x{1F169})"
    R"(\x{1F170}-\x{1F189})";
// Outside of a class, Oniguruma's \w also matches the superscript digits and fractions of Latin-1.
constexpr std::string_view kMoreWord = R"(\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";
constexpr std::string_view kHex = "0-9A-Fa-f";

// General categories, which have the same names in both libraries.
constexpr auto kCategories = std::to_array<std::string_view>(
    {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd",
     "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm",
     "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Cn", "Co"});
constexpr auto kScripts = std::to_array<std::string_view>(
    {"Arabic",   "Armenian", "Bengali",   "Bopomofo",  "Cyrillic", "Devanagari",
     "Ethiopic", "Georgian", "Greek",     "Gujarati",  "Gurmukhi", "Han",
     "Hangul",   "Hebrew",   "Hiragana",  "Kannada",   "Katakana", "Khmer",
     "Lao",      "Latin",    "Malayalam", "Mongolian", "Myanmar",  "Oriya",
     "Sinhala",  "Tamil",    "Telugu",    "Thai",      "Tibetan"});

class Translator {
 public:
  Translator(std::string_view pattern, std::string_view where) : text_(pattern), where_(where) {}

  std::string run() {
    while (at_ < text_.size()) step();
    return std::move(out_);
  }

 private:
  // A class: PCRE2 classes, one of which must match, and groups of them for intersections.
  struct Class {
    std::string items;                  // the inside of a plain class
    std::vector<std::string> nested;    // whole expressions of one character
    std::vector<std::string> operands;  // those before && signs
    bool negated = false;

    std::string operand() const {
      std::string result;
      if (!items.empty()) result = "[" + items + "]";
      for (const std::string& inner : nested) result += (result.empty() ? "" : "|") + inner;
      return nested.empty() && !result.empty() ? result : "(?:" + result + ")";
    }
  };

  [[noreturn]] void refuse(std::string_view found, std::string_view expected) const {
    throw input_error(where_, fmt::format("{} in '{}'", found, shown(text_)), expected);
  }

  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  bool eat(std::string_view expected) {
    if (!text_.substr(at_).starts_with(expected)) return false;
    at_ += expected.size();
    return true;
  }

  void step() {
    const char c = text_[at_];
    if (c == '\\') return escape_outside();
    if (c == '[') {
      ++at_;
      out_ += read_class();
      return end_of_item();
    }
    if (c == '(') return group();
    if (c == ')') {
      if (!ignore_case_.empty()) ignore_case_.pop_back();
      out_ += c;
      ++at_;
      return end_of_item();
    }
    if (c == '{' && repeat()) return;
    const Utf8Step character = utf8_step(text_, at_);
    if (folds()) check_folding(character.code_point);
    out_ += text_.substr(at_, character.length);
    at_ += character.length;
    if (c == '*' || c == '+' || c == '?' || c == '|') last_ = 0;
  }

  // What follows an item may not form a multi-letter folding with it.
  void end_of_item() { last_ = 0; }

  bool folds() const { return !ignore_case_.empty() && ignore_case_.back(); }

  // Under i, Oniguruma takes "ss" for a sharp s, and so on; PCRE2 does not.
  void check_folding(char32_t c) {
    constexpr std::string_view kPairs[] = {"ss", "ff", "fi", "fl", "st"};
    const bool ascii = c < 0x80;
    if (!ascii) refuse("a character outside of ASCII under (?i)", "ASCII there");
    const auto lower = static_cast<char>(std::tolower(static_cast<int>(c)));
    const std::array<char, 2> pair = {last_, lower};
    last_ = lower;
    if (std::ranges::find(kPairs, std::string_view(pair.data(), 2)) != std::end(kPairs)) {
      refuse(fmt::format("'{}' under (?i)", std::string_view(pair.data(), 2)),
             "letters that fold to no ligature");
    }
  }

  void group() {
    bool folds_inside = folds();
    ++at_;
    out_ += '(';
    if (eat("?")) {
      out_ += '?';
      if (eat("i:")) {
        out_ += "i:";
        folds_inside = true;
      } else if (eat("i)")) {
        // After another item, its scope over a following | differs.
        if (at_ != std::string_view("(?i)").size())
          refuse("(?i) inside the pattern", "(?i) only at its beginning");
        ignore_case_.push_back(true);
        out_ += "i)";
        return;
      } else {
        static constexpr std::string_view kKinds[] = {":", "=", "!", "<=", "<!", ">"};
        const auto* kind = std::ranges::find_if(
            kKinds, [&](auto kind_text) { return text_.substr(at_).starts_with(kind_text); });
        if (kind == std::end(kKinds)) {
          refuse(fmt::format("the group '(?{}'", text_.substr(at_, 2)),
                 "(?: (?= (?! (?<= (?<! (?> or (?i:");
        }
        at_ += kind->size();
        out_ += *kind;
      }
    } else if (peek() == '*') {
      refuse("'(*'", "no verbs or callouts");
    }
    ignore_case_.push_back(folds_inside);
    end_of_item();
  }

  // {n}, {n,}, {n,m} or {,m}; false where the brace is a character.
  bool repeat() {
    std::size_t end = at_ + 1;
    const auto digits = [&] {
      const std::size_t begin = end;
      while (end < text_.size() && text_[end] >= '0' && text_[end] <= '9') ++end;
      return text_.substr(begin, end - begin);
    };
    const std::string_view least = digits();
    std::string_view most = least;
    const bool comma = end < text_.size() && text_[end] == ',';
    if (comma) {
      ++end;
      most = digits();
    }
    const bool is_repeat = end < text_.size() && text_[end] == '}' &&
                           !(least.empty() && most.empty()) && (comma || !least.empty());
    if (!is_repeat) {
      out_ += "\\{";
      ++at_;
      last_ = '{';
      return true;
    }
    out_ += fmt::format("{{{}{}}}", least.empty() ? "0" : least,
                        comma ? "," + std::string(most) : std::string());
    at_ = end + 1;
    if (peek() == '+' || (peek() == '?' && !comma)) {
      refuse(fmt::format("'{}' after {{}}", peek()), "a plain repetition");
    }
    end_of_item();
    return true;
  }

  // Reads the escape at the current position and returns it as the inside of a class. is_set: set
  // to whether it is a set of characters rather than a single one.
  std::string escape(bool& is_set) {
    is_set = true;
    const char c = peek(1);
    at_ += 2;
    switch (c) {
      case '\0':
        refuse("a backslash at the end", "a character after it");
      case 'p':
      case 'P':
        return property(c == 'P');
      case 's':
      case 'S':
      case 'd':
      case 'D':
        return {'\\', c};
      case 'w':
        return std::string(kWord);
      case 'h':
        return std::string(kHex);
      case 'x':
      case 'u':
        is_set = false;
        return code_point(c);
      case 't':
      case 'n':
      case 'r':
      case 'f':
      case 'v':
      case 'a':
      case 'e':
        is_set = false;
        return c == 'v' ? "\\x0B" : std::string{'\\', c};  // \v is a set in PCRE2
      default:
        if (std::isalnum(static_cast<unsigned char>(c)) || (c & 0x80) != 0) {
          refuse(fmt::format("'\\{}'", c & 0x80 ? '?' : c), "an escape that both libraries know");
        }
        is_set = false;
        return {'\\', c};
    }
  }

  void escape_outside() {
    const char c = peek(1);
    const std::string word = fmt::format("[{}{}]", kWord, kMoreWord);
    end_of_item();
    switch (c) {
      case 'b':
        out_ += fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", word);
        break;
      case 'B':
        out_ += fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", word);
        break;
      case 'w':
        out_ += word;
        break;
      case 'W':
        out_ += fmt::format("[^{}{}]", kWord, kMoreWord);
        break;
      case 'H':
        out_ += fmt::format("[^{}]", kHex);
        break;
      case 'A':
      case 'z':
      case 'Z':
        out_ += {'\\', c};
        break;
      default: {
        bool is_set = false;
        const std::string text = escape(is_set);
        out_ += is_set ? "[" + text + "]" : text;
        return;
      }
    }
    at_ += 2;
  }

  // \p{Name} or \p{^Name}; the braces are still there.
  std::string property(bool negated) {
    if (!eat("{")) refuse("\\p without braces", "\\p{...}");
    if (eat("^")) negated = !negated;
    const std::size_t end = text_.find('}', at_);
    if (end == text_.npos) refuse("unterminated \\p{", "\\p{...}");
    const std::string_view name = text_.substr(at_, end - at_);
    at_ = end + 1;
    const char letter = negated ? 'P' : 'p';
    if (std::ranges::find(kCategories, name) != kCategories.end()) {
      return fmt::format("\\{}{{{}}}", letter, name);
    }
    if (std::ranges::find(kScripts, name) != kScripts.end()) {
      return fmt::format("\\{}{{sc:{}}}", letter, name);
    }
    refuse(fmt::format("\\p{{{}}}", name), "a general category or a script");
  }

  // \x41, \x{1F600} or \u0041.
  std::string code_point(char kind) {
    const bool braces = kind == 'x' && eat("{");
    const std::size_t most = braces ? 8 : kind == 'u' ? 4 : 2;
    std::size_t length = 0;
    while (length < most && std::isxdigit(static_cast<unsigned char>(peek(length)))) ++length;
    if (length == 0 || (kind == 'u' && length != 4)) {
      refuse(fmt::format("'\\{}'", kind), "a code point in hexadecimal");
    }
    const std::string digits(text_.substr(at_, length));
    at_ += length;
    if (braces && !eat("}")) refuse("unterminated \\x{", "\\x{...}");
    const unsigned long value = std::stoul(digits, nullptr, 16);
    if (value > 0x10FFFF || (!braces && kind == 'x' && value > 0x7F)) {
      refuse(fmt::format("\\{}{}", kind, digits), "a code point");
    }
    return fmt::format("\\x{{{}}}", digits);
  }

  // Parses a class after its opening bracket. Returns an expression that matches one character.
  std::string read_class() {
    if (++depth_ > kMostDepth)
      refuse("classes within classes", fmt::format("{} at most", kMostDepth));
    Class all;
    all.negated = eat("^");
    bool first = true;
    for (;; first = false) {
      if (at_ >= text_.size()) refuse("an unterminated class", "]");
      if (eat("]")) {
        if (!first) break;
        all.items += "\\]";  // a bracket at the beginning is a character
        continue;
      }
      if (text_.substr(at_).starts_with("[:")) {
        refuse("a POSIX class", "\\p{...} or characters");
      }
      if (eat("&&")) {
        if (all.items.empty() && all.nested.empty())
          refuse("&& without a set before it", "two sets");
        all.operands.push_back(all.operand());
        all.items.clear();
        all.nested.clear();
        continue;
      }
      if (eat("[")) {
        all.nested.push_back(read_class());
        continue;
      }
      read_item(all);
    }
    --depth_;
    const std::string negation = all.negated ? "^" : "";
    if (all.operands.empty() && all.nested.empty())
      return fmt::format("[{}{}]", negation, all.items);
    if (all.items.empty() && all.nested.empty()) refuse("&& without a set after it", "two sets");
    std::string one = all.operand();
    for (const std::string& operand : all.operands) one = fmt::format("(?={}){}", operand, one);
    return all.negated ? fmt::format("(?:(?!{})(?s:.))", one) : fmt::format("(?:{})", one);
  }

  // A character, a range or a set.
  void read_item(Class& all) {
    bool is_set = false;
    if (peek() == '\\') {
      const char c = peek(1);
      if (c == 'W' || c == 'H') {
        at_ += 2;
        all.nested.push_back(fmt::format("[^{}]", c == 'W' ? kWord : kHex));
        return;
      }
      if (c == 'b') {
        at_ += 2;
        all.items += "\\x08";
        return;
      }
      all.items += escape(is_set);
      return;
    }
    const Utf8Step step = utf8_step(text_, at_);
    if (folds() && step.code_point >= 0x80) {
      refuse("a character outside of ASCII under (?i)", "ASCII there");
    }
    all.items += text_.substr(at_, step.length);
    at_ += step.length;
  }

  static constexpr int kMostDepth = 20;

  std::string_view text_;
  std::string_view where_;
  std::string out_;
  std::size_t at_ = 0;
  int depth_ = 0;
  char last_ = 0;                  // the letter before, under (?i)
  std::vector<bool> ignore_case_;  // of each open group
};

}  // namespace

std::string pcre2_pattern(std::string_view pattern, std::string_view where) {
  return Translator(pattern, where).run();
}

}  // namespace assay
