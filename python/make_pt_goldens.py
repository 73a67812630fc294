#!/usr/bin/env python3
"""Writes the .pt files that the C++ tests of src/formats compare with.

    python python/make_pt_goldens.py          # into tests/formats/data

The results are checked in: the tests need no Python. They change only when torch.save's own output
does. Every tensor counts from 0 in its own order, so that the tests know what must be read.
"""

import argparse
import collections
from pathlib import Path

import torch

OUT = Path(__file__).resolve().parents[1] / "tests" / "formats" / "data"

TYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn,
    torch.float8_e5m2, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16,
    torch.uint32, torch.uint64,
)  # fmt: skip


def counting(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    count = torch.Size(shape).numel()
    return torch.arange(count).reshape(shape).to(dtype)


def types() -> dict:
    tensors = {str(t).removeprefix("torch."): counting(2, 3, dtype=t) for t in TYPES}
    return tensors | {"bool": torch.tensor([False, True, True]), "complex64": torch.zeros(2, dtype=torch.complex64)}


def views() -> dict:
    base = counting(4, 6)
    return {
        "base": base,
        "transposed": base.t(),
        "rows": base[1:3],
        "columns": base[:, 2:4],
        "every_second": base[::2, 1::2],
        "expanded": base[:1, :2].expand(3, 2),
        "permuted": counting(2, 3, 4).permute(2, 0, 1),
        "scalar": base[2, 3],
        "empty": base[:0],
    }


def containers() -> dict:
    linear = torch.nn.Linear(2, 3)
    with torch.no_grad():
        linear.weight.copy_(counting(3, 2))
        linear.bias.copy_(counting(3))
    tagged = counting(2)
    tagged.note = "python attributes"
    return {
        "nested": {"deep": {"x": counting(2)}, 7: counting(3)},
        "list": [counting(1), (counting(2), None, counting(3))],
        "state": linear.state_dict(),
        "parameter": torch.nn.Parameter(counting(4)),
        "ordered": collections.OrderedDict(a=counting(2)),
        "tagged": tagged,
        "buffer": torch.nn.Buffer(counting(5)),
        "shape": torch.Size((2, 3)),
        "dtype": torch.float32,
        "device": torch.device("cpu"),
        "set": {1, 2},
        "bytes": b"\x00\xff",
        "number": 1 << 80,
        "größe": counting(1),
    }


def other_tensors() -> dict:
    return {
        "good": counting(2),
        "sparse": counting(2, 2).to_sparse(),
        "quantised": torch.quantize_per_tensor(counting(2), 0.5, 0, torch.qint8),
        "meta": torch.empty(2, device="meta"),
        "negated": torch.imag(torch.zeros(2, dtype=torch.complex64).conj()),
        "float8_e8m0fnu": counting(2).to(torch.float8_e8m0fnu),
    }


def speculators() -> dict:
    """As speculators' data_generation_offline.py wrote samples until version 0.5."""
    states = [counting(3, 2) + 10 * i for i in range(4)]
    return {"input_ids": counting(3, dtype=torch.int64), "hidden_states": states, "loss_mask": torch.ones(3)}


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    torch.save(types(), OUT / "types.pt")
    torch.save(views(), OUT / "views.pt")
    torch.save(containers(), OUT / "containers.pt")
    torch.save(other_tensors(), OUT / "other_tensors.pt")
    torch.save(counting(2, 3), OUT / "one_tensor.pt")
    torch.save([counting(2), counting(3)], OUT / "list.pt")
    torch.save({"value": counting(2), "meta": {"layer_id": 3}}, OUT / "value_and_meta.pt")
    torch.save(speculators(), OUT / "speculators.pt")
    torch.save(views(), OUT / "protocol5.pt", pickle_protocol=5)
    torch.save(views() | types(), OUT / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"x": counting(2), "config": argparse.Namespace(a=1)}, OUT / "namespace.pt")
    torch.save(torch.nn.Linear(2, 2), OUT / "module.pt")


if __name__ == "__main__":
    main()
