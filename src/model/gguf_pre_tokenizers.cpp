#include "model/gguf_pre_tokenizers.h"

#include <algorithm>
#include <array>

#include "tokenizer/split_patterns.h"

namespace assay {
namespace {

using Patterns = std::string_view[];

constexpr Patterns kGpt2 = {kGpt2Pattern};
constexpr Patterns kQwen2Patterns = {kQwen2Pattern};
constexpr Patterns kLlama3Patterns = {kLlama3Pattern};
constexpr Patterns kTekken = {kTekkenPattern};
constexpr Patterns kGpt4o = {kO200kPattern};
constexpr Patterns kDigitsGpt2 = {R"(\p{N})", kGpt2Pattern};
constexpr Patterns kQwen35 = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{)"
    R"(L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Patterns kJais2 = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L})"
    R"(\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?)"
    R"(!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})"};
constexpr Patterns kDeepSeekLlm = {
    R"([\r\n])",
    R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵ)"
    R"(Ϸ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕ)"
    R"(Ἐ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ)"
    R"(-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹ)"
    R"(ℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇ)"
    R"(Ꞌ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲)"
    R"(𐳀-𐳲𑢠-𑣟𞤀-𞥃]+)",
    R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)",
    R"(\s+$)",
    R"([一-龥ࠀ-一가-퟿]+)",
    R"(\p{N}+)"};
constexpr Patterns kDeepSeekCoder = {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)",
                                     R"([一-龥ࠀ-一가-퟿]+)", R"(\p{N})"};
constexpr Patterns kDeepSeekV3 = {
    R"(\p{N}{1,3})", R"([一-龥぀-ゟ゠-ヿ]+)",
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L)"
    R"(}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Patterns kYoutu = {
    R"([가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+)"
    R"(|[一-龥぀-ゟ゠-ヿ]+)",
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{)"
    R"(M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L)"
    R"(}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Patterns kFalcon = {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2Pattern, R"([0-9][0-9][0-9])"};
constexpr Patterns kBloom = {R"( ?[^(\s|.,!?…。，、।۔،)]+)"};
constexpr Patterns kViking = {R"( ?[^(\s|.,!?…。，、।۔،)]+)", R"(\p{N})"};
constexpr Patterns kChameleon = {
    R"(<sentinel:[0-9]+>)",    R"((IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z)",
    R"(([\t\n]|    |  ))",     R"(\p{N})",
    R"([\p{P}!-/:-@\[-`{-~])", kGpt2Pattern};
constexpr Patterns kTinyAya = {R"(\d{1,3}(?=(?:\d{3})*\b))", kO200kPattern};
constexpr Patterns kKimiK2 = {
    R"([\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p)"
    R"({Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L})"
    R"(\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&)"
    R"(&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n)"
    R"(]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Patterns kSuperBpe = {R"(\p{N}+)", R"((?=(\d{3})+(?!\d)))"};
constexpr Patterns kBailing = {
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r)"
    R"(\n]*|\s*[\r\n]|\s+(?!\S)|\s+)"};
constexpr Patterns kSeedCoder = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p)"
    R"({N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Patterns kUfakZeka = {
    R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)"
    R"()|\s+)"};
constexpr Patterns kAfmoe = {
    R"(\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N})))",
    R"([一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟)"
    R"(ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+)",
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L)"
    R"(}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Patterns kLaguna = {R"([^\n]+|[\n]+)", kQwen2Pattern};
constexpr Patterns kExaoneMoe = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)"
    R"()*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)"};
constexpr Patterns kMiniCpm5 = {
    R"(\p{N}{1,3})",
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N)"
    R"(}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Patterns kSpark25 = {
    R"(\p{N}{1,3})", R"([一-龥぀-ゟ゠-ヿ]+)",
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L)"
    R"(}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+)",
    R"(\p{N})"};
