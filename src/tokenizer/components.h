// The parts of a tokenizer.json around its model. Each reader takes the file's root and throws an
// input error that names the component it does not know.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/decoder.h"
#include "tokenizer/json_fields.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pre_tokenizer.h"

namespace assay {

// components_input.cpp: what happens to a text before the model sees it.
std::vector<NormalizerStep> read_normalizer(const JsonFields& root);
PreTokenizer read_pre_tokenizer(const JsonFields& root);

// components_output.cpp: what happens to ids and tokens afterwards.

// The ids that the post-processor puts around a text's own.
struct Template {
  std::vector<std::int64_t> before;
  std::vector<std::int64_t> after;
};
Template read_post_processor(const JsonFields& root);
Decoder read_decoder(const JsonFields& root);

// Limits how much longer all steps of a list together can make a text: a small file must not turn a
// word into gigabytes.
class Growth {
 public:
  // Counts a step in which each byte may become `bytes` bytes. Throws an input error when the limit
  // is exceeded.
  void by(std::size_t bytes, const JsonFields& step, std::string_view field);

 private:
  static constexpr std::size_t kMost = 1000;
  std::size_t all_ = 1;
};

// The components in a Sequence's `field`, with nested Sequences flattened; or the component itself
// if it is not a Sequence.
std::vector<JsonFields> parts_of(const JsonFields& component, std::string_view field);
Error unknown_type(const JsonFields& component, std::string_view expected);
void check_byte_level(const JsonFields& part);
// The fields of a Metaspace component.
MetaspaceStep read_metaspace(const JsonFields& part);

}  // namespace assay
