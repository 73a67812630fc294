"""Assay's tap names on a transformers model: every intermediate that a hook can see.

Two taps come from inside the attention function, where no module boundary lies: the wrapped
function is the model's own, and what is recorded is what it hands to softmax and returns.
"""

import fnmatch
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from assay.capture.errors import UsageError
from assay_hf.delta_taps import delta_hooks
from assay_hf.gemma4_taps import BESIDE_MLP, gemma4_hooks, has_experts_beside_mlp
from assay_hf.model import HfModel

# The taps in data-flow order. Which ones a layer has depends on its modules and its model's kind.
LAYER_TAPS = (
    "input_norm",
    "q_proj",
    "attn_gate",
    "k_proj",
    "v_proj",
    "q_norm",
    "k_norm",
    "v_norm",
    "q_rope",
    "k_rope",
    "attn_scores",
    "attn_probs",
    "attn_context",
    "attn_gated",
    "attn_output",
    "gdn_qkv",
    "gdn_z",
    "gdn_b",
    "gdn_a",
    "gdn_conv",
    "gdn_beta",
    "gdn_decay",
    "gdn_core",
    "gdn_norm",
    "gdn_output",
    "attn_post_norm",
    "attn_residual",
    "mlp_norm",
    "routed_norm",
    "router_norm",
    "router_input",
    "router_logits",
    "router_scores",
    "expert_ids",
    "expert_weights",
    "gate_proj",
    "up_proj",
    "mlp_act",
    "routed_output",
    "routed_post_norm",
    "shared_gate_proj",
    "shared_up_proj",
    "shared_mlp_act",
    "shared_expert_output",
    "shared_expert_gate",
    "shared_post_norm",
    "mlp_output",
    "mlp_post_norm",
    "mlp_residual",
    "ple_embedding",
    "ple_context",
    "ple_norm",
    "ple_input",
    "ple_gate",
    "ple_act",
    "ple_output",
    "ple_post_norm",
    "ple_residual",
    "output",
)

Keep = Callable[[str, torch.Tensor], None]

F32_LOWEST = float(np.finfo(np.float32).min)
FP32 = torch.float32  # kept from before a double run, which changes what torch.float32 is


def layer_tap(layer: int, tap: str, layers: int) -> str:
    """layer_03_q_proj; three digits in a model of more than 100 layers."""
    return f"layer_{layer:0{3 if layers > 100 else 2}d}_{tap}"


def tap_names(model: HfModel) -> list[str]:
    """Every tap of the model, in data-flow order."""
    layers = model.config.num_hidden_layers
    names = ["embedding_output"]
    for i, layer in enumerate(model.text.layers):
        absent = _absent_taps(layer)
        names += [layer_tap(i, tap, layers) for tap in LAYER_TAPS if tap not in absent]
    return [*names, "final_norm_output", "logits"]


def _absent_taps(layer: nn.Module) -> set[str]:
    absent: set[str] = set()
    if not hasattr(layer, "input_layernorm"):
        absent.add("input_norm")
    attention = getattr(layer, "self_attn", None)
    if attention is None:
        absent.update(tap for tap in LAYER_TAPS if tap.startswith(_OF_ATTENTION))
        absent -= {"attn_post_norm", "attn_residual"}
    else:
        absent.update(tap for tap in LAYER_TAPS if tap.startswith("gdn_"))
        if not hasattr(attention, "q_norm"):
            absent |= {"q_norm", "k_norm"}
        if not hasattr(attention, "v_norm"):
            absent.add("v_norm")
        if getattr(attention, "is_kv_shared_layer", False):
            absent |= {"k_proj", "v_proj", "k_norm", "k_rope"}
        elif getattr(attention, "v_proj", attention) is None:
            absent.add("v_proj")
        if not is_gated(attention):
            absent |= {"attn_gate", "attn_gated"}
    if not _has_post_norms(layer):
        absent |= {"attn_post_norm", "mlp_post_norm"}
    if _mlp_norm(layer) is None:
        absent.add("mlp_norm")
    beside = has_experts_beside_mlp(layer)
    if not hasattr(layer.mlp, "experts") and not beside:
        absent |= {"router_logits", "expert_ids", "expert_weights"}
    if not has_correction(layer.mlp):
        absent.add("router_scores")
    if shared_expert(layer.mlp) is None and not beside:
        absent |= {"routed_output", "shared_expert_output"}
        absent |= {"shared_gate_proj", "shared_up_proj", "shared_mlp_act"}
    if not hasattr(layer.mlp, "shared_expert_gate"):
        absent.add("shared_expert_gate")
    if not beside:
        absent.update(BESIDE_MLP)
    if not hasattr(layer, "layer_scalar"):
        absent.add("mlp_residual")
    if not getattr(layer, "hidden_size_per_layer_input", 0):
        absent.update(tap for tap in LAYER_TAPS if tap.startswith("ple_"))
    return absent


