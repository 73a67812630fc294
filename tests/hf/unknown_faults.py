"""Faults outside the catalog: `assay diagnose` must not name them, but must locate them.

Kept apart from faults.py: nothing here may know what Assay knows.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from assay_hf.model import HfModel


@dataclass
class UnknownFault:
    name: str
    tap: str  # where it arises
    change: Callable[[HfModel, ExitStack], None]


def on_output(find: Callable[[Any], nn.Module], change: Callable[[Tensor], Tensor]) -> Any:
    """Changes the output of a module; find gets the inner model."""

    def patch(model: HfModel, stack: ExitStack) -> None:
        module = find(model.net if "lm_head" in find.__code__.co_names else model.net.model)
        forward = module.forward
        module.forward = lambda *a, **k: change(forward(*a, **k))

    return patch


def on_heads(x: Tensor, heads: int, head: int, change: Callable[[Tensor], Tensor]) -> Tensor:
    parts = list(x.chunk(heads, -1))
    parts[head] = change(parts[head])
    return torch.cat(parts, -1)


def fixed(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(11))


def noisy_row(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 3] += 0.05 * x[:, 3].abs().mean() * fixed(x.shape[-1]).to(x.dtype)
    return x


def zero_position(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 5] = 0
    return x


def zero_channel(x: Tensor) -> Tensor:
    x = x.clone()
    x[..., 7] = 0
    return x


def shuffled(x: Tensor) -> Tensor:
    return x[..., torch.randperm(x.shape[-1], generator=torch.Generator().manual_seed(5))]


def half_of_heads_rotated(model: HfModel, stack: ExitStack) -> None:
    modeling = model.modeling
    rotate = modeling.apply_rotary_pos_emb

    def apply(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, **rest: Any) -> Any:
        turned, k = rotate(q, k, cos, sin, **rest)
        half = q.shape[1] // 2
        return torch.cat((turned[:, :half], q[:, half:]), 1), k

    stack.enter_context(mock.patch.object(modeling, "apply_rotary_pos_emb", apply))


def sharp_probs(model: HfModel, stack: ExitStack) -> None:
    modeling = model.modeling

    def forward(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, **k: Any) -> Any:
        keys = modeling.repeat_kv(key, module.num_key_value_groups)
        values = modeling.repeat_kv(value, module.num_key_value_groups)
        scores = torch.matmul(query, keys.transpose(2, 3)) * k["scaling"] + mask
        p = (nn.functional.softmax(scores, dim=-1, dtype=torch.float32) ** 1.2).to(query.dtype)
        return torch.matmul(p, values).transpose(1, 2).contiguous(), p

    stack.enter_context(mock.patch.object(modeling, "eager_attention_forward", forward))


def l1_key_norm(model: HfModel, stack: ExitStack) -> None:
    for layer in model.net.model.layers:
        norm = layer.self_attn.k_norm

        def forward(x: Tensor, norm: nn.Module = norm) -> Tensor:
            wide = x.float()
            return norm.weight * (wide / (wide.abs().mean(-1, keepdim=True) + 1e-6)).to(x.dtype)

        norm.forward = forward


def weak_residual(model: HfModel, stack: ExitStack) -> None:
    layer = model.net.model.layers[2]

    def forward(hidden_states: Tensor, **rest: Any) -> Tensor:
        a, _ = layer.self_attn(hidden_states=layer.input_layernorm(hidden_states), **rest)
        x = hidden_states + 0.5 * a
        return x + layer.mlp(layer.post_attention_layernorm(x))

    layer.forward = forward


def pruned_down(model: HfModel, stack: ExitStack) -> None:
    for layer in model.net.model.layers:
        w = layer.mlp.down_proj.weight.data
        w[w.abs() < w.abs().float().median().to(w.dtype)] = 0


def value_head_copied(model: HfModel, stack: ExitStack) -> None:
    d = model.config.head_dim
    w = model.net.model.layers[1].self_attn.v_proj.weight.data
    w[:d] = w[d : 2 * d].clone()


def mixed_tokens(model: HfModel, stack: ExitStack) -> None:
    embed = model.net.model.embed_tokens
    forward = embed.forward
    embed.forward = lambda ids: torch.where(
        (ids % 7 == 3)[..., None], (forward(ids) + forward(ids // 2)) / 2, forward(ids)
    )


UNKNOWN = [
    UnknownFault(
        "one query head halved",
        "layer_02_q_proj",
        on_output(lambda m: m.layers[2].self_attn.q_proj, lambda x: on_heads(x, 4, 1, lambda h: h / 2)),
    ),
    UnknownFault(
        "a bias on v_proj",
        "layer_01_v_proj",
        on_output(
            lambda m: m.layers[1].self_attn.v_proj,
            lambda x: x + (x.abs().mean() * fixed(x.shape[-1])).to(x.dtype),
        ),
    ),
    UnknownFault(
        "o_proj's sign", "layer_03_attn_output", on_output(lambda m: m.layers[3].self_attn.o_proj, lambda x: -x)
    ),
    UnknownFault(
        "MLP output scaled", "layer_04_mlp_output", on_output(lambda m: m.layers[4].mlp.down_proj, lambda x: 0.9 * x)
    ),
    UnknownFault(
        "channels rolled",
        "layer_00_attn_output",
        on_output(lambda m: m.layers[0].self_attn.o_proj, lambda x: x.roll(5, -1)),
    ),
    UnknownFault(
        "gate bent",
        "layer_02_gate_proj",
        on_output(lambda m: m.layers[2].mlp.gate_proj, lambda x: torch.where(x > 0.1, 0.5 * x, x)),
    ),
    UnknownFault(
        "up's channels shuffled", "layer_05_up_proj", on_output(lambda m: m.layers[5].mlp.up_proj, shuffled)
    ),
    UnknownFault(
        "a dead channel of the final norm", "final_norm_output", on_output(lambda m: m.norm, zero_channel)
    ),
    UnknownFault("one token's embedding noisy", "embedding_output", on_output(lambda m: m.embed_tokens, noisy_row)),
    UnknownFault("half of the query heads not rotated", "layer_00_q_rope", half_of_heads_rotated),
    UnknownFault("probabilities to a power", "layer_00_attn_probs", sharp_probs),
    UnknownFault("key norm by mean absolute value", "layer_00_k_norm", l1_key_norm),
    UnknownFault("half of attention added", "layer_02_attn_residual", weak_residual),
    UnknownFault("down_proj pruned", "layer_00_mlp_output", pruned_down),
    UnknownFault("a value head twice", "layer_01_v_proj", value_head_copied),
    UnknownFault(
        "a factor for each logit",
        "logits",
        on_output(lambda n: n.lm_head, lambda x: x * (1 + 0.2 * fixed(x.shape[-1])).to(x.dtype)),
    ),
    UnknownFault("some tokens mixed with others", "embedding_output", mixed_tokens),
    UnknownFault(
        "one position of a norm lost",
        "layer_03_mlp_norm",
        on_output(lambda m: m.layers[3].post_attention_layernorm, zero_position),
    ),
]
