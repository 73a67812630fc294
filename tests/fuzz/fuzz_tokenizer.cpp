// The tokenizer on arbitrary bytes: a tokenizer.json, or a text or ids for the bundled one or one
// of another family (the first byte says which). Only input errors may come out.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "assay/error.h"
#include "assay/tokenizer.h"
#include "base/temporary_directory.h"
#include "tokenizer/tokenizer_json.h"

namespace {

void run_file(std::string_view text) {
  try {
    assay::parse_tokenizer_json("fuzz", text);
  } catch (const assay::Error& error) {
    if (error.kind() != assay::ErrorKind::kInput) std::abort();
  }
}

// The tokenizer.json in a file of expected results, which is its first field, on one line.
assay::Tokenizer load_family(const std::string& name) {
  std::ifstream file(ASSAY_ROOT "/tests/tokenizer/data/families/" + name + ".json");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const std::size_t begin = text.find("{", 1);
  const assay::TemporaryDirectory directory;
  const auto path = directory.path() / "tokenizer.json";
  std::ofstream(path) << text.substr(begin, text.find(",\n", begin) - begin);
  return assay::Tokenizer::load(path);
}

void run_text(const assay::Tokenizer& tokenizer, std::string_view text, bool returns) {
  std::vector<std::int64_t> ids;
  try {
    ids = tokenizer.encode(text);
  } catch (const assay::Error& error) {
    if (error.kind() != assay::ErrorKind::kInput) std::abort();
    return;
  }
  // Decoding undoes all but NFC, and that changes nothing the second time.
  const std::string decoded = tokenizer.decode(ids);
  if (returns && tokenizer.decode(tokenizer.encode(decoded)) != decoded) std::abort();
}

void run_ids(const assay::Tokenizer& tokenizer, std::string_view bytes) {
  std::vector<std::int64_t> ids;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
    ids.push_back(static_cast<unsigned char>(bytes[i]) * 16 +
                  static_cast<unsigned char>(bytes[i + 1]) - 128);
  }
  tokenizer.encode(tokenizer.decode(ids));  // decoding gives valid UTF-8
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::array<assay::Tokenizer, 4> tokenizers = {
      assay::Tokenizer::load(ASSAY_ROOT "/models/tiny-qwen3/tokenizer.json"), load_family("llama2"),
      load_family("gemma"), load_family("every_flag")};
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t which = data[0] / 3 % tokenizers.size();
  if (data[0] % 3 == 0) run_file(rest);
  if (data[0] % 3 == 1) run_text(tokenizers[which], rest, which == 0);
  if (data[0] % 3 == 2) run_ids(tokenizers[which], rest);
  return 0;
}
