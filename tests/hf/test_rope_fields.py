"""Rotary tables of configs whose fields overlap: as transformers reads them, or refused.

`rope_theta`, `rope_scaling` and `rope_parameters` at once, `type` beside `rope_type`, lengths and
partial_rotary_factor inside and outside, parameters by type of layer: drawn at random for each
model type. ASSAY_TEST_SEED draws the same again.
"""

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from assay_cli import ROOT, run_assay
from families import ARCHITECTURES, MIXTURES, TOWERS, WITHOUT_HEAD_DIM
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

Config = dict[str, Any]

CONFIGS = 60  # of each model type
LONGEST = 64
LENGTHS = [24, LONGEST]
FIELD = ROOT.parent / "shared" / "field"
SIZES: Config = {
    "vocab_size": 16,
    "hidden_size": 32,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": LONGEST,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "eos_token_id": None,
    "bos_token_id": 0,
    "pad_token_id": 0,
}


def base(model_type: str) -> Config:
    config = {"model_type": model_type, "architectures": [ARCHITECTURES[model_type]], **SIZES}
    if model_type not in WITHOUT_HEAD_DIM:
        config["head_dim"] = 16
    if "gemma" in model_type:
        config |= {"sliding_window": 8, "sliding_window_pattern": 2, "head_dim": 16}
    if model_type == "gemma4_text":
        config |= {"global_head_dim": 16, "hidden_size_per_layer_input": 0}
    if model_type in MIXTURES:
        config |= {"num_experts_per_tok": 1, "moe_intermediate_size": 8}
        config |= dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 2)
        config["shared_expert_intermediate_size"] = 8
    if model_type in ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"):
        config |= dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 1)
        config |= dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8)
        config["full_attention_interval"] = 2  # transformers needs a layer with attention
    return config


def maybe(rng: random.Random, into: Config, field: str, values: list[Any], chance: float) -> None:
    if rng.random() < chance:
        into[field] = rng.choice(values)


def theta(rng: random.Random) -> float:
    return round(10 ** rng.uniform(2.5, 6), 1)


def draw_parameters(rng: random.Random, model_type: str, half: int) -> Config:
    """One object of parameters, with what its type needs and some fields that it does not."""
    types = ["default", "linear", "dynamic", "yarn", "llama3", "longrope"]
    if model_type == "phi3":
        types = ["default", "longrope", "longrope", "su"]
    if model_type == "gemma4_text":
        types = ["default", "linear", "proportional", "proportional"]
    kind = rng.choice(types)
    spelling = rng.random()
    rope: Config = {}
    if spelling < 0.45:
        rope["rope_type"] = kind
    elif spelling < 0.8:
        rope["type"] = kind
    elif spelling < 0.9:
        rope |= {"rope_type": kind, "type": rng.choice(types)}
    if kind in ("linear", "dynamic", "yarn", "llama3") or rng.random() < 0.3:
        rope["factor"] = rng.choice([1.5, 2.0, 4.0, 8.0])
    if kind == "yarn":
        maybe(rng, rope, "factor", [None], 0.15)
        maybe(rng, rope, "beta_fast", [8.0, 16.0], 0.3)
        maybe(rng, rope, "beta_slow", [0.5, 2.0], 0.3)
        maybe(rng, rope, "mscale", [0.7, 1.0], 0.3)
        maybe(rng, rope, "mscale_all_dim", [0.5, 1.0], 0.3)
        maybe(rng, rope, "truncate", [True, False], 0.3)
    if kind == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": rng.choice([2.0, 4.0])}
    if kind in ("longrope", "su"):
        for field in ("short_factor", "long_factor"):
            rope[field] = [round(rng.uniform(1, 8), 2) for _ in range(half)]
    maybe(rng, rope, "attention_factor", [0.9, 1.25], 0.15)
    maybe(rng, rope, "rope_theta", [theta(rng)], 0.5)
    maybe(rng, rope, "original_max_position_embeddings", [16, 32, 48], 0.5)
    maybe(rng, rope, "partial_rotary_factor", [0.5, 1.0], 0.1)
    if model_type == "ministral3":  # transformers does not run without them
        maybe(rng, rope, "llama_4_scaling_beta", [0.1, 0.3], 0.9)
        maybe(rng, rope, "original_max_position_embeddings", [16, 32, 48], 0.8)
    items = list(rope.items())
    rng.shuffle(items)
    return dict(items)


def draw(rng: random.Random, model_type: str) -> Config:
    config = base(model_type)
    half = 8
    maybe(rng, config, "rope_theta", [theta(rng), 10000], 0.6)
    maybe(rng, config, "original_max_position_embeddings", [16, 32, 40], 0.3)
    maybe(rng, config, "partial_rotary_factor", [0.5, 1.0], 0.15)
    kind = rng.random()
    if kind < 0.6:
        config["rope_scaling"] = draw_parameters(rng, model_type, half)
    elif kind < 0.8:
        config["rope_scaling"] = rng.choice([None, {}])
    kind = rng.random()
    if kind < 0.6:
        config["rope_parameters"] = draw_parameters(rng, model_type, half)
    elif kind < 0.7:
        config["rope_parameters"] = None
    gemma4 = model_type == "gemma4_text"  # runs only with parameters by type of layer
    if gemma4:
        maybe(rng, config, "rope_theta", [theta(rng)], 0.8)
        if rng.random() < 0.9:
            config.pop("rope_scaling", None)
    if gemma4 or model_type == "gemma3_text":
        maybe(rng, config, "rope_local_base_freq", [theta(rng)], 0.5)
        if rng.random() < (0.9 if gemma4 else 0.6):
            config["rope_parameters"] = {
                layers: draw_parameters(rng, model_type, half)
                for layers in ("full_attention", "sliding_attention")
                if rng.random() < (0.97 if gemma4 else 0.85)
            }
            maybe(rng, config["rope_parameters"], "truncate", [False], 0.2)
    return config


