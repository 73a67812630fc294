// Any bytes as a tokenizer.json, and a text for what it makes.
#include "assay/tokenizer.h"
#include "target.h"

namespace assay {

FUZZ_TARGET(tokenizer_json) {
  accepts([&] {
    const Tokenizer tokenizer = Tokenizer::parse("fuzz", text_of(input));
    for (const bool special : {false, true}) {
      accepts([&] {
        tokenizer.decode(tokenizer.encode(" A\u0301b  12\n\u00df\u6f22<s>\u00a0x", "text", special),
                         special);
      });
    }
    // Any number may be asked for.
    const std::vector<std::int64_t> ids = {0, 1, 2, 3, -1, tokenizer.size(), INT64_MAX, INT64_MIN};
    tokenizer.decode(ids);
    for (const std::int64_t id : ids) tokenizer.token_bytes(id);
  });
}

}  // namespace assay
