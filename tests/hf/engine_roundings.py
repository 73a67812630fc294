"""FP32 engines that round somewhere, and some with small errors, made in transformers.

Nothing here knows how Assay searches for them.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from unittest import mock

import torch
from torch import Tensor, nn

from assay_hf.model import HfModel
from fault_base import Change, layers_of, norms_of
from faults_attention import attend

Round = Callable[[Tensor], Tensor]


@dataclass
class EngineRounding:
    name: str
    change: Change
    entry: str  # the expected name
    words: tuple[str, ...]  # words that the summary must contain


def to(dtype: torch.dtype) -> Round:
    return lambda x: x.to(dtype).float()


def tf32(x: Tensor) -> Tensor:
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


def in_blocks(size: int) -> Round:
    """8 bits with one scale per block, as in llama.cpp."""

    def change(x: Tensor) -> Tensor:
        blocks = x.reshape(*x.shape[:-1], -1, size)
        most = blocks.abs().amax(-1, keepdim=True)
        inverse = torch.where(most > 0, 127 / most, 0)
        scale = (most / 127).half().float()
        return ((blocks * inverse).round() * scale).reshape(x.shape)

    return change


def by_token(x: Tensor) -> Tensor:
    scale = x.abs().amax(-1, keepdim=True) / 127
    return (x / scale).round() * scale


def fp8_by_token(x: Tensor) -> Tensor:
    scale = x.abs().amax(-1, keepdim=True) / 448
    return (x / scale).to(torch.float8_e4m3fn).float() * scale


def linears_read(change: Round, with_head: bool = True) -> Change:
    def patch(model: HfModel, stack: ExitStack) -> None:
        for name, module in model.net.named_modules():
            if isinstance(module, nn.Linear) and (with_head or "lm_head" not in name):
                forward = module.forward
                module.forward = lambda x, forward=forward: forward(change(x))

    return patch


def linears_in(dtype: torch.dtype) -> Change:
    """As under autocast: reads and writes that type."""

    def patch(model: HfModel, stack: ExitStack) -> None:
        change = to(dtype)
        for module in model.net.modules():
            if isinstance(module, nn.Linear):
                forward = module.forward
                module.forward = lambda x, forward=forward: change(forward(change(x)))

    return patch


def cache_in(dtype: torch.dtype) -> Change:
    change = to(dtype)

    def kept(x: Tensor, groups: int) -> Tensor:
        return change(x).repeat_interleave(groups, 1)

    return attend(keys=kept, values=kept)


def attention_reads(change: Round) -> Change:
    def patch(model: HfModel, stack: ExitStack) -> None:
        modeling = model.modeling

        def forward(module, q, k, v, attention_mask, scaling, **_):  # noqa: ANN001, ANN202, ANN003
            k, v = (x.repeat_interleave(module.num_key_value_groups, 1) for x in (k, v))
            s = torch.matmul(change(q), change(k).transpose(2, 3)) * scaling
            hidden = torch.ones(s.shape[-2:], dtype=torch.bool).triu(1)
            p = nn.functional.softmax(s.masked_fill(hidden, torch.finfo(s.dtype).min), dim=-1)
            return torch.matmul(change(p), change(v)).transpose(1, 2).contiguous(), p

        stack.enter_context(mock.patch.object(modeling, "eager_attention_forward", forward))

    return patch


def fused_attention_in(dtype: torch.dtype) -> Change:
    """Scores and probabilities are recorded in FP32; the context is the kernel's."""

    def patch(model: HfModel, stack: ExitStack) -> None:
        modeling = model.modeling
        right = modeling.eager_attention_forward

        def forward(module, q, k, v, mask, scaling, **rest):  # noqa: ANN001, ANN202, ANN003
            _, p = right(module, q, k, v, mask, scaling=scaling, **rest)
            k, v = (x.repeat_interleave(module.num_key_value_groups, 1) for x in (k, v))
            out = nn.functional.scaled_dot_product_attention(
                q.to(dtype), k.to(dtype), v.to(dtype), is_causal=True, scale=scaling
            )
            return out.float().transpose(1, 2).contiguous(), p

        stack.enter_context(mock.patch.object(modeling, "eager_attention_forward", forward))

    return patch


def results_of(find: Callable[[HfModel], list[nn.Module]], change: Round) -> Change:
    def patch(model: HfModel, stack: ExitStack) -> None:
        for module in find(model):
            forward = module.forward
            module.forward = lambda *a, forward=forward, **k: change(forward(*a, **k))

    return patch


