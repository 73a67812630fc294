"""Small random mixtures of experts, with routers of every kind that transformers has."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from architectures import ARCHITECTURES, HIDDEN, VOCABULARY, Architecture, decoder, text, text_pair
from torch import nn
from transformers import NllbMoeConfig, SwitchTransformersConfig

EXPERTS = 4
_KV = {"num_key_value_heads": 2}
_TOP_2 = {"num_experts_per_tok": 2, "moe_intermediate_size": 48}
_LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 32,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
}


@dataclass
class Routed:
    """An architecture, and the last part of its routers' names."""

    architecture: Architecture
    router: str = "gate"
    is_local: bool = True  # whether a token's experts depend on this token's scores alone


def _switch() -> SwitchTransformersConfig:
    return SwitchTransformersConfig(
        vocab_size=VOCABULARY,
        d_model=HIDDEN,
        d_kv=16,
        d_ff=96,
        num_layers=2,
        num_decoder_layers=2,
        num_sparse_encoder_layers=2,
        num_sparse_decoder_layers=2,
        num_heads=4,
        num_experts=EXPERTS,
        expert_capacity=64,
        decoder_start_token_id=0,
    )


def _nllb() -> NllbMoeConfig:
    return NllbMoeConfig(
        vocab_size=VOCABULARY,
        d_model=HIDDEN,
        encoder_layers=2,
        decoder_layers=2,
        encoder_ffn_dim=96,
        decoder_ffn_dim=96,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_sparse_step=1,
        decoder_sparse_step=1,
        num_experts=EXPERTS,
        expert_capacity=64,
        moe_eval_capacity_token_fraction=1.0,
        max_position_embeddings=64,
        decoder_start_token_id=2,
    )


ROUTED: dict[str, Routed] = {
    "mixtral": Routed(ARCHITECTURES["mixtral"]),
    "qwen2_moe": Routed(ARCHITECTURES["qwen2_moe"]),
    # Each group's best experts, by max.dim; then groups, then experts.
    "deepseek_v2": Routed(
        Architecture(
            "DeepseekV2ForCausalLM",
            decoder(
                "DeepseekV2Config",
                **_LATENT,
                **_TOP_2,
                n_routed_experts=EXPERTS,
                n_group=2,
                topk_group=1,
                topk_method="group_limited_greedy",
                first_k_dense_replace=0,
            ),
            text,
        )
    ),
    "deepseek_v3": Routed(
        Architecture(
            "DeepseekV3ForCausalLM",
            decoder(
                "DeepseekV3Config",
                **_LATENT,
                **_TOP_2,
                n_routed_experts=EXPERTS,
                n_group=2,
                topk_group=1,
                first_k_dense_replace=0,
            ),
            text,
        )
    ),
    # By max.dim, and by a threshold below the best score.
    "phimoe": Routed(
        Architecture(
            "PhimoeForCausalLM",
            decoder("PhimoeConfig", **_KV, num_local_experts=EXPERTS, num_experts_per_tok=2),
            text,
        ),
        "router",
    ),
    # Encoder-decoders: attention in both directions, experts that are modules, a limited capacity.
    "switch": Routed(
        Architecture("SwitchTransformersForConditionalGeneration", _switch, text_pair), "classifier"
    ),
    "nllb_moe": Routed(
        Architecture("NllbMoeForConditionalGeneration", _nllb, text_pair), "classifier"
    ),
    # Sorts the tokens by experts; attention has experts too.
    "jetmoe": Routed(
        Architecture(
            "JetMoeForCausalLM",
            decoder(
                "JetMoeConfig",
                num_key_value_heads=2,
                kv_channels=16,
                num_local_experts=EXPERTS,
                num_experts_per_tok=2,
            ),
            text,
        ),
        "router.layer",
    ),
    "granitemoe": Routed(
        Architecture(
            "GraniteMoeForCausalLM",
            decoder("GraniteMoeConfig", **_KV, num_local_experts=EXPERTS, num_experts_per_tok=2),
            text,
        ),
        "router",
    ),
    "gpt_oss": Routed(
        Architecture(
            "GptOssForCausalLM",
            decoder(
                "GptOssConfig",
                **_KV,
                head_dim=16,
                num_local_experts=EXPERTS,
                num_experts_per_tok=2,
                sliding_window=8,
            ),
            text,
        ),
        "router",
    ),
    # One expert for a token, all of them computed, by scores that are 0 for the others.
    "llama4": Routed(
        Architecture(
            "Llama4ForCausalLM",
            decoder(
                "Llama4TextConfig",
                **_KV,
                head_dim=16,
                intermediate_size_mlp=96,
                num_local_experts=EXPERTS,
                num_experts_per_tok=1,
                interleave_moe_layer_step=1,
                attention_chunk_size=64,
            ),
            text,
        ),
        "router",
    ),
    "ernie4_5_moe": Routed(
        Architecture(
            "Ernie4_5_MoeForCausalLM",
            decoder(
                "Ernie4_5_MoeConfig",
                **_KV,
                moe_num_experts=EXPERTS,
                moe_k=2,
                moe_intermediate_size=48,
                moe_layer_start_index=0,
                moe_layer_interval=1,
                moe_num_shared_experts=0,
            ),
            text,
        )
    ),
    # Scores of two halves are added; the halves mix tokens.
    "doge": Routed(
        Architecture(
            "DogeForCausalLM",
            decoder("DogeConfig", **_KV, is_moe=True, num_experts=16, num_experts_per_tok=4),
            text,
        ),
        "router_gate",
        is_local=False,
    ),
    "longcat_flash": Routed(
        Architecture(
            "LongcatFlashForCausalLM",
            decoder(
                "LongcatFlashConfig",
                **_LATENT,
                ffn_hidden_size=96,
                expert_ffn_hidden_size=48,
                num_hidden_layers=4,
                moe_topk=2,
                n_routed_experts=EXPERTS,
                zero_expert_num=2,
                head_dim=8,
            ),
            text,
        ),
        "classifier",
    ),
}


def routers(net: nn.Module, suffix: str) -> Iterator[tuple[str, nn.Parameter]]:
    """Paths and weights of all routers, one row an expert."""
    for path, module in net.named_modules():
        if f".{path}".endswith(f".{suffix}"):
            weight = next((p for p in module.parameters() if p.dim() == 2), None)
            if weight is not None:
                yield path, weight


def tie(net: nn.Module, router: str) -> None:
    """Makes all experts nearly equal for every token: their scores differ by roundings."""
    block = net.get_submodule(router.rpartition(".")[0])
    module = net.get_submodule(router)
    with torch.no_grad():
        weight = next(p for p in module.parameters() if p.dim() == 2)
        weight[1:] = weight[0] * (1 + 2**-7 * torch.randn_like(weight[1:]))
        for bias in (*block.parameters(), *block.buffers()):
            if bias.numel() == len(weight):
                bias[..., 1:] = bias[..., :1]
