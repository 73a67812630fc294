"""Porting mistakes in what only gpt-oss has, made in transformers."""

from collections.abc import Callable
from contextlib import ExitStack
from types import MethodType
from typing import Any
from unittest import mock

import torch
from assay_hf.model import HfModel
from fault_base import Change, layers_of, replace
from torch import Tensor, nn
from torch.nn import functional as F


def sinks_with(change: Callable[[Tensor], Tensor]) -> Change:
    """Changes what attention reads as sinks."""

    def patch(model: HfModel, stack: ExitStack) -> None:
        for layer in layers_of(model):
            layer.self_attn.sinks.data = change(layer.self_attn.sinks.data)

    return patch


def sinks_on_first_key(model: HfModel, stack: ExitStack) -> None:
    """The sink's probability goes to the first key that a query sees."""
    attend = model.modeling.eager_attention_forward

    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, scaling: float, **more: Any
    ) -> tuple[Tensor, Tensor]:
        probs = attend(module, query, key, value, mask, scaling, **more)[1]
        count = probs.shape[-1]
        query_at = torch.arange(count)
        window = module.sliding_window or count
        first = (query_at - window + 1).clamp(min=0)
        taken = (1 - probs.float().sum(-1)).to(probs.dtype)
        probs = probs.clone()
        probs[:, :, query_at, first] += taken
        groups = query.shape[1] // value.shape[1]
        context = probs @ value.repeat_interleave(groups, dim=1)
        return context.transpose(1, 2).contiguous(), probs

    stack.enter_context(mock.patch.object(model.modeling, "eager_attention_forward", attention))


def gate_with(
    limit: bool = True, one: float = 1.0, alpha: float | None = None, halves: bool = False
) -> Change:
    """Another arithmetic of the experts' gate."""

    def patch(model: HfModel, stack: ExitStack) -> None:
        def gating(self: nn.Module, rows: Tensor) -> Tensor:
            gate, up = rows.chunk(2, dim=-1) if halves else (rows[..., ::2], rows[..., 1::2])
            if limit:
                gate = gate.clamp(max=self.limit)
                up = up.clamp(-self.limit, self.limit)
            factor = self.alpha if alpha is None else alpha
            return (up + one) * (gate * torch.sigmoid(factor * gate))

        for layer in layers_of(model):
            layer.mlp.experts._apply_gate = MethodType(gating, layer.mlp.experts)

    return patch


def halved_rows(model: HfModel, stack: ExitStack) -> None:
    """Rows that alternate are read as halves: as if gate were stored before up."""
    for layer in layers_of(model):
        experts = layer.mlp.experts
        for name in ("gate_up_proj", "gate_up_proj_bias"):
            own = getattr(experts, name).data
            halves = own.chunk(2, dim=-1)
            getattr(experts, name).data = torch.stack(halves, dim=-1).reshape(own.shape)


def softmax_before_choice(model: HfModel, stack: ExitStack) -> None:
    def forward(self: nn.Module, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = F.linear(hidden_states, self.weight, self.bias)
        scores, ids = torch.topk(logits.float().softmax(-1), self.top_k, dim=-1)
        return logits, scores.to(logits.dtype), ids

    for layer in layers_of(model):
        replace(layer.mlp.router, forward)


def without_expert_biases(*names: str) -> Change:
    def patch(model: HfModel, stack: ExitStack) -> None:
        for layer in layers_of(model):
            for name in names:
                getattr(layer.mlp.experts, name).data.zero_()

    return patch


def without_router_bias(model: HfModel, stack: ExitStack) -> None:
    for layer in layers_of(model):
        layer.mlp.router.bias.data.zero_()


def swapped_nibbles(model: HfModel, stack: ExitStack) -> None:
    """Inputs 2i and 2i + 1 of the experts' matrices, which share a byte."""
    for layer in layers_of(model):
        for name in ("gate_up_proj", "down_proj"):
            weight = getattr(layer.mlp.experts, name)
            pairs = weight.data.unflatten(1, (-1, 2))
            weight.data = pairs.flip(2).flatten(1, 2).contiguous()
