"""Small random Gemma 4 checkpoints: the published kinds, shrunk, and one that mixes their features."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from family_config import Config, Configuration

# A part for images that these tests never run.
VISION = {"model_type": "gemma4_vision", "hidden_size": 16, "intermediate_size": 16, "head_dim": 8}
VISION |= {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
VISION |= {"patch_size": 4, "position_embedding_size": 8}
UNIFIED_VISION = {"model_type": "gemma4_unified_vision", "patch_size": 4, "mm_posemb_size": 8}


def _base(made: Configuration, rng: Random, pattern: int, periods: int, **fields: Any) -> None:
    kinds = [*["sliding_attention"] * (pattern - 1), "full_attention"] * periods
    made.config |= {
        "num_hidden_layers": len(kinds),
        "layer_types": kinds,
        "sliding_window": rng.randint(5, 60),
        "global_head_dim": 2 * made.config["head_dim"],
        "final_logit_softcapping": rng.choice([1.5, 3.0]),
        "hidden_size_per_layer_input": 0,
        "vocab_size_per_layer_input": made.config["vocab_size"],
        "num_kv_shared_layers": 0,
        "use_double_wide_mlp": False,
        "rope_parameters": {
            "full_attention": {
                "rope_type": "proportional",
                "partial_rotary_factor": 0.25,
                "rope_theta": 1_000_000.0,
            },
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
        **fields,
    }


def own_embeddings(made: Configuration, rng: Random) -> None:
    """E2B and E4B: per-layer inputs, and keys and values that later layers read too."""
    pattern = rng.randint(2, 3)
    _base(
        made,
        rng,
        pattern,
        3,
        hidden_size_per_layer_input=8 * rng.randint(1, 3),
        vocab_size_per_layer_input=made.config["vocab_size"] + rng.randint(0, 30),
        num_kv_shared_layers=pattern,
        use_double_wide_mlp=rng.random() < 0.5,
    )


def keys_as_values(made: Configuration, rng: Random) -> None:
    """31B, and the unified 12B."""
    _base(
        made,
        rng,
        rng.randint(2, 3),
        2,
        attention_k_eq_v=True,
        num_global_key_value_heads=1,
        use_bidirectional_attention="vision",
    )


def experts(made: Configuration, rng: Random) -> None:
    """26B-A4B: experts beside the MLP."""
    keys_as_values(made, rng)
    made.config |= {
        "enable_moe_block": True,
        "num_experts": rng.randint(5, 16),
        "top_k_experts": rng.randint(2, 4),
        "moe_intermediate_size": 8 * rng.randint(3, 12),
    }


def everything(made: Configuration, rng: Random) -> None:
    """All features at once, with sizes by layer as transformers 5 writes them, and other rotary parameters
    than published."""
    experts(made, rng)
    own = made.config
    own |= {
        "attention_bias": True,
        "final_logit_softcapping": None,
        "hidden_size_per_layer_input": 16,
        "num_kv_shared_layers": 2,
        "use_double_wide_mlp": True,
    }
    sizes = {"head_dim": own.pop("global_head_dim")}
    sizes["num_key_value_heads"] = own.pop("num_global_key_value_heads")
    full = [i for i, kind in enumerate(own["layer_types"]) if kind == "full_attention"]
    own["per_layer_config"] = {str(i): sizes for i in full}
    own["rope_parameters"] = {
        "full_attention": {
            "rope_type": "proportional",
            "partial_rotary_factor": 0.6,
            "rope_theta": 50_000.0,
            "factor": 4.0,
        },
        "sliding_attention": {"rope_type": "default", "rope_theta": 3_000.0},
    }


def shared_keys(made: Configuration, rng: Random) -> None:
    pattern = rng.randint(2, 3)
    _base(made, rng, pattern, 3, attention_k_eq_v=rng.random() < 0.5, num_kv_shared_layers=pattern)


def left_out(made: Configuration, rng: Random) -> None:
    """Fields that published configs may leave out."""
    keys_as_values(made, rng)
    made.config |= {"num_hidden_layers": 6, "num_key_value_heads": 4}
    made.config["num_attention_heads"] = 4
    made.config["hidden_size"] = 96
    for name in ("layer_types", "rope_parameters", "num_global_key_value_heads"):
        del made.config[name]
    for name in ("rms_norm_eps", "max_position_embeddings", "sliding_window", "hidden_activation"):
        del made.config[name]


def values(name: str, shape: torch.Size, normal: torch.Tensor, text: Config) -> torch.Tensor | None:
    """Of the parameters that need other sizes than those of other families; else None."""
    if name.endswith(("router.scale", "per_expert_scale")):
        return 1 + 0.3 * normal
    if "q_norm" in name or "k_norm" in name:  # scores have no other scale
        return (1.1 + 0.2 * normal) / shape[0] ** 0.25
    if name.endswith("embed_tokens_per_layer.weight"):
        return 0.8 * normal / text["hidden_size_per_layer_input"] ** 0.5
    return None


def part_experts(layers: nn.ModuleList, experts: int, generator: torch.Generator) -> None:
    """See family_checkpoints._part_experts(). Each addition to the stream comes from a norm."""
    for layer in layers:
        layer.post_attention_layernorm.weight[:experts] = 0
        layer.post_feedforward_layernorm.weight[:experts] = 0
        if layer.hidden_size_per_layer_input:
            layer.post_per_layer_input_norm.weight[:experts] = 0
        layer.router.scale[:experts] = 1
        router = layer.router.proj.weight
        router *= 0.05
        order = torch.randperm(experts, generator=generator)
        router[:, :experts] = 3.0 * router.shape[1] ** 0.5 * torch.eye(experts)[order]
