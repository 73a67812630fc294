// Any bytes as a text, or as ids, for a tokenizer of some family. The first byte says which.
#include <fstream>
#include <iterator>

#include "target.h"
#include "tokenizer/tokenizer.h"

namespace assay {
namespace {

// The tokenizer.json in a file of expected results, which is its first field, on one line.
Tokenizer load_family(const std::string& name) {
  const std::string text = read_text(ASSAY_ROOT "/tests/tokenizer/data/families/" + name + ".json");
  const std::size_t begin = text.find('{', 1);
  return Tokenizer::parse(name, text.substr(begin, text.find(",\n", begin) - begin));
}

void run_text(const Tokenizer& tokenizer, std::string_view text, bool returns) {
  std::vector<std::int64_t> ids;
  if (!accepts([&] { ids = tokenizer.encode(text); })) return;
  // Decoding undoes all but NFC, and that changes nothing the second time.
  const std::string decoded = tokenizer.decode(ids);
  if (returns) {
    require(tokenizer.decode(tokenizer.encode(decoded)) == decoded, "what was decoded stays");
  }
}

void run_ids(const Tokenizer& tokenizer, std::string_view bytes) {
  std::vector<std::int64_t> ids;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
    ids.push_back(static_cast<unsigned char>(bytes[i]) * 16 +
                  static_cast<unsigned char>(bytes[i + 1]) - 128);
  }
  tokenizer.encode(tokenizer.decode(ids));  // decoding gives valid UTF-8
}

}  // namespace

FUZZ_TARGET(tokenizer_text) {
  static const std::array<Tokenizer, 6> tokenizers = {
      Tokenizer::load(ASSAY_ROOT "/models/tiny-qwen3/tokenizer.json"),
      load_family("llama2"),
      load_family("gemma"),
      load_family("every_flag"),
      load_family("llm_jp"),
      load_family("phi4")};
  if (input.empty()) return;
  const auto first = static_cast<std::size_t>(input[0]);
  const std::size_t which = first / 2 % tokenizers.size();
  const std::string_view rest = text_of(input.subspan(1));
  if (first % 2 == 0) {
    run_text(tokenizers[which], rest, which == 0);
  } else {
    run_ids(tokenizers[which], rest);
  }
}

}  // namespace assay
