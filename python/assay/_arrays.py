"""Arrays of numpy, torch, JAX, MLX and tinygrad, as the compiled module takes them."""

from __future__ import annotations

from typing import Any

# Types that numpy has only from ml_dtypes, and whose bytes it hands out as these.
_AS_BYTES = {"bfloat16": "uint16", "float8_e4m3fn": "uint8", "float8_e5m2": "uint8"}


def on_host(array: Any) -> tuple[Any, str]:
    """Makes an array readable for the compiled module.

    Args:
        array: A numpy array or scalar, a list of numbers, or a tensor of torch, JAX, MLX or tinygrad, on any
            device, of any element type and strides. torch tensors may require a gradient.

    Returns:
        An object with ``__dlpack__`` in host memory, and the element type's name where the object's own type
        does not tell it ("bfloat16"), else "". The elements are not copied if they lie in host memory.
    """
    import numpy as np

    if type(array).__module__.split(".")[0] == "torch":
        tensor = array.detach()
        if tensor.layout != _torch().strided:
            tensor = tensor.to_dense()
        return tensor.cpu().resolve_conj().resolve_neg(), ""
    if hasattr(array, "__dlpack_device__") and not isinstance(array, (np.ndarray, np.generic)):
        if int(array.__dlpack_device__()[0]) == 1:  # kDLCPU
            return array, ""
    if not isinstance(array, np.ndarray):
        array = array.numpy() if callable(getattr(array, "numpy", None)) else np.asarray(array)
    name = array.dtype.name
    if name in _AS_BYTES:
        return array.view(_AS_BYTES[name]), name
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array, ""


def _torch() -> Any:
    import torch

    return torch


def named(array: Any, dtype: str) -> Any:
    """A numpy array from a file as its own type: BF16 and FP8, which come as bytes, need ml_dtypes.

    Without ml_dtypes BF16 becomes float32, which holds the same values, and FP8 stays uint8.
    """
    import numpy as np

    if dtype not in _AS_BYTES:
        return array
    try:
        import ml_dtypes
    except ImportError:
        if dtype == "bfloat16":
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array
    return array.view(getattr(ml_dtypes, dtype))
