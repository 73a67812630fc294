"""The arrays of a run on disk, each written when it is made: none is kept in memory."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

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
        return _NAMES[self.dtype]


class Spool:
    """Appends arrays to a file, by number."""

    def __init__(self, file: Path, store: str) -> None:
        self._file = file
        self._store = _FP64 if store == "f64" else _FP32
        self._stream = file.open("wb")
        self._members: dict[int, Member] = {}

    def write(self, number: int, tensor: torch.Tensor) -> None:
        """Activations as F32 or F64, integers as I64. BF16 values stay what they are."""
        value = tensor.detach()
        if value.is_floating_point():
            if value.dtype == _FP64 and self._store == _FP32:
                # Masked scores, which FP32 could only hold as infinity.
                value = torch.where(value.isinf(), value, value.clamp(min=_F32_LOWEST))
            value = value.to(_FP32 if value.dtype != _FP64 else self._store)
        else:
            value = value.to(_I64)
        array = value.contiguous().numpy()
        self._members[number] = Member(array.dtype.name, array.shape, self._stream.tell())
        array.tofile(self._stream)

    def close(self, notes: dict[str, Any]) -> None:
        """notes: further things to tell whoever reads the spool."""
        self._stream.close()
        members = [[n, m.dtype, m.shape, m.offset] for n, m in self._members.items()]
        text = json.dumps({"members": members, "notes": notes})
        self._file.with_suffix(".json").write_text(text, encoding="utf-8")


class SpoolReader:
    def __init__(self, file: Path) -> None:
        self._file = file
        told = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        self.notes: dict[str, Any] = told["notes"]
        self.members = {n: Member(dtype, tuple(shape), at) for n, dtype, shape, at in told["members"]}

    def read(self, number: int) -> np.ndarray:
        member = self.members[number]
        count = int(np.prod(member.shape))
        array = np.fromfile(self._file, member.dtype, count, offset=member.offset)
        return array.reshape(member.shape)
