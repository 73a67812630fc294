"""Porting mistakes of all families, made in transformers: what `assay diagnose` must name.

Each fault is made in one of fault_models.MODELS, where it shows. From Assay's catalog only the
names are known here.
"""

from collections.abc import Callable
from contextlib import ExitStack
from types import MethodType
from typing import Any
from unittest import mock

import torch
from assay_hf.model import HfModel
from assay_hf.taps import shared_expert
from fault_base import Change, Fault, layers_of, norms_of, replace
from fault_models import FACTORS, HEAD_DIM, HEADS, HIDDEN, MODELS, WINDOW
from faults_attention import interleaved, rotate_with
from faults_delta import DELTA_FAULTS
from faults_gemma4 import EXPERTS, OWN_EMBEDDINGS
from faults_gpt_oss import (
    gate_with,
    halved_rows,
    sinks_on_first_key,
    sinks_with,
    softmax_before_choice,
    swapped_nibbles,
    without_expert_biases,
    without_router_bias,
)
from faults_mixtures import corrected_routers, gates_of, mixtral_routers, mixtures_with
from torch import Tensor, nn

FAMILY_FAULTS: dict[str, list[Fault]] = {name: [] for name in MODELS}


def add(model: str, entry: str, variant: str, change: Change, **options: Any) -> None:
    FAMILY_FAULTS[model].append(Fault(entry, variant, change, **options))


# --- how they are made ---


def config_with(**fields: Any) -> Change:
    """Changes fields that transformers reads from the config in each run."""

    def change(model: HfModel, stack: ExitStack) -> None:
        for name, value in fields.items():
            setattr(model.config, name, value)

    return change


def attentions_with(**fields: Any) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        for layer in layers_of(model):
            for name, value in fields.items():
                assert hasattr(layer.self_attn, name)
                setattr(layer.self_attn, name, value)

    return change


def without_bias(*names: str) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        for layer in layers_of(model):
            for name in names:
                of = layer.self_attn if hasattr(layer.self_attn, name) else layer.mlp
                assert getattr(of, name).bias is not None
                getattr(of, name).bias = None

    return change


def activation(act: Callable[[Tensor], Tensor]) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        for layer in layers_of(model):
            mlps = [getattr(layer.mlp, "experts", layer.mlp), shared_expert(layer.mlp)]
            for mlp in mlps:
                if mlp is not None:
                    name = "activation_fn" if hasattr(mlp, "activation_fn") else "act_fn"
                    delattr(mlp, name)
                    setattr(mlp, name, act)

    return change


def layer_norms(name: str, forward: Callable[..., Tensor]) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        for layer in layers_of(model):
            of = layer.self_attn if hasattr(layer.self_attn, name) else layer
            replace(getattr(of, name), forward)

    return change


def together(*changes: Change) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        for one in changes:
            one(model, stack)

    return change


def as_it_is(_: nn.Module, x: Tensor) -> Tensor:
    return x


def rotary(change: Callable[[Any], None]) -> Change:
    def patch(model: HfModel, stack: ExitStack) -> None:
        model._untouched_rope = {}  # otherwise each run restores the frequencies
        change(model.text.rotary_emb)

    return patch


