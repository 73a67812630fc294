"""Small random models of many architectures of transformers, none of which Assay knows itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

Inputs = dict[str, np.ndarray]

VOCABULARY = 97
HIDDEN = 64
TOKENS = 9


@dataclass
class Architecture:
    """A class of transformers, a small config for it, and what its forward pass takes."""

    model_class: str
    config: Callable[[], Any]
    inputs: Callable[[np.random.Generator], Inputs]

    def build(self, seed: int) -> Any:
        """The model with weights that keep activations at a normal size, and biases that matter."""
        torch.manual_seed(seed)
        net = getattr(transformers, self.model_class)(self.config()).eval()
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                randomize(name, parameter)
        net.tie_weights()
        return net


def randomize(name: str, parameter: nn.Parameter) -> None:
    if parameter.dim() >= 2:
        fan_in = parameter[0].numel()
        parameter.normal_(std=fan_in**-0.5)
    elif "norm" in name.lower() or "ln_" in name or "layer_norm" in name:
        parameter.add_(0.2 * torch.randn_like(parameter))
    elif name.endswith("bias"):
        parameter.normal_(std=0.2)


def text(rng: np.random.Generator) -> Inputs:
    return {"input_ids": rng.integers(4, VOCABULARY, (1, TOKENS))}


def text_pair(rng: np.random.Generator) -> Inputs:
    return {**text(rng), "decoder_input_ids": rng.integers(4, VOCABULARY, (1, 6))}


def image(rng: np.random.Generator) -> Inputs:
    return {"pixel_values": rng.standard_normal((1, 3, 32, 32)).astype(np.float32)}


def image_and_text(rng: np.random.Generator) -> Inputs:
    return {**text(rng), **image(rng)}


def image_in_text(rng: np.random.Generator, token: int, count: int) -> Inputs:
    """The image's tokens stand in the text."""
    ids = rng.integers(8, VOCABULARY, (1, TOKENS + count))
    ids[0, 2 : 2 + count] = token
    return {"input_ids": ids, **image(rng)}


def audio(rng: np.random.Generator) -> Inputs:
    return {
        "input_features": rng.standard_normal((1, 16, 60)).astype(np.float32),
        "decoder_input_ids": rng.integers(4, VOCABULARY, (1, 6)),
    }


def image_to_text(rng: np.random.Generator) -> Inputs:
    return {**image(rng), "decoder_input_ids": rng.integers(4, VOCABULARY, (1, 6))}


def _config(name: str, **fields: Any) -> Any:
    return getattr(transformers, name)(**fields)


def decoder(name: str, **fields: Any) -> Callable[[], Any]:
    """Most decoders call their sizes by the same names."""
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return lambda: _config(name, **{**sizes, **fields})


def _vision(name: str, **fields: Any) -> Callable[[], Any]:
    sizes = {
        "hidden_size": HIDDEN,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
    }
    return lambda: _config(name, **{**sizes, **fields})


def _text_and_vision(name: str, text_fields: dict[str, Any], **fields: Any) -> Callable[[], Any]:
    vision = {
        "hidden_size": HIDDEN,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
    }
    language = {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        **text_fields,
    }
    vision_fields = fields.pop("vision", {})
    return lambda: _config(
        name, text_config=language, vision_config={**vision, **vision_fields}, **fields
    )


