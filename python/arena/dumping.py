"""What every dump script needs: its orders, a recorder of torch modules, and a file per prompt.

A script is called with a checkpoint, a .jsonl of prompts ({"id": ..., "input_ids": [...]}, or "text" for
engines that have a tokenizer), a folder to write to, and words of its own. It writes FOLDER/ID.npz,
arrays under the engine's own names.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

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


def save(prompt: str, ids: list[int], arrays: Arrays) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(OUT / f"{prompt}.npz", input_ids=np.array([ids]), **arrays)


def add(arrays: Arrays, name: str, value: Any) -> None:
    """The second call of a module is name.call1, and so on."""
    new, calls = name, 0
    while new in arrays:
        calls += 1
        new = f"{name}.call{calls}"
    arrays[new] = value


def hook(model: Any) -> Arrays:
    """Records what each torch module returns into the dictionary when the model is run."""
    import torch

    arrays: Arrays = {}

    def keep(name: str) -> Callable:
        def after(_module: Any, _inputs: Any, output: Any) -> None:
            output = output[0] if isinstance(output, tuple) else output
            if isinstance(output, torch.Tensor) and output.is_floating_point():
                add(arrays, name, output.detach().float().numpy().copy())

        return after

    for name, module in model.named_modules():
        if name:
            module.register_forward_hook(keep(name))
    return arrays


def run_torch(model: Any, logits: Callable[[Any], Any]) -> None:
    """Every prompt through a torch model; logits: from ids [1, S] to logits [1, S, V]."""
    import torch

    model.eval()
    arrays = hook(model)
    for prompt, ids in prompts():
        arrays.clear()
        with torch.no_grad():
            final = logits(torch.tensor([ids]))
        save(prompt, ids, {**arrays, "logits": final.float().numpy()})


def weights() -> dict[str, Any]:
    """The checkpoint's tensors for torch, in FP32."""
    from safetensors.torch import load_file

    files = sorted(MODEL.glob("*.safetensors"))
    return {name: w.float() for file in files for name, w in load_file(file).items()}
