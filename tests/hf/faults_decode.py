"""Faults that show only in tokens decoded one by one."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from assay_hf.model import HfModel
from fault_base import Change, FAULTS, Fault, fault, layers_of


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
