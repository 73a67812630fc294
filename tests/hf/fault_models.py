"""Small random checkpoints for the families' faults, chosen so that the faults show."""

from dataclasses import replace
from random import Random
from typing import Any

import gemma4_families
from families import (
    ARCHITECTURES,
    PIXTRAL,
    QWEN35_VISION,
    QWEN_VISION,
    SIGLIP,
    WITHOUT_HEAD_DIM,
    tower,
)
from family_config import Config, Configuration

SEED = "7"  # of all weights: docs/diagnose.md has the figures of these models
HIDDEN, HEADS, HEAD_DIM = 64, 4, 24  # HEAD_DIM is not always HIDDEN / HEADS
WINDOW = 12
TOKENS = 36  # longer than any window and any original length here


def _model(model_type: str, **fields: Any) -> Configuration:
    gemma = "gemma" in model_type
    config: dict[str, Any] = {
        "model_type": model_type,
        "architectures": [ARCHITECTURES[model_type]],
        "dtype": "bfloat16",
        "vocab_size": 400,
        "num_hidden_layers": 3,
        "intermediate_size": 112,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": gemma,
        "bos_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": None,
        "hidden_activation" if gemma else "hidden_act": "gelu_pytorch_tanh" if gemma else "silu",
        "num_attention_heads": HEADS,
        "num_key_value_heads": 2,
        "hidden_size": HIDDEN,
    }
    if model_type not in (*WITHOUT_HEAD_DIM, "llama"):
        config["head_dim"] = HEAD_DIM
    if model_type not in ("gemma3_text", "gemma4_text"):
        config["rope_theta"] = 10_000.0
    config |= fields
    return Configuration("", "", config, seed=f"{SEED} {model_type} {sorted(fields)}")


def _gemma(model_type: str, **fields: Any) -> Configuration:
    own = {"query_pre_attn_scalar": 20, "sliding_window": WINDOW}
    return _model(model_type, **{**own, **fields})


