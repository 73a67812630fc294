#include "chat/render_script.h"

#include "base/embed.h"

ASSAY_EMBED(render_script, ASSAY_RENDER_PY)