constexpr Patterns kK2Horizon = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}|\p{M}|\x{200C}|\x{200D}))"
    R"(+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
// llama.cpp's default, for a file that names none.
constexpr Patterns kDefault = {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)",
                               R"([0-9][0-9][0-9])"};
constexpr Patterns kWords = {R"(\S+)"};
constexpr Patterns kLines = {R"([^\n]+|[\n]+)"};

struct Row {
  std::string_view names;  // separated by spaces
  GgufPreTokenizer what;
};
constexpr auto kRows = std::to_array<Row>({
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     {.patterns = kLlama3Patterns, .ignore_merges = true, .adds_bos = true}},
    {"dbrx smaug-bpe glm4 chatglm-bpe", {.patterns = kLlama3Patterns}},
    {"tekken", {.patterns = kTekken, .ignore_merges = true, .adds_bos = true}},
    {"gpt-4o llama4 kanana2 talkie minimax-m2", {.patterns = kGpt4o}},
    {"granite-embed-multi-97m", {.patterns = kGpt4o, .ignore_merges = true}},
    {"qwen2", {.patterns = kQwen2Patterns, .nfc = true}},
    {"deepseek-r1-qwen kormo f2llmv2 stablelm2 hunyuan solar-open megrez grok-2",
     {.patterns = kQwen2Patterns}},
    {"qwen35", {.patterns = kQwen35, .nfc = true}},
    {"gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert "
     "jina-v1-en jina-v2-code roberta-bpe exaone4 mpt olmo jais trillion granite-docling",
     {.patterns = kGpt2}},
    {"smollm starcoder refact command-r codeshell exaone minerva-7b mellum2",
     {.patterns = kDigitsGpt2}},
    {"jais-2", {.patterns = kJais2}},
    {"deepseek-llm", {.patterns = kDeepSeekLlm}},
    {"deepseek-coder", {.patterns = kDeepSeekCoder}},
    {"deepseek-v3 hunyuan-dense joyai-llm hy_v4", {.patterns = kDeepSeekV3}},
    {"youtu", {.patterns = kYoutu, .ignore_merges = true}},
    {"falcon", {.patterns = kFalcon}},
    {"bloom poro-chat gpt3-finnish", {.patterns = kBloom}},
    {"viking", {.patterns = kViking}},
    {"chameleon", {.patterns = kChameleon, .adds_bos = true}},
    {"tiny_aya cohere2moe", {.patterns = kTinyAya}},
    {"kimi-k2", {.patterns = kKimiK2}},
    {"superbpe", {.patterns = kSuperBpe}},
    {"bailingmoe bailingmoe2 llada-moe", {.patterns = kBailing}},
    {"seed-coder", {.patterns = kSeedCoder}},
    {"ufakzeka", {.patterns = kUfakZeka}},
    {"afmoe", {.patterns = kAfmoe}},
    {"laguna", {.patterns = kLaguna}},
    {"exaone-moe", {.patterns = kExaoneMoe}},
    {"minicpm5", {.patterns = kMiniCpm5, .ignore_merges = true}},
    {"default", {.patterns = kDefault}},
    {"spark2.5", {.patterns = kSpark25}},
    {"k2-horizon", {.patterns = kK2Horizon}},
    {"gemma4 granite-embed-multi-311m sarvam-moe",
     {.patterns = kLines, .spelling = GgufPreTokenizer::Spelling::kMetaSpaces}},
    {"whitespace", {.patterns = kWords, .spelling = GgufPreTokenizer::Spelling::kPlain}},
});

bool has_word(std::string_view words, std::string_view word) {
  while (!words.empty()) {
    const std::size_t end = std::min(words.find(' '), words.size());
    if (words.substr(0, end) == word) return true;
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return false;
}

}  // namespace

const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name) {
  for (const Row& row : kRows) {
    if (has_word(row.names, name)) return &row.what;
  }
  return nullptr;
}

}  // namespace assay
