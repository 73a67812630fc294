"""Small random checkpoints without experts: those of Qwen, Llama, Mistral, Gemma 2 and 3, OLMo 2 and Phi."""

from random import Random
from typing import Any

from family_config import Config, Configuration, Variant, rope


def qwen3_plain(tied: bool) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        made.config |= {"tie_word_embeddings": tied, "attention_bias": not tied}
        rope(made.config, rng)

    return vary


def yarn(made: Configuration, rng: Random) -> None:
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


def window_from_layer(made: Configuration, rng: Random) -> None:
    layers = made.config["num_hidden_layers"]
    made.config |= {
        "use_sliding_window": True,
        "sliding_window": rng.randint(5, 60),
        "max_window_layers": rng.randint(1, layers - 1),
    }
    rope(made.config, rng)


def window_unused(made: Configuration, rng: Random) -> None:
    made.config |= {
        "use_sliding_window": False,
        "sliding_window": 8,
        "max_window_layers": 1,
        "tie_word_embeddings": False,
    }
    rope(made.config, rng)


def llama_default(made: Configuration, rng: Random) -> None:
    made.config |= {"tie_word_embeddings": False}
    del made.config["head_dim"]
    heads = made.config["num_attention_heads"]
    made.config["hidden_size"] = rng.choice(range(-64 // (2 * heads) * -2 * heads, 193, 2 * heads))
    rope(made.config, rng)


def llama_linear(made: Configuration, rng: Random) -> None:
    made.config |= {"attention_bias": True, "tie_word_embeddings": True}
    rope(made.config, rng, rope_type="linear", factor=rng.choice([1.5, 2.0, 4.0, 8.0]))


def llama_dynamic(made: Configuration, rng: Random) -> None:
    longest = rng.randint(60, 120)
    made.config |= {"max_position_embeddings": longest, "mlp_bias": True}
    made.further_lengths = [longest - 3]  # the continuation crosses it
    rope(made.config, rng, rope_type="dynamic", factor=rng.choice([1.5, 2.0, 4.0]))


def llama_3(tied: bool) -> Variant:
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


def mistral(window: bool, head_dim: bool) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        made.config["sliding_window"] = rng.randint(4, 60) if window else None
        if not head_dim:
            del made.config["head_dim"]
            heads = made.config["num_attention_heads"]
            step = 2 * heads
            made.config["hidden_size"] = rng.choice(range(-64 // step * -step, 193, step))
        rope(made.config, rng)

    return vary


def ministral3(**fields: Any) -> Variant:
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


def ministral3_default(made: Configuration, rng: Random) -> None:
    """Without rotary parameters, and queries that never grow."""
    made.config["sliding_window"] = rng.randint(4, 60)


def fp8(vary: Variant, block: int | None, scales: str = "float32") -> Variant:
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


def gemma2(**fields: Any) -> Variant:
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


def gemma3(made: Configuration, rng: Random) -> None:
    made.config |= {
        "query_pre_attn_scalar": rng.randint(8, 60),
        "sliding_window": rng.randint(5, 60),
        "tie_word_embeddings": True,
    }


def gemma3_published(made: Configuration, rng: Random) -> None:
    gemma3(made, rng)
    pattern = rng.randint(2, 3)
    made.config |= {
        "sliding_window_pattern": pattern,
        "num_hidden_layers": rng.randint(pattern, 6),
        "rope_theta": 1_000_000.0,
        "rope_local_base_freq": 10_000.0,
    }


def gemma3_linear(made: Configuration, rng: Random) -> None:
    gemma3_published(made, rng)
    made.config["rope_scaling"] = {"rope_type": "linear", "factor": 8.0}
    made.config["final_logit_softcapping"] = 3.0


def gemma3_layer_types(made: Configuration, rng: Random) -> None:
    gemma3(made, rng)
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


def olmo2(**fields: Any) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        made.config |= fields
        rope(made.config, rng)

    return vary


def phi3(made: Configuration, rng: Random, partial: float) -> int:
    """Returns the number of rotary dimensions."""
    if partial != 1.0:
        made.config["partial_rotary_factor"] = partial
    head_dim = made.config["hidden_size"] // made.config["num_attention_heads"]
    return int(head_dim * partial)


def phi3_plain(made: Configuration, rng: Random) -> None:
    made.config["sliding_window"] = rng.randint(4, 60)
    made.config["rope_theta"] = 10_000.0
    phi3(made, rng, 1.0)


def phi3_longrope(partial: float, old: bool, window: bool) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        rotary = phi3(made, rng, partial)
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
