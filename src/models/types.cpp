// The table of model types. A new type needs a row here and a file that defines it.
#include <vector>

#include "models/builder.h"
#include "models/model_type.h"

// Each row stands for a function ModelType name##_type() in the family's file; sorted by name.
#define ASSAY_MODEL_TYPES(row)                                                                  \
  row(gemma2) row(gemma3_text) row(gemma4_text) row(glm4_moe) row(gpt_oss) row(llama)           \
      row(minimax_m2) row(ministral3) row(mistral) row(mixtral) row(olmo2) row(olmoe) row(phi3) \
          row(qwen2) row(qwen2_moe) row(qwen3) row(qwen3_5_moe_text) row(qwen3_5_text)          \
              row(qwen3_moe) row(qwen3_next)

namespace assay {

#define ASSAY_DECLARE(name) ModelType name##_type();
ASSAY_MODEL_TYPES(ASSAY_DECLARE)
#undef ASSAY_DECLARE

namespace {

std::vector<ModelType>& table() {
#define ASSAY_ENTRY(name) name##_type(),
  static std::vector<ModelType> types = {ASSAY_MODEL_TYPES(ASSAY_ENTRY)};
#undef ASSAY_ENTRY
  return types;
}

}  // namespace

std::span<const ModelType> all_model_types() { return table(); }

void add_model_type(const ModelType& type) { table().push_back(type); }

}  // namespace assay
