"""References that `assay capture` makes of small models, and dumps to compare with them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from architectures import Architecture
from assay_cli import run_assay
from families import SEED
from torch import nn

from assay.capture.__main__ import parse_arguments
from assay.capture.capture import capture
from assay.capture.run import inputs_of, load


@dataclass
class Captured:
    """A checkpoint on disk and its reference set."""

    directory: Path
    manifest: dict[str, Any]

    @property
    def model(self) -> Path:
        return self.directory / "model"

    @property
    def reference(self) -> Path:
        return self.directory / "reference"

    @property
    def arrays(self) -> dict[str, Any]:
        return self.manifest["prompts"][0]["arrays"]

    def others(self) -> dict[str, str]:
        """The names of arrays by those of the modules that return them."""
        return {
            name: array
            for array, record in self.arrays.items()
            for name in (array, *record.get("also", []))
        }

    def array_of(self, module: str) -> str:
        """The name of the array that a module returns."""
        return self.others()[module]


def captured(architecture: Architecture, net: Any, directory: Path) -> Captured:
    """Saves the model, and captures it on inputs that the session's seed draws."""
    net.save_pretrained(directory / "model")
    np.savez(directory / "inputs.npz", **architecture.inputs(np.random.default_rng(SEED)))
    options = [str(directory / "model"), "--inputs", str(directory / "inputs.npz")]
    options += ["--out", str(directory / "reference")]
    return Captured(directory, capture(parse_arguments(options), in_process=True))


def candidate(case: Captured, attention: str = "sdpa", numerics: str = "bf16") -> nn.Module:
    try:
        return load(case.model, numerics, attention)
    except Exception:  # has no fused attention
        return load(case.model, numerics)


def dump(net: nn.Module, case: Captured, numerics: str = "bf16", threads: int = 0) -> Path:
    """The arrays that hooks see which somebody may write in five minutes. threads: 0 for another
    number than the capture had, which adds up in another order."""
    arrays: dict[str, np.ndarray] = {}
    handles = []

    def keep(path: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            first = output
            if isinstance(output, dict):
                first = next(iter(output.values()), None)
            elif isinstance(output, (tuple, list)):
                first = output[0]
            if isinstance(first, torch.Tensor) and first.dim() > 0:
                name, call = path, 1
                while name in arrays:
                    call += 1
                    name = f"{path}#{call}"
                value = first.detach()
                arrays[name] = (
                    (value.float() if value.is_floating_point() else value).numpy().copy()
                )

        return hook

    for path, module in net.named_modules():
        if path:
            handles.append(module.register_forward_hook(keep(path)))
    before = torch.get_num_threads()
    torch.set_num_threads(threads or (1 if before > 1 else 2))
    with torch.inference_mode():
        net(**inputs_of(net, None, str(case.directory / "inputs.npz"), numerics))
    torch.set_num_threads(before)
    for handle in handles:
        handle.remove()
    file = case.directory / "dump.npz"
    np.savez(file, **arrays)
    return file


def compared(case: Captured, file: Path, code: int) -> dict[str, Any]:
    done = run_assay(["compare", case.reference, file, "--json"], check=False)
    assert done.returncode == code, told(done)
    return json.loads(done.stdout)


def told(done: Any) -> str:
    """What a comparison found, for a failing test."""
    if done.returncode > 1:
        return done.stderr
    prompt = json.loads(done.stdout)["prompts"][0]
    lines = [f"exit code {done.returncode}, {prompt['first_divergence']}", *prompt["remarks"]]
    for tensor in prompt["tensors"]:
        if tensor["verdict"] not in ("pass", "not compared"):
            lines.append(f"{tensor['name']}: {tensor['verdict']}: {tensor['reason']}")
    return "\n".join(lines[:8])


def recorded(case: Captured, paths: list[str]) -> list[str]:
    """The modules that the model called."""
    return [path for path in paths if path in case.others()]


def first_divergence(case: Captured, net: nn.Module) -> str:
    report = compared(case, dump(net, case), 1)
    first = report["prompts"][0]["first_divergence"]
    assert first["text"]
    return first["tensor"]
