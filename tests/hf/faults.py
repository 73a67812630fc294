"""Porting mistakes, made in transformers' Qwen3: what `assay diagnose` must name.

Each fault changes a fresh copy of the model. Nothing here knows Assay's catalog but the names.
"""

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import MethodType
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from assay_hf.model import HfModel

# (model, stack): changes the model, whose modules are a copy; the stack undoes what is global.
Change = Callable[[HfModel, ExitStack], None]


@dataclass
class Fault:
    entry: str
    variant: str
    change: Change
    decode: bool = False  # shows only in tokens decoded one by one
    bf16: bool = True  # whether it is a mistake in a BF16 run
    f32: bool = True
    untied: bool = False  # needs a head of its own

    @property
    def name(self) -> str:
        return f"{self.entry}:{self.variant}" if self.variant else self.entry


FAULTS: list[Fault] = []


def fault(entry: str, variant: str = "", **options: Any) -> Callable[[Change], Change]:
    def add(change: Change) -> Change:
        FAULTS.append(Fault(entry, variant, change, **options))
        return change

    return add


def layers_of(model: HfModel) -> Any:
    return model.net.model.layers


def norms_of(model: HfModel) -> list[nn.Module]:
    return [m for m in model.net.modules() if type(m).__name__.endswith("RMSNorm")]


def replace(module: nn.Module, forward: Callable[..., Any]) -> None:
    module.forward = MethodType(forward, module)


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
    """The same bytes, taken for [in, out]."""
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
    """Rows (i, i + n/2) of each head moved to (2i, 2i + 1), as a conversion for another RoPE does."""
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


# --- norms ---


def rms(
    *,
    eps: float | None = None,
    outside: bool = False,
    plus: float = 0.0,
    weighted: bool = True,
    centred: bool = False,
    total: bool = False,
    once: bool = False,
    low: bool = False,
) -> Callable[[nn.Module, Tensor], Tensor]:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        dtype = x.dtype
        e = self.variance_epsilon if eps is None else eps
        if low:
            x = x.bfloat16()
            r = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + e).to(dtype)
            return self.weight * (x.to(dtype) * r)
        x = x.float()
        if centred:
            x = x - x.mean(-1, keepdim=True)
        square = x.pow(2).sum(-1, keepdim=True) if total else x.pow(2).mean(-1, keepdim=True)
        x = x / (square.sqrt() + e) if outside else x * torch.rsqrt(square + e)
        weight = self.weight + plus if weighted else torch.ones_like(self.weight)
        if once:
            return (weight.float() * x).to(dtype)
        return weight * x.to(dtype)

    return forward


def in_norms(which: str, **options: Any) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        norms = {
            "all": norms_of(model),
            "q_norm": [layer.self_attn.q_norm for layer in layers_of(model)],
            "input": [layer.input_layernorm for layer in layers_of(model)],
            "mlp": [layer.post_attention_layernorm for layer in layers_of(model)],
            "final": [model.net.model.norm],
        }[which]
        for norm in norms:
            replace(norm, rms(**options))

    return change


for _entry, _which, _options in (
    ("eps-value", "all", {"eps": 1e-5}),
    ("eps-value", "input", {"eps": 1e-4}),
    ("eps-value", "q_norm", {"eps": 1e-3}),
    ("eps-outside", "all", {"outside": True}),
    ("norm-plus1", "all", {"plus": 1.0}),
    ("norm-plus1", "final", {"plus": 1.0}),
    ("norm-no-weight", "all", {"weighted": False}),
    ("norm-no-weight", "mlp", {"weighted": False}),
    ("layernorm", "all", {"centred": True}),
    ("norm-sum", "input", {"total": True}),
):
    FAULTS.append(Fault(_entry, _which, in_norms(_which, **_options)))
FAULTS.append(Fault("norm-cast-order", "", in_norms("all", once=True), f32=False))
FAULTS.append(Fault("norm-lowp-var", "", in_norms("all", low=True)))


def identity(self: nn.Module, x: Tensor) -> Tensor:
    return x


