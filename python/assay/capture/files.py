"""reference.npz and manifest.json as `assay extract` writes them: same layout, same keys."""

import hashlib
import json
import math
import platform
import struct
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from assay._files import replacing
from assay.capture.errors import InputError

SCHEMA = "assay.reference/1"
_DTYPE_NAMES = {"int64": "I64", "float32": "F32", "float64": "F64"}
_LONGEST_HEADER = 100 << 20


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes deflated members in the given order; the file appears only when it is complete."""
    with replacing(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Writes valid JSON; the file appears only when it is complete."""
    text = json.dumps(_valid(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as file:
        file.write(text.encode("utf-8"))


def _valid(value: Any) -> Any:
    """JSON has no infinities, and configs have (time_step_limit of Mamba 2). They become what
    transformers itself writes: {"__float__": "Infinity"}."""
    if isinstance(value, float) and not math.isfinite(value):
        name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return {"__float__": name}
    if isinstance(value, dict):
        return {key: _valid(element) for key, element in value.items()}
    if isinstance(value, (list, tuple)):
        return [_valid(element) for element in value]
    return value


def weight_files(directory: Path) -> list[Path]:
    """The checkpoint's files of weights, as transformers chooses them: model.safetensors or
    pytorch_model.bin, or those that an index names. Throws InputErrors: there is none, or one is
    missing, or not below the directory."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (directory / name).is_file():
            return [directory / name]
        index = directory / f"{name}.index.json"
        if index.is_file():
            return [_below(index, name) for name in _names_in(index)]
    raise InputError(f"{directory}: neither model.safetensors nor its index is there")


def _names_in(index: Path) -> list[str]:
    names = _read_object(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise InputError(f"{index}: no field 'weight_map', expected an object, tensor to file")
    for tensor, name in names.items():
        if not isinstance(name, str):
            raise InputError(f"{index}: '{tensor}' is in {json.dumps(name)[:80]}, expected a file")
    return sorted(set(names.values()))


def _below(index: Path, name: str) -> Path:
    path = Path(name)
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise InputError(f"{index}: names '{name}', expected a file below the directory")
    if not (index.parent / path).is_file():
        raise InputError(f"{index}: names '{name}', which is not there")
    return index.parent / path


def _read_object(file: Path) -> dict[str, Any]:
    """The object that a file of JSON holds; anything else is an InputError."""
    try:
        value = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{file}: expected an object")
    return value


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
            sizes = [math.prod(shape) for shape in shapes]
            if all(type(count) is int and 0 <= count <= size for count in sizes):
                return sum(sizes)
            found = "a shape that the file has no room for"
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            found = f"its header is damaged: {error}"
    raise InputError(f"{file}: not a safetensors file: {found}")


def describe_file(path: Path) -> dict[str, Any]:
    """The manifest's record of a file: its name, size and SHA-256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": digest}


def read_config(directory: Path) -> dict[str, Any]:
    """config.json; an InputError if there is none, or no object in it."""
    file = directory / "config.json"
    if not file.is_file():
        raise InputError(f"{directory}: no config.json, expected a checkpoint directory")
    return _read_object(file)


def describe_model(directory: Path) -> dict[str, Any]:
    """The manifest's `model`: the config, and size and SHA-256 of the checkpoint's files."""
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
    """Ids after which generation stops; may be empty. Throws InputErrors."""
    for name in ("generation_config.json", "config.json"):
        if not (directory / name).is_file():
            continue
        eos = _read_object(directory / name).get("eos_token_id")
        if eos is None:
            continue
        ids = eos if isinstance(eos, list) else [eos]
        for id_ in ids:
            if type(id_) is not int or id_ < 0:
                raise InputError(
                    f"{directory / name}: field 'eos_token_id' is {json.dumps(eos)[:80]}, expected"
                    " an id or several"
                )
        return ids
    return []


def describe_producer() -> dict[str, str]:
    """The manifest's `producer`: the versions of what computes."""
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
    """The manifest's record of an array (I64, F32 or F64): form, SHA-256, statistics."""
    record: dict[str, Any] = {
        "shape": list(array.shape),
        "dtype": _DTYPE_NAMES[array.dtype.name],
        "sha256": hashlib.sha256(np.ascontiguousarray(array).data).hexdigest(),
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
