#include "tokenizer/unicode_differences.h"

#include <algorithm>
#include <array>

namespace assay {
namespace {

using enum CharClass;

struct ClassRange {
  char32_t first;
  char32_t last;
  CharClass value;
};

// Letters, marks, numbers, punctuation and symbols: given by Unicode 15 and 16 (and U+0295, since
// 16 lower case). kOther: those of Unicode 17 and 18, which Oniguruma does not know; and U+180E,
// which only PCRE2 treats as a space.
constexpr auto kClasses = std::to_array<ClassRange>({{0x295, 0x295, kLower},
                                                     {0x558, 0x558, kOther},
                                                     {0x58B, 0x58C, kOther},
                                                     {0x5C8, 0x5C9, kOther},
                                                     {0x88F, 0x88F, kOther},
                                                     {0x897, 0x897, kMark},
                                                     {0xB53, 0xB54, kOther},
                                                     {0xC5C, 0xC5C, kOther},
                                                     {0xCDC, 0xCDC, kOther},
                                                     {0xCF3, 0xCF3, kMark},
                                                     {0xECE, 0xECE, kMark},
                                                     {0x180E, 0x180E, kOther},
                                                     {0x1ACF, 0x1AF0, kOther},
                                                     {0x1B4E, 0x1B4F, kPunctuation},
                                                     {0x1B7F, 0x1B7F, kPunctuation},
                                                     {0x1C89, 0x1C89, kUpper},
                                                     {0x1C8A, 0x1C8A, kLower},
                                                     {0x208F, 0x208F, kOther},
                                                     {0x209D, 0x209F, kOther},
                                                     {0x2427, 0x2429, kSymbol},
                                                     {0x2FFC, 0x2FFF, kSymbol},
                                                     {0x31E4, 0x31E5, kSymbol},
                                                     {0x31EF, 0x31EF, kSymbol},
                                                     {0xA7CB, 0xA7CC, kUpper},
                                                     {0xA7CD, 0xA7CD, kLower},
                                                     {0xA7CE, 0xA7CF, kOther},
                                                     {0xA7D2, 0xA7D2, kOther},
                                                     {0xA7D4, 0xA7D4, kOther},
                                                     {0xA7DA, 0xA7DA, kUpper},
                                                     {0xA7DB, 0xA7DB, kLower},
                                                     {0xA7DC, 0xA7DC, kUpper},
                                                     {0xA7DD, 0xA7F1, kOther},
                                                     {0xAB6C, 0xAB6D, kOther},
                                                     {0x105C0, 0x105F3, kLetter},
                                                     {0x107BB, 0x107BF, kOther},
                                                     {0x10940, 0x10959, kOther},
                                                     {0x10D40, 0x10D49, kDigit},
                                                     {0x10D4A, 0x10D4F, kLetter},
                                                     {0x10D50, 0x10D65, kUpper},
                                                     {0x10D69, 0x10D6D, kMark},
                                                     {0x10D6E, 0x10D6E, kPunctuation},
                                                     {0x10D6F, 0x10D6F, kLetter},
                                                     {0x10D70, 0x10D85, kLower},
                                                     {0x10D8E, 0x10D8F, kSymbol},
                                                     {0x10EC2, 0x10EC4, kLetter},
                                                     {0x10EC5, 0x10EFB, kOther},
                                                     {0x10EFC, 0x10EFF, kMark},
                                                     {0x1123F, 0x11240, kLetter},
                                                     {0x11241, 0x11241, kMark},
                                                     {0x11380, 0x11389, kLetter},
                                                     {0x1138B, 0x1138B, kLetter},
                                                     {0x1138E, 0x1138E, kLetter},
                                                     {0x11390, 0x113B5, kLetter},
                                                     {0x113B7, 0x113B7, kLetter},
                                                     {0x113B8, 0x113C0, kMark},
                                                     {0x113C2, 0x113C2, kMark},
                                                     {0x113C5, 0x113C5, kMark},
                                                     {0x113C7, 0x113CA, kMark},
                                                     {0x113CC, 0x113D0, kMark},
                                                     {0x113D1, 0x113D1, kLetter},
                                                     {0x113D2, 0x113D2, kMark},
                                                     {0x113D3, 0x113D3, kLetter},
                                                     {0x113D4, 0x113D5, kPunctuation},
                                                     {0x113D7, 0x113D8, kPunctuation},
                                                     {0x113E1, 0x113E2, kMark},
                                                     {0x116D0, 0x116E3, kDigit},
                                                     {0x11B00, 0x11B09, kPunctuation},
                                                     {0x11B0A, 0x11B0A, kOther},
                                                     {0x11B60, 0x11B67, kOther},
                                                     {0x11BC0, 0x11BE0, kLetter},
                                                     {0x11BE1, 0x11BE1, kPunctuation},
                                                     {0x11BF0, 0x11BF9, kDigit},
                                                     {0x11DB0, 0x11DF1, kOther},
                                                     {0x11F00, 0x11F01, kMark},
                                                     {0x11F02, 0x11F02, kLetter},
                                                     {0x11F03, 0x11F03, kMark},
                                                     {0x11F04, 0x11F10, kLetter},
                                                     {0x11F12, 0x11F33, kLetter},
                                                     {0x11F34, 0x11F3A, kMark},
                                                     {0x11F3E, 0x11F42, kMark},
                                                     {0x11F43, 0x11F4F, kPunctuation},
                                                     {0x11F50, 0x11F59, kDigit},
                                                     {0x11F5A, 0x11F5A, kMark},
                                                     {0x1246F, 0x1246F, kOther},
                                                     {0x12475, 0x1247F, kOther},
                                                     {0x12550, 0x12686, kOther},
                                                     {0x1342F, 0x1342F, kLetter},
                                                     {0x13440, 0x13440, kMark},
                                                     {0x13441, 0x13446, kLetter},
                                                     {0x13447, 0x13455, kMark},
                                                     {0x13460, 0x143FA, kLetter},
                                                     {0x16100, 0x1611D, kLetter},
                                                     {0x1611E, 0x1612F, kMark},
                                                     {0x16130, 0x16139, kDigit},
                                                     {0x16D40, 0x16D6C, kLetter},
                                                     {0x16D6D, 0x16D6F, kPunctuation},
                                                     {0x16D70, 0x16D79, kDigit},
                                                     {0x16EA0, 0x16ED3, kOther},
                                                     {0x16FF2, 0x16FF6, kOther},
                                                     {0x187F8, 0x187FF, kOther},
                                                     {0x18CD6, 0x18CDA, kOther},
                                                     {0x18CFF, 0x18CFF, kLetter},
                                                     {0x18D09, 0x18D20, kOther},
                                                     {0x18D80, 0x191D2, kOther},
                                                     {0x1B123, 0x1B128, kOther},
                                                     {0x1B132, 0x1B132, kLetter},
                                                     {0x1B155, 0x1B155, kLetter},
                                                     {0x1B168, 0x1B168, kOther},
                                                     {0x1CC00, 0x1CCEF, kSymbol},
                                                     {0x1CCF0, 0x1CCF9, kDigit},
                                                     {0x1CD00, 0x1CEB3, kSymbol},
                                                     {0x1D127, 0x1D128, kOther},
                                                     {0x1D250, 0x1D281, kOther},
                                                     {0x1D2C0, 0x1D2D3, kNumber},
                                                     {0x1D6A6, 0x1D6A6, kOther},
                                                     {0x1DF1F, 0x1DF24, kOther},
                                                     {0x1DF25, 0x1DF2A, kLower},
                                                     {0x1DF2B, 0x1DFFF, kOther},
                                                     {0x1E030, 0x1E06D, kLetter},
                                                     {0x1E08F, 0x1E08F, kMark},
                                                     {0x1E4D0, 0x1E4EB, kLetter},
                                                     {0x1E4EC, 0x1E4EF, kMark},
                                                     {0x1E4F0, 0x1E4F9, kDigit},
                                                     {0x1E5D0, 0x1E5ED, kLetter},
                                                     {0x1E5EE, 0x1E5EF, kMark},
                                                     {0x1E5F0, 0x1E5F0, kLetter},
                                                     {0x1E5F1, 0x1E5FA, kDigit},
                                                     {0x1E5FF, 0x1E5FF, kPunctuation},
                                                     {0x1E6C0, 0x1E6FF, kOther},
                                                     {0x1F6DC, 0x1F6DC, kSymbol},
                                                     {0x1F774, 0x1F776, kSymbol},
                                                     {0x1F77B, 0x1F77F, kSymbol},
                                                     {0x1F7D9, 0x1F7D9, kSymbol},
                                                     {0x1F8B2, 0x1F8BB, kSymbol},
                                                     {0x1F8C0, 0x1F8C1, kSymbol},
                                                     {0x1FA75, 0x1FA77, kSymbol},
                                                     {0x1FA87, 0x1FA89, kSymbol},
                                                     {0x1FA8F, 0x1FA8F, kSymbol},
                                                     {0x1FAAD, 0x1FAAF, kSymbol},
                                                     {0x1FABB, 0x1FABF, kSymbol},
                                                     {0x1FAC6, 0x1FAC6, kSymbol},
                                                     {0x1FACE, 0x1FACF, kSymbol},
                                                     {0x1FADA, 0x1FADC, kSymbol},
                                                     {0x1FADF, 0x1FADF, kSymbol},
                                                     {0x1FAE8, 0x1FAE9, kSymbol},
                                                     {0x1FAF7, 0x1FAF8, kSymbol},
                                                     {0x1FBCB, 0x1FBEF, kSymbol},
                                                     {0x2B739, 0x2B739, kHan},
                                                     {0x2B73A, 0x2B73F, kOther},
                                                     {0x2B81E, 0x2B81E, kOther},
                                                     {0x2CEA2, 0x2CEAD, kOther},
                                                     {0x2EBF0, 0x2EE5D, kHan},
                                                     {0x31350, 0x323AF, kHan},
                                                     {0x323B0, 0x33479, kOther},
                                                     {0x3D000, 0x3FC3F, kOther}});

struct Range {
  char32_t first;
  char32_t last;
};

// Marks and compositions of Unicode 10 to 18; for the blocks that came as a whole, the block. And
// U+11A7, no Hangul final although it stands before the first: utf8proc composes it away.
constexpr auto kNfcInert = std::to_array<Range>(
    {{0x5C8, 0x5C9},     {0x7FD, 0x7FD},     {0x897, 0x89F},     {0x8CA, 0x8D3},
     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},
     {0x11A7, 0x11A7},   {0x1715, 0x1715},   {0x1ABF, 0x1AF0},   {0x1DF6, 0x1DFA},
     {0xA82C, 0xA82C},   {0x105C0, 0x105FF}, {0x10D24, 0x10D27}, {0x10D69, 0x10D6D},
     {0x10EAB, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070},
     {0x1133B, 0x1133B}, {0x11380, 0x113FF}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
     {0x11930, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A47}, {0x11A99, 0x11A99},
     {0x11D42, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x16100, 0x1613F},
     {0x16D40, 0x16D7F}, {0x16FF0, 0x16FF1}, {0x1D127, 0x1D128}, {0x1D250, 0x1D281},
     {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF},
     {0x1E4EC, 0x1E4EF}, {0x1E5EE, 0x1E5EF}, {0x1E6E3, 0x1E6F5}});

// Those with compatible decompositions that Unicode 10 to 17 gave.
constexpr auto kNfkcInert = std::to_array<Range>({{0x32FF, 0x32FF},
                                                  {0xA7F1, 0xA7F4},
                                                  {0xAB69, 0xAB69},
                                                  {0x10781, 0x107BA},
                                                  {0x1CCD6, 0x1CCF9},
                                                  {0x1E030, 0x1E06D},
                                                  {0x1F16C, 0x1F16C},
                                                  {0x1FBF0, 0x1FBF9}});

// The range that contains the code point, or null.
template <typename Table>
constexpr auto find_range(const Table& table, char32_t code_point) {
  const auto range =
      std::ranges::lower_bound(table, code_point, {}, [](const auto& r) { return r.last; });
  return range != table.end() && range->first <= code_point ? &*range : nullptr;
}

}  // namespace

std::optional<CharClass> class_override(char32_t code_point) {
  const ClassRange* range = find_range(kClasses, code_point);
  return range ? std::optional(range->value) : std::nullopt;
}

bool is_nfkc_inert(char32_t code_point) { return find_range(kNfkcInert, code_point) != nullptr; }

bool is_nfc_inert(char32_t code_point) { return find_range(kNfcInert, code_point) != nullptr; }

}  // namespace assay