@fault("norm-missing", "input")
def _(model: HfModel, stack: ExitStack) -> None:
    for layer in layers_of(model):
        replace(layer.input_layernorm, identity)


@fault("norm-missing", "mlp")
def _(model: HfModel, stack: ExitStack) -> None:
    for layer in layers_of(model):
        replace(layer.post_attention_layernorm, identity)


@fault("norms-swapped")
def _(model: HfModel, stack: ExitStack) -> None:
    for layer in layers_of(model):
        a, b = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
        layer.input_layernorm.weight, layer.post_attention_layernorm.weight = b, a


@fault("final-norm-missing")
def _(model: HfModel, stack: ExitStack) -> None:
    replace(model.net.model.norm, identity)


@fault("final-norm-twice")
def _(model: HfModel, stack: ExitStack) -> None:
    once = rms()
    replace(model.net.model.norm, lambda self, x: once(self, once(self, x)))


# --- query and key norms ---


@fault("qk-norm-missing", "both")
def _(model: HfModel, stack: ExitStack) -> None:
    for layer in layers_of(model):
        replace(layer.self_attn.q_norm, identity)
        replace(layer.self_attn.k_norm, identity)


@fault("qk-norm-missing", "keys")
def _(model: HfModel, stack: ExitStack) -> None:
    for layer in layers_of(model):
        replace(layer.self_attn.k_norm, identity)


@fault("qk-norm-fulldim")
def _(model: HfModel, stack: ExitStack) -> None:
    def across(self: nn.Module, x: Tensor) -> Tensor:  # [1, S, N, D]
        wide = x.float()
        r = torch.rsqrt(wide.pow(2).mean((-2, -1), keepdim=True) + self.variance_epsilon)
        return self.weight * (wide * r).to(x.dtype)

    for layer in layers_of(model):
        replace(layer.self_attn.q_norm, across)
        replace(layer.self_attn.k_norm, across)


@fault("qk-norm-weights-swapped")
def _(model: HfModel, stack: ExitStack) -> None:
    for layer in layers_of(model):
        attn = layer.self_attn
        attn.q_norm.weight, attn.k_norm.weight = attn.k_norm.weight, attn.q_norm.weight


def attention_with(**options: Any) -> Change:
    """Attention's own forward, written anew."""

    def change(model: HfModel, stack: ExitStack) -> None:
        modeling = model.modeling

        def forward(self, hidden_states, position_embeddings, attention_mask, past_key_values=None, **_):  # noqa: ANN001, ANN202, ANN003, E501
            shape = (*hidden_states.shape[:-1], -1, self.head_dim)
            q = self.q_proj(hidden_states).view(shape)
            k = self.k_proj(hidden_states).view(shape)
            v = self.v_proj(hidden_states).view(shape)
            late = options.get("norm_after_rope", False)
            if not late:
                q, k = self.q_norm(q), self.k_norm(k)
            if options.get("v_norm"):
                v = rms()(self.k_norm, v)
            cos, sin = position_embeddings
            q, k = modeling.apply_rotary_pos_emb(q.transpose(1, 2), k.transpose(1, 2), cos, sin)
            if late:
                q = self.q_norm(q.transpose(1, 2)).transpose(1, 2)
                k = self.k_norm(k.transpose(1, 2)).transpose(1, 2)
            v = v.transpose(1, 2)
            if options.get("rope_v"):
                c, s = cos.unsqueeze(1), sin.unsqueeze(1)
                v = v * c + modeling.rotate_half(v) * s
            context, probs = modeling.eager_attention_forward(
                self, q, k, v, attention_mask, scaling=self.scaling
            )
            context = context.reshape(*hidden_states.shape[:-1], -1).contiguous()
            return self.o_proj(context), probs

        for layer in layers_of(model):
            replace(layer.self_attn, forward)

    return change


FAULTS.append(Fault("qk-norm-after-rope", "", attention_with(norm_after_rope=True)))
FAULTS.append(Fault("v-norm-too", "", attention_with(v_norm=True)))
FAULTS.append(Fault("rope-on-v", "", attention_with(rope_v=True)))

# --- RoPE ---


