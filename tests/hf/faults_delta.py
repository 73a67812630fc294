"""Porting mistakes around the gated delta rule, made in transformers."""

from collections.abc import Callable
from contextlib import ExitStack
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F

from assay_hf.model import HfModel
from fault_base import Change, Fault, layers_of, replace

DELTA_FAULTS: list[Fault] = []


def add(entry: str, variant: str, change: Change, **options: Any) -> None:
    DELTA_FAULTS.append(Fault(entry, variant, change, **options))


def deltas_of(model: HfModel) -> list[Any]:
    return [layer.linear_attn for layer in layers_of(model) if hasattr(layer, "linear_attn")]


def attentions_of(model: HfModel) -> list[Any]:
    return [layer.self_attn for layer in layers_of(model) if hasattr(layer, "self_attn")]


def patched(of: Callable[[HfModel], Any], name: str, make: Callable[[HfModel, Any], Any]) -> Change:
    """Replaces an attribute while the stack lasts. make(model, own): the new value."""

    def change(model: HfModel, stack: ExitStack) -> None:
        target = of(model)
        new = make(model, getattr(target, name))
        stack.enter_context(mock.patch.object(target, name, new))

    return change


def modeling(model: HfModel) -> ModuleType:
    return model.modeling


# --- the rule itself ---


def rule(
    unit_queries: bool = True,
    unit_keys: bool = True,
    scale: Callable[[int], float] = lambda size: size**-0.5,
    tiled: bool = False,
    subtracts: bool = True,
    decays_late: bool = False,
    state_dtype: torch.dtype | None = None,
    lost_at: int = 0,
) -> Change:
    """Token by token, as papers write it."""

    def run(
        query: Tensor, key: Tensor, value: Tensor, *, g: Tensor, beta: Tensor, **_: Any
    ) -> tuple[Tensor, Tensor]:
        wide = torch.float32
        q, k, v, b, decay = (x.transpose(1, 2).to(wide) for x in (query, key, value, beta, g))
        if unit_queries:
            q = q * torch.rsqrt((q * q).sum(-1, keepdim=True) + 1e-6)
        if unit_keys:
            k = k * torch.rsqrt((k * k).sum(-1, keepdim=True) + 1e-6)
        q = q * scale(q.shape[-1])
        share = v.shape[1] // k.shape[1]
        if tiled:
            q, k = (x.repeat(1, share, 1, 1) for x in (q, k))
        else:
            q, k = (x.repeat_interleave(share, dim=1) for x in (q, k))
        state = torch.zeros(*v.shape[:2], k.shape[-1], v.shape[-1], dtype=wide)
        out = torch.zeros_like(v)
        for t in range(v.shape[2]):
            if lost_at and t == lost_at:
                state = torch.zeros_like(state)
            factor = decay[:, :, t, None, None].exp()
            if not decays_late:
                state = state * factor
            new = v[:, :, t]
            if subtracts:
                new = new - torch.einsum("bhkv,bhk->bhv", state, k[:, :, t])
            state = state + k[:, :, t, :, None] * (new * b[:, :, t, None])[:, :, None]
            if decays_late:
                state = state * factor
            if state_dtype is not None:
                state = state.to(state_dtype).to(wide)
            out[:, :, t] = torch.einsum("bhkv,bhk->bhv", state, q[:, :, t])
        return out.transpose(1, 2).contiguous().to(query.dtype), state

    return patched(modeling, "torch_chunk_gated_delta_rule", lambda _m, _own: run)


add("gdn-l2norm", "queries and keys", rule(unit_queries=False, unit_keys=False))
add("gdn-l2norm", "keys", rule(unit_keys=False))
add("gdn-query-scale", "applied twice", rule(scale=lambda size: 1 / size))
add("gdn-query-scale", "left out", rule(scale=lambda size: 1.0))
add("gdn-heads", "", rule(tiled=True))
add("gdn-no-delta", "", rule(subtracts=False))
add("gdn-decay-late", "", rule(decays_late=True))
add("gdn-state-bf16", "", rule(state_dtype=torch.bfloat16))
add("gdn-state-lost", "", rule(lost_at=20))


# --- what goes into it ---


def conv(
    late: int = 0, flipped: bool = False, activates: bool = True, decoding: int = 0
) -> Change:
    """decoding: from this position on, earlier inputs are replaced by outputs."""

    def run(hidden_states: Tensor, weight: Tensor, *_: Any, **__: Any) -> Tensor:
        taps = weight.shape[-1]
        w = weight.flip(-1) if flipped else weight
        act = F.silu if activates else (lambda x: x)

        def convolve(x: Tensor) -> Tensor:
            padded = F.pad(x, (taps - 1 + max(late, 0), max(-late, 0)))
            y = F.conv1d(padded, w[:, None], groups=x.shape[1])
            start = max(-late, 0)
            return act(y[..., start : start + x.shape[-1]])

        out = convolve(hidden_states)
        for t in range(decoding, hidden_states.shape[-1]) if decoding else ():
            window = torch.cat([out[..., :t], hidden_states[..., t : t + 1]], dim=-1)
            out[..., t] = convolve(window)[..., -1]
        return out

    return patched(modeling, "causal_conv1d_fn", lambda _m, _own: run)


