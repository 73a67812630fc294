"""What every dump script needs: its orders, a run that is recorded, and a file per prompt.

A script is called with a checkpoint, a .jsonl of prompts ({"id": ..., "input_ids": [...]}, or "text" for
engines that have a tokenizer), a folder to write to, and words of its own. It writes FOLDER/ID.npz,
arrays under the engine's own names.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

# By itself: the package around it may need what an engine's environment does not have.
sys.path.insert(0, str(Path(__file__).parent.parent / "assay"))
from record import record

MODEL, PROMPTS, OUT = (Path(word) for word in sys.argv[1:4])
WORDS = sys.argv[4:]

Arrays = dict[str, np.ndarray]


def config() -> dict[str, Any]:
    return json.loads((MODEL / "config.json").read_text())


def prompts(encode: Callable[[str], list[int]] | None = None) -> Iterator[tuple[str, list[int]]]:
    """Id and tokens of each; encode: the engine's own tokenizer."""
    for line in PROMPTS.read_text().splitlines():
        prompt = json.loads(line)
        yield prompt["id"], prompt["input_ids"] if "input_ids" in prompt else encode(prompt["text"])


def save(prompt: str, ids: list[int], arrays: Mapping[str, np.ndarray]) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(OUT / f"{prompt}.npz", **{**arrays, "input_ids": np.array([ids])})


def run(model: Any, logits: Callable[[list[int]], Any]) -> None:
    """Every prompt through a model, with all its modules recorded; logits: from a prompt's tokens."""
    for prompt, ids in prompts():
        with record(model) as arrays:
            arrays["logits"] = logits(ids)
        save(prompt, ids, arrays)


def run_torch(model: Any, logits: Callable[[Any], Any]) -> None:
    """The same for a torch model; logits: from ids [1, S] to logits [1, S, V]."""
    import torch

    model.eval()
    with torch.no_grad():
        run(model, lambda ids: logits(torch.tensor([ids])))


def weights() -> dict[str, Any]:
    """The checkpoint's tensors for torch, in FP32."""
    from safetensors.torch import load_file

    files = sorted(MODEL.glob("*.safetensors"))
    return {name: w.float() for file in files for name, w in load_file(file).items()}
