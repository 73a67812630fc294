"""The arrays of a run on disk, each written when it is made: none is kept in memory."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assay._files import machine_errors

# Kept from before a double run, which changes what torch.float32 is.
_FP32, _FP64, _I64 = torch.float32, torch.float64, torch.int64
_F32_LOWEST = float(np.finfo(np.float32).min)
_NAMES = {"float32": "F32", "float64": "F64", "int64": "I64"}


@dataclass
class Member:
    """An array of a spool."""

    dtype: str  # numpy's name
    shape: tuple[int, ...]
    offset: int

    @property
    def kind(self) -> str:
        """The type as manifests name it: F32, F64 or I64."""
        return _NAMES[self.dtype]


class Spool:
    """Appends arrays to a file, by number."""

    def __init__(self, file: Path, store: str) -> None:
        self._file = file
        self._store = store
        self._stream = file.open("wb")
        self._members: dict[int, Member] = {}

    def write(self, number: int, tensor: torch.Tensor) -> None:
        """Appends an array, as `stored` makes it."""
        array = np.asarray(stored(tensor, self._store), order="C")
        self._members[number] = Member(array.dtype.name, array.shape, self._stream.tell())
        # Not tofile(), which takes no notice of a full disk.
        with machine_errors(self._file):
            if array.size:
                self._stream.write(array.reshape(-1).data.cast("B"))

    def close(self, notes: dict[str, Any]) -> None:
        """notes: further things to tell whoever reads the spool."""
        members = [[n, m.dtype, m.shape, m.offset] for n, m in self._members.items()]
        text = json.dumps({"members": members, "notes": notes})
        with machine_errors(self._file):
            self._stream.close()
            self._file.with_suffix(".json").write_text(text, encoding="utf-8")


def stored(tensor: torch.Tensor, store: str) -> np.ndarray:
    """Activations as F32, or doubles as `store` ("f32", "f64") says; integers as I64. BF16 values
    stay what they are. The array may be the tensor's own memory."""
    value = tensor.detach()
    if not value.is_floating_point():
        return value.to(_I64).contiguous().numpy()
    if value.dtype == _FP64 and store == "f32":
        # Masked scores, which FP32 could only hold as infinity.
        value = torch.where(value.isinf(), value, value.clamp(min=_F32_LOWEST))
    keep = value.dtype == _FP64 and store == "f64"
    return value.to(_FP64 if keep else _FP32).contiguous().numpy()


class SpoolReader:
    """The arrays of a run that has ended.

    notes: what the run told with them. members: the arrays, by number; choices' scores have
    numbers below 0."""

    def __init__(self, file: Path) -> None:
        self._file = file
        told = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        self.notes: dict[str, Any] = told["notes"]
        self.members = {
            n: Member(dtype, tuple(shape), at) for n, dtype, shape, at in told["members"]
        }

    def read(self, number: int) -> np.ndarray:
        """One array; KeyError if the run has none of that number."""
        member = self.members[number]
        count = int(np.prod(member.shape))
        array = np.fromfile(self._file, member.dtype, count, offset=member.offset)
        return array.reshape(member.shape)
