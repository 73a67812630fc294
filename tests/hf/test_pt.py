"""assay's reading of files that torch.save writes."""

import collections
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from assay_cli import run_assay

NAMES = {
    torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
    torch.bool: "BOOL", torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64",
}  # fmt: skip

SAVERS: dict[str, Callable[[Any, Path], None]] = {
    "zip": torch.save,
    "protocol 5": lambda value, path: torch.save(value, path, pickle_protocol=5),
    "legacy": lambda value, path: torch.save(value, path, _use_new_zipfile_serialization=False),
}


def flat(value: Any, name: str = "") -> dict[str, torch.Tensor]:
    """Names as documented: keys and indices joined by dots."""
    if isinstance(value, torch.Tensor):
        return {name: value.detach()}
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    found: dict[str, torch.Tensor] = {}
    for key, item in items:
        found |= flat(item, f"{name}.{key}" if name else str(key))
    return found


def expect_read(path: Path, value: Any) -> None:
    expected = flat(value)
    shown = json.loads(run_assay(["inspect", path, "--slice", "", "--json"]).stdout)["arrays"]
    assert {entry["name"] for entry in shown} == set(expected)
    for entry in shown:
        tensor = expected[entry["name"]]
        assert entry["dtype"] == NAMES[tensor.dtype], entry["name"]
        assert entry["shape"] == list(tensor.shape), entry["name"]
        values = tensor.double().flatten()
        if values.numel():
            assert entry["min"] == values.min().item(), entry["name"]
            assert entry["max"] == values.max().item(), entry["name"]
            assert entry["mean"] == pytest.approx(values.mean().item(), rel=1e-9, abs=1e-12)
            last = run_assay(["inspect", path, entry["name"], "--json", "--slice", ",".join("-1" for _ in tensor.shape)])
            inner = json.loads(last.stdout)["arrays"][0]["slice"] if tensor.dim() else values[-1].item()
            while isinstance(inner, list):
                inner = inner[0]
            assert inner == values[-1].item(), entry["name"]


def forms() -> dict[str, Any]:
    torch.manual_seed(1)
    base = torch.randn(5, 7)
    block = torch.nn.TransformerEncoderLayer(8, 2, 16)
    return {
        "a state_dict": block.state_dict(),
        "parameters": dict(block.named_parameters()),
        "nested": {"layers": {3: {"q": base, "k": base.bfloat16()}}, "step": 7, "note": "text"},
        "lists and tuples": {"hidden_states": (base, base + 1, [base * 2, None])},
        "an OrderedDict": collections.OrderedDict(b=base, a=base[0]),
        "views": {
            "transposed": base.t(), "strided": base[::2, 1::3], "row": base[2], "flipped": base.flip(0),
            "expanded": base[:, :1].expand(5, 3), "scalar": base[1, 1], "empty": base[:0],
            "unfolded": base.flatten().unfold(0, 4, 3),
        },
        "all types": {str(t): torch.arange(-1 if t.is_signed else 0, 5).to(t) for t in NAMES},
    }  # fmt: skip


@pytest.mark.parametrize("saver", SAVERS)
@pytest.mark.parametrize("form", forms())
def test_assay_reads_what_torch_saves(tmp_path: Path, saver: str, form: str) -> None:
    value = forms()[form]
    path = tmp_path / "dump.pt"
    SAVERS[saver](value, path)
    expect_read(path, value)


def arrays_of(reference: Path) -> dict[str, torch.Tensor]:
    with np.load(reference / "prompt1" / "reference.npz") as npz:
        return {name: torch.from_numpy(npz[name]) for name in npz.files}


def compared(reference: Path, dump: Path) -> dict[str, Any]:
    result = run_assay(["compare", reference, dump, "--prompt", "prompt1", "--json"], check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr
    return json.loads(result.stdout)


def count_passes(report: dict[str, Any]) -> int:
    return sum(t["verdict"] in ("pass", "coarse") for t in report["prompts"][0]["tensors"])


def test_dumps_are_compared(reference: Path, tmp_path: Path) -> None:
    arrays = arrays_of(reference)
    everything = count_passes(compared(reference, reference / "prompt1" / "reference.npz"))
    torch.save(arrays, tmp_path / "prompt1.pt")
    assert count_passes(compared(reference, tmp_path / "prompt1.pt")) == everything
    # By the prompt's id in a directory.
    assert count_passes(compared(reference, tmp_path)) == everything
    # Transposed in memory only.
    stored = {n: t.transpose(0, -1).contiguous().transpose(0, -1) if t.dim() > 1 else t for n, t in arrays.items()}
    torch.save(stored, tmp_path / "prompt1.pt")
    assert count_passes(compared(reference, tmp_path / "prompt1.pt")) == everything


def test_a_directory_of_tensors_is_compared(reference: Path, tmp_path: Path) -> None:
    plain, sglang = tmp_path / "plain", tmp_path / "sglang"
    plain.mkdir()
    sglang.mkdir()
    arrays = {n: t for n, t in arrays_of(reference).items() if n.startswith("layer_02") or n.endswith(("ids", "logits"))}
    for index, (name, tensor) in enumerate(arrays.items()):
        torch.save(tensor, plain / f"{name}.pt")
        tags = f"step=0___rank=0___dump_index={index}___name={name}___recompute_status=disabled"
        torch.save({"value": tensor, "meta": {"rank": 0}}, sglang / f"{tags}.pt")
        # A later step must not be taken for the prefill.
        tags = f"step=1___rank=0___dump_index={index + 100}___name={name}___recompute_status=disabled"
        torch.save({"value": tensor * 0, "meta": {"rank": 0}}, sglang / f"{tags}.pt")
    assert count_passes(compared(reference, plain)) == count_passes(compared(reference, sglang)) > 5


def test_other_objects_are_refused_by_name(tmp_path: Path) -> None:
    from transformers.modeling_outputs import CausalLMOutputWithPast

    for value, name in (
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        (CausalLMOutputWithPast(logits=torch.ones(2)), "transformers.modeling_outputs.CausalLMOutputWithPast"),
        ({"x": np.ones(3)}, "numpy"),
        ({"x": Path("/")}, "pathlib"),
    ):
        torch.save(value, tmp_path / "dump.pt")
        result = run_assay(["inspect", tmp_path / "dump.pt"], check=False)
        assert result.returncode == 3
        assert name in result.stderr and "torch.save" in result.stderr
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "dump.pt")
    result = run_assay(["inspect", tmp_path / "dump.pt"], check=False)
    assert result.returncode == 3 and "TorchScript" in result.stderr