def transformers_tables(directory: Path, length: int) -> dict[str, np.ndarray] | None:
    """None if transformers cannot run such a model."""
    try:
        net = AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(directory), attn_implementation="eager"
        )
        with torch.no_grad():
            net(torch.zeros(1, 3, dtype=torch.int64))
        rotary = net.model.rotary_emb
        kinds: dict[str, tuple[str, ...]] = {"rope": ()}
        if isinstance(rotary.rope_type, dict):
            kinds = {"rope": ("full_attention",), "rope_local": ("sliding_attention",)}
        tables = {}
        with torch.no_grad():
            for name, kind in kinds.items():
                cos, sin = rotary(torch.empty(1), torch.arange(length)[None], *kind)
                if net.config.model_type == "gpt_oss":  # gives each value once, not for both halves
                    cos, sin = (torch.cat((table, table), -1) for table in (cos, sin))
                tables |= {f"{name}_cos": cos.numpy(), f"{name}_sin": sin.numpy()}
        return tables
    except Exception as error:  # any error means that the config does not run
        print("transformers:", type(error).__name__, error)
        return None


def write(directory: Path, config: Config) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))


def write_weights(directory: Path, model_type: str) -> None:
    write(directory, base(model_type))
    net = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(directory))
    weights = {n: t.bfloat16().contiguous() for n, t in net.state_dict().items()}
    weights.pop("lm_head.weight")
    save_file(weights, directory / "model.safetensors", {"format": "pt"})


def assay_tables(directory: Path, length: int, out: Path) -> dict[str, np.ndarray] | str:
    """The error's text if it is refused."""
    prompts = out.parent / "prompts.jsonl"
    prompts.write_text(json.dumps({"id": "p", "input_ids": [1] * length}) + "\n")
    fixed = ["--numerics", "f32", "--compression", "none", "--max-new-tokens", "0"]
    command = ["extract", "--model", directory, "--prompts", prompts, "--out", out, *fixed]
    result = run_assay(command, check=False)
    if result.returncode != 0:
        return result.stderr
    with np.load(out / "p" / "reference.npz") as file:
        return {name: file[name] for name in file.files if name.startswith("rope")}


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    seed = os.environ.get("ASSAY_TEST_SEED") or str(random.randrange(2**32))
    print(f"ASSAY_TEST_SEED={seed}")
    return random.Random(seed + request.node.name)


def assert_same(
    ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], length: int, what: Any
) -> None:
    assert ours.keys() == theirs.keys(), what
    # A frequency may be off by one FP32 step, which far positions multiply.
    limit = 1e-6 * (1 + length / 8)
    for name, table in theirs.items():
        assert ours[name].shape == table.shape, (name, what)
        assert np.abs(ours[name] - table).max() <= limit, (name, what)


@pytest.mark.parametrize("model_type", [t for t in ARCHITECTURES if t not in TOWERS])
def test_overlapping_fields_are_read_as_transformers_does(
    model_type: str, rng: random.Random, tmp_path: Path
) -> None:
    directory = tmp_path / "checkpoint"
    write_weights(directory, model_type)
    seen = 0
    for _ in range(CONFIGS):
        config = draw(rng, model_type)
        write(directory, config)
        length = rng.choice(LENGTHS)
        theirs = transformers_tables(directory, length)
        ours = assay_tables(directory, length, tmp_path / "out")
        if isinstance(ours, str):
            assert theirs is None, (config, ours)
        elif theirs is not None:
            assert_same(ours, theirs, length, config)
            seen += 1
    assert seen > CONFIGS // 4  # otherwise the draw tells little


@pytest.mark.parametrize("name", ["rope_both_checkpoint", "rope_parameters_and_rope_scaling"])
def test_configs_from_the_field(name: str, tmp_path: Path) -> None:
    if not (FIELD / name).exists():
        pytest.skip(f"no {FIELD / name}")
    config = json.loads((FIELD / name / "config.json").read_text())
    config |= {key: SIZES[key] for key in SIZES if key in config} | {"head_dim": 16}
    directory = tmp_path / "checkpoint"
    write_weights(directory, "qwen3")
    write(directory, config)
    theirs = transformers_tables(directory, 48)
    ours = assay_tables(directory, 48, tmp_path / "out")
    assert theirs is not None and not isinstance(ours, str)
    assert_same(ours, theirs, 48, config)
    assert not np.allclose(ours["rope_cos"].max(), 1)  # YaRN's attention factor is in them


def test_prompts_as_long_as_the_scaling_allows_are_run(tmp_path: Path) -> None:
    """transformers runs a prompt of any length; Assay refuses lengths that the config does not support."""
    directory = tmp_path / "checkpoint"
    write_weights(directory, "qwen3")
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": LONGEST}
    write(directory, base("qwen3") | {"rope_theta": 1e6, "rope_scaling": yarn})
    length = 4 * LONGEST
    theirs = transformers_tables(directory, length)
    ours = assay_tables(directory, length, tmp_path / "out")
    assert theirs is not None and not isinstance(ours, str)
    assert_same(ours, theirs, length, yarn)
    refused = assay_tables(directory, length + 1, tmp_path / "out")
    assert isinstance(refused, str) and f"{length + 1} tokens" in refused