_KV = {"num_key_value_heads": 2}
_MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48}

ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture("LlamaForCausalLM", decoder("LlamaConfig", **_KV), text),
    "mistral": Architecture("MistralForCausalLM", decoder("MistralConfig", **_KV), text),
    "gpt2": Architecture(
        "GPT2LMHeadModel",
        lambda: _config(
            "GPT2Config", vocab_size=VOCABULARY, n_embd=HIDDEN, n_layer=2, n_head=4, n_positions=64
        ),
        text,
    ),
    "gpt_neox": Architecture("GPTNeoXForCausalLM", decoder("GPTNeoXConfig"), text),
    "gptj": Architecture(
        "GPTJForCausalLM",
        lambda: _config(
            "GPTJConfig",
            vocab_size=VOCABULARY,
            n_embd=HIDDEN,
            n_layer=2,
            n_head=4,
            rotary_dim=8,
            n_positions=64,
        ),
        text,
    ),
    "opt": Architecture(
        "OPTForCausalLM",
        decoder("OPTConfig", ffn_dim=96, word_embed_proj_dim=HIDDEN, max_position_embeddings=64),
        text,
    ),
    "bloom": Architecture(
        "BloomForCausalLM",
        lambda: _config(
            "BloomConfig", vocab_size=VOCABULARY, hidden_size=HIDDEN, n_layer=2, n_head=4
        ),
        text,
    ),
    "falcon": Architecture(
        "FalconForCausalLM",
        decoder("FalconConfig", multi_query=True, new_decoder_architecture=False, bias=True),
        text,
    ),
    "phi": Architecture("PhiForCausalLM", decoder("PhiConfig"), text),
    "stablelm": Architecture("StableLmForCausalLM", decoder("StableLmConfig", **_KV), text),
    "olmo": Architecture("OlmoForCausalLM", decoder("OlmoConfig"), text),
    "cohere": Architecture("CohereForCausalLM", decoder("CohereConfig", **_KV), text),
    "granite": Architecture("GraniteForCausalLM", decoder("GraniteConfig", **_KV), text),
    "starcoder2": Architecture("Starcoder2ForCausalLM", decoder("Starcoder2Config", **_KV), text),
    "glm4": Architecture("Glm4ForCausalLM", decoder("Glm4Config", **_KV, head_dim=16), text),
    "smollm3": Architecture("SmolLM3ForCausalLM", decoder("SmolLM3Config", **_KV), text),
    "mamba": Architecture(
        "MambaForCausalLM",
        lambda: _config(
            "MambaConfig",
            vocab_size=VOCABULARY,
            hidden_size=HIDDEN,
            state_size=8,
            num_hidden_layers=2,
            use_mambapy=False,
        ),
        text,
    ),
    "mamba2": Architecture(
        "Mamba2ForCausalLM",
        lambda: _config(
            "Mamba2Config",
            vocab_size=VOCABULARY,
            hidden_size=HIDDEN,
            state_size=8,
            num_hidden_layers=2,
            num_heads=8,
            head_dim=16,
            n_groups=2,
            chunk_size=8,
        ),
        text,
    ),
    "bamba": Architecture(
        "BambaForCausalLM",
        decoder(
            "BambaConfig",
            **_KV,
            attn_layer_indices=[1],
            mamba_n_heads=8,
            mamba_d_head=16,
            mamba_d_state=8,
            mamba_chunk_size=8,
        ),
        text,
    ),
    "falcon_h1": Architecture(
        "FalconH1ForCausalLM",
        decoder(
            "FalconH1Config",
            **_KV,
            head_dim=16,
            mamba_d_ssm=128,
            mamba_n_heads=8,
            mamba_d_head=16,
            mamba_d_state=8,
            mamba_chunk_size=8,
        ),
        text,
    ),
    "nemotron_h": Architecture(
        "NemotronHForCausalLM",
        decoder(
            "NemotronHConfig",
            **_KV,
            head_dim=16,
            hybrid_override_pattern="M*",
            mamba_num_heads=8,
            mamba_head_dim=16,
            ssm_state_size=8,
            n_groups=2,
            chunk_size=8,
        ),
        text,
    ),
    "mixtral": Architecture(
        "MixtralForCausalLM",
        decoder("MixtralConfig", **_KV, num_local_experts=4, num_experts_per_tok=2),
        text,
    ),
    "qwen2_moe": Architecture(
        "Qwen2MoeForCausalLM",
        decoder("Qwen2MoeConfig", **_KV, **_MOE, shared_expert_intermediate_size=48),
        text,
    ),
    "deepseek_v3": Architecture(
        "DeepseekV3ForCausalLM",
        decoder(
            "DeepseekV3Config",
            num_key_value_heads=4,
            q_lora_rank=32,
            kv_lora_rank=16,
            qk_rope_head_dim=8,
            qk_nope_head_dim=16,
            v_head_dim=16,
            n_routed_experts=4,
            num_experts_per_tok=2,
            n_group=2,
            topk_group=1,
            moe_intermediate_size=48,
            first_k_dense_replace=1,
        ),
        text,
    ),
    "bert": Architecture("BertForMaskedLM", decoder("BertConfig"), text),
    "roberta": Architecture("RobertaForMaskedLM", decoder("RobertaConfig"), text),
    "deberta_v2": Architecture(
        "DebertaV2Model",
        decoder(
            "DebertaV2Config",
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            type_vocab_size=0,
        ),
        text,
    ),
    "modernbert": Architecture("ModernBertModel", decoder("ModernBertConfig"), text),
    "t5": Architecture(
        "T5ForConditionalGeneration",
        lambda: _config(
            "T5Config",
            vocab_size=VOCABULARY,
            d_model=HIDDEN,
            d_kv=16,
            d_ff=96,
            num_layers=2,
            num_heads=4,
            decoder_start_token_id=0,
        ),
        text_pair,
    ),
    "bart": Architecture(
        "BartForConditionalGeneration",
        lambda: _config(
            "BartConfig",
            vocab_size=VOCABULARY,
            d_model=HIDDEN,
            encoder_layers=2,
            decoder_layers=2,
            encoder_ffn_dim=96,
            decoder_ffn_dim=96,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            max_position_embeddings=64,
        ),
        text_pair,
    ),
    "whisper": Architecture(
        "WhisperForConditionalGeneration",
        lambda: _config(
            "WhisperConfig",
            vocab_size=VOCABULARY,
            num_mel_bins=16,
            d_model=HIDDEN,
            encoder_layers=2,
            decoder_layers=2,
            encoder_ffn_dim=96,
            decoder_ffn_dim=96,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            max_source_positions=30,
            max_target_positions=32,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        ),
        audio,
    ),
    "vit": Architecture("ViTForImageClassification", _vision("ViTConfig"), image),
    "dinov2": Architecture("Dinov2Model", _vision("Dinov2Config"), image),
    "convnext": Architecture(
        "ConvNextModel",
        lambda: _config(
            "ConvNextConfig", hidden_sizes=[16, 32], depths=[1, 2], num_stages=2, patch_size=4
        ),
        image,
    ),
    "swin": Architecture(
        "SwinModel",
        lambda: _config(
            "SwinConfig",
            image_size=32,
            patch_size=4,
            embed_dim=16,
            depths=[2, 2],
            num_heads=[2, 4],
            window_size=4,
        ),
        image,
    ),
    "clip": Architecture(
        "CLIPModel",
        _text_and_vision("CLIPConfig", {"eos_token_id": 2}, projection_dim=32),
        image_and_text,
    ),
    "siglip": Architecture("SiglipModel", _text_and_vision("SiglipConfig", {}), image_and_text),
    "llava": Architecture(
        "LlavaForConditionalGeneration",
        _text_and_vision(
            "LlavaConfig",
            {"model_type": "llama", "num_key_value_heads": 2},
            vision={"model_type": "clip_vision_model"},
            image_token_index=5,
        ),
        lambda rng: image_in_text(rng, 5, 16),
    ),
    "gemma3": Architecture(
        "Gemma3ForConditionalGeneration",
        _text_and_vision(
            "Gemma3Config",
            {"num_key_value_heads": 2, "head_dim": 16, "sliding_window": 8},
            mm_tokens_per_image=4,
            image_token_id=5,
            boi_token_id=6,
            eoi_token_id=7,
        ),
        lambda rng: image_in_text(rng, 5, 4),
    ),
    "vision_encoder_decoder": Architecture(
        "VisionEncoderDecoderModel",
        lambda: transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
            _vision("ViTConfig")(),
            _config(
                "GPT2Config",
                vocab_size=VOCABULARY,
                n_embd=HIDDEN,
                n_layer=2,
                n_head=4,
                n_positions=64,
                add_cross_attention=True,
                is_decoder=True,
            ),
        ),
        image_to_text,
    ),
}
