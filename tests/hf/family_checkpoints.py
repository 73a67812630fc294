"""Writes the checkpoints of families, and draws their prompts."""

import json
from pathlib import Path
from random import Random

import gemma4_families
import numpy as np
import torch
from assay_hf.model import HfModel, Numerics, auto_class
from assay_hf.taps import record, router_of, shared_expert, tap_names
from checkpoints import Prompts
from family_config import Configuration, experts_in
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig


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
