"""Tensors of any library as numpy arrays, and the tensors in what a module returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np


def library_of(value: Any) -> str:
    """The first part of the module that the value's type comes from: "torch", "mlx", "numpy"."""
    return type(value).__module__.partition(".")[0]


def is_tensor(value: Any) -> bool:
    """Whether it is an array of one of the known libraries, or of another that numpy can read.

    Modules and their parameters' containers are none; a Python number is none either.
    """
    if isinstance(value, np.ndarray):
        return True
    if isinstance(value, (bool, int, float, complex, str, bytes, list, tuple, dict, type)):
        return False
    return hasattr(value, "shape") and hasattr(value, "dtype")


def as_numpy(value: Any) -> np.ndarray:
    """A copy of the tensor's values, on the CPU.

    Types that numpy does not have (BF16, the 8-bit floats) become FP32, which holds them exactly.
    Other types keep theirs. Raises what the library raises if there are no values to read: on
    torch's "meta" device, or while a function is traced.
    """
    library = library_of(value)
    if library == "torch" or hasattr(value, "requires_grad_"):
        import torch

        tensor = value.detach()
        if tensor.is_complex():
            raise TypeError("complex numbers")
        numpy_has = (torch.float16, torch.float32, torch.float64)
        if tensor.is_floating_point() and tensor.dtype not in numpy_has:
            tensor = tensor.float()
        # A distributed tensor is gathered; a sparse or negated one is written out.
        if hasattr(tensor, "full_tensor"):
            tensor = tensor.full_tensor()
        if tensor.layout != torch.strided:
            tensor = tensor.to_dense()
        return np.array(tensor.resolve_conj().resolve_neg().cpu().numpy())
    if library == "mlx":
        import mlx.core as mx

        if value.dtype == mx.bfloat16:
            value = value.astype(mx.float32)
        return np.array(value)
    if library == "tinygrad":
        from tinygrad import dtypes

        if dtypes.is_float(value.dtype) and value.dtype not in (
            dtypes.float16,
            dtypes.float32,
            dtypes.float64,
        ):
            value = value.float()
        return np.array(value.numpy())
    array = np.array(value)
    # Of ml_dtypes, as JAX has them: kind "V", or "f" with a name that numpy itself does not know.
    if array.dtype.kind == "V" or array.dtype.name not in np.sctypeDict:
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"elements of type {array.dtype}")
    return array


def tensors_in(value: Any, name: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The tensors that a module returned, with their names.

    The first of a list or tuple has the module's name, the others are NAME[1] and so on; those of a
    dictionary are NAME.KEY. Other objects (caches) are not looked into.
    """
    if is_tensor(value):
        yield name, value
    elif depth == 3:
        return
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from tensors_in(inner, f"{name}.{key}" if name else str(key), depth + 1)
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            yield from tensors_in(inner, f"{name}[{i}]" if i else name, depth + 1)