_OF_ATTENTION = ("q_", "k_", "v_", "attn_")


def _head_dim(attention: Any) -> int:
    """Of a layer with a delta rule, 0."""
    return getattr(attention, "head_dim", 0)


def is_gated(attention: nn.Module) -> bool:
    """Whether q_proj has a gate after each head's query."""
    q = getattr(attention, "q_proj", None)
    return q is not None and q.out_features == 2 * attention.o_proj.in_features


def has_correction(mlp: nn.Module) -> bool:
    """Whether a bias is added to the router's scores for the choice of experts."""
    name = "e_score_correction_bias"
    return hasattr(mlp, name) or hasattr(getattr(mlp, "gate", None), name)


def router_of(mlp: nn.Module) -> nn.Module:
    """gpt-oss calls it `router`, all others `gate`."""
    return getattr(mlp, "router", getattr(mlp, "gate", None))


def shared_expert(mlp: nn.Module) -> nn.Module | None:
    return getattr(mlp, "shared_expert", getattr(mlp, "shared_experts", None))


def _has_post_norms(layer: nn.Module) -> bool:
    return hasattr(layer, "post_feedforward_layernorm")


def _mlp_norm(layer: nn.Module) -> nn.Module | None:
    """The norm before the MLP. In layers that also have norms after their parts,
    post_attention_layernorm is a different one."""
    if _has_post_norms(layer):
        return getattr(layer, "pre_feedforward_layernorm", None)
    return layer.post_attention_layernorm


def classic_taps(model: HfModel) -> list[str]:
    """The taps that every reference set has."""
    layers = model.config.num_hidden_layers
    outputs = [layer_tap(i, "output", layers) for i in range(layers)]
    return ["embedding_output", *outputs, "final_norm_output", "logits"]


def choose_taps(model: HfModel, globs: Iterable[str]) -> list[str]:
    """The default taps and those that a glob matches, in data-flow order."""
    names = tap_names(model)
    wanted = set(classic_taps(model))
    for glob in globs:
        matches = fnmatch.filter(names, glob)
        if not matches:
            raise UsageError(f"--taps: '{glob}' matches no tap of this model")
        wanted.update(matches)
    return [name for name in names if name in wanted]


def record(
    model: HfModel, input_ids: list[int], names: Iterable[str], store: type = np.float32
) -> dict[str, np.ndarray]:
    """Runs the prompt and returns the named taps in data-flow order, as arrays of type `store`."""
    wanted = set(names)
    seen: dict[str, np.ndarray] = {}

    def keep(name: str, value: torch.Tensor) -> None:
        if name in wanted:
            seen[name] = _array(value, store)

    with hooks(model, keep):
        keep("logits", model.forward(input_ids))
    missing = wanted - seen.keys()
    assert not missing, f"transformers passed no value for {sorted(missing)}"
    return {name: seen[name] for name in tap_names(model) if name in wanted}


