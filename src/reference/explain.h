// A model's computation, step by step, as somebody who writes it needs it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>

namespace assay {

// checkpoint: a directory with a config.json, with weights or without, or a GGUF file.
// layer: that one alone; else each kind of layer once, with the numbers of its layers.
//
// {"model_type", "sizes": {...}, "conventions": [...], "rotary": [{"formula", "theta", "inv_freq",
// "attention_factor", ...}], "blocks": [{"block": "embedding" | "layer" | "head", "layers": [...],
// "window", "steps": [{"formula", "writes": [{"name", "tap", "shape"}], "reads", "tensors":
// [{"name", "shape", "dtype", "rows"}], "rounding", "position"}]}]}; a text may be absent where
// there is nothing to say.
//
// Throws an input error as read_spec() does, and a usage error where there is no such layer.
nlohmann::ordered_json explain(const std::filesystem::path& checkpoint,
                               std::optional<std::int64_t> layer = {});

}  // namespace assay
