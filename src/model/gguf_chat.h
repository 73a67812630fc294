// A GGUF file's chat templates, and the special tokens that they name.
#pragma once

#include "chat/chat_template.h"
#include "formats/gguf.h"

namespace assay {

// Throws an input error that names the key, also if the file has no template.
ChatTemplate gguf_chat_template(const GgufFile& file);

}  // namespace assay
