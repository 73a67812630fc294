"""Mistakes as people make them: several numbers in low precision at once, unlisted numbers, one
mistake in some layers and another in the others, swapped weights.

Each is made in one of fault_models.MODELS. From Assay's catalog only the names are known here.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from assay_hf.model import HfModel
from fault_base import Change, layers_of, replace
from fault_models import WINDOW
from unknown_faults import on_output
from faults_attention import attend, on_positions
from faults_families import (
    attentions_with,
    config_with,
    gates_with,
    rotary,
    together,
    with_parameters,
)

ALL = ("all", "layers", "logits")
TAPS = ("all", "layers")


@dataclass
class Form:
    model: str
    entries: tuple[str, ...]  # must be named, and nothing else
    name: str
    change: Change
    levels: tuple[str, ...] = TAPS
    numerics: tuple[str, ...] = ("bf16", "f32")
    tokens: int | None = None
    verdict: str = "named"
    layers: tuple[tuple[int, ...], ...] = ()  # of each entry, if all taps are given


FORMS: list[Form] = []


def form(model: str, entries: str, name: str, change: Change, **options: Any) -> None:
    FORMS.append(Form(model, tuple(entries.split()), name, change, **options))


# --- RoPE in low precision ---


def low_rope(
    dtype: torch.dtype,
    positions: bool = False,
    frequencies: bool = False,
    angles: bool = False,
    table: bool = False,
    products: bool = False,
) -> Change:
    def low(x: Tensor, wanted: bool) -> Tensor:
        return x.to(dtype).float() if wanted else x.float()

    def change(model: HfModel, stack: ExitStack) -> None:
        modeling = model.modeling

        def forward(self: nn.Module, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
            p = low(position_ids, positions)[..., None]
            freqs = low(p * low(self.inv_freq, frequencies), angles)
            emb = torch.cat((freqs, freqs), -1)
            return low(emb.cos(), table).to(x.dtype), low(emb.sin(), table).to(x.dtype)

        def apply(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> Any:
            c, s = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)

            def turned(x: Tensor) -> Tensor:
                y, cy, sy = x.to(dtype), c.to(dtype), s.to(dtype)
                return (y * cy + modeling.rotate_half(y) * sy).to(x.dtype)

            return turned(q), turned(k)

        replace(model.net.model.rotary_emb, forward)
        if products:
            stack.enter_context(mock.patch.object(modeling, "apply_rotary_pos_emb", apply))

    return change


BF16, F16 = torch.bfloat16, torch.float16
form("qwen3", "rope-table-lowp", "frequencies and angles in BF16",
     low_rope(BF16, frequencies=True, angles=True), tokens=80)
form("llama", "rope-table-lowp", "everything in BF16",
     low_rope(BF16, True, True, True, True, True), numerics=("f32",), levels=ALL)
form("qwen2", "rope-table-lowp", "everything in F16",
     low_rope(F16, True, True, True, True, True), numerics=("f32",), levels=ALL)
form("llama", "rope-table-lowp", "positions, frequencies and angles in BF16, long",
     low_rope(BF16, True, True, True), tokens=400)
form("qwen3", "rope-table-lowp", "positions in BF16, long", low_rope(BF16, True), tokens=420)
form("olmo2", "rope-table-lowp", "frequencies, cos and sin in BF16",
     low_rope(BF16, frequencies=True, table=True), numerics=("f32",))

# --- unlisted numbers ---


def scaled_positions(by: float) -> Change:
    return on_positions(lambda p: p / by)


def embedding_times(by: float) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        embed = model.net.model.embed_tokens
        own = embed.forward
        embed.forward = lambda ids: own(ids) * by

    return change


def logits_times(by: float) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        head = model.net.lm_head
        own = head.forward
        head.forward = lambda x: own(x) * by

    return change


def eps_of(eps: float, *names: str, layers: tuple[int, ...] | None = None) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        for i, layer in enumerate(layers_of(model)):
            if layers is not None and i not in layers:
                continue
            for name in names:
                norm = getattr(layer, name, None) or getattr(layer.self_attn, name)
                setattr(norm, "variance_epsilon" if hasattr(norm, "variance_epsilon") else "eps", eps)

    return change


def base_of_full(own: float) -> Change:
    def change(module: Any) -> None:
        dims = 2 * module.full_attention_inv_freq.shape[0]
        steps = torch.arange(0, dims, 2).float() / dims
        module.full_attention_inv_freq = 1.0 / own**steps

    return rotary(change)


for _theta in (36_000.0, 3_170.0, 740_000.0):
    form("qwen3", "rope-theta", f"base {_theta:g}", with_parameters(rope_theta=_theta), levels=ALL)
form("llama", "rope-theta", "base 151000", with_parameters(rope_theta=151_000.0))
form("gemma3_text", "rope-frequencies", "base of the full layers 77000, unscaled",
     base_of_full(77_000.0), levels=("all",))
form("qwen2", "rope-scaling", "by 3.4", scaled_positions(3.4), levels=ALL)
form("llama", "rope-scaling", "by 1.75", scaled_positions(1.75))
form("qwen2, yarn", "rope-scaling-wrong", "factor 6.5", with_parameters(factor=6.5))
form("llama, llama3", "rope-scaling-wrong", "factor 23", with_parameters(factor=23.0))
form("llama, linear", "rope-scaling-wrong", "factor 5.5", with_parameters(factor=5.5), levels=ALL)
form("llama", "attn-scale", "0.31", attentions_with(scaling=0.31), levels=ALL)
form("gemma2", "attn-scale", "0.071", attentions_with(scaling=0.071))
form("gemma2", "attn-softcap-missing", "at 0.9", config_with(attn_logit_softcapping=0.9),
     numerics=())  # read when the layer is made
form("qwen3", "attn-softcap", "at 0.7",
     attend(scores=lambda s: 0.7 * torch.tanh(s / 0.7)), levels=TAPS)
form("qwen3", "eps-value", "0.0037 in both layer norms",
     eps_of(3.7e-3, "input_layernorm", "post_attention_layernorm"), numerics=("f32",))
form("llama", "eps-value", "0.00042 in input_layernorm", eps_of(4.2e-4, "input_layernorm"),
     numerics=("f32",))
form("qwen3", "embed-scale", "by 7.3", embedding_times(7.3), levels=ALL)
form("llama", "logits-scale", "by 1.37", logits_times(1.37), levels=ALL)
form("mistral", "window-wrong", "of 7", config_with(sliding_window=7), levels=ALL)
form("mistral", "window-wrong", "of 23", config_with(sliding_window=23), levels=ALL)
form("gemma2", "window-wrong", "of 5", config_with(sliding_window=5))
form("qwen3", "sliding-window", "of 9", attend(hide=lambda d: (d > 0) | (d <= -9)), levels=ALL)
form("qwen3_moe", "experts-count", "2 of 3", gates_with(top_k=2), levels=("layers", "logits"))
form("qwen3_moe", "experts-count", "5 of 3", gates_with(top_k=5), levels=("layers", "logits"))
form("qwen3_moe, not normed", "experts-count", "7 of 4", gates_with(top_k=7), levels=("layers",))

# --- positions ---


def position_map(change: Callable[[int], int]) -> Change:
    return on_positions(lambda p: torch.tensor([[float(change(i)) for i in range(p.shape[-1])]]))


form("qwen3", "pos-restart", "at 14", position_map(lambda p: p if p < 14 else p - 14), levels=ALL)
form("llama", "pos-restart", "every 9", position_map(lambda p: p % 9), levels=ALL)
form("qwen2", "pos-restart", "packed", position_map(lambda p: p if p < 8 else p - 8 if p < 21 else p - 21),
     levels=("all",))
form("llama", "pos-jump", "+5 from 20", position_map(lambda p: p if p < 20 else p + 5))
form("qwen3", "pos-jump", "-3 from 17", position_map(lambda p: p if p < 17 else p - 3))


def cut_at(position: int) -> Change:
    def scores(s: Tensor) -> Tensor:
        s = s.clone()
        s[..., position:, :position] = torch.finfo(s.dtype).min
        return s

    return attend(scores=scores)


form("qwen3", "prompt-cut", "at 15", cut_at(15), levels=ALL)


def frequencies(of: Callable[[Tensor], Tensor]) -> Change:
    def change(module: Any) -> None:
        module.inv_freq = of(module.inv_freq)
        module.original_inv_freq = module.inv_freq.clone()

    return rotary(change)


form("qwen3", "rope-frequencies", "every second pair slower",
     frequencies(lambda f: f * torch.tensor([1.0, 0.4] * (len(f) // 2))), levels=("all",))

def mean_of_two_bases(module: Any) -> None:
    full, sliding = module.full_attention_inv_freq, module.sliding_attention_inv_freq
    module.sliding_attention_inv_freq = (full + sliding) / 2


form("gemma3_text", "rope-frequencies", "a mean of two bases", rotary(mean_of_two_bases),
     levels=("all",))

# --- swapped weights ---


def exchanged(a: str, b: str) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        for layer in layers_of(model):
            x, y = (getattr(layer, n, None) or getattr(layer.self_attn, n) for n in (a, b))
            x.weight.data, y.weight.data = y.weight.data.clone(), x.weight.data.clone()

    return change


def shared(used: str, missing: str) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        for layer in layers_of(model):
            x, y = (getattr(layer, n, None) or getattr(layer.self_attn, n) for n in (used, missing))
            y.weight.data = x.weight.data.clone()

    return change


def one_plus_rounded(dtype: torch.dtype) -> Change:
    """1 + weight, added in this type; minus 1, which is exact."""

    def change(model: HfModel, stack: ExitStack) -> None:
        for name, module in model.net.named_modules():
            if name.endswith("norm"):
                rounded = (1 + module.weight.data.double()).to(dtype).double() - 1
                module.weight.data = rounded.to(module.weight.dtype)

    return change


def final_exchanged(model: HfModel, stack: ExitStack) -> None:
    norm = model.net.model.norm
    last = layers_of(model)[-1].post_attention_layernorm
    norm.weight.data, last.weight.data = last.weight.data.clone(), norm.weight.data.clone()


PRE, POST = "pre_feedforward_layernorm", "post_feedforward_layernorm"
ATTN = "post_attention_layernorm"
for _name in ("gemma2", "gemma3_text"):
    form(_name, "norms-swapped", "around the MLP", exchanged(PRE, POST), levels=ALL)
    form(_name, "norms-swapped", "input and after attention", exchanged("input_layernorm", ATTN))
    form(_name, "norms-swapped", "those after the blocks", exchanged(ATTN, POST))
    form(_name, "norms-swapped", "after attention and before the MLP", exchanged(ATTN, PRE))
form("olmo2", "norms-swapped", "", exchanged(ATTN, POST), levels=ALL)
form("qwen3", "qk-norm-shared", "q's", shared("q_norm", "k_norm"), levels=ALL)
form("gemma3_text", "qk-norm-shared", "k's", shared("k_norm", "q_norm"))
for _name, _dtype in (("gemma2", torch.bfloat16), ("gemma3_text", torch.float16)):
    _change = one_plus_rounded(_dtype)
    form(_name, "norm-one-plus-lowp", f"in {_dtype}", _change, verdict="rounding")
form("llama", "norm-weight-shared", "input's", shared("input_layernorm", ATTN), levels=ALL)
form("llama", "final-norm-weight", "exchanged", final_exchanged, levels=ALL)


def table_rows(rows: dict[int, int | None], in_head: bool = False) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        net = model.net
        own = net.model.embed_tokens.weight.data.clone()
        table = own.clone()
        for row, source in rows.items():
            table[row] = 0 if source is None else own[source]
        net.model.embed_tokens.weight = nn.Parameter(table, requires_grad=False)
        if in_head:
            net.lm_head.weight = net.model.embed_tokens.weight
        elif net.lm_head.weight.shape == own.shape and torch.equal(net.lm_head.weight, own):
            net.lm_head.weight = nn.Parameter(own, requires_grad=False)

    return change


# --- features that the model does not have ---


def mlp_limited(limit: float) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        for layer in layers_of(model):
            gate, up = layer.mlp.gate_proj, layer.mlp.up_proj

            def forward(self: Any, x: Tensor, gate: Any = gate, up: Any = up) -> Tensor:
                g = gate(x).clamp(max=limit)
                return self.down_proj(self.act_fn(g) * up(x).clamp(-limit, limit))

            replace(layer.mlp, forward)

    return change


def stream_limited(limit: float) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        for layer in layers_of(model):
            own = layer.forward
            layer.forward = lambda *a, own=own, **k: own(*a, **k).clamp(-limit, limit)

    return change


def with_sink(score: float) -> Change:
    def softmax(s: Tensor) -> Tensor:
        wide = torch.cat((s.float(), torch.full_like(s[..., :1].float(), score)), -1)
        return nn.functional.softmax(wide, dim=-1)[..., :-1]

    return attend(softmax=softmax)


def biased(bias: dict[int, float]) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        head = model.net.lm_head
        own = head.forward

        def forward(x: Tensor) -> Tensor:
            logits = own(x)
            for token, by in bias.items():
                logits[..., token] += by
            return logits

        head.forward = forward

    return change


form("qwen3", "softmax-plus-one", "a sink of 1.3", with_sink(1.3), levels=ALL)
form("llama", "logit-bias", "two ids", biased({7: 1.5, 300: -2.25}), levels=ALL)
form("llama", "values-limited", "gate and up", mlp_limited(0.11))
form("qwen3", "values-limited", "stream", stream_limited(0.21))
form("qwen3", "values-limited", "gate of one layer",
     on_output(lambda m: m.layers[2].mlp.gate_proj, lambda x: x.clamp(-0.3, 0.3)))
form("llama", "attn-scale", "times 1.2", attentions_with(scaling=1.2 * 16**-0.5), levels=("layers",))

# --- in some layers ---


def unmasked_and_unwindowed(model: HfModel, stack: ExitStack) -> None:
    """Full layers without a mask, sliding ones without a window, as in transformers 4.42.0."""
    modeling = model.modeling
    own = modeling.eager_attention_forward

    def forward(module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, **rest: Any) -> Any:
        n = q.shape[2]
        later = torch.ones(n, n, dtype=torch.bool).triu(1)
        open_to_all = torch.zeros(1, 1, n, n, dtype=q.dtype)
        causal = open_to_all.masked_fill(later, torch.finfo(q.dtype).min)
        sliding = model.config.layer_types[module.layer_idx] == "sliding_attention"
        return own(module, q, k, v, causal if sliding else open_to_all, **rest)

    stack.enter_context(mock.patch.object(modeling, "eager_attention_forward", forward))


def scale_of(scale: float, layers: tuple[int, ...]) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        for i in layers:
            layers_of(model)[i].self_attn.scaling = scale

    return change


form("gemma2", "mask-missing window-wrong", "mask and window", unmasked_and_unwindowed)
form("gemma3_text", "mask-missing window-wrong", "mask and window", unmasked_and_unwindowed)
form("llama", "attn-scale eps-value", "scale in the first, epsilon in the others",
     together(scale_of(1.0, (0,)), eps_of(1e-2, "input_layernorm", layers=(1, 2))))


def scaling_everywhere(module: Any) -> None:
    module.sliding_attention_inv_freq = module.sliding_attention_inv_freq / 8


def scaling_in_sliding_alone(module: Any) -> None:
    module.sliding_attention_inv_freq = module.sliding_attention_inv_freq / 8
    module.full_attention_inv_freq = module.full_attention_inv_freq * 8


form("gemma3_text", "rope-layers-scaling", "in both", rotary(scaling_everywhere))
form("gemma3_text", "rope-layers-scaling", "exchanged", rotary(scaling_in_sliding_alone))
assert WINDOW == 12
