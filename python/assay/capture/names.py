"""Names of a capture's arrays: a module's path, or what a map makes of it."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from assay.capture.errors import InputError

Rename = Callable[[str], str | None]

# Native types: what these modules return is a tap of Assay (docs/reference-data-format.md).
_LAYER = "model.layers.{layer}."
_TAPS = {
    "model.embed_tokens": "embedding_output",
    _LAYER + "input_layernorm": "layer_{layer}_input_norm",
    _LAYER + "self_attn.q_proj": "layer_{layer}_q_proj",
    _LAYER + "self_attn.k_proj": "layer_{layer}_k_proj",
    _LAYER + "self_attn.v_proj": "layer_{layer}_v_proj",
    _LAYER + "self_attn[1]": "layer_{layer}_attn_probs",
    _LAYER + "self_attn.o_proj.input": "layer_{layer}_attn_context",
    _LAYER + "self_attn.o_proj": "layer_{layer}_attn_output",
    _LAYER + "mlp.gate_proj": "layer_{layer}_gate_proj",
    _LAYER + "mlp.up_proj": "layer_{layer}_up_proj",
    _LAYER + "mlp.down_proj.input": "layer_{layer}_mlp_act",
    _LAYER + "mlp.down_proj": "layer_{layer}_mlp_output",
    _LAYER + "mlp.experts": "layer_{layer}_mlp_output",
    "model.layers.{layer}": "layer_{layer}_output",
    "model.norm": "final_norm_output",
}
_PRE_NORM = {
    _LAYER + "post_attention_layernorm.input": "layer_{layer}_attn_residual",
    _LAYER + "post_attention_layernorm": "layer_{layer}_mlp_norm",
}
_POST_NORM = {
    _LAYER + "post_attention_layernorm": "layer_{layer}_attn_post_norm",
    _LAYER + "pre_feedforward_layernorm.input": "layer_{layer}_attn_residual",
    _LAYER + "pre_feedforward_layernorm": "layer_{layer}_mlp_norm",
    _LAYER + "post_feedforward_layernorm": "layer_{layer}_mlp_post_norm",
}
_HEAD_NORM = {
    _LAYER + "self_attn.q_norm": "layer_{layer}_q_norm",
    _LAYER + "self_attn.k_norm": "layer_{layer}_k_norm",
}
_NATIVE = {
    "llama": _PRE_NORM,
    "mistral": _PRE_NORM,
    "ministral3": _PRE_NORM,
    "qwen2": _PRE_NORM,
    "phi3": _PRE_NORM,
    "qwen3": _PRE_NORM | _HEAD_NORM,
    "qwen3_moe": _PRE_NORM | _HEAD_NORM,
    "gemma2": _POST_NORM,
    "gemma3_text": _POST_NORM,  # its heads' norms come after the transpose: no tap's layout
    "olmo2": _POST_NORM | _HEAD_NORM,
}


def native_names(model_type: str, layers: int) -> Rename:
    """Tap names for the modules of a type that Assay itself computes; none for other types."""
    if model_type not in _NATIVE:
        return lambda _: None
    return _renamer(_TAPS | _NATIVE[model_type], layers, "")


def names_of_file(file: Path, layers: int) -> Rename:
    """The rules of a --map: {"transformer.h.{layer}.attn": "layer_{layer}_attn_output", ...}."""
    try:
        rules = json.loads(file.read_bytes())
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not valid JSON: {error}") from error
    if not isinstance(rules, dict):
        raise InputError(f"{file}: expected an object of rules, module path to name")
    for path, name in rules.items():
        if not isinstance(name, str):
            raise InputError(
                f"{file}: '{path}' has {json.dumps(name)}, expected one name for each module path"
            )
    return _renamer(rules, layers, f"{file}: ")


def _renamer(rules: dict[str, str], layers: int, where: str) -> Rename:
    digits = 3 if layers > 100 else 2
    compiled = [(_pattern(path, where), name) for path, name in rules.items()]

    def rename(path: str) -> str | None:
        for (pattern, factor, offset), name in compiled:
            found = pattern.fullmatch(path)
            if not found:
                continue
            number = int(found.groupdict().get("layer") or 0) - offset
            if number % factor == 0 and number >= 0:
                return name.replace("{layer}", f"{number // factor:0{digits}d}")
        return None

    return rename


def _pattern(path: str, where: str) -> tuple[re.Pattern[str], int, int]:
    """A rule's left side: {layer}, {layer+1}, {2*layer+1} once, and any number of *."""
    parts = re.split(r"(\{[^{}]*\}|\*)", path)
    factor, offset, text, seen = 1, 0, "", False
    for part in parts:
        if part == "*":
            text += ".*"
        elif part.startswith("{"):
            terms = re.fullmatch(r"\{(?:([1-9]\d?)\*)?layer(?:\+(\d{1,2}))?\}", part)
            if not terms or seen:
                raise InputError(
                    f"{where}'{path}' has {part}, expected {{layer}}, {{layer+1}} or {{2*layer+1}} once"
                )
            factor, offset, seen = int(terms[1] or 1), int(terms[2] or 0), True
            text += r"(?P<layer>\d+)"
        else:
            text += re.escape(part)
    return re.compile(text), factor, offset
