#!/usr/bin/env python3
"""Writes the archives and weight files that the C++ tests of src/formats compare with.

    python python/make_npz_goldens.py          # into tests/formats/data

The results are checked in: the tests need no Python. They change only when numpy's, zipfile's or
safetensors' own output does. tests/formats/golden_arrays.h makes the same arrays in C++.
"""

import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from numpy.lib import format as npy
from safetensors.torch import save_file

OUT = Path(__file__).resolve().parents[1] / "tests" / "formats" / "data"

# name, dtype, shape: the same table as in golden_arrays.h
ARRAYS = [
    ("scalar", "<f4", ()),
    ("flag", "|b1", (3,)),
    ("u8", "|u1", (5,)),
    ("i8", "|i1", (2, 2)),
    ("i16", "<i2", (4,)),
    ("i32", "<i4", (1, 3)),
    ("input_ids", "<i8", (1, 6)),
    ("f16", "<f2", (7,)),
    ("layer_00_output", "<f4", (1, 4, 33)),
    ("f64", "<f8", (2, 1, 3, 1)),
    ("empty", "<f4", (0,)),
    ("empty_axis", "<f8", (3, 0, 2)),
    ("größe_层", "<f4", (2,)),
    ("with/slash.dot", "<f4", (1000,)),
]


def pattern(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Bytes 7 i + 3 mod 256, whatever they mean as numbers; bools alternate."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    index = np.arange(size)
    data = (index % 2 if dtype == "|b1" else index * 7 + 3).astype(np.uint8)
    return data.view(dtype).reshape(shape)


def golden_arrays() -> dict[str, np.ndarray]:
    return {name: pattern(dtype, shape) for name, dtype, shape in ARRAYS}


def npy_bytes(array: np.ndarray, version: tuple[int, int]) -> bytes:
    out = io.BytesIO()
    npy.write_array(out, array, version=version)
    return out.getvalue()


class Unseekable(io.RawIOBase):
    """Makes zipfile write sizes and CRC after each member."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb")

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def write_unusual_archives() -> None:
    """Archives that zip allows and numpy.load reads, although numpy does not write them."""
    array = golden_arrays()["layer_00_output"]
    data = npy_bytes(array, (1, 0))
    with Unseekable(OUT / "data_descriptors.npz") as out, zipfile.ZipFile(out, "w") as archive:
        for name, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), data, method)
    with zipfile.ZipFile(OUT / "comments.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        member = zipfile.ZipInfo("commented.npy")
        member.comment = b"of a member"
        member.extra = b"\x99\x99\x04\x00more"
        archive.writestr(member, data, zipfile.ZIP_DEFLATED)
        archive.comment = b"of the archive"
    fortran = np.asfortranarray(np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    with zipfile.ZipFile(OUT / "versions.npz", "w") as archive:
        for version in ((1, 0), (2, 0), (3, 0)):
            archive.writestr(zipfile.ZipInfo(f"fortran_v{version[0]}.npy"), npy_bytes(fortran, version))


def write_weights() -> None:
    def tensor(dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
        size = int(np.prod(shape)) * torch.empty(0, dtype=dtype).element_size()
        index = np.arange(size)
        data = index % 2 if dtype == torch.bool else index * 7 + 3
        return torch.frombuffer(bytearray(data.astype(np.uint8)), dtype=dtype).reshape(shape)

    tensors = {
        "bf16": tensor(torch.bfloat16, (2, 3)),
        "bool": tensor(torch.bool, (3,)),
        "f16": tensor(torch.float16, (5,)),
        "f32": tensor(torch.float32, (2, 2)),
        "f64": tensor(torch.float64, (1,)),
        "größe": tensor(torch.float32, (1, 2)),
        "i16": tensor(torch.int16, (2,)),
        "i32": tensor(torch.int32, (3,)),
        "i64": tensor(torch.int64, (2,)),
        "i8": tensor(torch.int8, (3,)),
        "scalar": tensor(torch.float32, (1,)).reshape(()),
        "u8": tensor(torch.uint8, (1,)),
    }
    save_file(tensors, OUT / "package.safetensors", metadata={"format": "pt", "note": 'a "b"'})


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    np.savez(OUT / "numpy_stored.npz", **golden_arrays())
    np.savez_compressed(OUT / "numpy_deflated.npz", **golden_arrays())
    write_unusual_archives()
    write_weights()


if __name__ == "__main__":
    main()
