// Any bytes as a tokenizer.json, and after a 0 byte a text for it.
#include "target.h"
#include "tokenizer/tokenizer.h"

namespace assay {

FUZZ_TARGET(tokenizer_json) {
  const std::string_view all = text_of(input);
  const std::size_t end = std::min(all.find('\0'), all.size());
  const std::string_view text =
      end < all.size() ? all.substr(end + 1) : " A\u0301b  12\n\u00df\u6f22<s>\u00a0x";
  accepts([&] {
    const Tokenizer tokenizer = Tokenizer::parse("fuzz", all.substr(0, end));
    for (const bool special : {false, true}) {
      accepts([&] { tokenizer.decode(tokenizer.encode(text, "text", special), special); });
    }
    // Any number may be asked for.
    const std::vector<std::int64_t> ids = {0, 1, 2, 3, -1, tokenizer.size(), INT64_MAX, INT64_MIN};
    tokenizer.decode(ids);
    for (const std::int64_t id : ids) tokenizer.token_bytes(id);
  });
}

}  // namespace assay
