"""Writes a checkpoint as a GGUF file, for tests: like llama.cpp's converter, in any tensor type.

gguf can quantise to some types only. For the others the blocks are random, of the usual size: any
bytes are valid blocks, and what they stand for is then the checkpoint.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type

Weights = dict[str, torch.Tensor]

ARCHITECTURES = {
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "qwen3_moe": gguf.MODEL_ARCH.QWEN3MOE,
    "qwen2_moe": gguf.MODEL_ARCH.QWEN2MOE,
    "mixtral": gguf.MODEL_ARCH.LLAMA,
    "olmoe": gguf.MODEL_ARCH.OLMOE,
    "glm4_moe": gguf.MODEL_ARCH.GLM4_MOE,
    "minimax_m2": gguf.MODEL_ARCH.MINIMAXM2,
    "gpt_oss": gguf.MODEL_ARCH.GPT_OSS,
    "qwen3_next": gguf.MODEL_ARCH.QWEN3NEXT,
    "qwen3_5_text": gguf.MODEL_ARCH.QWEN35,
    "qwen3_5_moe_text": gguf.MODEL_ARCH.QWEN35MOE,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "ministral3": gguf.MODEL_ARCH.MISTRAL3,
    "gemma2": gguf.MODEL_ARCH.GEMMA2,
    "gemma3_text": gguf.MODEL_ARCH.GEMMA3,
    "gemma4_text": gguf.MODEL_ARCH.GEMMA4,
    "olmo2": gguf.MODEL_ARCH.OLMO2,
    "phi3": gguf.MODEL_ARCH.PHI3,
}
LLAMAS = ("llama", "mistral", "mixtral", "ministral3")  # whose queries and keys are reordered
LINEAR = ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text")  # with gated delta rules
QUANTISED_BY_GGUF = {Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0, Type.MXFP4}
# Where a block's F16 scales are, and how large they are for weights of about 0.05.
SCALES = {
    Type.Q4_0: [(0, 0.1 / 8)],
    Type.Q4_1: [(0, 0.1 / 15), (2, 0.05)],
    Type.Q5_0: [(0, 0.1 / 16)],
    Type.Q5_1: [(0, 0.1 / 31), (2, 0.05)],
    Type.Q8_0: [(0, 0.1 / 127)],
    Type.Q2_K: [(80, 0.1 / 45), (82, 0.15 / 45)],
    Type.Q3_K: [(108, 0.1 / 128)],
    Type.Q4_K: [(0, 0.1 / 945), (2, 0.75 / 945)],
    Type.Q5_K: [(0, 0.1 / 1953), (2, 1.55 / 1953)],
    Type.Q6_K: [(208, 0.1 / 4064)],
    Type.IQ4_NL: [(0, 0.1 / 127)],
    Type.IQ4_XS: [(0, 0.1 / 4064)],
    Type.MXFP4: [],  # a byte
    Type.IQ1_S: [(0, 0.1 / 16)],
    Type.IQ1_M: [],  # in four parts, see random_blocks()
    Type.IQ2_XXS: [(0, 0.1 / 166)],
    Type.IQ2_XS: [(0, 0.1 / 166)],
    Type.IQ2_S: [(0, 0.1 / 166)],
    Type.IQ3_XXS: [(0, 0.1 / 480)],
    Type.IQ3_S: [(0, 0.1 / 465)],
    Type.TQ1_0: [(52, 0.05)],
    Type.TQ2_0: [(64, 0.05)],
}
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5


def random_blocks(kind: Type, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Random bytes with valid scales: uint8, one row of blocks per row of elements."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (int(np.prod(shape)) // elements, size), dtype=np.uint8)
    sign = rng.choice([-1.0, 1.0], len(blocks))
    for at, scale in SCALES[kind]:
        scales = (sign * scale * rng.uniform(0.5, 1.5, len(blocks))).astype(np.float16)
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
    if kind == Type.IQ1_M:
        scale = (sign * 0.1 / 16 * rng.uniform(0.5, 1.5, len(blocks))).astype(np.float16)
        words = blocks[:, 48:].copy().view(np.uint16)
        parts = scale.view(np.uint16)[:, None] >> np.array([0, 4, 8, 12], dtype=np.uint16)
        blocks[:, 48:] = (words & 0x0FFF | parts << 12).view(np.uint8)
    return blocks.reshape(*shape[:-1], -1)


def stored(array: np.ndarray, kind: Type, rng: np.random.Generator) -> tuple[np.ndarray, Type]:
    """A tensor's bytes and type in the file: vectors and rows that do not fit blocks stay F32."""
    if array.ndim == 1 or array.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] != 0:
        return array, Type.F32
    if kind in SCALES and kind not in QUANTISED_BY_GGUF:
        return random_blocks(kind, array.shape, rng), kind
    return gguf.quants.quantize(array, kind), kind


