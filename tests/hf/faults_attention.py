"""RoPE and attention."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from assay_hf.model import HfModel
from fault_base import Change, FAULTS, Fault, fault, replace

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
    """Uses rotate(modeling, x, cos, sin) for queries and keys."""

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
    """hide(queries, keys): which entries are masked. softmax: of scores [.., queries, keys] in FP32."""

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
