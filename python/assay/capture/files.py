"""reference.npz and manifest.json as `assay extract` writes them: same layout, same keys."""

import hashlib
import json
import os
import platform
import struct
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from assay.capture.errors import InputError

SCHEMA = "assay.reference/1"
_DTYPE_NAMES = {"int64": "I64", "float32": "F32", "float64": "F64"}
_LONGEST_HEADER = 100 << 20


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Deflated members in the given order; the file appears only when it is complete."""
    _write_whole(path, lambda file: np.savez_compressed(file, **arrays))


def write_json(path: Path, value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    _write_whole(path, lambda file: file.write(text.encode("utf-8")))


def _write_whole(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def weight_files(directory: Path) -> list[Path]:
    """The checkpoint's files of weights, as transformers chooses them: model.safetensors or
    pytorch_model.bin, or those that an index names."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (directory / name).is_file():
            return [directory / name]
        index = directory / f"{name}.index.json"
        if index.is_file():
            names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
            return [directory / name for name in sorted(set(names))]
    raise InputError(f"{directory}: neither model.safetensors nor its index is there")


def count_parameters(directory: Path) -> int:
    """The number of elements in a checkpoint's files."""
    return sum(_elements_in(file) for file in weight_files(directory))


def _elements_in(file: Path) -> int:
    size = file.stat().st_size
    if file.suffix != ".safetensors":
        return size // 4  # at least so many, if it holds FP32
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else _LONGEST_HEADER + 1
        if length > min(size, _LONGEST_HEADER):
            raise InputError(f"{file}: not a safetensors file, its header is damaged")
        try:
            header = json.loads(stream.read(length))
            shapes = [t["shape"] for name, t in header.items() if name != "__metadata__"]
            return sum(int(np.prod(shape, dtype=np.int64)) for shape in shapes)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{file}: not a safetensors file: {error}") from error


def describe_file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": digest}


def read_config(directory: Path) -> dict[str, Any]:
    file = directory / "config.json"
    if not file.is_file():
        raise InputError(f"{directory}: no config.json, expected a checkpoint directory")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{file}: expected an object")
    return config


def describe_model(directory: Path) -> dict[str, Any]:
    tokenizer = directory / "tokenizer.json"
    return {
        "path_name": directory.resolve().name,
        "config": read_config(directory),
        "weights": [describe_file(path) for path in weight_files(directory)],
        "tokenizer": describe_file(tokenizer) if tokenizer.is_file() else None,
        "files": [
            describe_file(directory / name)
            for name in ("config.json", "generation_config.json")
            if (directory / name).is_file()
        ],
    }


def read_eos_token_ids(directory: Path) -> list[int]:
    """Ids after which generation stops; may be empty."""
    for name in ("generation_config.json", "config.json"):
        if (directory / name).is_file():
            eos = json.loads((directory / name).read_text(encoding="utf-8")).get("eos_token_id")
            if eos is not None:
                return list(eos) if isinstance(eos, list) else [eos]
    return []


def describe_producer() -> dict[str, str]:
    return {
        "name": "transformers",
        "version": _version("transformers"),
        "torch": _version("torch"),
        "python": platform.python_version(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def describe_array(array: np.ndarray) -> dict[str, Any]:
    record: dict[str, Any] = {
        "shape": list(array.shape),
        "dtype": _DTYPE_NAMES[array.dtype.name],
        "sha256": hashlib.sha256(np.ascontiguousarray(array)).hexdigest(),
    }
    if array.dtype.kind == "f":
        record["stats"] = statistics(array)
    return record


def statistics(array: np.ndarray) -> dict[str, float | int]:
    """Statistics of the finite elements, in double; `std` is the population's."""
    is_finite = np.isfinite(array)
    finite = array.ravel() if is_finite.all() else array[is_finite]
    wide = finite.astype(np.float64)
    mean = float(wide.mean()) if wide.size else 0.0
    square = float(np.square(wide, out=wide).mean()) if wide.size else 0.0
    return {
        "min": float(finite.min()) if finite.size else 0.0,
        "max": float(finite.max()) if finite.size else 0.0,
        "mean": mean,
        "std": max(0.0, square - mean * mean) ** 0.5,
        "nan": int(np.isnan(array).sum()),
        "inf": int(np.isinf(array).sum()),
        "zeros": int(finite.size - np.count_nonzero(finite)),
    }
