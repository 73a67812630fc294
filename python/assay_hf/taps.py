"""Assay's tap names on a transformers model: every intermediate that a hook can see.

Two taps come from inside the attention function, where no module boundary lies: the wrapped
function is the model's own, and what is recorded is what it hands to softmax and returns.
"""

import fnmatch
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from assay_hf.errors import UsageError
from assay_hf.model import HfModel

# In data-flow order.
LAYER_TAPS = (
    "input_norm",
    "q_proj",
    "k_proj",
    "v_proj",
    "q_norm",
    "k_norm",
    "q_rope",
    "k_rope",
    "attn_scores",
    "attn_probs",
    "attn_context",
    "attn_output",
    "attn_residual",
    "mlp_norm",
    "gate_proj",
    "up_proj",
    "mlp_act",
    "mlp_output",
    "output",
)

F32_LOWEST = float(np.finfo(np.float32).min)


def layer_tap(layer: int, tap: str, layers: int) -> str:
    """layer_03_q_proj; three digits in a model of more than 100 layers."""
    return f"layer_{layer:0{3 if layers > 100 else 2}d}_{tap}"


def tap_names(model: HfModel) -> list[str]:
    """Every tap of the model, in data-flow order."""
    layers = model.config.num_hidden_layers
    qk_norm = hasattr(model.net.model.layers[0].self_attn, "q_norm")
    names = ["embedding_output"]
    for layer in range(layers):
        for tap in LAYER_TAPS:
            if qk_norm or tap not in ("q_norm", "k_norm"):
                names.append(layer_tap(layer, tap, layers))
    return [*names, "final_norm_output", "logits"]


def classic_taps(model: HfModel) -> list[str]:
    """The taps that every reference set has."""
    layers = model.config.num_hidden_layers
    outputs = [layer_tap(i, "output", layers) for i in range(layers)]
    return ["embedding_output", *outputs, "final_norm_output", "logits"]


def choose_taps(model: HfModel, globs: Iterable[str]) -> list[str]:
    """The classic taps and those that a glob matches, in data-flow order."""
    names = tap_names(model)
    wanted = set(classic_taps(model))
    for glob in globs:
        matches = fnmatch.filter(names, glob)
        if not matches:
            raise UsageError(f"--taps: '{glob}' matches no tap of this model")
        wanted.update(matches)
    return [name for name in names if name in wanted]


def record(
    model: HfModel, input_ids: list[int], names: Iterable[str], store: type = np.float32
) -> dict[str, np.ndarray]:
    """Runs the prompt and returns the named taps in data-flow order, as arrays of type `store`."""
    wanted = set(names)
    seen: dict[str, np.ndarray] = {}

    def keep(name: str, value: torch.Tensor) -> None:
        if name in wanted:
            seen[name] = _array(value, store)

    with hooks(model, keep):
        keep("logits", model.forward(input_ids))
    missing = wanted - seen.keys()
    assert not missing, f"transformers passed no value for {sorted(missing)}"
    return {name: seen[name] for name in tap_names(model) if name in wanted}


def _array(value: torch.Tensor, store: type) -> np.ndarray:
    if store is np.float64:
        return value.to(torch.float64).contiguous().numpy().copy()
    if value.dtype == torch.float64:
        value = value.clamp(min=F32_LOWEST)  # masked scores, which FP32 could only hold as -inf
    return value.to(torch.float32).contiguous().numpy().copy()


@contextmanager
def hooks(model: HfModel, keep: Callable[[str, torch.Tensor], None]) -> Iterator[None]:
    """Hands every tap of the runs within the context to keep(name, value)."""
    config = model.config
    layers = config.num_hidden_layers
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads

    def by_head(x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:-1], -1, head_dim)

    with ExitStack() as stack:

        def on_output(
            module: nn.Module,
            name: str,
            change: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
        ) -> None:
            hook = module.register_forward_hook(lambda _m, _in, out: keep(name, change(out)))
            stack.callback(hook.remove)

        def on_input(module: nn.Module, name: str) -> None:
            hook = module.register_forward_pre_hook(lambda _m, args: keep(name, args[0]))
            stack.callback(hook.remove)

        on_output(model.net.model.embed_tokens, "embedding_output")
        for i, layer in enumerate(model.net.model.layers):
            attn, mlp = layer.self_attn, layer.mlp
            on_output(layer.input_layernorm, layer_tap(i, "input_norm", layers))
            for proj in ("q_proj", "k_proj", "v_proj"):
                on_output(getattr(attn, proj), layer_tap(i, proj, layers), by_head)
            for norm in ("q_norm", "k_norm"):
                if hasattr(attn, norm):
                    on_output(getattr(attn, norm), layer_tap(i, norm, layers))
            on_input(attn.o_proj, layer_tap(i, "attn_context", layers))
            on_output(attn.o_proj, layer_tap(i, "attn_output", layers))
            on_input(layer.post_attention_layernorm, layer_tap(i, "attn_residual", layers))
            on_output(layer.post_attention_layernorm, layer_tap(i, "mlp_norm", layers))
            on_output(mlp.gate_proj, layer_tap(i, "gate_proj", layers))
            on_output(mlp.up_proj, layer_tap(i, "up_proj", layers))
            on_input(mlp.down_proj, layer_tap(i, "mlp_act", layers))
            on_output(mlp.down_proj, layer_tap(i, "mlp_output", layers))
            # The layer itself, not output_hidden_states: there the last one has been normed.
            on_output(layer, layer_tap(i, "output", layers))
        on_output(model.net.model.norm, "final_norm_output")
        stack.enter_context(_inside_attention(model, keep))
        yield


@contextmanager
def _inside_attention(model: HfModel, keep: Callable[[str, torch.Tensor], None]) -> Iterator[None]:
    """Wraps the modeling module's rotary and attention functions while the context lasts."""
    modeling = model.modeling
    layers = model.config.num_hidden_layers
    rotate, attend = modeling.apply_rotary_pos_emb, modeling.eager_attention_forward
    layer = -1

    def enter(module: nn.Module, *_: Any) -> None:
        nonlocal layer
        layer = module.layer_idx

    def rotate_and_keep(*args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        q, k = rotate(*args, **kwargs)  # [1, N, S, D]
        keep(layer_tap(layer, "q_rope", layers), q.transpose(1, 2))
        keep(layer_tap(layer, "k_rope", layers), k.transpose(1, 2))
        return q, k

    def attend_and_keep(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        softmax = nn.functional.softmax

        def softmax_and_keep(x: torch.Tensor, *a: Any, **k: Any) -> torch.Tensor:
            keep(layer_tap(layer, "attn_scores", layers), x)
            return softmax(x, *a, **k)

        nn.functional.softmax = softmax_and_keep
        try:
            context, probs = attend(module, *args, **kwargs)
        finally:
            nn.functional.softmax = softmax
        keep(layer_tap(layer, "attn_probs", layers), probs)
        return context, probs

    entered = [x.self_attn.register_forward_pre_hook(enter) for x in model.net.model.layers]
    modeling.apply_rotary_pos_emb = rotate_and_keep
    modeling.eager_attention_forward = attend_and_keep
    try:
        yield
    finally:
        modeling.apply_rotary_pos_emb, modeling.eager_attention_forward = rotate, attend
        for hook in entered:
            hook.remove()
