// The tokenizer on arbitrary bytes: a tokenizer.json, or a text and ids for the bundled one (the
// first byte says which). Only input errors may come out.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "assay/error.h"
#include "assay/tokenizer.h"
#include "tokenizer/tokenizer_json.h"

namespace {

void run_file(std::string_view text) {
  try {
    assay::parse_tokenizer_json("fuzz", text);
  } catch (const assay::Error& error) {
    if (error.kind() != assay::ErrorKind::kInput) std::abort();
  }
}

void run_text(const assay::Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::int64_t> ids;
  try {
    ids = tokenizer.encode(text);
  } catch (const assay::Error& error) {
    if (error.kind() != assay::ErrorKind::kInput) std::abort();
    return;
  }
  // Decoding undoes all but NFC, and that changes nothing the second time.
  const std::string decoded = tokenizer.decode(ids);
  if (tokenizer.decode(tokenizer.encode(decoded)) != decoded) std::abort();
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
  static const assay::Tokenizer tokenizer =
      assay::Tokenizer::load(ASSAY_ROOT "/models/tiny-qwen3/tokenizer.json");
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 3 == 0) run_file(rest);
  if (data[0] % 3 == 1) run_text(tokenizer, rest);
  if (data[0] % 3 == 2) run_ids(tokenizer, rest);
  return 0;
}