def rope_parameters(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Change:
    """Uses the rotary module of another config."""

    def patch(model: HfModel, stack: ExitStack) -> None:
        model._untouched_rope = {}
        model.config.rope_parameters = change(dict(model.config.rope_parameters))
        inner = model.text
        inner.rotary_emb = type(inner.rotary_emb)(model.config).eval()

    return patch


def plain_rope(own: dict[str, Any]) -> dict[str, Any]:
    kept = ("rope_theta", "partial_rotary_factor")
    return {"rope_type": "default", **{k: v for k, v in own.items() if k in kept}}


def with_parameters(**fields: Any) -> Change:
    return rope_parameters(lambda own: {**own, **fields})


def no_attention_factor(module: Any) -> None:
    assert module.attention_scaling != 1
    module.attention_scaling = 1.0


def gates_with(**fields: Any) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        for gate in gates_of(model):
            for name, value in fields.items():
                setattr(gate, name, value)

    return change


def experts_of(model: HfModel) -> list[Any]:
    return [layer.mlp.experts for layer in layers_of(model) if hasattr(layer.mlp, "experts")]


def expert_weights(change_weights: Callable[[Tensor], Tensor]) -> Change:
    """Changes only the weights that the experts use; the router's output is right."""

    def change(model: HfModel, stack: ExitStack) -> None:
        for experts in experts_of(model):
            own = experts.forward

            def forward(x: Tensor, ids: Tensor, weights: Tensor, own: Any = own) -> Tensor:
                return own(x, ids, change_weights(weights))

            experts.forward = forward

    return change


def routers(
    score: Callable[[Tensor], Tensor], pick: Callable[[Tensor, int], Any] | None = None
) -> Change:
    """score: of logits in FP32. pick: values and ids of the chosen."""

    def change(model: HfModel, stack: ExitStack) -> None:
        def forward(self: Any, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            logits = nn.functional.linear(hidden_states, self.weight)
            values, ids = (pick or (lambda p, k: torch.topk(p, k, dim=-1)))(
                score(logits.float()), self.top_k
            )
            if self.norm_topk_prob:
                values = values / values.sum(-1, keepdim=True)
            return logits, values.to(logits.dtype), ids

        for gate in gates_of(model):
            gate.forward = MethodType(forward, gate)

    return change


def softmax(logits: Tensor) -> Tensor:
    return logits.softmax(-1)


def first_dropped(weights: Tensor, kept: int) -> Tensor:
    weights = weights.clone()
    weights[:, kept:] = 0
    return weights


def shifted_experts(by: int) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        for experts in experts_of(model):
            experts.gate_up_proj.data = experts.gate_up_proj.data.roll(by, 0)
            experts.down_proj.data = experts.down_proj.data.roll(by, 0)

    return change


def swapped_halves(model: HfModel, stack: ExitStack) -> None:
    for layer in layers_of(model):
        if hasattr(layer.mlp, "experts"):
            w = layer.mlp.experts.gate_up_proj
        else:
            w = layer.mlp.gate_up_proj.weight
        w.data = torch.cat(tuple(reversed(w.data.chunk(2, dim=-2))), dim=-2)


def kv_exchanged(model: HfModel, stack: ExitStack) -> None:
    """The same for a fused matrix."""
    c = model.config
    d = c.hidden_size // c.num_attention_heads
    rows = [n * d for n in (c.num_attention_heads, *2 * (c.num_key_value_heads,))]
    for layer in layers_of(model):
        q, k, v = layer.self_attn.qkv_proj.weight.data.split(rows)
        layer.self_attn.qkv_proj.weight.data = torch.cat((q, v, k))


def per_head(self: nn.Module, x: Tensor) -> Tensor:
    wide = x.float().unflatten(-1, (-1, HIDDEN // HEADS))
    normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
    return (self.weight * normed.flatten(-2)).to(x.dtype)


def norms_before(model: HfModel, stack: ExitStack) -> None:
    """OLMo 2's blocks with Llama's norms: each before its block."""

    def forward(self: Any, hidden_states: Tensor, **rest: Any) -> Tensor:
        a, _ = self.self_attn(hidden_states=self.post_attention_layernorm(hidden_states), **rest)
        x = hidden_states + a
        return x + self.mlp(self.post_feedforward_layernorm(x))

    for layer in layers_of(model):
        replace(layer, forward)


def weight_alone(self: Any, x: Tensor) -> Tensor:
    return (self._norm(x.float()) * self.weight.float()).type_as(x)


def gemma_norms(forward: Callable[..., Tensor]) -> Change:
    def change(model: HfModel, stack: ExitStack) -> None:
        for norm in norms_of(model):
            replace(norm, forward)

    return change


def rounded_twice(self: Any, x: Tensor) -> Tensor:
    """As in Llama: also rounded before the weight."""
    return ((1 + self.weight.float()) * self._norm(x.float()).type_as(x).float()).type_as(x)


def unscaled_embedding(model: HfModel, stack: ExitStack) -> None:
    embed = model.text.embed_tokens
    embed.embed_scale = torch.ones_like(embed.embed_scale)


def tied(model: HfModel, stack: ExitStack) -> None:
    model.net.lm_head.weight = model.net.model.embed_tokens.weight


def one_base(of: str, to: str) -> Callable[[Any], None]:
    def change(module: Any) -> None:
        setattr(module, f"{to}_inv_freq", getattr(module, f"{of}_inv_freq").clone())

    return change


def full_unscaled(own: dict[str, Any]) -> dict[str, Any]:
    full = {"rope_type": "default", "rope_theta": own["full_attention"]["rope_theta"]}
    return {**own, "full_attention": full}


def other_layers_slide(model: HfModel, stack: ExitStack) -> None:
    kinds = ["full_attention", "sliding_attention"]
    model.config.layer_types = [kinds[kind == kinds[0]] for kind in model.config.layer_types]


def tiled_heads(model: HfModel, stack: ExitStack) -> None:
    stack.enter_context(
        mock.patch.object(model.modeling, "repeat_kv", lambda x, groups: x.repeat(1, groups, 1, 1))
    )


def interleaved_partly(model: HfModel, stack: ExitStack) -> None:
    dims = model.config.hidden_size // model.config.num_attention_heads // 2

    def part(m: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return torch.cat((interleaved(m, x[..., :dims], cos, sin), x[..., dims:]), -1)

    def apply(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> Any:
        c, s = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        return part(None, q, c, s), part(None, k, c, s)

    stack.enter_context(mock.patch.object(model.modeling, "apply_rotary_pos_emb", apply))


def norms_plus_one(model: HfModel, stack: ExitStack) -> None:
    for norm in norms_of(model):
        norm.weight.data = norm.weight.data + 1


F = nn.functional
NO_WINDOW = 10**6

# --- Gemma ---

for _name in ("gemma2", "gemma3_text"):
    add(_name, "norm-plus1-missing", "all", gemma_norms(weight_alone))
    add(_name, "embed-scale-missing", "", unscaled_embedding)
    add(_name, "window-wrong", "left out", config_with(sliding_window=NO_WINDOW))
    add(_name, "window-wrong", "one too wide", config_with(sliding_window=WINDOW + 1))
    add(_name, "window-wrong", "the other layers", other_layers_slide)
    add(_name, "attn-scale", "of head_dim", attentions_with(scaling=HEAD_DIM**-0.5))
    add(_name, "act-variant", "SiLU", activation(F.silu))
    add(
        _name,
        "norm-missing",
        "both after",
        together(
            layer_norms("post_attention_layernorm", as_it_is),
            layer_norms("post_feedforward_layernorm", as_it_is),
        ),
    )
    add(
        _name,
        "norm-missing",
        "after attention",
        layer_norms("post_attention_layernorm", as_it_is),
    )
add("gemma2", "act-variant", "GELU without tanh", activation(F.gelu))
add("gemma2", "norm-rounds-twice", "", gemma_norms(rounded_twice), f32=False)
add("gemma2", "attn-softcap-missing", "", attentions_with(attn_logit_softcapping=None))
add("gemma2", "final-softcap-missing", "", config_with(final_logit_softcapping=None))
add("gemma2", "gqa-map", "", tiled_heads)
add(
    "gemma3_text",
    "rope-one-base",
    "the full layers'",
    rotary(one_base("full_attention", "sliding_attention")),
)
add(
    "gemma3_text",
    "rope-one-base",
    "the sliding layers'",
    rotary(one_base("sliding_attention", "full_attention")),
)
add("gemma3_text", "rope-scaling-wrong", "left out", rope_parameters(full_unscaled))
add("gemma3_text", "qk-norm-missing", "keys", layer_norms("k_norm", as_it_is))

# --- Qwen3's window; Llama, Qwen2, Mistral ---

add("qwen3, window", "window-wrong", "left out", config_with(sliding_window=NO_WINDOW))
add("qwen3, window", "window-wrong", "the other layers", other_layers_slide)

add("qwen2", "bias-missing", "q, k, v", without_bias("q_proj", "k_proj", "v_proj"))
add("qwen2", "bias-missing", "k", without_bias("k_proj"))
add("qwen2", "rope-interleaved", "", rotate_with(interleaved))
add("llama, biases", "bias-missing", "o", without_bias("o_proj"))
add(
    "llama, biases",
    "bias-missing",
    "all",
    without_bias("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
)
add("llama, biases", "bias-missing", "down", without_bias("down_proj"))
add("llama", "norm-plus1", "all", norms_plus_one)
add("llama", "tie-wrong", "", tied)
for _name in ("llama, llama3", "llama, linear", "llama, dynamic", "qwen2, yarn"):
    add(_name, "rope-scaling-wrong", "left out", rope_parameters(plain_rope))
add(
    "llama, llama3",
    "rope-scaling-wrong",
    "original length",
    with_parameters(original_max_position_embeddings=4096),
)
add(
    "llama, llama3",
    "rope-scaling-wrong",
    "linear",
    rope_parameters(lambda own: {**plain_rope(own), "rope_type": "linear", "factor": 8.0}),
)
add("llama, linear", "rope-scaling-wrong", "multiplied", with_parameters(factor=0.25))
add("qwen2, yarn", "rope-scaling-wrong", "no attention factor", rotary(no_attention_factor))
add("mistral", "window-wrong", "left out", config_with(sliding_window=None))
add("mistral", "window-wrong", "one too narrow", config_with(sliding_window=WINDOW - 1))
add("mistral", "attn-scale", "hidden / heads", attentions_with(scaling=(HIDDEN / HEADS) ** -0.5))



def temperature(change: Callable[..., Tensor]) -> Change:
    """What queries are multiplied by, of positions, beta and the original length."""

    def patch(model: HfModel, stack: ExitStack) -> None:
        own = model.modeling.get_llama_4_attn_scale

        def scale(positions: Tensor, beta: float, length: int) -> Tensor:
            return change(own, positions, beta, length)

        stack.enter_context(mock.patch.object(model.modeling, "get_llama_4_attn_scale", scale))

    return patch


def growing_keys(model: HfModel, stack: ExitStack) -> None:
    """Keys are multiplied, and queries are not."""
    modeling = model.modeling
    own_scale, own_rotate = modeling.get_llama_4_attn_scale, modeling.apply_rotary_pos_emb
    rope = model.config.rope_parameters
    position = 0

    def count(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        nonlocal position
        position = int(kwargs["position_ids"][0, 0])

    def rotate(q: Tensor, k: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        q, k = own_rotate(q, k, *args, **kwargs)
        positions = torch.arange(position, position + k.shape[2])[None]
        length = rope["original_max_position_embeddings"]
        return q, k * own_scale(positions, rope["llama_4_scaling_beta"], length).to(k.dtype)

    for layer in layers_of(model):
        handle = layer.self_attn.register_forward_pre_hook(count, with_kwargs=True)
        stack.callback(handle.remove)
    stack.enter_context(mock.patch.object(modeling, "apply_rotary_pos_emb", rotate))
    temperature(lambda own, *given: torch.ones_like(own(*given)))(model, stack)


for _entry, _variant, _change in (
    ("attn-temperature", "left out", temperature(lambda own, *given: torch.ones_like(own(*given)))),
    ("attn-temperature", "beta", temperature(lambda own, p, beta, length: own(p, 1.0, length))),
    ("attn-temperature", "of the keys", growing_keys),
    ("rope-scaling-wrong", "left out", with_parameters(rope_type="default")),
    ("attn-scale", "hidden / heads", attentions_with(scaling=(HIDDEN / HEADS) ** -0.5)),
    ("rope-interleaved", "", rotate_with(interleaved)),
):
    add("ministral3", _entry, _variant, _change)

# --- OLMo 2, Phi 3 ---

add(
    "olmo2",
    "qk-norm-perhead",
    "",
    together(layer_norms("q_norm", per_head), layer_norms("k_norm", per_head)),
)
add(
    "olmo2",
    "qk-norm-missing",
    "both",
    together(layer_norms("q_norm", as_it_is), layer_norms("k_norm", as_it_is)),
)
add("olmo2", "norm-place", "before", norms_before)
add("olmo2", "norm-missing", "after the MLP", layer_norms("post_feedforward_layernorm", as_it_is))
add("phi3", "gate-up-swap", "", swapped_halves)
add("phi3", "kv-swapped", "", kv_exchanged)
add("phi3", "window-wrong", "left out", config_with(sliding_window=None))
add("phi3, partial", "rope-whole-head", "", with_parameters(partial_rotary_factor=1.0))
add("phi3, partial", "rope-interleaved", "", interleaved_partly)
for _name in ("phi3, longrope", "phi3, longrope, short"):
    add(
        _name,
        "rope-scaling-wrong",
        "lists exchanged",
        with_parameters(
            short_factor=FACTORS["long_factor"], long_factor=FACTORS["short_factor"]
        ),
    )
    add(_name, "rope-scaling-wrong", "no attention factor", rotary(no_attention_factor))

# --- MoE ---

for _name in ("qwen3_moe", "qwen3_moe, not normed"):
    _normed = MODELS[_name].config["norm_topk_prob"]
    add(_name, "topk-norm", "", gates_with(norm_topk_prob=not _normed))
    add(_name, "experts-unweighted", "", expert_weights(torch.ones_like))
    add(_name, "experts-shifted", "+1", shifted_experts(-1))
    add(_name, "router-sigmoid", "", routers(torch.sigmoid))
add("qwen3_moe", "experts-shifted", "-1", shifted_experts(1))
add("qwen3_moe", "experts-fewer", "2", expert_weights(lambda w: first_dropped(w, 2)))
add("qwen3_moe, not normed", "experts-fewer", "2", expert_weights(lambda w: first_dropped(w, 2)))
add("qwen3_moe", "gate-up-swap", "", swapped_halves)
add("qwen3_moe", "act-variant", "GELU", activation(F.gelu))


nothing_shared = mixtures_with(lambda mlp, x: None)

for _name in ("mixtral", "qwen2_moe", "olmoe", "glm4_moe", "minimax_m2"):
    add(_name, "experts-unweighted", "", expert_weights(torch.ones_like))
    add(_name, "experts-shifted", "+1", shifted_experts(-1))
    add(_name, "experts-fewer", "2", expert_weights(lambda w: first_dropped(w, 2)))
    add(_name, "act-variant", "GELU", activation(F.gelu))
for _name in ("mixtral", "olmoe", "minimax_m2"):
    add(_name, "gate-up-swap", "", swapped_halves)
add("mixtral", "topk-norm", "", mixtral_routers(normed=False))
add("mixtral", "expert-weights-bf16", "", mixtral_routers(dtype=torch.bfloat16), f32=False)
for _name in ("qwen2_moe", "olmoe"):
    add(_name, "topk-norm", "", gates_with(norm_topk_prob=True))
    add(_name, "router-sigmoid", "", routers(torch.sigmoid))
add("qwen2_moe", "shared-expert-missing", "", nothing_shared)
add(
    "qwen2_moe",
    "shared-expert-ungated",
    "",
    mixtures_with(lambda mlp, x: mlp.shared_expert(x)),
)
add("qwen2_moe", "bias-missing", "q, k, v", without_bias("q_proj", "k_proj", "v_proj"))
add(
    "olmoe",
    "qk-norm-missing",
    "both",
    together(layer_norms("q_norm", as_it_is), layer_norms("k_norm", as_it_is)),
)
for _name in ("glm4_moe", "minimax_m2"):
    add(_name, "router-softmax", "", corrected_routers(score=softmax))
    add(_name, "router-bias-missing", "", corrected_routers(bias_missing=True))
    add(_name, "router-bias-weights", "", corrected_routers(bias_in_weights=True))
    add(_name, "topk-norm", "", corrected_routers(not_normed=True))
add("glm4_moe", "router-factor", "left out", corrected_routers(factor=1.0))
add("glm4_moe", "router-groups", "", corrected_routers(no_groups=True))
add("glm4_moe", "router-logits-bf16", "", corrected_routers(logits_bf16=True), f32=False)
add("glm4_moe", "shared-expert-missing", "", nothing_shared)
add("minimax_m2", "rope-whole-head", "", with_parameters(partial_rotary_factor=1.0))


for _name in ("qwen3_5_text", "qwen3_5_moe_text", "qwen3_next"):
    FAMILY_FAULTS[_name] += DELTA_FAULTS

# --- language models within multimodal checkpoints: a few of each, as the passes are the same ---


def fault_of(model: str, entry: str, variant: str = "") -> Fault:
    return next(f for f in FAMILY_FAULTS[model] if (f.entry, f.variant) == (entry, variant))


add("gemma3", "norm-plus1-missing", "all", gemma_norms(weight_alone))
add("gemma3", "window-wrong", "left out", config_with(sliding_window=NO_WINDOW))
add("mistral3", "window-wrong", "left out", config_with(sliding_window=None))
add("qwen3_vl", "qk-norm-missing", "keys", layer_norms("k_norm", as_it_is))
add("qwen3_vl_moe", "experts-shifted", "+1", shifted_experts(-1))
for _name in ("qwen3_5", "qwen3_5_moe"):
    FAMILY_FAULTS[_name] += [
        fault_of("qwen3_5_text", "gdn-heads"),
        fault_of("qwen3_5_text", "gdn-conv-silu"),
        fault_of("qwen3_5_text", "attn-gate-first"),
    ]


FAMILY_FAULTS["gemma4_text, own embeddings"] += OWN_EMBEDDINGS
FAMILY_FAULTS["gemma4_text, experts"] += EXPERTS
FAMILY_FAULTS["gemma4"].append(fault_of("gemma4_text, own embeddings", "kv-source", "first"))
FAMILY_FAULTS["gemma4_unified"].append(fault_of("gemma4_text, experts", "k-as-v", "normed"))


# --- gpt-oss ---


for _entry, _variant, _change in (
    ("sinks-missing", "left out", sinks_with(lambda sinks: torch.full_like(sinks, -1e4))),
    ("sinks-missing", "on the first key", sinks_on_first_key),
    ("window-wrong", "left out", config_with(sliding_window=NO_WINDOW)),
    ("swiglu-limit", "", gate_with(limit=False)),
    ("swiglu-plus-one", "", gate_with(one=0.0)),
    ("swiglu-alpha", "", gate_with(alpha=1.0)),
    ("gate-up-mixed", "", halved_rows),
    ("router-softmax-all", "", softmax_before_choice),
    ("mxfp4-nibbles", "", swapped_nibbles),
    ("bias-missing", "q, k, v", without_bias("q_proj", "k_proj", "v_proj")),
    ("bias-missing", "o", without_bias("o_proj")),
    ("bias-missing", "gate and up", without_expert_biases("gate_up_proj_bias")),
    ("bias-missing", "down", without_expert_biases("down_proj_bias")),
    ("bias-missing", "router", without_router_bias),
    ("rope-scaling-wrong", "left out", rope_parameters(plain_rope)),
    ("rope-scaling-wrong", "truncated", rope_parameters(lambda own: {**own, "truncate": True})),
):
    add("gpt_oss", _entry, _variant, _change)
