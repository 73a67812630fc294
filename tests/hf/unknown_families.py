"""Mistakes in the families that `assay diagnose` does not know: it must locate them."""

from contextlib import ExitStack
from dataclasses import dataclass
from types import MethodType
from typing import Any
from unittest import mock

import torch
from assay_hf.model import HfModel
from faults_families import experts_of
from faults_mixtures import gates_of
from torch import Tensor
from torch.nn import functional as F
from unknown_faults import UnknownFault, fixed, on_output


@dataclass
class Unknown:
    model: str
    fault: UnknownFault


def router_bias(model: HfModel, stack: ExitStack) -> None:
    gate = gates_of(model)[1]

    def forward(self: Any, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = F.linear(hidden_states, self.weight)
        logits = logits + fixed(logits.shape[-1]).to(logits.dtype)
        values, ids = torch.topk(logits.float().softmax(-1), self.top_k, dim=-1)
        values = values / values.sum(-1, keepdim=True)
        return logits, values.to(logits.dtype), ids

    gate.forward = MethodType(forward, gate)


def wrong_value_in_an_expert(model: HfModel, stack: ExitStack) -> None:
    experts_of(model)[2].gate_up_proj.data[3, 5, 7] = 30.0


def clamped_scores(model: HfModel, stack: ExitStack) -> None:
    """A cap that is not a tanh."""
    tanh = torch.tanh

    def clamp(x: Tensor) -> Tensor:
        return x.clamp(-1, 1) if x.dim() == 4 else tanh(x)

    stack.enter_context(mock.patch.object(torch, "tanh", clamp))


def bent_angles(model: HfModel, stack: ExitStack) -> None:
    module = model.net.model.rotary_emb
    own = module.forward
    module.forward = lambda x, position_ids, *rest: own(x, position_ids.float() ** 1.1, *rest)


UNKNOWN_FAMILIES = [
    Unknown(
        "gemma2",
        UnknownFault(
            "attention's post norm times 0.85",
            "layer_01_attn_post_norm",
            on_output(lambda m: m.layers[1].post_attention_layernorm, lambda x: 0.85 * x),
        ),
    ),
    Unknown(
        "gemma3_text",
        UnknownFault(
            "the MLP's post norm shifted",
            "layer_02_mlp_post_norm",
            on_output(lambda m: m.layers[2].post_feedforward_layernorm, lambda x: x + 0.2),
        ),
    ),
    Unknown("gemma2", UnknownFault("scores clamped", "layer_00_attn_scores", clamped_scores)),
    Unknown(
        "gemma3_text",
        UnknownFault("angles that bend", "layer_00_q_rope", bent_angles),
    ),
    Unknown("qwen3_moe", UnknownFault("a bias on a router", "layer_01_router_logits", router_bias)),
    Unknown(
        "qwen3_moe",
        UnknownFault(
            "one wrong value in an expert", "layer_02_gate_proj", wrong_value_in_an_expert
        ),
    ),
    Unknown(
        "olmo2",
        UnknownFault(
            "key norm's channels rolled",
            "layer_02_k_norm",
            on_output(lambda m: m.layers[2].self_attn.k_norm, lambda x: x.roll(5, -1)),
        ),
    ),
    Unknown(
        "phi3",
        UnknownFault(
            "fused qkv rolled",
            "layer_01_q_proj",
            on_output(lambda m: m.layers[1].self_attn.qkv_proj, lambda x: x.roll(3, -1)),
        ),
    ),
]
