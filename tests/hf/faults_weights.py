"""Embedding, head, and weights that are read wrongly."""

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from assay_hf.model import HfModel
from fault_base import fault, layers_of, replace

# --- embedding and head ---


@fault("embed-scale", "up")
def _(model: HfModel, stack: ExitStack) -> None:
    scale = model.config.hidden_size**0.5
    replace(
        model.net.model.embed_tokens,
        lambda self, ids: nn.functional.embedding(ids, self.weight) * scale,
    )


@fault("embed-row", "+1")
def _(model: HfModel, stack: ExitStack) -> None:
    replace(
        model.net.model.embed_tokens, lambda self, ids: nn.functional.embedding(ids + 1, self.weight)
    )


@fault("embed-row", "-1")
def _(model: HfModel, stack: ExitStack) -> None:
    replace(
        model.net.model.embed_tokens,
        lambda self, ids: nn.functional.embedding((ids - 1).clamp(min=0), self.weight),
    )


def transposed(weight: Tensor) -> Tensor:
    """The same bytes, read as [in, out]."""
    return weight.reshape(weight.shape[1], weight.shape[0]).T.contiguous()


def set_weight(module: nn.Module, weight: Tensor) -> None:
    module.weight = nn.Parameter(weight.clone(), requires_grad=False)


@fault("embed-transposed")
def _(model: HfModel, stack: ExitStack) -> None:
    # The head keeps the right table.
    set_weight(model.net.lm_head, model.net.lm_head.weight)
    set_weight(
        model.net.model.embed_tokens, transposed(model.net.model.embed_tokens.weight)
    )


@fault("tie-wrong", untied=True)
def _(model: HfModel, stack: ExitStack) -> None:
    set_weight(model.net.lm_head, model.net.model.embed_tokens.weight)


def on_logits(model: HfModel, change: Callable[[Tensor], Tensor]) -> None:
    replace(
        model.net.lm_head, lambda self, x: change(nn.functional.linear(x, self.weight))
    )


@fault("logits-row", "before")
def _(model: HfModel, stack: ExitStack) -> None:
    on_logits(model, lambda x: torch.cat((x[:, :1], x[:, :-1]), 1))


@fault("logits-scale", "temperature")
def _(model: HfModel, stack: ExitStack) -> None:
    on_logits(model, lambda x: x / 0.7)


@fault("logits-scale", "scaled table")
def _(model: HfModel, stack: ExitStack) -> None:
    on_logits(model, lambda x: x * model.config.hidden_size**0.5)


@fault("final-softcap")
def _(model: HfModel, stack: ExitStack) -> None:
    on_logits(model, lambda x: 30 * torch.tanh(x / 30))



# --- weights ---

PROJECTIONS = {
    "q_proj": "self_attn",
    "k_proj": "self_attn",
    "v_proj": "self_attn",
    "o_proj": "self_attn",
    "gate_proj": "mlp",
    "up_proj": "mlp",
    "down_proj": "mlp",
}


def projection(layer: nn.Module, name: str) -> nn.Module:
    return getattr(getattr(layer, PROJECTIONS[name]), name)


for _name in ("q_proj", "o_proj", "up_proj", "down_proj"):

    @fault("w-transposed", _name)
    def _(model: HfModel, stack: ExitStack, name: str = _name) -> None:
        for layer in layers_of(model):
            w = projection(layer, name)
            set_weight(w, transposed(w.weight))


@fault("w-transposed", "down_proj of layer 3")
def _(model: HfModel, stack: ExitStack) -> None:
    w = layers_of(model)[3].mlp.down_proj
    set_weight(w, transposed(w.weight))


@fault("kv-swapped")
def _(model: HfModel, stack: ExitStack) -> None:
    for layer in layers_of(model):
        attn = layer.self_attn
        attn.k_proj, attn.v_proj = attn.v_proj, attn.k_proj


