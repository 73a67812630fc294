"""reference.npz and manifest.json as `assay extract` writes them: same layout, same keys."""

import hashlib
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
import transformers

from assay_hf.errors import InputError

SCHEMA = "assay.reference/1"
_DTYPE_NAMES = {"int64": "I64", "float32": "F32", "float64": "F64"}


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
    """The checkpoint's safetensors files: the only one, or those that its index names."""
    index = directory / "model.safetensors.index.json"
    if (directory / "model.safetensors").is_file():
        return [directory / "model.safetensors"]
    if not index.is_file():
        raise InputError(f"{directory}: neither model.safetensors nor its index is there")
    names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    return [directory / name for name in sorted(set(names))]


def describe_file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": digest}


def describe_model(directory: Path) -> dict[str, Any]:
    tokenizer = directory / "tokenizer.json"
    return {
        "path_name": directory.resolve().name,
        "config": json.loads((directory / "config.json").read_text(encoding="utf-8")),
        "weights": [describe_file(path) for path in weight_files(directory)],
        "tokenizer": describe_file(tokenizer) if tokenizer.is_file() else None,
        "files": [
            describe_file(directory / name)
            for name in ("config.json", "generation_config.json")
            if (directory / name).is_file()
        ],
    }


def describe_producer() -> dict[str, str]:
    return {
        "name": "transformers",
        "version": transformers.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


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
    finite = array[np.isfinite(array)].astype(np.float64)
    mean = float(finite.mean()) if finite.size else 0.0
    square = float(np.square(finite).mean()) if finite.size else 0.0
    return {
        "min": float(finite.min()) if finite.size else 0.0,
        "max": float(finite.max()) if finite.size else 0.0,
        "mean": mean,
        "std": max(0.0, square - mean * mean) ** 0.5,
        "nan": int(np.isnan(array).sum()),
        "inf": int(np.isinf(array).sum()),
        "zeros": int((finite == 0).sum()),
    }
