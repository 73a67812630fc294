"""RMSNorm, and the norms of queries and keys."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from assay_hf.model import HfModel
from fault_base import Change, FAULTS, Fault, fault, layers_of, norms_of, replace

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
    """Attention's own forward, rewritten."""

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