def set_inv_freq(model: HfModel, inv_freq: Tensor) -> None:
    rotary = model.net.model.rotary_emb
    rotary.inv_freq = inv_freq
    rotary.original_inv_freq = inv_freq.clone()


def inv_freq(theta: float, dim: int, factor: float = 2.0, width: int | None = None) -> Tensor:
    i = torch.arange(0, dim // 2, dtype=torch.float)
    return 1.0 / (theta ** (factor * i / (width or dim)))


for _theta in (1e4, 5e5):

    @fault("rope-theta", f"{_theta:.0f}")
    def _(model: HfModel, stack: ExitStack, theta: float = _theta) -> None:
        set_inv_freq(model, inv_freq(theta, model.config.head_dim))


@fault("rope-exponent", "i/d")
def _(model: HfModel, stack: ExitStack) -> None:
    theta = float(model.config.rope_parameters["rope_theta"])
    set_inv_freq(model, inv_freq(theta, model.config.head_dim, factor=1.0))


@fault("rope-exponent", "hidden")
def _(model: HfModel, stack: ExitStack) -> None:
    theta = float(model.config.rope_parameters["rope_theta"])
    set_inv_freq(model, inv_freq(theta, model.config.head_dim, width=model.config.hidden_size))


def rotate_with(rotate: Callable[[Any, Tensor, Tensor, Tensor], Tensor], **which: bool) -> Change:
    """rotate(modeling, x, cos, sin) in place of the rotation of queries and keys."""

    def change(model: HfModel, stack: ExitStack) -> None:
        modeling = model.modeling

        def apply(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> Any:
            c, s = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
            right = lambda x: x * c + modeling.rotate_half(x) * s  # noqa: E731
            q = rotate(modeling, q, c, s) if which.get("q", True) else right(q)
            k = rotate(modeling, k, c, s) if which.get("k", True) else right(k)
            return q, k

        stack.enter_context(mock.patch.object(modeling, "apply_rotary_pos_emb", apply))

    return change


def interleaved(_: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    cos, sin = (t[..., :half].repeat_interleave(2, -1) for t in (cos, sin))
    pairs = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
    return x * cos + pairs * sin


def backwards(m: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return x * cos + m.rotate_half(x) * -sin


def twice(m: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    x = x * cos + m.rotate_half(x) * sin
    return x * cos + m.rotate_half(x) * sin


def exchanged(m: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return x * sin + m.rotate_half(x) * cos


def not_at_all(_: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return x


FAULTS += [
    Fault("rope-interleaved", "", rotate_with(interleaved)),
    Fault("rope-sign", "", rotate_with(backwards)),
    Fault("rope-cos-sin", "", rotate_with(exchanged)),
    Fault("rope-twice", "", rotate_with(twice)),
    Fault("rope-missing", "both", rotate_with(not_at_all)),
    Fault("rope-missing", "queries", rotate_with(not_at_all, k=False)),
    Fault("rope-missing", "keys", rotate_with(not_at_all, q=False)),
]


@fault("rope-partial")
def _(model: HfModel, stack: ExitStack) -> None:
    dims = model.config.head_dim // 2
    freqs = inv_freq(float(model.config.rope_parameters["rope_theta"]), dims)

    def part(m: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        angles = torch.arange(x.shape[2], dtype=torch.float)[:, None] * freqs
        angles = torch.cat((angles, angles), -1)
        c, s = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        turned = x[..., :dims]
        return torch.cat((turned * c + m.rotate_half(turned) * s, x[..., dims:]), -1)

    rotate_with(part)(model, stack)


def on_positions(change: Callable[[Tensor], Tensor]) -> Change:
    def patch(model: HfModel, stack: ExitStack) -> None:
        def forward(self: nn.Module, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
            freqs = change(position_ids.float())[..., None] * self.inv_freq.float()
            emb = torch.cat((freqs, freqs), -1)
            return emb.cos().to(x.dtype), emb.sin().to(x.dtype)

        replace(model.net.model.rotary_emb, forward)

    return patch


FAULTS += [
    Fault("rope-scaling", "4", on_positions(lambda p: p / 4)),
    Fault("pos-offset", "+1", on_positions(lambda p: p + 1)),
]


@fault("rope-table-lowp", "inv_freq")
def _(model: HfModel, stack: ExitStack) -> None:
    set_inv_freq(model, model.net.model.rotary_emb.inv_freq.bfloat16().float())


@fault("rope-table-lowp", "angles")
def _(model: HfModel, stack: ExitStack) -> None:
    def forward(self: nn.Module, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        freqs = position_ids.bfloat16()[..., None].float() * self.inv_freq.float()
        emb = torch.cat((freqs, freqs), -1).bfloat16().float()
        return emb.cos().to(x.dtype), emb.sin().to(x.dtype)

    replace(model.net.model.rotary_emb, forward)


# --- attention ---


def attend(
    *,
    scale: Callable[[Any], float] | None = None,
    keys: Callable[[Tensor, int], Tensor] | None = None,
    values: Callable[[Tensor, int], Tensor] | None = None,
    scores: Callable[[Tensor], Tensor] | None = None,
    hide: Callable[[Tensor], Tensor] | None = None,
    softmax: Callable[[Tensor], Tensor] | None = None,
    probs: Callable[[Tensor], Tensor] | None = None,
    merge: Callable[[Tensor], Tensor] | None = None,
) -> Change:
    """hide: whether [queries, keys] are hidden. softmax: of scores [.., queries, keys] in FP32."""

    def change(model: HfModel, stack: ExitStack) -> None:
        modeling = model.modeling

        def forward(module, q, k, v, attention_mask, scaling, **_):  # noqa: ANN001, ANN202, ANN003
            groups = module.num_key_value_groups
            k = (keys or modeling.repeat_kv)(k, groups)
            v = (values or modeling.repeat_kv)(v, groups)
            s = torch.matmul(q, k.transpose(2, 3)) * (scale(module) if scale else scaling)
            if scores:
                s = scores(s)
            i = torch.arange(s.shape[-2])[:, None] + s.shape[-1] - s.shape[-2]
            j = torch.arange(s.shape[-1])[None]
            hidden = hide(j - i) if hide else j > i
            s = s.masked_fill(hidden, torch.finfo(s.dtype).min)
            p = nn.functional.softmax(s, dim=-1, dtype=torch.float32)
            if softmax:
                p = softmax(s)
            p = p.to(q.dtype)
            if probs:
                p = probs(p)
            context = torch.matmul(p, v)
            return (merge or (lambda x: x.transpose(1, 2).contiguous()))(context), p

        stack.enter_context(mock.patch.object(modeling, "eager_attention_forward", forward))

    return change


def tiled(x: Tensor, groups: int) -> Tensor:
    return x.repeat(1, groups, 1, 1)


def low_softmax(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    def softmax(s: Tensor) -> Tensor:
        e = (s.float() - s.float().max(-1, keepdim=True).values).to(dtype).exp()
        return (e / e.float().sum(-1, keepdim=True).to(dtype)).float()

    return softmax


def plus_one(s: Tensor) -> Tensor:
    zero = torch.zeros_like(s[..., :1], dtype=torch.float)
    return torch.cat((zero, s.float()), -1).softmax(-1)[..., 1:]


def masked_late(s: Tensor) -> Tensor:
    return s


FAULTS += [
    Fault("attn-scale", "none", attend(scale=lambda m: 1.0)),
    Fault("attn-scale", "twice", attend(scale=lambda m: 1 / m.head_dim)),
    Fault(
        "attn-scale",
        "hidden / heads",
        attend(scale=lambda m: (m.config.hidden_size / m.config.num_attention_heads) ** -0.5),
    ),
    Fault("gqa-map", "", attend(keys=tiled, values=tiled)),
    Fault("gqa-map-keys", "", attend(keys=tiled)),
    Fault("heads-merge", "", attend(merge=lambda x: x.contiguous())),
    Fault("mask-missing", "", attend(hide=lambda d: d > 10**6)),
    Fault("mask-off-by-one", "sees the next", attend(hide=lambda d: d > 1)),
    Fault("mask-off-by-one", "not itself", attend(hide=lambda d: d > -1)),
    Fault(
        "mask-zero",
        "",
        attend(hide=lambda d: d > 10**6, scores=lambda s: s * torch.tril(torch.ones_like(s))),
    ),
    Fault("mask-after-softmax", "", attend(hide=lambda d: d > 10**6, probs=torch.tril)),
    Fault("sliding-window", "16", attend(hide=lambda d: (d > 0) | (d <= -16))),
    Fault("softmax-wrong-axis", "", attend(softmax=lambda s: s.float().softmax(-2))),
    Fault("softmax-lowp", "bf16", attend(softmax=low_softmax(torch.bfloat16))),
    Fault("softmax-plus-one", "", attend(softmax=plus_one)),
    Fault("attn-softcap", "", attend(scores=lambda s: 10 * torch.tanh(s / 10))),
]


def int8_rows(x: Tensor) -> Tensor:
    step = x.float().abs().amax(-1, keepdim=True) / 127
    return (torch.round(x.float() / step) * step).to(x.dtype)


@fault("kv-quant", "int8")
def _(model: HfModel, stack: ExitStack) -> None:
    def through(repeat: Any) -> Any:
        return lambda x, groups: repeat(int8_rows(x), groups)

    repeat = model.modeling.repeat_kv
    attend(keys=through(repeat), values=through(repeat))(model, stack)


@fault("kv-quant", "fp8")
def _(model: HfModel, stack: ExitStack) -> None:
    repeat = model.modeling.repeat_kv

    def through(x: Tensor, groups: int) -> Tensor:
        return repeat(x.to(torch.float8_e4m3fn).to(x.dtype), groups)

    attend(keys=through, values=through)(model, stack)


# --- MLP, residual stream ---


def mlp_with(forward: Callable[[nn.Module, Tensor], Tensor]) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        for layer in layers_of(model):
            replace(layer.mlp, forward)

    return change


F = nn.functional
for _variant, _act in (
    ("gelu", F.gelu),
    ("gelu tanh", lambda x: F.gelu(x, approximate="tanh")),
    ("relu", F.relu),
    ("none", lambda x: x),
    ("quick gelu", lambda x: x * torch.sigmoid(1.702 * x.float()).to(x.dtype)),
):
    FAULTS.append(
        Fault(
            "act-variant",
            _variant,
            mlp_with(lambda m, x, a=_act: m.down_proj(a(m.gate_proj(x)) * m.up_proj(x))),
        )
    )
FAULTS += [
    Fault(
        "gate-up-swap", "", mlp_with(lambda m, x: m.down_proj(m.gate_proj(x) * F.silu(m.up_proj(x))))
    ),
    Fault(
        "act-on-product",
        "",
        mlp_with(lambda m, x: m.down_proj(F.silu(m.gate_proj(x) * m.up_proj(x)))),
    ),
]


@fault("gate-up-swap", "weights")
def _(model: HfModel, stack: ExitStack) -> None:
    for layer in layers_of(model):
        layer.mlp.gate_proj, layer.mlp.up_proj = layer.mlp.up_proj, layer.mlp.gate_proj


@fault("gate-up-mixed")
def _(model: HfModel, stack: ExitStack) -> None:
    for layer in layers_of(model):
        gate, up = layer.mlp.gate_proj, layer.mlp.up_proj
        fused = torch.stack((gate.weight, up.weight), 1).flatten(0, 1)
        rows = gate.weight.shape[0]
        set_weight(gate, fused[:rows])
        set_weight(up, fused[rows:])


def block_with(**options: Any) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        def forward(self: nn.Module, hidden_states: Tensor, **rest: Any) -> Tensor:
            x = hidden_states
            if options.get("post"):
                a, _ = self.self_attn(hidden_states=x, **rest)
                x = self.input_layernorm(x + a)
                return self.post_attention_layernorm(x + self.mlp(x))
            normed = self.input_layernorm(x)
            a, _ = self.self_attn(hidden_states=normed, **rest)
            mid = {"none": a, "normed": normed + a}.get(options.get("attn", ""), x + a)
            if options.get("parallel"):
                # The tap of the stream is the norm's input in a run that is right.
                normed = self.post_attention_layernorm(x)
                return mid + self.mlp(normed)
            normed = self.post_attention_layernorm(mid)
            m = self.mlp(normed)
            source = {"none": None, "normed": normed, "input": x}.get(options.get("mlp", ""), mid)
            return m if source is None else source + m

        for layer in layers_of(model):
            replace(layer, forward)

    return change


FAULTS += [
    Fault("residual-missing", "attention", block_with(attn="none")),
    Fault("residual-missing", "mlp", block_with(mlp="none")),
    Fault("residual-from-normed", "attention", block_with(attn="normed")),
    Fault("residual-from-normed", "mlp", block_with(mlp="normed")),
    Fault("residual-source", "", block_with(mlp="input")),
    Fault("parallel-block", "", block_with(parallel=True)),
    Fault("norm-place", "", block_with(post=True)),
]

# --- precision ---


def on_matrices(change: Callable[[Tensor], Tensor]) -> Change:
    def patch(model: HfModel, stack: ExitStack) -> None:
        for layer in layers_of(model):
            for name in PROJECTIONS:
                w = projection(layer, name)
                set_weight(w, change(w.weight))

    return patch


def int4_blocks(w: Tensor) -> Tensor:
    blocks = w.float().view(-1, 32)
    step = blocks.abs().amax(-1, keepdim=True) / 7
    return (torch.round(blocks / step) * step).view(w.shape).to(w.dtype)


FAULTS += [
    # In BF16 transformers rounds the quantised weights once more; in FP32 it holds them.
    Fault("int8-weights", "", on_matrices(int8_rows)),
    Fault("int4-weights", "", on_matrices(int4_blocks)),
    Fault(
        "fp8-weights", "", on_matrices(lambda w: w.to(torch.float8_e4m3fn).to(w.dtype))
    ),
]


@fault("bf16-as-fp16")
def _(model: HfModel, stack: ExitStack) -> None:
    for parameter in model.net.parameters():
        bits = parameter.data.to(torch.bfloat16).view(torch.float16)
        parameter.data = bits.to(parameter.dtype)


# --- decode ---


def in_decode(change: Callable[[nn.Module, Tensor, Tensor, Tensor, Any], Any]) -> Change:
    """change(module, q, k, v, mask) -> (k, v, hidden keys) in steps of one token."""

    def patch(model: HfModel, stack: ExitStack) -> None:
        modeling = model.modeling
        attend_right = modeling.eager_attention_forward

        def forward(module, q, k, v, attention_mask, scaling, **rest):  # noqa: ANN001, ANN202, ANN003
            if q.shape[2] == 1:
                k, v, hidden = change(module, q, k, v, model)
                attention_mask = torch.zeros(1, 1, 1, k.shape[2], dtype=q.dtype)
                if hidden is not None:
                    attention_mask[..., hidden] = torch.finfo(q.dtype).min
            return attend_right(module, q, k, v, attention_mask, scaling, **rest)

        stack.enter_context(mock.patch.object(modeling, "eager_attention_forward", forward))

    return patch


PREFILL = 24  # tokens of the prompt before decoding begins


def slots(by: int) -> Callable[..., Any]:
    def change(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, model: Any) -> Any:
        n = k.shape[2]
        moved = []
        for x in (k, v):
            y = torch.zeros_like(x)
            y[:, :, :PREFILL] = x[:, :, :PREFILL]
            for token in range(PREFILL, n):
                if token + by < n:
                    y[:, :, token + by] = x[:, :, token]
            moved.append(y)
        return moved[0], moved[1], None

    return change


def rotation(model: Any, positions: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    like = torch.empty(1, dtype=dtype)
    cos, sin = model.net.model.rotary_emb(like, torch.arange(positions)[None])
    return cos.unsqueeze(1), sin.unsqueeze(1)


def again(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, model: Any) -> Any:
    cos, sin = rotation(model, PREFILL, k.dtype)
    old = k[:, :, :PREFILL]
    old = old * cos + model.modeling.rotate_half(old) * sin
    return torch.cat((old, k[:, :, PREFILL:]), 2), v, None


FAULTS += [
    Fault(
        "kv-not-read",
        "",
        in_decode(lambda m, q, k, v, x: (k, v, slice(0, k.shape[2] - 1))),
        decode=True,
    ),
    Fault(
        "mask-alignment",
        "",
        in_decode(lambda m, q, k, v, x: (k, v, slice(1, None))),
        decode=True,
    ),
    Fault(
        "kv-late",
        "",
        in_decode(lambda m, q, k, v, x: (k, v, slice(k.shape[2] - 1, None))),
        decode=True,
    ),
    Fault("kv-slot", "+1", in_decode(slots(1)), decode=True),
    Fault("kv-rerotated", "", in_decode(again), decode=True),
]


@fault("kv-unrotated", decode=True)
def _(model: HfModel, stack: ExitStack) -> None:
    plain: dict[int, Tensor] = {}
    for layer in layers_of(model):
        norm = layer.self_attn.k_norm

        def keep(_m: Any, _in: Any, out: Tensor, i: int = layer.self_attn.layer_idx) -> None:
            if out.shape[1] > 1:
                plain[i] = out.transpose(1, 2).clone()

        norm.register_forward_hook(keep)

    def change(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, _: Any) -> Any:
        return torch.cat((plain[module.layer_idx], k[:, :, PREFILL:]), 2), v, None

    in_decode(change)(model, stack)


def decode_position(change: Callable[[int], int]) -> Change:
    def patch(model: HfModel, stack: ExitStack) -> None:
        rotary = model.net.model.rotary_emb
        right = rotary.forward

        def forward(x: Tensor, position_ids: Tensor) -> Any:
            if position_ids.shape[-1] == 1:
                position_ids = torch.tensor([[change(int(position_ids))]])
            return right(x, position_ids)

        rotary.forward = forward

    return patch


FAULTS += [
    Fault("pos-decode", "+1", decode_position(lambda p: p + 1), decode=True),
    Fault("pos-decode", "-1", decode_position(lambda p: p - 1), decode=True),
    Fault("pos-stuck", "", decode_position(lambda p: PREFILL), decode=True),
]


def place_of(fault: Fault) -> str:
    """What it changes: two faults of one place cannot be made together."""
    places = {
        "embed": "embedding",
        "tie-wrong": "head",
        "logits": "head",
        "final-softcap": "head",
        "final-norm": "norms",
        "qk-norm-after-rope": "attention",
        "v-norm-too": "attention",
        "rope-on-v": "attention",
        "rope-theta": "frequencies",
        "rope-exponent": "frequencies",
        "rope-table-lowp": "frequencies",
        "rope-scaling": "frequencies",
        "pos-offset": "frequencies",
        "rope": "rotation",
        "attn-": "attend",
        "gqa": "attend",
        "heads": "attend",
        "mask": "attend",
        "sliding": "attend",
        "softmax": "attend",
        "kv-quant": "attend",
        "act-": "mlp",
        "gate-up-swap": "mlp",
        "residual": "block",
        "parallel": "block",
        "norm-place": "block",
        "layer-": "layers",
        "qk-norm": "head norms",
        "norm": "norms",
        "eps": "norms",
        "layernorm": "norms",
    }
    for start, place in places.items():
        if fault.entry.startswith(start):
            return place
    return "weights"


def random_pairs(count: int, seed: int, untied: bool, bf16: bool) -> list[tuple[Fault, Fault]]:
    """Pairs of faults that show in a whole prompt, at different places."""
    import random

    usable = [
        f
        for f in FAULTS
        if not f.decode and (f.bf16 if bf16 else f.f32) and (untied or not f.untied)
    ]
    rng = random.Random(seed)
    pairs: list[tuple[Fault, Fault]] = []
    while len(pairs) < count:
        a, b = rng.sample(usable, 2)
        if place_of(a) != place_of(b) and a.entry != b.entry:
            pairs.append((a, b))
    return pairs