def permuted(array: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of the rows of queries and keys."""
    halves = array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:])
    return halves.swapaxes(1, 2).reshape(array.shape)


def tiled(array: np.ndarray, config: Any, axis: int, size: int) -> np.ndarray:
    """Value heads of one key head follow each other in a checkpoint. llama.cpp puts the first ones of
    all key heads before all second ones. size: of a value head along that axis."""
    keys = config.linear_num_key_heads
    groups = (keys, config.linear_num_value_heads // keys, size)
    apart = array.reshape(*array.shape[:axis], *groups, *array.shape[axis + 1 :])
    return apart.swapaxes(axis, axis + 1).reshape(array.shape)


def linear_tensors(
    config: Any, name: str, array: np.ndarray, moved_only: bool, older: bool
) -> list[tuple[str, np.ndarray]]:
    """What llama.cpp's converter makes of a tensor of a layer with a delta rule."""
    if name.endswith("A_log") and not moved_only:
        array = -np.exp(array)
    if name.endswith("conv1d.weight"):
        array = array[:, 0]
    name = name.replace("dt_bias", "dt_proj.bias").replace("A_log", "A_log.")
    keys = 2 * config.linear_num_key_heads * config.linear_key_head_dim
    width = config.linear_value_head_dim
    if config.model_type == "qwen3_next":
        if older or not name.endswith("in_proj_qkvz.weight"):
            return [(name, array)]
        share = config.linear_num_value_heads // config.linear_num_key_heads
        by_head = array.reshape(config.linear_num_key_heads, -1, array.shape[-1])
        cuts = np.cumsum([config.linear_key_head_dim] * 2 + [share * width])
        parts = [part.reshape(-1, array.shape[-1]) for part in np.split(by_head, cuts, axis=1)]
        stem = name.removesuffix("qkvz.weight")
        return [(f"{stem}qkv.weight", np.concatenate(parts[:3])), (f"{stem}z.weight", parts[3])]
    kind = name.split("linear_attn.")[1]
    if kind in ("in_proj_qkv.weight", "conv1d.weight"):
        array = np.concatenate((array[:keys], tiled(array[keys:], config, 0, width)))
    elif kind == "in_proj_z.weight":
        array = tiled(array, config, 0, width)
    elif kind == "out_proj.weight":
        array = tiled(array, config, 1, width)
    elif kind != "norm.weight":
        array = tiled(array, config, 0, 1)
    return [(name, array)]


def split_experts(weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    """Names as in a checkpoint, with an MoE layer's experts stacked: ...mlp.experts.gate_proj.weight."""
    for name, weight in weights.items():
        if name.endswith(("_proj_bias", "experts.gate_up_proj", "experts.down_proj")) and any(
            other.endswith("experts.gate_up_proj_bias") for other in weights
        ):  # gpt-oss: [experts, in, out], of which gate and up alternate
            stem, suffix = (name[:-5], "bias") if name.endswith("_bias") else (name, "weight")
            rows = weight if suffix == "bias" else weight.transpose(1, 2)
            if stem.endswith("gate_up_proj"):
                yield f"{stem.replace('gate_up_proj', 'gate_proj')}.{suffix}", rows[:, ::2]
                yield f"{stem.replace('gate_up_proj', 'up_proj')}.{suffix}", rows[:, 1::2]
            else:
                yield f"{stem}.{suffix}", rows
        elif name.endswith("self_attn.sinks"):
            yield name + ".weight", weight
        elif name.endswith("mlp.experts.gate_up_proj"):
            gate, up = weight.chunk(2, dim=1)
            yield name.replace("gate_up_proj", "gate_proj.weight"), gate
            yield name.replace("gate_up_proj", "up_proj.weight"), up
        elif name.endswith(("experts.down_proj", "experts.gate_up_proj", "layer_scalar")):
            yield name + ".weight", weight
        else:
            yield name, weight


def converted(
    config: Any, weights: Weights, *, moved_only: bool = False, older_linear: bool = False
) -> Iterator[tuple[str, np.ndarray]]:
    """GGUF's names and values. moved_only: the values are numbers of places, which are not changed.
    older_linear: as llama.cpp wrote Qwen3-Next's projections at first."""
    names = gguf.get_tensor_name_map(ARCHITECTURES[config.model_type], config.num_hidden_layers)
    for name, weight in split_experts(weights):
        name = name.replace("e_score_correction_bias", "e_score_correction.bias")
        if config.model_type == "minimax_m2":
            name = name.replace("mlp.e_score", "block_sparse_moe.e_score")
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = weight.detach().float().numpy()
        tensors = [(name, array)]
        if "linear_attn." in name:
            tensors = linear_tensors(config, name, array, moved_only, older_linear)
        for part, values in tensors:
            stem, suffix = part.rsplit(".", 1)
            # Gemma 4's, which the converter names itself.
            if suffix == "scale":
                stem += ".proj"
            if suffix == "per_expert_scale":
                stem, suffix = stem.replace("router", "experts.down_proj"), "scale"
            new = names.get_name(stem)
            assert new is not None, part
            own = values
            if config.model_type in LLAMAS:
                if ".attn_q" in new:
                    own = permuted(own, config.num_attention_heads)
                elif ".attn_k" in new:
                    own = permuted(own, config.num_key_value_heads)
            if adds_one_to(config, name) and not moved_only:
                own = own + 1
            yield f"{new}.{suffix}".removesuffix("."), np.ascontiguousarray(own)


def adds_one_to(config: Any, name: str) -> bool:
    """Whether the converter adds 1 to this tensor."""
    own = config.model_type in ("gemma2", "gemma3_text", *LINEAR)
    return own and name.endswith("norm.weight") and "linear_attn" not in name


def write_gguf(
    path: Path,
    config: Any,
    weights: Weights,
    kind: Type,
    tokenizer: dict[str, Any] | None = None,
    pre: str = "qwen2",
    seed: int = 0,
    *,
    bos: bool = False,
    chat_template: str | list[dict[str, str]] | None = None,
    older_linear: bool = False,
) -> Path:
    """config: transformers' own. tokenizer: the contents of a byte-level tokenizer.json. bos: the
    beginning-of-text token comes before every text. chat_template: as in tokenizer_config.json.
    older_linear: see converted()."""
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[ARCHITECTURES[config.model_type]])
    writer.add_name(config.model_type)
    add_config(writer, config)
    if tokenizer is not None:
        add_tokenizer(writer, tokenizer, config, pre, bos)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    rng = np.random.default_rng(seed)
    for name, array in converted(config, weights, older_linear=older_linear):
        data, stored_kind = stored(array, kind, rng)
        writer.add_tensor(name, data, raw_dtype=stored_kind)
    rope = config.rope_parameters
    if rope.get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(config))
    if config.model_type == "gemma4_text":
        full = rope["full_attention"]
        pairs = gemma4_heads(config, "full_attention").head_dim // 2
        factors = np.full(pairs, 1e30, dtype=np.float32)
        factors[: int(full["partial_rotary_factor"] * pairs)] = 1
        writer.add_tensor("rope_freqs.weight", factors)
    if rope.get("rope_type") == "longrope":
        for length in ("long", "short"):
            factors = np.array(rope[f"{length}_factor"], dtype=np.float32)
            writer.add_tensor(f"rope_factors_{length}.weight", factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def head_dim(config: Any) -> int:
    own = getattr(config, "head_dim", None)
    return own or config.hidden_size // config.num_attention_heads


def llama3_factors(config: Any) -> np.ndarray:
    rope = config.rope_parameters
    size = head_dim(config)
    frequency = 1.0 / rope["rope_theta"] ** (np.arange(0, size, 2, dtype=np.float32) / size)
    turns = rope["original_max_position_embeddings"] * frequency / (2 * np.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(np.float32)


def gemma4_heads(config: Any, kind: str) -> Any:
    """The config of the layers of that kind."""
    return config.per_layer_config[config.layer_types.index(kind)]


def add_gemma4(writer: gguf.GGUFWriter, config: Any) -> None:
    layers = config.num_hidden_layers
    full = gemma4_heads(config, "full_attention")
    sliding = gemma4_heads(config, "sliding_attention")
    slides = [kind == "sliding_attention" for kind in config.layer_types]
    writer.add_block_count(layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    shared = layers - config.num_kv_shared_layers
    wide = 1 + config.use_double_wide_mlp
    width = config.intermediate_size
    writer.add_feed_forward_length([width if l < shared else wide * width for l in range(layers)])
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(
        [(sliding if s else full).num_key_value_heads for s in slides]
    )
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["full_attention"]["rope_theta"])
    writer.add_float32(
        "gemma4.rope.freq_base_swa", config.rope_parameters["sliding_attention"]["rope_theta"]
    )
    writer.add_rope_dimension_count(full.head_dim)
    writer.add_key_length(full.head_dim)
    writer.add_value_length(full.head_dim)
    writer.add_key_length_swa(sliding.head_dim)
    writer.add_value_length_swa(sliding.head_dim)
    writer.add_sliding_window(config.sliding_window)
    writer.add_sliding_window_pattern(slides)
    writer.add_shared_kv_layers(config.num_kv_shared_layers)
    writer.add_embedding_length_per_layer_input(config.hidden_size_per_layer_input)
    if config.final_logit_softcapping:
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if config.enable_moe_block:
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.top_k_experts)
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)