@fault("qkv-split")
def _(model: HfModel, stack: ExitStack) -> None:
    d = model.config.head_dim
    for layer in layers_of(model):
        a = layer.self_attn
        groups = model.config.num_key_value_heads
        q = a.q_proj.weight.view(groups, -1, a.q_proj.weight.shape[1])
        k = a.k_proj.weight.view(groups, d, -1)
        v = a.v_proj.weight.view(groups, d, -1)
        fused = torch.cat((q, k, v), 1).flatten(0, 1)
        n, m = a.q_proj.weight.shape[0], a.k_proj.weight.shape[0]
        set_weight(a.q_proj, fused[:n])
        set_weight(a.k_proj, fused[n : n + m])
        set_weight(a.v_proj, fused[n + m :])


def permuted(weight: Tensor, head_dim: int) -> Tensor:
    """Moves rows (i, i + n/2) of each head to (2i, 2i + 1), as a conversion for the other RoPE does."""
    heads = weight.view(-1, 2, head_dim // 2, weight.shape[1])
    return heads.transpose(1, 2).reshape(weight.shape)


for _names in (("q_proj", "k_proj"), ("k_proj",)):

    @fault("qk-permute", " and ".join(_names))
    def _(model: HfModel, stack: ExitStack, names: tuple[str, ...] = _names) -> None:
        for layer in layers_of(model):
            for name in names:
                w = projection(layer, name)
                set_weight(w, permuted(w.weight, model.config.head_dim))


@fault("shard-offset", "k_proj")
def _(model: HfModel, stack: ExitStack) -> None:
    for layer in layers_of(model):
        set_weight(layer.self_attn.k_proj, layer.self_attn.k_proj.weight.roll(-1, 0))


@fault("shard-offset", "gate_proj of layer 2")
def _(model: HfModel, stack: ExitStack) -> None:
    w = layers_of(model)[2].mlp.gate_proj
    set_weight(w, w.weight.roll(1, 0))


@fault("tensor-missing", "up_proj of layer 4")
def _(model: HfModel, stack: ExitStack) -> None:
    w = layers_of(model)[4].mlp.up_proj
    set_weight(w, torch.zeros_like(w.weight))


@fault("tensor-missing", "k_norm")
def _(model: HfModel, stack: ExitStack) -> None:
    for layer in layers_of(model):
        set_weight(layer.self_attn.k_norm, torch.zeros_like(layer.self_attn.k_norm.weight))


@fault("tensor-of-other-layer", "v_proj")
def _(model: HfModel, stack: ExitStack) -> None:
    own = [layer.self_attn.v_proj for layer in layers_of(model)]
    for layer, before in zip(list(layers_of(model))[1:], own, strict=False):
        layer.self_attn.v_proj = before


@fault("tensor-of-other-layer", "input_layernorm of layer 3")
def _(model: HfModel, stack: ExitStack) -> None:
    layers = layers_of(model)
    set_weight(layers[3].input_layernorm, layers[4].input_layernorm.weight)


def reorder(model: HfModel, order: list[int]) -> None:
    copies = [layers_of(model)[i] for i in order]
    for index, layer in enumerate(copies):
        layer.self_attn.layer_idx = index
    model.net.model.layers = nn.ModuleList(copies)
    model.net.config.num_hidden_layers = len(order)


@fault("layer-order", "exchanged")
def _(model: HfModel, stack: ExitStack) -> None:
    order = list(range(len(layers_of(model))))
    order[1], order[2] = order[2], order[1]
    reorder(model, order)


@fault("layer-order", "backwards")
def _(model: HfModel, stack: ExitStack) -> None:
    reorder(model, list(range(len(layers_of(model))))[::-1])


@fault("layer-missing", "last")
def _(model: HfModel, stack: ExitStack) -> None:
    reorder(model, list(range(len(layers_of(model)) - 1)))


@fault("layer-missing", "in the middle")
def _(model: HfModel, stack: ExitStack) -> None:
    replace(layers_of(model)[3], lambda self, hidden_states, **_: hidden_states)
