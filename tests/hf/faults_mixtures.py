"""Ways to get routers and shared experts wrong, made in transformers."""

from collections.abc import Callable
from contextlib import ExitStack
from types import MethodType
from typing import Any

import torch
from assay_hf.model import HfModel
from fault_base import Change, layers_of, replace
from torch import Tensor
from torch.nn import functional as F


def gates_of(model: HfModel) -> list[Any]:
    return [layer.mlp.gate for layer in layers_of(model) if hasattr(layer.mlp, "experts")]


def corrected_routers(**wrong: Any) -> Change:
    """GLM's and MiniMax's routers with something wrong in them."""

    def forward(self: Any, x: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        of_glm = bias is None
        x = x.reshape(-1, x.shape[-1])
        bias = self.e_score_correction_bias if bias is None else bias
        if of_glm and not wrong.get("logits_bf16"):
            logits = F.linear(x.float(), self.weight.float())
        else:
            logits = F.linear(x, self.weight)
        scores = wrong.get("score", torch.sigmoid)(logits.float())
        corrected = scores + (0 * bias if wrong.get("bias_missing") else bias)
        groups = self.num_group if of_glm and not wrong.get("no_groups") else 1
        choice = corrected
        if groups > 1:
            parted = corrected.view(len(x), groups, -1)
            best = parted.topk(2, dim=-1)[0].sum(-1).topk(self.topk_group, dim=-1)[1]
            kept = torch.zeros(len(x), groups).scatter_(1, best, 1).bool()
            choice = parted.masked_fill(~kept[..., None], float("-inf")).flatten(1)
        ids = torch.topk(choice, self.top_k, dim=-1, sorted=False)[1]
        weights = (corrected if wrong.get("bias_in_weights") else scores).gather(1, ids)
        if not wrong.get("not_normed"):
            weights = weights / weights.sum(-1, keepdim=True)
        if of_glm:
            weights = weights * wrong.get("factor", self.routed_scaling_factor)
        return logits, weights.to(wrong.get("weights", weights.dtype)), ids

    def change(model: HfModel, stack: ExitStack) -> None:
        for gate in gates_of(model):
            gate.forward = MethodType(forward, gate)

    return change


def mixtral_routers(normed: bool = True, dtype: torch.dtype | None = None) -> Change:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = F.linear(x, self.weight)
        values, ids = torch.topk(logits.float().softmax(-1), self.top_k, dim=-1)
        if normed:
            values = values / values.sum(-1, keepdim=True)
        return logits, values.to(dtype or values.dtype), ids

    def change(model: HfModel, stack: ExitStack) -> None:
        for gate in gates_of(model):
            gate.forward = MethodType(forward, gate)

    return change


def mixtures_with(shared: Callable[[Any, Tensor], Tensor | None]) -> Change:
    """shared: what is added to the experts' sum."""

    def forward(self: Any, hidden_states: Tensor) -> Tensor:
        x = hidden_states.view(-1, hidden_states.shape[-1])
        _, weights, ids = self.gate(x)
        total = self.experts(x, ids, weights)
        more = shared(self, x)
        return (total if more is None else total + more).view(hidden_states.shape)

    def change(model: HfModel, stack: ExitStack) -> None:
        for layer in layers_of(model):
            if hasattr(layer.mlp, "experts"):
                replace(layer.mlp, forward)

    return change
