// The shapes of published models, from their config.json.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "formats/json_file.h"

namespace assay {

// The config.json of a published model, without the fields that name software versions. The name is
// that of the repository without dates and endings such as -hf, -pt or -instruct ("Llama-2-7b"), in
// any case. Throws a usage error that lists the names.
OrderedJson published_config(std::string_view name);

// The names, family by family, the smallest model of each family first.
std::vector<std::string> published_models();

}  // namespace assay
