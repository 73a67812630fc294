#include "cli/verbs.h"

namespace assay {

std::vector<Prompt> collect_prompts(const std::vector<std::string>& texts,
                                    const std::vector<std::string>& files) {
  std::vector<Prompt> prompts = prompts_from_texts(texts);
  for (const std::string& file : files) {
    const int next = static_cast<int>(prompts.size()) + 1;
    for (Prompt& prompt : read_prompts(file, next)) prompts.push_back(std::move(prompt));
  }
  return prompts.empty() ? default_prompts() : prompts;
}

}  // namespace assay
