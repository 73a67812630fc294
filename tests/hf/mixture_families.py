"""Small random checkpoints with experts: those of Qwen3, Qwen2, Mixtral, OLMoE, GLM, MiniMax and gpt-oss."""

from random import Random
from typing import Any

from family_config import Configuration, Variant, rope


def mixture(made: Configuration, rng: Random, **fields: Any) -> None:
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


def moe_every_second(made: Configuration, rng: Random) -> None:
    layers = rng.randint(3, 5)
    made.config["num_hidden_layers"] = layers
    mixture(made, rng, decoder_sparse_step=2, norm_topk_prob=False, attention_bias=True)


def moe_some_dense(made: Configuration, rng: Random) -> None:
    layers = rng.randint(3, 5)
    made.config["num_hidden_layers"] = layers
    dense = sorted(rng.sample(range(layers), rng.randint(1, layers - 1)))
    mixture(made, rng, mlp_only_layers=dense)
    made.shard_size = f"{rng.randint(100, 300)}KB"


def moe_window(made: Configuration, rng: Random) -> None:
    mixture(made, rng, norm_topk_prob=False, use_sliding_window=True, sliding_window=24)


def moe_ties(made: Configuration, rng: Random) -> None:
    made.tied_experts = True
    # 8 equal rows give equal sums in torch; 16 in double do not always.
    mixture(
        made,
        rng,
        num_experts=8,
        num_experts_per_tok=rng.randint(2, 3),
        norm_topk_prob=rng.random() < 0.5,
    )


def mixtral(**fields: Any) -> Variant:
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


def qwen2_moe(**fields: Any) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        made.config["num_hidden_layers"] = rng.randint(3, 5)
        # As published, unless the variant says otherwise.
        own = {"norm_topk_prob": False, "mlp_only_layers": [], "use_sliding_window": False}
        own["shared_expert_intermediate_size"] = rng.randint(20, 90)
        mixture(made, rng, num_experts_per_tok=rng.randint(2, 4), **{**own, **fields})

    return vary


def olmoe(**fields: Any) -> Variant:
    def vary(made: Configuration, rng: Random) -> None:
        mixture(made, rng, norm_topk_prob=False, num_experts_per_tok=rng.randint(2, 4))
        for name in ("moe_intermediate_size", "decoder_sparse_step", "mlp_only_layers"):
            del made.config[name]
        made.config |= {"intermediate_size": 8 * rng.randint(3, 12), "clip_qkv": None, **fields}

    return vary


def glm4_moe(made: Configuration, rng: Random, **fields: Any) -> None:
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


def glm4_moe_published(made: Configuration, rng: Random) -> None:
    glm4_moe(made, rng, attention_bias=True, use_qk_norm=True, routed_scaling_factor=2.5)
    made.config["partial_rotary_factor"] = 0.5
    made.config["num_nextn_predict_layers"] = 1


def glm4_moe_air(made: Configuration, rng: Random) -> None:
    glm4_moe(made, rng, attention_bias=True, use_qk_norm=False, n_shared_experts=2)


def glm4_moe_groups(made: Configuration, rng: Random) -> None:
    groups = rng.randint(3, 4)
    glm4_moe(
        made,
        rng,
        n_group=groups,
        topk_group=rng.randint(1, groups - 1),
        norm_topk_prob=rng.random() < 0.5,
        routed_scaling_factor=1.5,
        first_k_dense_replace=0,
    )


def minimax_m2(made: Configuration, rng: Random) -> None:
    mixtral()(made, rng)
    made.config["rotary_dim"] = 2 * rng.randint(2, made.config["head_dim"] // 2 - 1)


def minimax_m2_whole(made: Configuration, rng: Random) -> None:
    mixtral()(made, rng)


def minimax_m2_factor(made: Configuration, rng: Random) -> None:
    mixtral()(made, rng)
    made.config.pop("rope_theta", None)
    made.config["rope_parameters"] = {
        "rope_type": "default",
        "rope_theta": 50_000.0,
        "partial_rotary_factor": 0.5,
    }


def gpt_oss(made: Configuration, rng: Random, **fields: Any) -> None:
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


def gpt_oss_published(made: Configuration, rng: Random, **fields: Any) -> None:
    gpt_oss(made, rng, **fields)
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


def gpt_oss_mxfp4(made: Configuration, rng: Random) -> None:
    gpt_oss_published(made, rng, intermediate_size=32 * rng.randint(2, 4))
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


def gpt_oss_other(made: Configuration, rng: Random) -> None:
    """Fields left out, and others than published."""
    layers = rng.randint(3, 5)
    kinds = ["full_attention", "sliding_attention", *["full_attention"] * (layers - 2)]
    gpt_oss(made, rng, num_hidden_layers=layers, layer_types=kinds, swiglu_alpha=1.3)
    made.config["tie_word_embeddings"] = True