def _array(value: torch.Tensor, store: type) -> np.ndarray:
    if not value.dtype.is_floating_point:
        return value.contiguous().numpy().copy()
    if store is np.float64:
        return value.to(torch.float64).contiguous().numpy().copy()
    if value.dtype == torch.float64:
        value = value.clamp(min=F32_LOWEST)  # masked scores, which FP32 could only hold as -inf
    return value.to(FP32).contiguous().numpy().copy()


@contextmanager
def hooks(model: HfModel, keep: Keep) -> Iterator[None]:
    """Passes every tap of the runs within the context to keep(name, value)."""
    config = model.config
    layers = config.num_hidden_layers

    def by_head(x: torch.Tensor, head_dim: int) -> torch.Tensor:
        return x.view(*x.shape[:-1], -1, head_dim)

    def query_and_gate(x: torch.Tensor, head_dim: int) -> tuple[torch.Tensor, torch.Tensor]:
        q, gate = x.view(*x.shape[:-1], -1, 2 * head_dim).chunk(2, dim=-1)
        return q, gate.flatten(2)

    def with_batch(x: torch.Tensor) -> torch.Tensor:
        """Most mixtures flatten batch and tokens."""
        return x if x.dim() == 3 else x[None]

    def head_norm(x: torch.Tensor, head_dim: int) -> torch.Tensor:
        """OLMo 2 norms all heads together, Gemma 3 after the transpose."""
        if x.dim() == 3:
            return by_head(x, head_dim)
        return x.transpose(1, 2) if config.model_type == "gemma3_text" else x

    with ExitStack() as stack:

        def on_output(
            module: nn.Module,
            name: str,
            change: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
        ) -> None:
            hook = module.register_forward_hook(lambda _m, _in, out: keep(name, change(out)))
            stack.callback(hook.remove)

        def on_parts(
            module: nn.Module, names: list[str], split: Callable[[Any], Iterable[torch.Tensor]]
        ) -> None:
            def keep_parts(_m: nn.Module, _in: Any, out: Any) -> None:
                for name, part in zip(names, split(out), strict=True):
                    keep(name, part)

            stack.callback(module.register_forward_hook(keep_parts).remove)

        def on_input(
            module: nn.Module,
            name: str,
            change: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
        ) -> None:
            hook = module.register_forward_pre_hook(lambda _m, args: keep(name, change(args[0])))
            stack.callback(hook.remove)

        on_output(model.text.embed_tokens, "embedding_output")
        for i, layer in enumerate(model.text.layers):
            attn, mlp = getattr(layer, "self_attn", None), layer.mlp
            of_heads = partial(by_head, head_dim=_head_dim(attn))

            def named(*taps: str, layer: int = i) -> list[str]:
                return [layer_tap(layer, tap, layers) for tap in taps]

            def name(tap: str, layer: int = i) -> str:
                return layer_tap(layer, tap, layers)

            if hasattr(layer, "input_layernorm"):
                on_output(layer.input_layernorm, name("input_norm"))
            if attn is None:
                tap = partial(layer_tap, i, layers=layers)
                stack.enter_context(delta_hooks(layer.linear_attn, keep, tap))
            elif hasattr(attn, "qkv_proj"):
                heads = (config.num_attention_heads, *2 * (config.num_key_value_heads,))
                on_parts(
                    attn.qkv_proj,
                    named("q_proj", "k_proj", "v_proj"),
                    lambda x, heads=heads, of_heads=of_heads: of_heads(x).split(heads, dim=-2),
                )
            elif is_gated(attn):
                gated = partial(query_and_gate, head_dim=_head_dim(attn))
                on_parts(attn.q_proj, named("q_proj", "attn_gate"), gated)
                for proj in ("k_proj", "v_proj"):
                    on_output(getattr(attn, proj), name(proj), of_heads)
            else:
                for proj in ("q_proj", "k_proj", "v_proj"):
                    if getattr(attn, proj, None) is not None:
                        on_output(getattr(attn, proj), name(proj), of_heads)
            for norm in ("q_norm", "k_norm", "v_norm"):
                if hasattr(attn, norm):
                    on_output(getattr(attn, norm), name(norm), partial(head_norm, head_dim=_head_dim(attn)))
            if attn is not None:
                on_input(attn.o_proj, name("attn_gated" if is_gated(attn) else "attn_context"))
                on_output(attn.o_proj, name("attn_output"))
            if _has_post_norms(layer):
                on_output(layer.post_attention_layernorm, name("attn_post_norm"))
                on_output(layer.post_feedforward_layernorm, name("mlp_post_norm"))
            mlp_norm = _mlp_norm(layer)
            on_input(mlp if mlp_norm is None else mlp_norm, name("attn_residual"))
            if mlp_norm is not None:
                on_output(mlp_norm, name("mlp_norm"))
            if hasattr(layer, "layer_scalar"):
                stack.enter_context(
                    gemma4_hooks(model.text, i, keep, partial(layer_tap, i, layers=layers))
                )
            if has_experts_beside_mlp(layer):
                inside = named("gate_proj", "up_proj", "mlp_act")
                stack.enter_context(_inside_experts(layer.experts, keep, inside))
            elif hasattr(mlp, "experts"):
                on_parts(
                    router_of(mlp),
                    named("router_logits", "expert_weights", "expert_ids"),
                    lambda parts: (part[None] for part in parts),
                )
                if has_correction(mlp):
                    stack.enter_context(_inside_router(mlp.gate, keep, name("router_scores")))
                shared = shared_expert(mlp)
                if shared is not None:
                    on_output(mlp.experts, name("routed_output"), with_batch)
                    on_output(shared.gate_proj, name("shared_gate_proj"), with_batch)
                    on_output(shared.up_proj, name("shared_up_proj"), with_batch)
                    on_input(shared.down_proj, name("shared_mlp_act"), with_batch)
                    on_output(shared, name("shared_expert_output"), with_batch)
                if hasattr(mlp, "shared_expert_gate"):
                    on_output(mlp.shared_expert_gate, name("shared_expert_gate"), with_batch)
                inside = named("gate_proj", "up_proj", "mlp_act")
                stack.enter_context(_inside_experts(mlp.experts, keep, inside))
                on_output(
                    mlp,
                    name("mlp_output"),
                    lambda out: out[0] if isinstance(out, tuple) else out,  # gpt-oss
                )
            else:
                if hasattr(mlp, "gate_up_proj"):
                    both = named("gate_proj", "up_proj")
                    on_parts(mlp.gate_up_proj, both, lambda x: x.chunk(2, dim=-1))
                else:
                    on_output(mlp.gate_proj, name("gate_proj"))
                    on_output(mlp.up_proj, name("up_proj"))
                on_input(mlp.down_proj, name("mlp_act"))
                on_output(mlp.down_proj, name("mlp_output"))
            # The layer itself, not output_hidden_states, whose last entry has been normed.
            on_output(layer, name("output"))
        on_output(model.text.norm, "final_norm_output")
        stack.enter_context(_inside_attention(model, keep))
        yield


