"""`assay capture`: references of models that Assay does not know, and what compare makes of them.

Each architecture is drawn small and at random. A correct run with other kernels must pass; a run with
a skipped norm, and one with wrong rotary frequencies or a wrong weight, must fail at that very module.
A run of the tests tries a part of the architectures, a different one each time; ALL=1 tries all.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from architectures import ARCHITECTURES, Inputs
from assay_cli import run_assay
from families import SEED
from torch import nn

from assay.capture.__main__ import parse_arguments
from assay.capture.capture import capture
from assay.capture.run import inputs_of, load

EVERY = os.environ.get("ALL") == "1"
# These cover what the others are made of: encoder-decoders, towers, experts, recurrences.
ALWAYS = ["gpt2", "t5", "whisper", "clip", "gemma3", "qwen2_moe", "mamba2", "deepseek_v3"]


def chosen() -> list[str]:
    if EVERY:
        return list(ARCHITECTURES)
    others = [name for name in ARCHITECTURES if name not in ALWAYS]
    return ALWAYS + Random(SEED).sample(others, 8)


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

    def array_of(self, module: str) -> str:
        """The name of the array that a module returns."""
        return next(n for n, a in self.arrays.items() if module == n or module in a.get("also", []))


def captured(name: str, directory: Path) -> Captured:
    architecture = ARCHITECTURES[name]
    net = architecture.build(SEED)
    net.save_pretrained(directory / "model")
    np.savez(directory / "inputs.npz", **architecture.inputs(np.random.default_rng(SEED)))
    options = [str(directory / "model"), "--inputs", str(directory / "inputs.npz")]
    options += ["--out", str(directory / "reference")]
    return Captured(directory, capture(parse_arguments(options), in_process=True))


@pytest.fixture(scope="module", params=chosen())
def case(request: pytest.FixtureRequest) -> Iterator[Captured]:
    with TemporaryDirectory(prefix="assay-capture-") as scratch:
        yield captured(request.param, Path(scratch))


def candidate(case: Captured, attention: str = "sdpa", numerics: str = "bf16") -> nn.Module:
    try:
        return load(case.model, numerics, attention)
    except Exception:  # has no fused attention
        return load(case.model, numerics)


def dump(net: nn.Module, case: Captured, numerics: str = "bf16") -> Path:
    """The arrays that hooks see which somebody may write in five minutes."""
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
                arrays[name] = (value.float() if value.is_floating_point() else value).numpy().copy()

        return hook

    for path, module in net.named_modules():
        if path:
            handles.append(module.register_forward_hook(keep(path)))
    with torch.inference_mode():
        net(**inputs_of(net, None, str(case.directory / "inputs.npz"), numerics))
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


def test_a_correct_run_passes(case: Captured) -> None:
    report = compared(case, dump(candidate(case), case), 0)
    prompt = report["prompts"][0]
    seen = [t for t in prompt["tensors"] if t["verdict"] != "not compared"]
    # All but what only inputs of modules and eager attention show.
    assert len(seen) > len(case.arrays) / 2
    assert prompt["unmatched"] == []
    assert not report["coarse"]


def test_a_run_in_fp32_passes_and_is_not_coarse(case: Captured) -> None:
    report = compared(case, dump(candidate(case, numerics="f32"), case, "f32"), 0)
    assert not report["coarse"]
    assert any(t.get("precision_ratio") for t in report["prompts"][0]["tensors"])


def test_a_skipped_norm_is_found(case: Captured) -> None:
    net = candidate(case)
    norms = [p for p, m in net.named_modules() if "Norm" in type(m).__name__ and not list(m.children())]
    norms = recorded(case, norms)
    path = norms[len(norms) // 2]
    net.get_submodule(path).forward = lambda x, *_, **__: x
    assert first_divergence(case, net) == case.array_of(path)


def test_wrong_frequencies_or_weights_are_found(case: Captured) -> None:
    net = candidate(case)
    rotary = [p for p, m in net.named_modules() if hasattr(m, "inv_freq")]
    if rotary:
        module = net.get_submodule(rotary[-1])
        module.inv_freq.copy_(module.inv_freq**0.8)
        assert first_divergence(case, net) == case.array_of(rotary[-1])
        return
    matrices = [p for p, m in net.named_modules() if getattr(m, "weight", None) is not None]
    matrices = [p for p in recorded(case, matrices) if net.get_submodule(p).weight.dim() == 2]
    path = matrices[len(matrices) // 2]
    with torch.no_grad():
        weight = net.get_submodule(path).weight
        weight.copy_(weight.roll(1, dims=0))
    assert first_divergence(case, net) == case.array_of(path)


def recorded(case: Captured, paths: list[str]) -> list[str]:
    """The modules that the model called."""
    names = {name for n, a in case.arrays.items() for name in (n, *a.get("also", []))}
    return [path for path in paths if path in names]


def first_divergence(case: Captured, net: nn.Module) -> str:
    report = compared(case, dump(net, case), 1)
    first = report["prompts"][0]["first_divergence"]
    assert first["text"]
    return first["tensor"]
