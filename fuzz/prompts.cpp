// Any bytes as a file of prompts; the first says which of the two kinds.
#include <set>

#include "assay/prompt.h"
#include "target.h"

namespace assay {

FUZZ_TARGET(prompts) {
  Choices choices(input);
  const bool jsonl = choices.flag();
  const auto file = scratch_file(jsonl ? "p.jsonl" : "p.txt", choices.rest());
  accepts([&] {
    std::set<std::string> ids;
    for (const Prompt& prompt : read_prompts(file)) {
      require(ids.insert(prompt.id).second, "ids are unique");
      require(prompt.id.find('/') == std::string::npos && !prompt.id.starts_with('.'),
              "an id names a directory here");
      const int given = (prompt.text ? 1 : 0) + (prompt.conversation ? 1 : 0) +
                        (prompt.input_ids.empty() ? 0 : 1);
      require(given == 1, "one of text, ids and conversation");
    }
  });
}

}  // namespace assay