@contextmanager
def _inside_router(router: nn.Module, keep: Keep, name: str) -> Iterator[None]:
    """Wraps torch.topk while the router runs: its first call gets the corrected scores, perhaps in
    groups."""
    topk = torch.topk
    method = torch.Tensor.topk
    first = False

    def look(x: torch.Tensor) -> None:
        nonlocal first
        if first:
            keep(name, x.reshape(1, x.shape[0], -1))
        first = False

    def function(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        look(x)
        return topk(x, *args, **kwargs)

    def of_tensor(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        look(x)
        return method(x, *args, **kwargs)

    def enter(*_: Any) -> None:
        nonlocal first
        first = True
        torch.topk, torch.Tensor.topk = function, of_tensor

    def leave(*_: Any) -> None:
        torch.topk, torch.Tensor.topk = topk, method

    hooks = [router.register_forward_pre_hook(enter), router.register_forward_hook(leave)]
    try:
        yield
    finally:
        leave()
        for hook in hooks:
            hook.remove()


@contextmanager
def _inside_experts(experts: nn.Module, keep: Keep, names: list[str]) -> Iterator[None]:
    """Wraps the experts' gating while the context lasts. It sees a row for each choice of a token,
    sorted by expert; what is kept is [1, S, K, I], in the order of the choices."""
    gating = experts._apply_gate
    alternate = type(experts).__name__ == "GptOssExperts"
    order = shape = None

    def halves(rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (rows[..., ::2], rows[..., 1::2]) if alternate else rows.chunk(2, dim=-1)

    def enter(_m: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        nonlocal order, shape
        ids = args[1]  # [S, K]
        # The one call that grouped_mm_experts_forward makes, so that equal ids fall alike.
        order = torch.sort(ids.reshape(-1))[1]
        shape = (1, *ids.shape, -1)

    def gate_and_keep(rows: torch.Tensor) -> torch.Tensor:
        act = gating(rows)
        for name, part in zip(names, (*halves(rows), act), strict=True):
            chosen = torch.empty_like(part)
            chosen[order] = part
            keep(name, chosen.view(shape))
        return act

    entered = experts.register_forward_pre_hook(enter)
    experts._apply_gate = gate_and_keep
    try:
        yield
    finally:
        del experts._apply_gate
        entered.remove()


@contextmanager
def _inside_attention(model: HfModel, keep: Keep) -> Iterator[None]:
    """Wraps the modeling module's rotary and attention functions while the context lasts."""
    modeling = model.modeling
    layers = model.config.num_hidden_layers
    rotate, attend = modeling.apply_rotary_pos_emb, modeling.eager_attention_forward
    layer = -1

    rotated: list[str] = []  # what rotates next, where queries and keys are rotated one by one

    def enter(module: nn.Module, *_: Any) -> None:
        nonlocal layer, rotated
        layer = module.layer_idx
        rotated = ["q_rope", "k_rope"]

    def rotate_and_keep(*args: Any, **kwargs: Any) -> Any:
        both = rotate(*args, **kwargs)
        if isinstance(both, torch.Tensor):  # [1, S, N, D]
            keep(layer_tap(layer, rotated.pop(0), layers), both)
            return both
        q, k = both  # [1, N, S, D]
        keep(layer_tap(layer, "q_rope", layers), q.transpose(1, 2))
        keep(layer_tap(layer, "k_rope", layers), k.transpose(1, 2))
        return q, k

    def attend_and_keep(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        softmax, cat = nn.functional.softmax, torch.cat

        def softmax_and_keep(x: torch.Tensor, *a: Any, **k: Any) -> torch.Tensor:
            keep(layer_tap(layer, "attn_scores", layers), x)
            return softmax(x, *a, **k)

        def cat_and_keep(parts: list[torch.Tensor], *a: Any, **k: Any) -> torch.Tensor:
            keep(layer_tap(layer, "attn_scores", layers), parts[0])
            return cat(parts, *a, **k)

        if hasattr(module, "sinks"):  # which are put beside the scores
            torch.cat = cat_and_keep
        else:
            nn.functional.softmax = softmax_and_keep
        try:
            context, probs = attend(module, *args, **kwargs)
        finally:
            nn.functional.softmax, torch.cat = softmax, cat
        keep(layer_tap(layer, "attn_probs", layers), probs)
        if is_gated(module):
            keep(layer_tap(layer, "attn_context", layers), context.flatten(2))
        return context, probs

    attentions = [x.self_attn for x in model.text.layers if hasattr(x, "self_attn")]
    entered = [x.register_forward_pre_hook(enter) for x in attentions]
    modeling.apply_rotary_pos_emb = rotate_and_keep
    modeling.eager_attention_forward = attend_and_keep
    try:
        yield
    finally:
        modeling.apply_rotary_pos_emb, modeling.eager_attention_forward = rotate, attend
        for hook in entered:
            hook.remove()