def stream_in(dtype: torch.dtype) -> Change:
    change = to(dtype)

    def patch(model: HfModel, stack: ExitStack) -> None:
        for layer in layers_of(model):

            def forward(hidden_states: Tensor, layer: nn.Module = layer, **rest: object) -> Tensor:
                a, _ = layer.self_attn(layer.input_layernorm(hidden_states), **rest)
                x = change(hidden_states + a)
                return change(x + layer.mlp(layer.post_attention_layernorm(x)))

            layer.forward = forward

    return patch


def activation_in(dtype: torch.dtype) -> Change:
    change = to(dtype)

    def patch(model: HfModel, stack: ExitStack) -> None:
        for layer in layers_of(model):
            act = layer.mlp.act_fn
            forward = act.forward
            act.forward = lambda x, forward=forward: change(forward(change(x)))

    return patch


BF16, F16 = torch.bfloat16, torch.float16
ROUNDINGS = [
    EngineRounding("cache F16", cache_in(F16), "kv-lowp", ("keys and values", "F16", "all layers")),
    EngineRounding("cache BF16", cache_in(BF16), "kv-lowp", ("keys and values", "BF16")),
    EngineRounding("attention F16", attention_reads(to(F16)), "attn-lowp", ("attention", "F16")),
    EngineRounding("attention TF32", attention_reads(tf32), "attn-lowp", ("attention", "TF32")),
    EngineRounding("linears TF32", linears_read(tf32), "matmul-lowp", ("projections", "TF32")),
    EngineRounding("linears F16", linears_read(to(F16)), "matmul-lowp", ("projections", "F16")),
    EngineRounding("linears BF16", linears_read(to(BF16)), "matmul-lowp", ("projections", "BF16")),
    EngineRounding("autocast", linears_in(BF16), "values-lowp", ("q_proj", "BF16")),
    EngineRounding(
        "logits BF16",
        results_of(lambda m: [m.net.lm_head], to(BF16)),
        "values-lowp",
        ("logits", "BF16"),
    ),
    EngineRounding(
        "norms F16", results_of(lambda m: norms_of(m), to(F16)), "values-lowp", ("norm", "F16")
    ),
    EngineRounding("stream BF16", stream_in(BF16), "values-lowp", ("BF16", "all layers")),
    EngineRounding("silu F16", activation_in(F16), "act-lowp", ("activation", "F16")),
    EngineRounding(
        "8 bits in blocks of 32",
        linears_read(in_blocks(32)),
        "q8-activations",
        ("8 bits in blocks of 32",),
    ),
    EngineRounding(
        "8 bits per token", linears_read(by_token, False), "q8-activations", ("8 bits per token",)
    ),
    EngineRounding(
        "FP8 per token", linears_read(fp8_by_token, False), "q8-activations", ("FP8 per token",)
    ),
]
# In these only the context is in that type; the kernel's intermediates cannot be observed.
FUSED = [("fused BF16", fused_attention_in(BF16), "BF16"), ("fused F16", fused_attention_in(F16), "F16")]


def half_of_frequencies(model: HfModel, stack: ExitStack) -> None:
    """Leaves the slow half unrotated: a small error that grows with the position."""
    rotary = model.net.model.rotary_emb
    slow = rotary.inv_freq.clone()
    slow[slow.shape[0] // 2 :] = 0
    rotary.inv_freq = slow
    rotary.original_inv_freq = slow.clone()


def one_head_off(model: HfModel, stack: ExitStack) -> None:
    for layer in layers_of(model):
        forward = layer.self_attn.q_proj.forward

        def patched(x: Tensor, forward: Round = forward) -> Tensor:
            out = forward(x).clone()
            out[..., : model.config.head_dim] *= 1 + 1e-4
            return out

        layer.self_attn.q_proj.forward = patched


def drifting(model: HfModel, stack: ExitStack) -> None:
    """Each position a little larger than the one before, on BF16's grid: not a rounding."""
    for layer in layers_of(model):
        forward = layer.self_attn.o_proj.forward

        def patched(x: Tensor, forward: Round = forward) -> Tensor:
            out = forward(x)
            far = 1 + 1e-4 * torch.arange(out.shape[1])[:, None]
            return (out * far).bfloat16().float()

        layer.self_attn.o_proj.forward = patched


def larger_epsilon(model: HfModel, stack: ExitStack) -> None:
    for norm in norms_of(model):
        norm.variance_epsilon = 1e-5


LITTLE_WRONG = [half_of_frequencies, one_head_off, drifting, larger_epsilon]
