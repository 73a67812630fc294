"""Small random checkpoints of every kind of model that Assay runs.

The sizes are drawn again in each run of the tests, from a seed that is printed and that
ASSAY_FAMILY_SEED repeats. The features of a family are dealt out, not drawn, so its configurations
cover all of them. A run tries one configuration per type, a different one each time; ALL=1 tries all.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig

import gemma4_families
from assay_hf.model import HfModel, Numerics, auto_class
from assay_hf.taps import record, router_of, shared_expert, tap_names
from checkpoints import Prompts

Config = dict[str, Any]

SEED = int(os.environ.get("ASSAY_FAMILY_SEED") or time.time_ns() % 1_000_000)


@dataclass
class Configuration:
    """One checkpoint: its config.json and its other peculiarities."""

    name: str
    what: str  # the features that it tests
    config: Config
    seed: str  # for its weights and prompts
    shard_size: str = "5GB"
    tied_experts: bool = False  # pairs of experts that always have equal logits, in each router
    exchanged_experts: bool = False  # fused, with the last two axes exchanged
    fp8_scales: str | None = None  # the type of the scales, in FP8
    fused_experts: bool = False  # stored as transformers 5 holds them in memory
    further_lengths: list[int] = field(default_factory=list)  # of additional prompts

    @property
    def family(self) -> str:
        return self.config["model_type"]

    @property
    def text(self) -> Config:
        """The language model's config, perhaps within a multimodal one."""
        return self.config.get("text_config", self.config)

    @property
    def is_mixture(self) -> bool:
        return experts_in(self.text) > 0


def experts_in(config: Config) -> int:
    names = ("num_experts", "num_local_experts", "n_routed_experts")
    return next((config[name] for name in names if name in config), 0)


def configurations(seed: int = SEED, every: bool = os.environ.get("ALL") == "1") -> list[Configuration]:
    made: list[Configuration] = []
    for model_type, variants in FAMILIES.items():
        one = Random(f"{seed} {model_type}").randrange(len(variants))
        for number, (what, vary) in enumerate(variants.items()):
            if not every and number != one:
                continue
            name = f"{model_type}-{number}"
            rng = Random(f"{seed} {name}")
            made.append(_draw(name, model_type, what, vary, rng))
    return made


def _draw(name: str, model_type: str, what: str, vary: "Variant", rng: Random) -> Configuration:
    config: Config = {
        "model_type": model_type,
        "architectures": [ARCHITECTURES[model_type]],
        "dtype" if rng.random() < 0.5 else "torch_dtype": "bfloat16",
        "vocab_size": rng.randint(300, 1200),
        "num_hidden_layers": rng.randint(2, 6),
        "intermediate_size": rng.randint(80, 260),
        "max_position_embeddings": 4096,
        "rms_norm_eps": rng.choice([1e-6, 1e-5]),
        "tie_word_embeddings": rng.random() < 0.5,
        "bos_token_id": 0,
        "pad_token_id": 0,
    }
    config["eos_token_id"] = rng.choice([None, config["vocab_size"] - 1])
    config["hidden_activation" if "gemma" in model_type else "hidden_act"] = (
        "gelu_pytorch_tanh" if "gemma" in model_type else "silu"
    )
    _draw_heads(config, rng)
    made = Configuration(name, what, config, seed=f"{rng.random()}")
    vary(made, rng)
    return made