def _gemma4(layers: int, **fields: Any) -> Configuration:
    own = {
        "num_hidden_layers": layers,
        "layer_types": ["sliding_attention", "full_attention"] * (layers // 2),
        "sliding_window": WINDOW,
        "global_head_dim": 2 * HEAD_DIM,
        "final_logit_softcapping": 0.4,
        "vocab_size_per_layer_input": 400,
        "hidden_size_per_layer_input": 0,
    }
    return _model("gemma4_text", **{**own, **fields})


def _scaled(rope_type: str, **scaling: Any) -> dict[str, Any]:
    return {"rope_scaling": {"rope_type": rope_type, **scaling}}


FACTORS = {
    "short_factor": [1.0 + 0.05 * i for i in range(HIDDEN // HEADS // 4)],
    "long_factor": [1.5 + 1.1 * i for i in range(HIDDEN // HEADS // 4)],
}


def _mixture(chosen: int = 3, normed: bool = True, dense: tuple[int, ...] = ()) -> Configuration:
    return _model(
        "qwen3_moe",
        num_experts=8,
        num_experts_per_tok=chosen,
        moe_intermediate_size=32,
        decoder_sparse_step=1,
        mlp_only_layers=list(dense),
        norm_topk_prob=normed,
    )


# Of the types whose experts' width is called intermediate_size.
_EXPERTS = {"num_experts_per_tok": 3, "intermediate_size": 32}

# Heads for which repeating and tiling differ; the longest sum over keys is their size.
_DELTA = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 20,
    "linear_conv_kernel_dim": 4,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "rope_theta": 10_000.0,
    "partial_rotary_factor": 0.5,
}
_SHARED = {
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 48,
}

MODELS = {
    "qwen3_5_text": _model("qwen3_5_text", **_DELTA),
    "qwen3_5_moe_text": _model("qwen3_5_moe_text", **_DELTA, **_SHARED),
    "qwen3_next": _model("qwen3_next", **_DELTA, **_SHARED),
    "mixtral": _model("mixtral", num_local_experts=8, **_EXPERTS),
    "qwen2_moe": _model(
        "qwen2_moe",
        num_experts=8,
        num_experts_per_tok=3,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=48,
        norm_topk_prob=False,
    ),
    "olmoe": _model("olmoe", num_experts=8, norm_topk_prob=False, **_EXPERTS),
    "glm4_moe": _model(
        "glm4_moe",
        n_routed_experts=12,
        num_experts_per_tok=3,
        moe_intermediate_size=32,
        n_shared_experts=1,
        first_k_dense_replace=1,
        n_group=4,
        topk_group=2,
        routed_scaling_factor=2.5,
        attention_bias=True,
        use_qk_norm=True,
    ),
    "minimax_m2": _model("minimax_m2", num_local_experts=8, rotary_dim=12, **_EXPERTS),
    "gpt_oss": _model(
        "gpt_oss",
        num_local_experts=8,
        sliding_window=WINDOW,
        swiglu_limit=0.75,  # which F16 holds exactly, as the published 7
        head_dim=32,
        **_scaled(
            "yarn",
            factor=32.0,
            beta_fast=32.0,
            beta_slow=1.0,
            truncate=False,
            original_max_position_embeddings=4096,
        ),
        **_EXPERTS,
    ),
    "qwen3_moe": _mixture(),
    "qwen3_moe, not normed": _mixture(chosen=4, normed=False, dense=(1,)),
    "qwen3_moe, ties": _mixture(),
    "qwen3": _model("qwen3"),
    "qwen3, window": _model(
        "qwen3", use_sliding_window=True, sliding_window=WINDOW, max_window_layers=2
    ),
    "qwen2": _model("qwen2"),
    "llama": _model("llama"),
    "llama, biases": _model("llama", attention_bias=True, mlp_bias=True),
    "llama, llama3": _model(
        "llama",
        **_scaled(
            "llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=64,
        ),
    ),
    "llama, linear": _model("llama", **_scaled("linear", factor=4.0)),
    "llama, dynamic": _model(
        "llama", max_position_embeddings=16, **_scaled("dynamic", factor=4.0)
    ),
    "qwen2, yarn": _model(
        "qwen2", **_scaled("yarn", factor=4.0, original_max_position_embeddings=64)
    ),
    "mistral": _model("mistral", sliding_window=WINDOW),
    # Queries grow twice within the prompt.
    "ministral3": _model(
        "ministral3",
        sliding_window=None,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 10_000.0,
            "factor": 16.0,
            "original_max_position_embeddings": 12,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "llama_4_scaling_beta": 0.1,
        },
    ),
    # Caps as close to these scores and logits as the published ones are to Gemma 2's.
    "gemma2": _gemma("gemma2", attn_logit_softcapping=2.0, final_logit_softcapping=0.4),
    "gemma3_text": _gemma(
        "gemma3_text",
        sliding_window_pattern=2,
        rope_theta=1_000_000.0,
        rope_local_base_freq=10_000.0,
        rope_scaling={"rope_type": "linear", "factor": 8.0},
    ),
    "gemma4_text, own embeddings": _gemma4(
        6, hidden_size_per_layer_input=16, num_kv_shared_layers=2, use_double_wide_mlp=True
    ),
    "gemma4_text, experts": _gemma4(
        4,
        attention_k_eq_v=True,
        num_global_key_value_heads=1,
        enable_moe_block=True,
        num_experts=8,
        top_k_experts=3,
        moe_intermediate_size=32,
    ),
    "olmo2": _model("olmo2"),
    "phi3": _model("phi3", sliding_window=WINDOW),
    "phi3, partial": _model("phi3", sliding_window=None, partial_rotary_factor=0.5),
    "phi3, longrope": _model(
        "phi3",
        sliding_window=None,
        partial_rotary_factor=0.5,
        original_max_position_embeddings=TOKENS - 10,
        rope_scaling={"type": "longrope", **FACTORS},
    ),
    "phi3, longrope, short": _model(
        "phi3",
        sliding_window=None,
        partial_rotary_factor=0.5,
        original_max_position_embeddings=TOKENS + 10,
        rope_scaling={"type": "longrope", **FACTORS},
    ),
}

MODELS["qwen3_moe, ties"].tied_experts = True


def _within(
    model_type: str, text_type: str, text: Configuration, vision: Config, **fields: Any
) -> Configuration:
    made = replace(text, config={**text.config}, seed=f"{SEED} {model_type}")
    made.config |= {"model_type": model_type, "architectures": [ARCHITECTURES[model_type]]}
    tower(text_type, lambda *_: None, vision, **fields)(made, Random(SEED))
    return made


def _mrope(text: Configuration) -> Configuration:
    config = {n: v for n, v in text.config.items() if n != "rope_theta"}
    sections = [HEAD_DIM // 2 - 2 * (HEAD_DIM // 6), HEAD_DIM // 6, HEAD_DIM // 6]
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 10_000.0}
    config["rope_parameters"] |= {"mrope_interleaved": True, "mrope_section": sections}
    return replace(text, config=config)


MODELS["gemma3"] = _within(
    "gemma3", "gemma3_text", MODELS["gemma3_text"], SIGLIP, mm_tokens_per_image=4
)
MODELS["mistral3"] = _within("mistral3", "mistral", MODELS["mistral"], PIXTRAL)
MODELS["qwen3_vl"] = _within("qwen3_vl", "qwen3_vl_text", _mrope(MODELS["qwen3"]), QWEN_VISION)
MODELS["qwen3_vl_moe"] = _within(
    "qwen3_vl_moe", "qwen3_vl_moe_text", _mrope(MODELS["qwen3_moe"]), QWEN_VISION
)
# transformers exchanges only where the shape tells: a square one does not.
MODELS["qwen3_vl_moe"].config["text_config"]["moe_intermediate_size"] = 40
MODELS["qwen3_vl_moe"].exchanged_experts = True
MODELS["qwen3_5"] = _within("qwen3_5", "qwen3_5_text", MODELS["qwen3_5_text"], QWEN35_VISION)
MODELS["qwen3_5_moe"] = _within(
    "qwen3_5_moe", "qwen3_5_moe_text", MODELS["qwen3_5_moe_text"], QWEN35_VISION
)
MODELS["gemma4"] = _within(
    "gemma4", "gemma4_text", MODELS["gemma4_text, own embeddings"], gemma4_families.VISION
)
MODELS["gemma4_unified"] = _within(
    "gemma4_unified",
    "gemma4_unified_text",
    _gemma4(4, attention_k_eq_v=True, num_global_key_value_heads=1),
    gemma4_families.UNIFIED_VISION,
)