def add_config(writer: gguf.GGUFWriter, config: Any) -> None:
    kind = config.model_type
    if kind == "gemma4_text":
        return add_gemma4(writer, config)
    rope = config.rope_parameters
    local = None
    if kind == "gemma3_text":
        local, rope = rope["sliding_attention"], rope["full_attention"]
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    if getattr(config, "intermediate_size", None):
        writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(rope["rope_theta"])
    if getattr(config, "head_dim", None):
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if kind in LLAMAS:
        writer.add_rope_dimension_count(head_dim(config))
        writer.add_vocab_size(config.vocab_size)
    if kind == "phi3":
        share = rope.get("partial_rotary_factor", 1.0)
        writer.add_rope_dimension_count(int(share * head_dim(config)))
        original = config.original_max_position_embeddings
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_sliding_window(config.sliding_window or 0)
        if rope.get("rope_type") == "longrope":
            stretch = np.log(config.max_position_embeddings / original)
            writer.add_rope_scaling_attn_factors(np.sqrt(1 + stretch / np.log(original)))
    if rope.get("rope_type") in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope.get("rope_type") == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if kind == "ministral3":
        writer.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
        writer.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
        writer.add_rope_scaling_yarn_log_mul(rope["mscale_all_dim"])
        writer.add_attn_temperature_scale(rope["llama_4_scaling_beta"])
    if kind in ("mistral", "mixtral") and config.sliding_window:
        writer.add_sliding_window(config.sliding_window)
    if kind.startswith("gemma"):
        writer.add_sliding_window(config.sliding_window)
    if kind == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if local is not None:
        writer.add_float32("gemma3.rope.freq_base_swa", local["rope_theta"])
    experts = getattr(config, "num_local_experts", getattr(config, "num_experts", 0))
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    width = getattr(config, "moe_intermediate_size", None) or getattr(config, "intermediate_size", None)
    if kind == "gpt_oss":
        writer.add_sliding_window(config.sliding_window)
    if kind in ("qwen3_moe", "qwen2_moe", "glm4_moe", "minimax_m2", "gpt_oss", *LINEAR[::2]):
        writer.add_expert_feed_forward_length(width)
    if kind in ("qwen2_moe", *LINEAR[::2]):
        writer.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)
    if kind in ("glm4_moe", "minimax_m2"):
        writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
        partial = rope.get("partial_rotary_factor", 1.0)
        writer.add_rope_dimension_count(int(partial * config.head_dim))
    if kind in LINEAR:
        writer.add_ssm_conv_kernel(config.linear_conv_kernel_dim)
        writer.add_ssm_state_size(config.linear_key_head_dim)
        writer.add_ssm_group_count(config.linear_num_key_heads)
        writer.add_ssm_time_step_rank(config.linear_num_value_heads)
        writer.add_ssm_inner_size(config.linear_value_head_dim * config.linear_num_value_heads)
        writer.add_full_attention_interval(config.layer_types.index("full_attention") + 1)
        writer.add_rope_dimension_count(int(config.head_dim * rope["partial_rotary_factor"]))
    if kind == "glm4_moe":
        writer.add_leading_dense_block_count(config.first_k_dense_replace)
        writer.add_expert_shared_count(config.n_shared_experts)
        writer.add_expert_weights_scale(config.routed_scaling_factor)
        writer.add_expert_weights_norm(config.norm_topk_prob)


def add_tokenizer(
    writer: gguf.GGUFWriter, tokenizer: dict[str, Any], config: Any, pre: str, bos: bool
) -> None:
    tokens = [f"[PAD{i}]" for i in range(config.vocab_size)]
    kinds = [UNUSED] * config.vocab_size
    for token, index in tokenizer["model"]["vocab"].items():
        tokens[index], kinds[index] = token, NORMAL
    for token in tokenizer["added_tokens"]:
        tokens[token["id"]] = token["content"]
        kinds[token["id"]] = CONTROL if token["special"] else USER_DEFINED
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    eos = config.eos_token_id
    if eos is not None:
        writer.add_eos_token_id(eos if isinstance(eos, int) else eos[0])
    if isinstance(config.bos_token_id, int):
        writer.add_bos_token_id(config.bos_token_id)
    writer.add_add_bos_token(bos)