add("gdn-conv-window", "one token early", conv(late=1))
add("gdn-conv-window", "weights in reverse", conv(flipped=True))
add("gdn-conv-silu", "", conv(activates=False))
add("gdn-conv-state", "holds outputs", conv(decoding=20))


def raw_beta(model: HfModel, own: Any) -> Any:
    heads = deltas_of(model)[0].num_v_heads
    return lambda x: x if x.shape[-1] == heads else own(x)


add("gdn-beta-raw", "", patched(lambda _: Tensor, "sigmoid", raw_beta))


def softplus(change: Callable[[Any, Tensor], Tensor]) -> Change:
    return patched(lambda _: F, "softplus", lambda _m, own: lambda x: change(own, x))


add("gdn-decay", "without softplus", softplus(lambda own, x: x))
add("gdn-decay", "without its minus", softplus(lambda own, x: -own(x)))


def without_dt_bias(model: HfModel, stack: ExitStack) -> None:
    for delta in deltas_of(model):
        delta.dt_bias.data.zero_()


add("gdn-decay", "without dt_bias", without_dt_bias)



# --- the norm after it ---


def gated_norms(
    one_plus: bool = False,
    gate: Callable[[Tensor], Tensor] = F.silu,
    gate_first: bool = False,
) -> Change:
    def forward(self: Any, hidden_states: Tensor, z: Tensor) -> Tensor:
        dtype = hidden_states.dtype
        x = hidden_states.float()
        if gate_first:
            x = (x * gate(z.float())).to(dtype).float()
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        weight = 1 + self.weight.float() if one_plus else self.weight.float()
        x = (weight * x.to(dtype).float()).to(dtype)
        return x if gate_first else (x.float() * gate(z.float())).to(dtype)

    def change(model: HfModel, stack: ExitStack) -> None:
        for delta in deltas_of(model):
            replace(delta.norm, forward)

    return change


add("gdn-norm-one-plus", "", gated_norms(one_plus=True))
add("gdn-norm-gate", "left out", gated_norms(gate=torch.ones_like))
add("gdn-norm-gate", "sigmoid, not silu", gated_norms(gate=torch.sigmoid))
add("gdn-norm-gate", "before the norm", gated_norms(gate_first=True))


# --- weights ---


def weights_with(
    of: Callable[[HfModel], list[Any]], names: tuple[str, ...], new: Callable[[Tensor], Tensor]
) -> Change:
    """names: of which each module has one."""

    def change(model: HfModel, stack: ExitStack) -> None:
        for module in of(model):
            name = next(name for name in names if hasattr(module, name))
            own = getattr(module, name)
            tensor = getattr(own, "weight", own)
            tensor.data = new(tensor.data)

    return change


def read_transposed(weight: Tensor) -> Tensor:
    return weight.reshape(weight.shape[::-1]).T.contiguous()


IN = ("in_proj_qkv", "in_proj_qkvz")  # Qwen3.5's name, Qwen3-Next's
add("tensor-missing", IN[0], weights_with(deltas_of, IN, torch.zeros_like))
add("tensor-missing", "conv1d", weights_with(deltas_of, ("conv1d",), torch.zeros_like))
add("tensor-missing", "A_log", weights_with(deltas_of, ("A_log",), torch.zeros_like))
add("shard-offset", IN[0], weights_with(deltas_of, IN, lambda w: w.roll(-1, 0)))
add("w-transposed", "out_proj", weights_with(deltas_of, ("out_proj",), read_transposed))
add("w-transposed", "q_proj", weights_with(attentions_of, ("q_proj",), read_transposed))
add("shard-offset", "q_proj", weights_with(attentions_of, ("q_proj",), lambda w: w.roll(1, 0)))


# --- attention's gate ---


def rows_of_queries(order: Callable[[Tensor, int], Tensor]) -> Change:
    """Reorders q_proj's rows, [heads, query and gate, head_dim, hidden]."""

    def change(model: HfModel, stack: ExitStack) -> None:
        for attention in attentions_of(model):
            weight = attention.q_proj.weight
            own = weight.data.view(-1, 2, attention.head_dim, weight.shape[-1])
            weight.data = order(own, attention.head_dim).reshape(weight.shape).contiguous()

    return change


def in_halves(own: Tensor, head_dim: int) -> Tensor:
    flat = own.reshape(2, -1, head_dim, own.shape[-1])  # what such a port takes for q and gate
    return flat.transpose(0, 1)


add("attn-gate-split", "", rows_of_queries(in_halves))
add("attn-gate-first", "", rows_of_queries(lambda own, _: own.flip(1)))


def gate_as(function: Callable[[Tensor], Tensor]) -> Change:
    def make(model: HfModel, own: Any) -> Any:
        width = attentions_of(model)[0].o_proj.in_features
        return lambda x: function(x) if x.shape[-1] == width else own(x)

    return patched(lambda _: torch, "sigmoid", make)


add("attn-gate-missing", "", gate_as(torch.ones_like))
add("attn-gate-silu", "", gate_as(F.silu))

