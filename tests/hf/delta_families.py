"""Small random checkpoints with gated delta rules: Qwen3.5 and Qwen3-Next."""

from random import Random
from typing import Any

from family_config import Configuration, Variant, rope
from mixture_families import mixture


def delta(made: Configuration, rng: Random, **fields: Any) -> None:
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


def qwen3_5(**fields: Any) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        delta(made, rng, **fields)
        rope(made.config, rng, rope_type="default")

    return vary


def qwen3_5_layer_types(made: Configuration, rng: Random) -> None:
    kinds = ["full_attention", "linear_attention", "linear_attention"]
    rng.shuffle(kinds)
    delta(
        made,
        rng,
        layer_types=kinds,
        num_hidden_layers=3,
        linear_conv_kernel_dim=rng.choice([2, 3, 5]),
        attention_bias=True,
    )
    rope(made.config, rng, rope_type="default", partial_rotary_factor=0.5)


def qwen3_5_moe(**fields: Any) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        mixture(made, rng, num_experts_per_tok=rng.randint(2, 4))
        for name in ("decoder_sparse_step", "mlp_only_layers", "norm_topk_prob", "intermediate_size"):
            del made.config[name]
        made.config["shared_expert_intermediate_size"] = rng.randint(20, 90)
        delta(made, rng, **fields)

    return vary


def qwen3_next(**fields: Any) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        mixture(made, rng, num_experts_per_tok=rng.randint(2, 4))
        made.config["shared_expert_intermediate_size"] = rng.randint(20, 90)
        delta(made, rng, **fields)

    return vary