def _draw_heads(config: Config, rng: Random) -> None:
    """hidden_size is a multiple of the heads, and the head size differs from their ratio unless the config
    has no head_dim."""
    kv, group = rng.choice([1, 2, 3]), rng.choice([1, 2, 3])
    heads = kv * group
    config |= {"num_attention_heads": heads, "num_key_value_heads": kv}
    model_type = config["model_type"]
    if model_type in MIXTURES or model_type == "phi3":
        # torch's grouped_mm: rows of 16 bytes; phi3: rotary dimensions are even
        step = heads * 8
    else:
        step = heads * (2 if model_type in WITHOUT_HEAD_DIM else 1)
    config["hidden_size"] = rng.choice(range(-64 // step * -step, 193, step))
    if model_type in WITHOUT_HEAD_DIM:
        return
    # Half of a head, which some types rotate, is even.
    config["head_dim"] = 4 * rng.randint(3, 10) if model_type in MIXTURES else 2 * rng.randint(5, 20)


MIXTURES = ("qwen3_moe", "qwen3_vl_moe", "qwen2_moe", "mixtral", "olmoe", "glm4_moe", "minimax_m2")
MIXTURES += ("qwen3_next", "qwen3_5_moe", "qwen3_5_moe_text", "gpt_oss")
MIXTURES += ("gemma4_text", "gemma4")
TOWERS = ("gemma3", "mistral3", "qwen3_vl", "qwen3_vl_moe")  # within multimodal checkpoints
TOWERS += ("qwen3_5", "qwen3_5_moe", "gemma4", "gemma4_unified")
WITHOUT_HEAD_DIM = ("qwen2", "olmo2", "phi3", "qwen2_moe", "olmoe")


def rope(config: Config, rng: Random, **parameters: Any) -> None:
    """Rotary parameters in either spelling: rope_parameters in transformers 5, rope_theta and rope_scaling
    in published configs."""
    theta = round(10 ** rng.uniform(3.5, 6), 1)
    if rng.random() < 0.5:
        parameters.setdefault("rope_type", "default")
        config["rope_parameters"] = {"rope_theta": theta, **parameters}
        return
    config["rope_theta"] = theta
    if parameters:
        if rng.random() < 0.5:
            parameters["type"] = parameters.pop("rope_type")
        config["rope_scaling"] = parameters


Variant = Callable[[Configuration, Random], None]


# Each family's variants: the features that they test, and how they change the configuration.


def _qwen3_plain(tied: bool) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        made.config |= {"tie_word_embeddings": tied, "attention_bias": not tied}
        rope(made.config, rng)

    return vary


def _yarn(made: Configuration, rng: Random) -> None:
    parameters: Config = {
        "rope_type": "yarn",
        "factor": rng.choice([2.0, 4.0, 6.5]),
        "original_max_position_embeddings": rng.choice([48, 64, 96, 700]),
    }
    if rng.random() < 0.5:
        parameters |= {"beta_fast": rng.choice([8.0, 16.0]), "beta_slow": rng.choice([0.5, 1.5])}
    if rng.random() < 0.3:
        parameters["attention_factor"] = rng.choice([0.9, 1.25])
    rope(made.config, rng, **parameters)
    made.shard_size = f"{rng.randint(60, 200)}KB"


def _window_from_layer(made: Configuration, rng: Random) -> None:
    layers = made.config["num_hidden_layers"]
    made.config |= {
        "use_sliding_window": True,
        "sliding_window": rng.randint(5, 60),
        "max_window_layers": rng.randint(1, layers - 1),
    }
    rope(made.config, rng)


def _window_unused(made: Configuration, rng: Random) -> None:
    made.config |= {
        "use_sliding_window": False,
        "sliding_window": 8,
        "max_window_layers": 1,
        "tie_word_embeddings": False,
    }
    rope(made.config, rng)


def _mixture(made: Configuration, rng: Random, **fields: Any) -> None:
    experts = rng.randint(5, 16)
    made.config |= {
        "num_experts": experts,
        "num_experts_per_tok": rng.randint(1, min(4, experts - 1)),
        "moe_intermediate_size": 8 * rng.randint(3, 12),
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "norm_topk_prob": True,
        **fields,
    }
    rope(made.config, rng)


def _moe_every_second(made: Configuration, rng: Random) -> None:
    layers = rng.randint(3, 5)
    made.config["num_hidden_layers"] = layers
    _mixture(made, rng, decoder_sparse_step=2, norm_topk_prob=False, attention_bias=True)


def _moe_some_dense(made: Configuration, rng: Random) -> None:
    layers = rng.randint(3, 5)
    made.config["num_hidden_layers"] = layers
    dense = sorted(rng.sample(range(layers), rng.randint(1, layers - 1)))
    _mixture(made, rng, mlp_only_layers=dense)
    made.shard_size = f"{rng.randint(100, 300)}KB"


def _moe_window(made: Configuration, rng: Random) -> None:
    _mixture(made, rng, norm_topk_prob=False, use_sliding_window=True, sliding_window=24)


def _moe_ties(made: Configuration, rng: Random) -> None:
    made.tied_experts = True
    # 8 equal rows give equal sums in torch; 16 in double do not always.
    _mixture(
        made,
        rng,
        num_experts=8,
        num_experts_per_tok=rng.randint(2, 3),
        norm_topk_prob=rng.random() < 0.5,
    )


def _mixtral(**fields: Any) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        experts = rng.randint(5, 16)
        made.config |= {
            "num_local_experts": experts,
            "num_experts_per_tok": rng.randint(2, 4),
            "intermediate_size": 8 * rng.randint(3, 12),
            **fields,
        }
        if "sliding_window" in fields:
            made.config["sliding_window"] = rng.randint(4, 60)
            del made.config["head_dim"]
        rope(made.config, rng)

    return vary


def _qwen2_moe(**fields: Any) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        made.config["num_hidden_layers"] = rng.randint(3, 5)
        # As published, unless the variant says otherwise.
        own = {"norm_topk_prob": False, "mlp_only_layers": [], "use_sliding_window": False}
        own["shared_expert_intermediate_size"] = rng.randint(20, 90)
        _mixture(made, rng, num_experts_per_tok=rng.randint(2, 4), **{**own, **fields})

    return vary


def _olmoe(**fields: Any) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        _mixture(made, rng, norm_topk_prob=False, num_experts_per_tok=rng.randint(2, 4))
        for name in ("moe_intermediate_size", "decoder_sparse_step", "mlp_only_layers"):
            del made.config[name]
        made.config |= {"intermediate_size": 8 * rng.randint(3, 12), "clip_qkv": None, **fields}

    return vary


def _glm4_moe(made: Configuration, rng: Random, **fields: Any) -> None:
    groups = fields.get("n_group", 1)
    experts = groups * rng.randint(2, 4) if groups > 1 else rng.randint(5, 16)
    made.config |= {
        "num_hidden_layers": rng.randint(3, 5),
        "n_routed_experts": experts,
        "num_experts_per_tok": rng.randint(2, min(4, experts // groups)),
        "moe_intermediate_size": 8 * rng.randint(3, 12),
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
        "norm_topk_prob": True,
        "routed_scaling_factor": 1.0,
        **fields,
    }
    rope(made.config, rng)


def _glm4_moe_published(made: Configuration, rng: Random) -> None:
    _glm4_moe(made, rng, attention_bias=True, use_qk_norm=True, routed_scaling_factor=2.5)
    made.config["partial_rotary_factor"] = 0.5
    made.config["num_nextn_predict_layers"] = 1


def _glm4_moe_air(made: Configuration, rng: Random) -> None:
    _glm4_moe(made, rng, attention_bias=True, use_qk_norm=False, n_shared_experts=2)


def _glm4_moe_groups(made: Configuration, rng: Random) -> None:
    groups = rng.randint(3, 4)
    _glm4_moe(
        made,
        rng,
        n_group=groups,
        topk_group=rng.randint(1, groups - 1),
        norm_topk_prob=rng.random() < 0.5,
        routed_scaling_factor=1.5,
        first_k_dense_replace=0,
    )


def _minimax_m2(made: Configuration, rng: Random) -> None:
    _mixtral()(made, rng)
    made.config["rotary_dim"] = 2 * rng.randint(2, made.config["head_dim"] // 2 - 1)


def _minimax_m2_whole(made: Configuration, rng: Random) -> None:
    _mixtral()(made, rng)


def _minimax_m2_factor(made: Configuration, rng: Random) -> None:
    _mixtral()(made, rng)
    made.config.pop("rope_theta", None)
    made.config["rope_parameters"] = {
        "rope_type": "default",
        "rope_theta": 50_000.0,
        "partial_rotary_factor": 0.5,
    }


def _gpt_oss(made: Configuration, rng: Random, **fields: Any) -> None:
    made.config |= {
        "num_hidden_layers": rng.randint(3, 5),
        "num_local_experts": rng.randint(5, 16),
        "num_experts_per_tok": rng.randint(2, 4),
        "intermediate_size": 8 * rng.randint(3, 12),
        "sliding_window": rng.randint(5, 60),
        "tie_word_embeddings": False,
        # Far below the published 7, because the values of such a small model are small.
        "swiglu_limit": rng.choice([0.7, 1.1]),
        **fields,
    }


def _gpt_oss_published(made: Configuration, rng: Random, **fields: Any) -> None:
    _gpt_oss(made, rng, **fields)
    made.config |= {
        "rope_theta": 150_000,
        "rope_scaling": {
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "factor": 32.0,
            "original_max_position_embeddings": 4096,
            "rope_type": "yarn",
            "truncate": False,
        },
    }


def _gpt_oss_mxfp4(made: Configuration, rng: Random) -> None:
    _gpt_oss_published(made, rng, intermediate_size=32 * rng.randint(2, 4))
    heads = made.config["num_attention_heads"]
    made.config["hidden_size"] = 32 * heads * rng.randint(1, 2)
    made.config["head_dim"] = 32
    made.config["quantization_config"] = {
        "quant_method": "mxfp4",
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
    }


def _gpt_oss_other(made: Configuration, rng: Random) -> None:
    """Fields left out, and others than published."""
    layers = rng.randint(3, 5)
    kinds = ["full_attention", "sliding_attention", *["full_attention"] * (layers - 2)]
    _gpt_oss(made, rng, num_hidden_layers=layers, layer_types=kinds, swiglu_alpha=1.3)
    made.config["tie_word_embeddings"] = True


def _llama_default(made: Configuration, rng: Random) -> None:
    made.config |= {"tie_word_embeddings": False}
    del made.config["head_dim"]
    heads = made.config["num_attention_heads"]
    made.config["hidden_size"] = rng.choice(range(-64 // (2 * heads) * -2 * heads, 193, 2 * heads))
    rope(made.config, rng)


def _llama_linear(made: Configuration, rng: Random) -> None:
    made.config |= {"attention_bias": True, "tie_word_embeddings": True}
    rope(made.config, rng, rope_type="linear", factor=rng.choice([1.5, 2.0, 4.0, 8.0]))


def _llama_dynamic(made: Configuration, rng: Random) -> None:
    longest = rng.randint(60, 120)
    made.config |= {"max_position_embeddings": longest, "mlp_bias": True}
    made.further_lengths = [longest - 3]  # the continuation crosses it
    rope(made.config, rng, rope_type="dynamic", factor=rng.choice([1.5, 2.0, 4.0]))


def _llama_3(tied: bool) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        made.config |= {"tie_word_embeddings": tied, "attention_bias": tied, "mlp_bias": tied}
        low = rng.choice([1.0, 2.0])
        rope(
            made.config,
            rng,
            rope_type="llama3",
            factor=rng.choice([4.0, 8.0, 32.0]),
            low_freq_factor=low,
            high_freq_factor=low * rng.choice([2.0, 4.0]),
            original_max_position_embeddings=rng.choice([64, 128, 1024]),
        )

    return vary


def _mistral(window: bool, head_dim: bool) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        made.config["sliding_window"] = rng.randint(4, 60) if window else None
        if not head_dim:
            del made.config["head_dim"]
            heads = made.config["num_attention_heads"]
            step = 2 * heads
            made.config["hidden_size"] = rng.choice(range(-64 // step * -step, 193, step))
        rope(made.config, rng)

    return vary


def _ministral3(**fields: Any) -> Variant:
    """Queries grow several times within the long prompt."""

    def vary(made: Configuration, rng: Random) -> None:
        original = rng.randint(16, 40)
        parameters = {
            "factor": rng.choice([4.0, 16.0]),
            "original_max_position_embeddings": original,
            "max_position_embeddings": 4096,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "llama_4_scaling_beta": rng.choice([0.1, 0.3]),
        }
        made.config["rope_parameters"] = {
            rng.choice(["rope_type", "type"]): "yarn",
            "rope_theta": round(10 ** rng.uniform(3.5, 6), 1),
            **parameters,
        }
        made.config["sliding_window"] = None
        made.config |= fields
        made.further_lengths = [original - 3]  # the continuation crosses it

    return vary


def _ministral3_default(made: Configuration, rng: Random) -> None:
    """Without rotary parameters, and queries that never grow."""
    made.config["sliding_window"] = rng.randint(4, 60)


def _fp8(vary: Variant, block: int | None, scales: str = "float32") -> Variant:
    """Matrices in FP8, with a scale for each block of that size, or one for each matrix."""

    def quantised(made: Configuration, rng: Random) -> None:
        vary(made, rng)
        text = made.text
        step = 16 * text["num_attention_heads"]
        text["hidden_size"] = rng.choice(range(-64 // step * -step, max(193, step + 1), step))
        text["head_dim"] = 16 * rng.randint(1, 2)
        text["intermediate_size"] = 16 * rng.randint(5, 12)
        if "moe_intermediate_size" in text:
            text["moe_intermediate_size"] = 16 * rng.randint(2, 4)
        made.config["quantization_config"] = {
            "quant_method": "fp8",
            "activation_scheme": "dynamic" if block else "static",
            "weight_block_size": [block, block] if block else None,
            "modules_to_not_convert": ["lm_head", "model.embed_tokens", "mlp.gate"],
        }
        made.fp8_scales = scales

    return quantised


def _gemma2(**fields: Any) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        made.config |= {
            "query_pre_attn_scalar": rng.randint(8, 60),
            "sliding_window": rng.randint(5, 60),
            # Far below the published ones, because the scores and logits of such a small model are
            # small.
            "attn_logit_softcapping": rng.choice([1.5, 3.0, 50.0]),
            "final_logit_softcapping": rng.choice([2.0, 4.0, 30.0]),
            "tie_word_embeddings": True,
            **fields,
        }
        rope(made.config, rng)

    return vary


def _gemma3(made: Configuration, rng: Random) -> None:
    made.config |= {
        "query_pre_attn_scalar": rng.randint(8, 60),
        "sliding_window": rng.randint(5, 60),
        "tie_word_embeddings": True,
    }


def _gemma3_published(made: Configuration, rng: Random) -> None:
    _gemma3(made, rng)
    pattern = rng.randint(2, 3)
    made.config |= {
        "sliding_window_pattern": pattern,
        "num_hidden_layers": rng.randint(pattern, 6),
        "rope_theta": 1_000_000.0,
        "rope_local_base_freq": 10_000.0,
    }


def _gemma3_linear(made: Configuration, rng: Random) -> None:
    _gemma3_published(made, rng)
    made.config["rope_scaling"] = {"rope_type": "linear", "factor": 8.0}
    made.config["final_logit_softcapping"] = 3.0


def _gemma3_layer_types(made: Configuration, rng: Random) -> None:
    _gemma3(made, rng)
    made.config["num_hidden_layers"] = layers = rng.randint(3, 5)
    kinds = ["full_attention", "sliding_attention"]
    kinds += rng.choices(kinds, k=layers - 2)
    rng.shuffle(kinds)
    made.config |= {
        "layer_types": kinds,
        "attention_bias": True,
        "attn_logit_softcapping": 1.0,  # ignored by this family
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 300_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 5_000.0},
        },
    }


def _olmo2(**fields: Any) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        made.config |= fields
        rope(made.config, rng)

    return vary


def _phi3(made: Configuration, rng: Random, partial: float) -> int:
    """Returns the number of rotary dimensions."""
    if partial != 1.0:
        made.config["partial_rotary_factor"] = partial
    head_dim = made.config["hidden_size"] // made.config["num_attention_heads"]
    return int(head_dim * partial)


def _phi3_plain(made: Configuration, rng: Random) -> None:
    made.config["sliding_window"] = rng.randint(4, 60)
    made.config["rope_theta"] = 10_000.0
    _phi3(made, rng, 1.0)


def _phi3_longrope(partial: float, old: bool, window: bool) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        rotary = _phi3(made, rng, partial)
        original = rng.randint(40, 120)
        made.further_lengths = [original - 3]  # the continuation crosses it
        scaling: Config = {
            "short_factor": [round(rng.uniform(1, 1.5), 3) for _ in range(rotary // 2)],
            "long_factor": [round(rng.uniform(1, 12), 3) for _ in range(rotary // 2)],
        }
        made.config |= {
            "original_max_position_embeddings": original,
            "max_position_embeddings": 1024,
            "sliding_window": rng.randint(10, 60) if window else None,
        }
        if old:
            made.config |= {
                "rope_theta": 10_000.0,
                "rope_scaling": {"type": "longrope", **scaling},
            }
        else:
            made.config["rope_parameters"] = {
                "rope_type": "longrope",
                "rope_theta": 10_000.0,
                "partial_rotary_factor": partial,
                "original_max_position_embeddings": original,
                **scaling,
            }

    return vary


def _tower(text_type: str, vary: Variant, vision: Config, **fields: Any) -> Variant:
    """A multimodal config around the language model's."""

    def wrap(made: Configuration, rng: Random) -> None:
        vary(made, rng)
        outside = ("model_type", "architectures", "dtype", "torch_dtype", "tie_word_embeddings")
        text = {n: v for n, v in made.config.items() if n not in outside}
        text["model_type"] = text_type
        made.config = {n: made.config[n] for n in outside if n in made.config}
        made.config |= {"text_config": text, "vision_config": vision, **fields}

    return wrap


SIGLIP = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
SIGLIP |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
PIXTRAL = {**SIGLIP, "model_type": "pixtral", "head_dim": 8}
QWEN35_VISION = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
QWEN35_VISION |= {"patch_size": 4, "num_position_embeddings": 16, "out_hidden_size": 16}
QWEN_VISION = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
QWEN_VISION |= {"patch_size": 4, "deepstack_visual_indexes": [], "num_position_embeddings": 16}


def _gemma3_defaults(made: Configuration, rng: Random) -> None:
    """Fields that published configs leave out."""
    _gemma3_linear(made, rng)
    del made.config["final_logit_softcapping"]
    for name in ("rope_theta", "rope_local_base_freq", "rms_norm_eps", "max_position_embeddings"):
        del made.config[name]
    made.config |= {"num_attention_heads": 8, "num_key_value_heads": 4, "hidden_size": 64}
    del made.config["num_attention_heads"], made.config["num_key_value_heads"]
    made.config["sliding_window_pattern"] = 6
    made.config["num_hidden_layers"] = 6


def _mrope(vary: Variant) -> Variant:
    def with_sections(made: Configuration, rng: Random) -> None:
        vary(made, rng)
        for name in ("rope_parameters", "rope_scaling", "rope_theta", "use_sliding_window"):
            made.config.pop(name, None)
        half = made.config["head_dim"] // 2
        sections = [half - 2 * (half // 3), half // 3, half // 3]
        rope(made.config, rng, rope_type="default", mrope_interleaved=True, mrope_section=sections)

    return with_sections


def _exchanged(vary: Variant) -> Variant:
    def with_exchanged(made: Configuration, rng: Random) -> None:
        vary(made, rng)
        made.exchanged_experts = True

    return with_exchanged


def _fused(vary: Variant) -> Variant:
    def with_fused(made: Configuration, rng: Random) -> None:
        vary(made, rng)
        made.fused_experts = True

    return with_fused


def _delta(made: Configuration, rng: Random, **fields: Any) -> None:
    """Fields of layers with a delta rule. The prompts end around the borders of transformers' chunks."""
    key_heads, share = rng.randint(1, 3), rng.choice([1, 2, 3])
    made.config |= {
        "num_hidden_layers": rng.randint(4, 6),
        "head_dim": 8 * rng.randint(2, 5),
        "linear_num_key_heads": key_heads,
        "linear_num_value_heads": key_heads * share,
        "linear_key_head_dim": 2 * rng.randint(4, 20),
        "linear_value_head_dim": 2 * rng.randint(4, 24),
        "linear_conv_kernel_dim": 4,
        "attention_bias": False,
        **fields,
    }
    made.further_lengths = [63, 64, 65, 130]


def _qwen3_5(**fields: Any) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        _delta(made, rng, **fields)
        rope(made.config, rng, rope_type="default")

    return vary


def _qwen3_5_layer_types(made: Configuration, rng: Random) -> None:
    kinds = ["full_attention", "linear_attention", "linear_attention"]
    rng.shuffle(kinds)
    _delta(
        made,
        rng,
        layer_types=kinds,
        num_hidden_layers=3,
        linear_conv_kernel_dim=rng.choice([2, 3, 5]),
        attention_bias=True,
    )
    rope(made.config, rng, rope_type="default", partial_rotary_factor=0.5)


def _qwen3_5_moe(**fields: Any) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        _mixture(made, rng, num_experts_per_tok=rng.randint(2, 4))
        for name in ("decoder_sparse_step", "mlp_only_layers", "norm_topk_prob", "intermediate_size"):
            del made.config[name]
        made.config["shared_expert_intermediate_size"] = rng.randint(20, 90)
        _delta(made, rng, **fields)

    return vary


def _qwen3_next(**fields: Any) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        _mixture(made, rng, num_experts_per_tok=rng.randint(2, 4))
        made.config["shared_expert_intermediate_size"] = rng.randint(20, 90)
        _delta(made, rng, **fields)

    return vary


FAMILIES: dict[str, dict[str, Variant]] = {
    "qwen3_5_text": {
        "published": _qwen3_5(full_attention_interval=4),
        "layer types, bias": _qwen3_5_layer_types,
        "tied, every second layer": _qwen3_5(full_attention_interval=2, tie_word_embeddings=True),
    },
    "qwen3_5": {
        "published": _tower("qwen3_5_text", _qwen3_5(full_attention_interval=4), QWEN35_VISION),
        "layer types, bias": _tower("qwen3_5_text", _qwen3_5_layer_types, QWEN35_VISION),
        "tied": _tower("qwen3_5_text", _qwen3_5(tie_word_embeddings=True), QWEN35_VISION),
    },
    "qwen3_5_moe_text": {
        "published": _qwen3_5_moe(),
        "experts fused": _fused(_qwen3_5_moe(full_attention_interval=2)),
        "bias": _qwen3_5_moe(attention_bias=True, full_attention_interval=3),
    },
    "qwen3_5_moe": {
        "published": _tower("qwen3_5_moe_text", _qwen3_5_moe(), QWEN35_VISION),
        "tied": _tower(
            "qwen3_5_moe_text", _qwen3_5_moe(tie_word_embeddings=True), QWEN35_VISION
        ),
        "experts fused": _fused(_tower("qwen3_5_moe_text", _qwen3_5_moe(), QWEN35_VISION)),
    },
    "qwen3_next": {
        "published": _qwen3_next(),
        "not normed, every second layer": _qwen3_next(norm_topk_prob=False, decoder_sparse_step=2),
        "first layer dense, experts fused": _fused(_qwen3_next(mlp_only_layers=[0])),
    },
    "gemma3": {
        "published": _tower("gemma3_text", _gemma3_published, SIGLIP, mm_tokens_per_image=4),
        "fields left out": _tower("gemma3_text", _gemma3_defaults, SIGLIP, mm_tokens_per_image=4),
        "layer types": _tower("gemma3_text", _gemma3_layer_types, SIGLIP, mm_tokens_per_image=4),
    },
    "mistral3": {
        "published": _tower("mistral", _mistral(window=False, head_dim=True), PIXTRAL),
        "window": _tower("mistral", _mistral(window=True, head_dim=True), PIXTRAL),
        "no head_dim": _tower("mistral", _mistral(window=False, head_dim=False), PIXTRAL),
        "ministral3": _tower("ministral3", _ministral3(), PIXTRAL),
        "ministral3, fp8": _fp8(
            _tower("ministral3", _ministral3(tie_word_embeddings=True), PIXTRAL), None, "bfloat16"
        ),
    },
    "qwen3_vl": {
        "tied": _tower("qwen3_vl_text", _mrope(_qwen3_plain(tied=True)), QWEN_VISION),
        "untied, bias": _tower("qwen3_vl_text", _mrope(_qwen3_plain(tied=False)), QWEN_VISION),
        "shards": _tower("qwen3_vl_text", _mrope(_yarn), QWEN_VISION),
    },
    "qwen3_vl_moe": {
        "published": _exchanged(_tower("qwen3_vl_moe_text", _mrope(_mixture), QWEN_VISION)),
        "some layers dense": _exchanged(
            _tower("qwen3_vl_moe_text", _mrope(_moe_some_dense), QWEN_VISION)
        ),
        "every second layer": _tower("qwen3_vl_moe_text", _mrope(_moe_every_second), QWEN_VISION),
    },
    "qwen3": {
        "tied": _qwen3_plain(tied=True),
        "untied, bias": _qwen3_plain(tied=False),
        "yarn, shards": _yarn,
        "window": _window_from_layer,
        "fp8 in blocks": _fp8(_qwen3_plain(tied=False), 16, "bfloat16"),
    },
    "qwen3_moe": {
        # With three or more terms, it shows where their sum is rounded.
        "normed": lambda made, rng: _mixture(made, rng, num_experts_per_tok=rng.randint(3, 4)),
        "every second layer": _moe_every_second,
        "some layers dense": _moe_some_dense,
        "window": _moe_window,
        "ties": _moe_ties,
        "fp8 in blocks": _fp8(_mixture, 16),
    },
    "qwen2_moe": {
        "published": _qwen2_moe(),
        "normed, every second layer": _qwen2_moe(norm_topk_prob=True, decoder_sparse_step=2),
        "no bias, window": _qwen2_moe(
            qkv_bias=False, use_sliding_window=True, sliding_window=20, max_window_layers=3
        ),
    },
    "mixtral": {
        "published": _mixtral(),
        "window": _mixtral(sliding_window=None),
        "tied, experts fused": _fused(_mixtral(tie_word_embeddings=True)),
    },
    "olmoe": {
        "published": _olmoe(),
        "normed, bias, experts fused": _fused(_olmoe(norm_topk_prob=True, attention_bias=True)),
        "tied": _olmoe(tie_word_embeddings=True),
    },
    "glm4_moe": {
        "published": _glm4_moe_published,
        "published, small": _glm4_moe_air,
        "groups": _glm4_moe_groups,
    },
    "minimax_m2": {
        "published": _minimax_m2,
        "whole heads": _minimax_m2_whole,
        "half heads": _minimax_m2_factor,
    },
    "gpt_oss": {
        "published, mxfp4": _gpt_oss_mxfp4,
        "published, widened": _gpt_oss_published,
        "layer types, rope left out": _gpt_oss_other,
    },
    "qwen2": {
        "plain": lambda made, rng: rope(made.config, rng),
        "window": _window_from_layer,
        "window unused": _window_unused,
    },
    "llama": {
        "default": _llama_default,
        "linear, bias": _llama_linear,
        "dynamic, mlp bias": _llama_dynamic,
        "llama3, untied": _llama_3(tied=False),
        "llama3, tied, biases": _llama_3(tied=True),
    },
    "mistral": {
        "window": _mistral(window=True, head_dim=False),
        "window, head_dim": _mistral(window=True, head_dim=True),
        "no window": _mistral(window=False, head_dim=True),
    },
    "ministral3": {
        "published": _ministral3(),
        "rope left out, window": _ministral3_default,
        "fp8, a scale for each matrix": _fp8(_ministral3(), None),
    },
    "gemma2": {
        "caps": _gemma2(),
        "no caps": _gemma2(attn_logit_softcapping=None, final_logit_softcapping=None),
        "caps, bias": _gemma2(
            attention_bias=True, attn_logit_softcapping=1.0, final_logit_softcapping=1.5
        ),
    },
    "gemma3_text": {
        "published": _gemma3_published,
        "linear": _gemma3_linear,
        "layer types": _gemma3_layer_types,
    },
    "gemma4_text": {
        "published, own embeddings": gemma4_families.own_embeddings,
        "published, keys as values": gemma4_families.keys_as_values,
        "published, experts": gemma4_families.experts,
        "everything, sizes by layer": gemma4_families.everything,
    },
    "gemma4": {
        "own embeddings": _tower("gemma4_text", gemma4_families.own_embeddings, gemma4_families.VISION),
        "keys as values": _tower("gemma4_text", gemma4_families.keys_as_values, gemma4_families.VISION),
        "experts": _tower("gemma4_text", gemma4_families.experts, gemma4_families.VISION),
    },
    "gemma4_unified": {
        "published": _tower(
            "gemma4_unified_text", gemma4_families.keys_as_values, gemma4_families.UNIFIED_VISION
        ),
        "shared keys": _tower(
            "gemma4_unified_text", gemma4_families.shared_keys, gemma4_families.UNIFIED_VISION
        ),
        "fields left out": _tower(
            "gemma4_unified_text", gemma4_families.left_out, gemma4_families.UNIFIED_VISION
        ),
    },
    "olmo2": {
        "tied": _olmo2(tie_word_embeddings=True),
        "untied": _olmo2(tie_word_embeddings=False),
        "bias": _olmo2(attention_bias=True),
    },
    "phi3": {
        "window": _phi3_plain,
        "longrope": _phi3_longrope(1.0, old=True, window=False),
        "longrope, partial": _phi3_longrope(0.5, old=False, window=False),
        "longrope, partial, window": _phi3_longrope(0.75, old=True, window=True),
    },
}

ARCHITECTURES = {
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "gemma3": "Gemma3ForConditionalGeneration",
    "mistral3": "Mistral3ForConditionalGeneration",
    "qwen3_vl": "Qwen3VLForConditionalGeneration",
    "qwen3_vl_moe": "Qwen3VLMoeForConditionalGeneration",
    "qwen3_5_text": "Qwen3_5ForCausalLM",
    "qwen3_5": "Qwen3_5ForConditionalGeneration",
    "qwen3_5_moe_text": "Qwen3_5MoeForCausalLM",
    "qwen3_5_moe": "Qwen3_5MoeForConditionalGeneration",
    "qwen3_next": "Qwen3NextForCausalLM",
    "qwen2_moe": "Qwen2MoeForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "olmoe": "OlmoeForCausalLM",
    "glm4_moe": "Glm4MoeForCausalLM",
    "minimax_m2": "MiniMaxM2ForCausalLM",
    "gpt_oss": "GptOssForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "ministral3": "Ministral3ForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "gemma4_text": "Gemma4ForCausalLM",
    "gemma4": "Gemma4ForConditionalGeneration",
    "gemma4_unified": "Gemma4UnifiedForConditionalGeneration",
    "olmo2": "Olmo2ForCausalLM",
    "phi3": "Phi3ForCausalLM",
}


def write(configuration: Configuration, directory: Path) -> Path:
    """The checkpoint, in BF16 and with published tensor names."""
    directory.mkdir(parents=True)
    config_file = directory / "config.json"
    config_text = json.dumps(configuration.config, indent=2)
    config_file.write_text(config_text)
    config = AutoConfig.from_pretrained(directory)
    method = getattr(config, "quantization_config", {}).get("quant_method")
    if method is not None:
        del config.quantization_config
    net = auto_class(config).from_config(config)
    generator = torch.Generator().manual_seed(Random(configuration.seed).getrandbits(60))
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.copy_(_values(name, parameter, configuration, generator))
        if configuration.is_mixture:
            _part_experts(net, configuration, generator)
        net.bfloat16()
        # Stored in FP32, as in published checkpoints.
        for name, buffer in net.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.data = 0.1 * torch.randn(buffer.shape, generator=generator)
            if "layers" in name and name.endswith("layer_scalar"):
                buffer.data = (1 + 0.3 * torch.randn(buffer.shape, generator=generator)).bfloat16()
    net.save_pretrained(
        directory,
        max_shard_size=configuration.shard_size,
        save_original_format=not configuration.fused_experts,
    )
    if configuration.exchanged_experts:
        _exchange_experts(directory)
    if method == "mxfp4":
        _to_mxfp4(directory, generator)
    if method == "fp8":
        _to_fp8(configuration, directory, generator)
    config_file.write_text(config_text)  # save_pretrained's own has only the new spelling
    return directory


def _exchange_experts(directory: Path) -> None:
    for file in directory.glob("*.safetensors"):
        weights = load_file(file)
        for name, weight in weights.items():
            if ".experts." in name:
                weights[name] = weight.transpose(1, 2).contiguous()
        save_file(weights, file, metadata={"format": "pt"})


def _to_fp8(made: Configuration, directory: Path, generator: torch.Generator) -> None:
    """Stores the layers' matrices as published FP8 files do: w = q * scale."""
    size = made.config["quantization_config"]["weight_block_size"]
    dtype = getattr(torch, made.fp8_scales or "float32")
    for file in directory.glob("*.safetensors"):
        weights = load_file(file)
        for name in [n for n in weights if ".layers." in n and n.endswith("_proj.weight")]:
            weight = weights[name].float()
            if "vision" in name:
                continue
            rows, cols = size or weight.shape
            blocks = weight.reshape(weight.shape[0] // rows, rows, weight.shape[1] // cols, cols)
            largest = blocks.abs().amax((1, 3), keepdim=True).clamp(min=1e-12)
            # Not only scales that use all of the range.
            spread = 1 + torch.rand(largest.shape, generator=generator)
            scale = (largest / 448 * spread).to(dtype)
            codes = (blocks / scale.float()).clamp(-448, 448).to(torch.float8_e4m3fn)
            weights[name] = codes.reshape(weight.shape)
            grid = scale[:, 0, :, 0].contiguous()
            weights[f"{name}_scale_inv"] = grid if size else grid[0, 0].clone()
            if not size:
                activation = name.replace("weight", "activation_scale")
                weights[activation] = torch.tensor(0.02, dtype=dtype)
        save_file(weights, file, metadata={"format": "pt"})


E2M1 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])


def _to_mxfp4(directory: Path, generator: torch.Generator) -> None:
    """Stores experts as gpt-oss does: blocks of 32 inputs, the first of two elements in the low
    nibble."""
    for file in directory.glob("*.safetensors"):
        weights = load_file(file)
        for name in [n for n in weights if n.endswith("_proj") and ".experts." in n]:
            weight = weights.pop(name).float().transpose(1, 2)  # [experts, out, in]
            blocks = weight.reshape(*weight.shape[:2], -1, 32)
            largest = blocks.abs().amax(-1, keepdim=True).clamp(min=1e-20)
            exponent = torch.floor(torch.log2(largest)) - 2
            # A few blocks at the ends of the scales' range.
            odd = torch.rand(exponent.shape, generator=generator) < 0.002
            exponent = torch.where((largest > 1e-20) & odd, torch.full_like(exponent, -127.0), exponent)
            exponent = exponent.clamp(-127, 120)
            scaled = torch.where(exponent < -100, blocks * 64, blocks / 2.0**exponent)
            nearest = (scaled.abs()[..., None] - E2M1).abs().argmin(-1)
            codes = (nearest + 8 * (scaled < 0)).to(torch.uint8)
            weights[f"{name}_blocks"] = (codes[..., ::2] | codes[..., 1::2] << 4).contiguous()
            weights[f"{name}_scales"] = (exponent[..., 0] + 127).to(torch.uint8).contiguous()
        save_file(weights, file, metadata={"format": "pt"})


def _values(
    name: str, parameter: nn.Parameter, configuration: Configuration, generator: torch.Generator
) -> torch.Tensor:
    """Sizes at which nothing is degenerate: no saturated softmax, no vanishing residual."""
    normal = torch.randn(parameter.shape, generator=generator)
    # Their norms multiply by 1 + weight, but not those of delta rules.
    gemma = "gemma" in configuration.family
    gemma4 = "gemma4" in configuration.family
    if gemma4:
        own = gemma4_families.values(name, parameter.shape, normal, configuration.text)
        if own is not None:
            return own
    one_plus = (gemma and not gemma4) or ("qwen3_5" in configuration.family or "next" in configuration.family)
    if name.endswith("A_log"):  # heads that soon forget, and some that hardly do
        return torch.rand(parameter.shape, generator=generator) * 5 - 5
    if "conv1d" in name:
        return 0.6 * normal
    if "linear_attn.norm" in name:
        one_plus = False
    if name.endswith("bias"):
        return 0.3 * normal
    if name.endswith("sinks"):
        return 1.5 * normal
    if "norm" in name:
        mean = 1.1 if "q_norm" in name or "k_norm" in name else 1.0
        return 0.2 * normal + (mean - 1 if one_plus else mean)
    hidden = configuration.text["hidden_size"]
    if name.endswith("embed_tokens.weight"):
        # Otherwise a tied head would predict each token itself, since the stream is mostly its
        # embedding.
        size = 0.15 if configuration.config["tie_word_embeddings"] else 0.8
        return normal * (size / hidden**0.5 if gemma else size)
    # Attention that is sharp and important, so the continuation depends on all of it.
    if "q_proj" in name or "k_proj" in name or "qkv_proj" in name:
        return 1.0 * normal / hidden**0.5
    if "v_proj" in name or "o_proj" in name:
        return 1.2 * normal / parameter.shape[-1] ** 0.5
    # gpt-oss stores experts as [experts, in, out].
    transposed = configuration.family == "gpt_oss" and ".experts." in name
    return 0.7 * normal / parameter.shape[-2 if transposed else -1] ** 0.5


def _part_experts(net: nn.Module, made: Configuration, generator: torch.Generator) -> None:
    """Separates the logits of any token's experts so much that rounding in BF16 does not change the
    choice: with other experts, a token tells nothing about how accurately an engine computes.

    The first channels of the stream hold a ranking of the experts for each token of the vocabulary.
    No layer writes to them, and each router reads them in a different order.
    """
    experts = experts_in(made.text)
    one = 0 if "qwen3_5" in made.family or "next" in made.family else 1  # of 1 + weight
    spread = 0.25 * (torch.arange(experts) - (experts - 1) / 2)
    model = getattr(net.model, "language_model", net.model)
    embedding = model.embed_tokens.weight
    for token in range(len(embedding)):
        embedding[token, :experts] = spread[torch.randperm(experts, generator=generator)]
    if "gemma4" in made.family:
        embedding[:, :experts] /= embedding.shape[1] ** 0.5
        return gemma4_families.part_experts(model.layers, experts, generator)
    for layer in model.layers:
        layer.post_attention_layernorm.weight[:experts] = one
        mixer = getattr(layer, "self_attn", None)
        out = layer.linear_attn.out_proj if mixer is None else mixer.o_proj
        out.weight[:experts] = 0
        if out.bias is not None:
            out.bias[:experts] = 0
        if not hasattr(layer.mlp, "experts"):
            layer.mlp.down_proj.weight[:experts] = 0
            continue
        if made.family == "gpt_oss":
            layer.mlp.experts.down_proj[..., :experts] = 0
            layer.mlp.experts.down_proj_bias[:, :experts] = 0
            layer.mlp.router.bias[:] = 0.1 * torch.randn(experts, generator=generator)
        else:
            layer.mlp.experts.down_proj[:, :experts] = 0
        shared = shared_expert(layer.mlp)
        if shared is not None:
            shared.down_proj.weight[:experts] = 0
        router = router_of(layer.mlp).weight
        router *= 0.05
        order = torch.randperm(experts, generator=generator)
        router[:, :experts] = 3.0 * torch.eye(experts)[order]
        if made.tied_experts:
            router[experts // 2 :] = router[: experts // 2]


def draw_prompts(configuration: Configuration, checkpoint: Path) -> Prompts:
    """A single token, a short and a long prompt, and those with lengths that matter here. In none does the
    choice of experts depend on the last bits of FP32."""
    rng = Random(configuration.seed)
    vocab = configuration.text["vocab_size"]
    lengths = {"one": 1, "short": rng.randint(16, 24), "long": rng.randint(150, 250)}
    lengths |= {f"length{n}": n for n in configuration.further_lengths}
    model = None
    if configuration.is_mixture:
        model = HfModel(checkpoint, Numerics.F64)
    prompts: Prompts = {}
    for name, length in lengths.items():
        for _ in range(50):
            prompts[name] = [rng.randrange(vocab) for _ in range(length)]
            if model is None or _nearest_miss(model, prompts[name]) > NEAR:
                break
        else:
            raise AssertionError(f"{configuration.name}: no prompt without near ties")
    return prompts


NEAR = 3e-5  # between two experts' logits: far more than FP32's error, yet rare enough to avoid


def _nearest_miss(model: HfModel, ids: list[int]) -> float:
    """The smallest difference of two logits that decides on an expert or its place; exact ties, which
    every engine sees, do not count."""
    names = tap_names(model)
    kind = "router_scores" if any(name.endswith("router_scores") for name in names) else "router_logits"
    groups = getattr(model.config, "n_group", 1)
    names_of_chosen = ("num_experts_per_tok", "top_k_experts")
    chosen = next(getattr(model.config, n) for n in names_of_chosen if hasattr(model.config, n))
    nearest = np.inf
    for scores in record(model, ids, [n for n in names if n.endswith(kind)], np.float64).values():
        kept = scores
        if groups > 1:
            of_groups = scores.reshape(*scores.shape[:-1], groups, -1)
            sums = np.sort(of_groups)[..., -2:].sum(-1)
            limit = -np.sort(-sums)[..., model.config.topk_group - 1, None]
            others = np.where(sums < limit, sums, -np.inf).max(-1, keepdims=True)
            nearest = min(nearest, (limit - others).min())
            kept = np.where((sums >= limit)[..., None], of_groups, -1e3).reshape(scores.shape)
        gaps = -np.diff(-np.sort(-kept))[..., :chosen]
        nearest = min(nearest, gaps[gaps > 0].min(initial=np.inf))
    return nearest
