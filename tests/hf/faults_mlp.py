"""The MLP, the residual stream, and weights in few bits."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from assay_hf.model import HfModel
from fault_base import Change, FAULTS, Fault, fault, layers_of, replace
from faults_weights import PROJECTIONS, projection, set_weight
from faults_attention import int8_rows

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
                # In a right run the stream's tap is the norm's input.
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
    # In BF16 transformers rounds the quantised weights again; in FP32 it keeps them.
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
