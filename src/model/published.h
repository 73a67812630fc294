// The shapes of published models: what their config.json says.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "formats/json_file.h"

namespace assay {

// The config.json of a published model, without what names versions of software. The name is that
// of the repository without dates and endings such as -hf, -pt or -instruct ("Llama-2-7b"); upper
// and lower case are the same. Throws a usage error that lists the names.
OrderedJson published_config(std::string_view name);

// The names, family by family, the smallest model of each first.
std::vector<std::string> published_models();

}  // namespace assay
