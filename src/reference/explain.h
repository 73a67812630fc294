// A model's computation, step by step, for somebody who implements it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>

namespace assay {

// checkpoint: a directory with a config.json, with weights or without, or a GGUF file.
// layer: only this layer; without it, each kind of layer once, with the numbers of its layers.
//
// {"schema", "model_type", "sizes": {...}, "conventions": [...], "rotary": [{"formula", "theta",
// "inv_freq", "attention_factor", ...}], "blocks": [{"block": "embedding" | "layer" | "head",
// "layers": [...], "window", "steps": [{"formula", "writes": [{"name", "tap", "shape"}], "reads",
// "tensors":
// [{"name", "shape", "dtype", "rows"}], "rounding", "position"}]}]}; a text may be absent when
// there is nothing to say.
//
// Throws the input errors of read_spec(), and a usage error when there is no such layer.
nlohmann::ordered_json explain(const std::filesystem::path& checkpoint,
                               std::optional<std::int64_t> layer = {});

}  // namespace assay
