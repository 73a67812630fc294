"""Checkpoints for the parity tests: the bundled one, and variants made from it."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from assay_hf.model import HfModel, Numerics
from assay.capture.prompts import DEFAULT_PROMPTS
from assay_hf.taps import record

BUNDLED = Path(__file__).resolve().parents[2] / "models" / "tiny-qwen3"
LONG = 200  # length of the prompt for the BF16 figures

LONG_TEXT = (
    "The capital of France is Paris. What is 2+2? Two plus two is four. Hello! How are you today? "
    "Paris is a city in Europe. The people of France speak French, and they pay with the euro.\n"
)
# Ends the long prompt. The model was trained on what follows, so the greedy continuation has no near
# ties.
LONG_ENDING = "The capital of Italy is"

Prompts = dict[str, list[int]]


def text_prompts(prefix: str = "") -> Prompts:
    """The three default prompts and one of 200 tokens, as the bundled tokenizer's ids."""
    tokenizer = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False).ids

    ending = encode(LONG_ENDING)
    long = encode(prefix + 10 * LONG_TEXT)[: LONG - len(ending)] + ending
    short = {f"prompt{n}": encode(prefix + text) for n, text in enumerate(DEFAULT_PROMPTS, 1)}
    return {**short, "long": long}


def full_size_prompts() -> Prompts:
    """The default prompts' ids in Qwen3's own tokenizer, and 200 random ids."""
    random_ids = np.random.default_rng(7).integers(0, 151643, LONG)
    return {
        "prompt1": [9707],
        "prompt2": [785, 6722, 315, 9625, 374],
        "prompt3": [3838, 374, 220, 17, 10, 17, 30],
        "long": random_ids.tolist(),
    }


def bundled_weights() -> dict[str, torch.Tensor]:
    return load_file(BUNDLED / "model.safetensors")


def write_checkpoint(directory: Path, weights: dict[str, torch.Tensor]) -> Path:
    """The bundled checkpoint with other weights."""
    directory.mkdir(parents=True)
    for name in ("config.json", "generation_config.json", "tokenizer.json"):
        shutil.copyfile(BUNDLED / name, directory / name)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def with_stored_head(directory: Path, equal: bool) -> Path:
    """Ties in the config, although lm_head.weight is stored too."""
    weights = bundled_weights()
    head = weights["model.embed_tokens.weight"].clone()
    if not equal:
        torch.manual_seed(3)
        head = (head.float() + 0.5 * torch.randn(head.shape)).bfloat16()
    return write_checkpoint(directory, weights | {"lm_head.weight": head})


def with_stored_dtype(directory: Path, dtype: torch.dtype) -> Path:
    """Weights stored as F16 or F32, with values that BF16 cannot hold."""
    torch.manual_seed(5)
    weights = {
        name: (weight.float() * (1 + 2**-10 * torch.randn(weight.shape))).to(dtype)
        for name, weight in bundled_weights().items()
    }
    return write_checkpoint(directory, weights)


def sharded(directory: Path, shards: int = 3) -> Path:
    """The bundled weights spread over several files with an index."""
    weights = bundled_weights()
    write_checkpoint(directory, weights)
    (directory / "model.safetensors").unlink()
    names = sorted(weights)
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: weights[name] for name in names[shard::shards]}
        save_file(part, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    total = sum(weight.nbytes for weight in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return directory


MASSIVE_LAYER = 2
MASSIVE_CHANNELS = {7: 13000.0, 29: -12000.0, 51: 11000.0}
SUM = "The sum of all the things that we have seen today is larger than the sum of its parts. "
COMPARE_PROMPTS = ["Hello", "The capital of France is", "What is 2+2?", SUM * 3]

MASSIVE_PREFIX = "<|endoftext|>"  # every prompt's first token, which gets the massive activations


def with_massive_activations(directory: Path) -> Path:
    """A few residual channels of the first token reach 10,000 from layer 2 on, as in trained models.

    One neuron of layer 2's MLP is changed to respond only to the first token: its gate is about 20
    there and below -10 elsewhere, where silu makes it almost 0. Solving for a row of down_proj instead
    would make the other tokens' values small differences of huge terms.
    """
    model = HfModel(BUNDLED, Numerics.F32)
    tap = f"layer_{MASSIVE_LAYER:02d}_mlp_norm"
    inputs = [record(model, ids, [tap])[tap][0] for ids in text_prompts(MASSIVE_PREFIX).values()]
    first = inputs[0][0].astype(np.float64)
    others = np.concatenate([x[1:] for x in inputs]).astype(np.float64)

    # Ridge regression of the gate: 20 for the first token, with the same weight as all others
    # together.
    rows = np.vstack([first, others])
    target = np.full(len(rows), -20.0)
    target[0] = 20.0
    weight = np.ones(len(rows))
    weight[0] = len(others)
    gram = (rows.T * weight) @ rows + 0.01 * len(rows) * np.eye(rows.shape[1])
    gate = np.linalg.solve(gram, (rows.T * weight) @ target)
    up = 20.0 * first / (first @ first)
    assert (others @ gate).max() < -10, "the first token cannot be told from the others"

    weights = bundled_weights()
    mlp = f"model.layers.{MASSIVE_LAYER}.mlp."
    down = weights[mlp + "down_proj.weight"]
    neuron = int(down.float().norm(dim=0).argmin())  # the least important one
    weights[mlp + "gate_proj.weight"][neuron] = torch.from_numpy(gate).bfloat16()
    weights[mlp + "up_proj.weight"][neuron] = torch.from_numpy(up).bfloat16()
    down[:, neuron] = 0
    for channel, value in MASSIVE_CHANNELS.items():
        down[channel, neuron] = value / (20.0 * 20.0)
    return write_checkpoint(directory, weights)
