"""Small random checkpoints of every kind of model that Assay runs.

The sizes are drawn again in each run of the tests, from a seed that is printed and that
ASSAY_FAMILY_SEED repeats. The features of a family are dealt out, not drawn, so its configurations
cover all of them. A run tries one configuration per type, a different one each time; ALL=1 tries all.
"""

import os
import time
from random import Random
from typing import Any

import delta_families as delta
import dense_families as dense
import gemma4_families
import mixture_families as mixtures
from family_config import Config, Configuration, Variant, rope

SEED = int(os.environ.get("ASSAY_FAMILY_SEED") or time.time_ns() % 1_000_000)


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


# Each family's variants: the features that they test, and how they change the configuration.


def tower(text_type: str, vary: Variant, vision: Config, **fields: Any) -> Variant:
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
    dense.gemma3_linear(made, rng)
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


FAMILIES: dict[str, dict[str, Variant]] = {
    "qwen3_5_text": {
        "published": delta.qwen3_5(full_attention_interval=4),
        "layer types, bias": delta.qwen3_5_layer_types,
        "tied, every second layer": delta.qwen3_5(full_attention_interval=2, tie_word_embeddings=True),
    },
    "qwen3_5": {
        "published": tower("qwen3_5_text", delta.qwen3_5(full_attention_interval=4), QWEN35_VISION),
        "layer types, bias": tower("qwen3_5_text", delta.qwen3_5_layer_types, QWEN35_VISION),
        "tied": tower("qwen3_5_text", delta.qwen3_5(tie_word_embeddings=True), QWEN35_VISION),
    },
    "qwen3_5_moe_text": {
        "published": delta.qwen3_5_moe(),
        "experts fused": _fused(delta.qwen3_5_moe(full_attention_interval=2)),
        "bias": delta.qwen3_5_moe(attention_bias=True, full_attention_interval=3),
    },
    "qwen3_5_moe": {
        "published": tower("qwen3_5_moe_text", delta.qwen3_5_moe(), QWEN35_VISION),
        "tied": tower(
            "qwen3_5_moe_text", delta.qwen3_5_moe(tie_word_embeddings=True), QWEN35_VISION
        ),
        "experts fused": _fused(tower("qwen3_5_moe_text", delta.qwen3_5_moe(), QWEN35_VISION)),
    },
    "qwen3_next": {
        "published": delta.qwen3_next(),
        "not normed, every second layer": delta.qwen3_next(norm_topk_prob=False, decoder_sparse_step=2),
        "first layer dense, experts fused": _fused(delta.qwen3_next(mlp_only_layers=[0])),
    },
    "gemma3": {
        "published": tower("gemma3_text", dense.gemma3_published, SIGLIP, mm_tokens_per_image=4),
        "fields left out": tower("gemma3_text", _gemma3_defaults, SIGLIP, mm_tokens_per_image=4),
        "layer types": tower("gemma3_text", dense.gemma3_layer_types, SIGLIP, mm_tokens_per_image=4),
    },
    "mistral3": {
        "published": tower("mistral", dense.mistral(window=False, head_dim=True), PIXTRAL),
        "window": tower("mistral", dense.mistral(window=True, head_dim=True), PIXTRAL),
        "no head_dim": tower("mistral", dense.mistral(window=False, head_dim=False), PIXTRAL),
        "ministral3": tower("ministral3", dense.ministral3(), PIXTRAL),
        "ministral3, fp8": dense.fp8(
            tower("ministral3", dense.ministral3(tie_word_embeddings=True), PIXTRAL), None, "bfloat16"
        ),
    },
    "qwen3_vl": {
        "tied": tower("qwen3_vl_text", _mrope(dense.qwen3_plain(tied=True)), QWEN_VISION),
        "untied, bias": tower("qwen3_vl_text", _mrope(dense.qwen3_plain(tied=False)), QWEN_VISION),
        "shards": tower("qwen3_vl_text", _mrope(dense.yarn), QWEN_VISION),
    },
    "qwen3_vl_moe": {
        "published": _exchanged(tower("qwen3_vl_moe_text", _mrope(mixtures.mixture), QWEN_VISION)),
        "some layers dense": _exchanged(
            tower("qwen3_vl_moe_text", _mrope(mixtures.moe_some_dense), QWEN_VISION)
        ),
        "every second layer": tower("qwen3_vl_moe_text", _mrope(mixtures.moe_every_second), QWEN_VISION),
    },
    "qwen3": {
        "tied": dense.qwen3_plain(tied=True),
        "untied, bias": dense.qwen3_plain(tied=False),
        "yarn, shards": dense.yarn,
        "window": dense.window_from_layer,
        "fp8 in blocks": dense.fp8(dense.qwen3_plain(tied=False), 16, "bfloat16"),
    },
    "qwen3_moe": {
        # With three or more terms, it shows where their sum is rounded.
        "normed": lambda made, rng: mixtures.mixture(made, rng, num_experts_per_tok=rng.randint(3, 4)),
        "every second layer": mixtures.moe_every_second,
        "some layers dense": mixtures.moe_some_dense,
        "window": mixtures.moe_window,
        "ties": mixtures.moe_ties,
        "fp8 in blocks": dense.fp8(mixtures.mixture, 16),
    },
    "qwen2_moe": {
        "published": mixtures.qwen2_moe(),
        "normed, every second layer": mixtures.qwen2_moe(norm_topk_prob=True, decoder_sparse_step=2),
        "no bias, window": mixtures.qwen2_moe(
            qkv_bias=False, use_sliding_window=True, sliding_window=20, max_window_layers=3
        ),
    },
    "mixtral": {
        "published": mixtures.mixtral(),
        "window": mixtures.mixtral(sliding_window=None),
        "tied, experts fused": _fused(mixtures.mixtral(tie_word_embeddings=True)),
    },
    "olmoe": {
        "published": mixtures.olmoe(),
        "normed, bias, experts fused": _fused(mixtures.olmoe(norm_topk_prob=True, attention_bias=True)),
        "tied": mixtures.olmoe(tie_word_embeddings=True),
    },
    "glm4_moe": {
        "published": mixtures.glm4_moe_published,
        "published, small": mixtures.glm4_moe_air,
        "groups": mixtures.glm4_moe_groups,
    },
    "minimax_m2": {
        "published": mixtures.minimax_m2,
        "whole heads": mixtures.minimax_m2_whole,
        "half heads": mixtures.minimax_m2_factor,
    },
    "gpt_oss": {
        "published, mxfp4": mixtures.gpt_oss_mxfp4,
        "published, widened": mixtures.gpt_oss_published,
        "layer types, rope left out": mixtures.gpt_oss_other,
    },
    "qwen2": {
        "plain": lambda made, rng: rope(made.config, rng),
        "window": dense.window_from_layer,
        "window unused": dense.window_unused,
    },
    "llama": {
        "default": dense.llama_default,
        "linear, bias": dense.llama_linear,
        "dynamic, mlp bias": dense.llama_dynamic,
        "llama3, untied": dense.llama_3(tied=False),
        "llama3, tied, biases": dense.llama_3(tied=True),
    },
    "mistral": {
        "window": dense.mistral(window=True, head_dim=False),
        "window, head_dim": dense.mistral(window=True, head_dim=True),
        "no window": dense.mistral(window=False, head_dim=True),
    },
    "ministral3": {
        "published": dense.ministral3(),
        "rope left out, window": dense.ministral3_default,
        "fp8, a scale for each matrix": dense.fp8(dense.ministral3(), None),
    },
    "gemma2": {
        "caps": dense.gemma2(),
        "no caps": dense.gemma2(attn_logit_softcapping=None, final_logit_softcapping=None),
        "caps, bias": dense.gemma2(
            attention_bias=True, attn_logit_softcapping=1.0, final_logit_softcapping=1.5
        ),
    },
    "gemma3_text": {
        "published": dense.gemma3_published,
        "linear": dense.gemma3_linear,
        "layer types": dense.gemma3_layer_types,
    },
    "gemma4_text": {
        "published, own embeddings": gemma4_families.own_embeddings,
        "published, keys as values": gemma4_families.keys_as_values,
        "published, experts": gemma4_families.experts,
        "everything, sizes by layer": gemma4_families.everything,
    },
    "gemma4": {
        "own embeddings": tower("gemma4_text", gemma4_families.own_embeddings, gemma4_families.VISION),
        "keys as values": tower("gemma4_text", gemma4_families.keys_as_values, gemma4_families.VISION),
        "experts": tower("gemma4_text", gemma4_families.experts, gemma4_families.VISION),
    },
    "gemma4_unified": {
        "published": tower(
            "gemma4_unified_text", gemma4_families.keys_as_values, gemma4_families.UNIFIED_VISION
        ),
        "shared keys": tower(
            "gemma4_unified_text", gemma4_families.shared_keys, gemma4_families.UNIFIED_VISION
        ),
        "fields left out": tower(
            "gemma4_unified_text", gemma4_families.left_out, gemma4_families.UNIFIED_VISION
        ),
    },
    "olmo2": {
        "tied": dense.olmo2(tie_word_embeddings=True),
        "untied": dense.olmo2(tie_word_embeddings=False),
        "bias": dense.olmo2(attention_bias=True),
    },
    "phi3": {
        "window": dense.phi3_plain,
        "longrope": dense.phi3_longrope(1.0, old=True, window=False),
        "longrope, partial": dense.phi3_longrope(0.5, old=False, window=False),
        "longrope, partial, window": dense.phi3_longrope(0.75, old=True, window=True),
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
