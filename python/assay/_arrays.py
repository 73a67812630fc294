"""Tensors of numpy, torch, JAX, MLX and tinygrad: as the compiled module takes them, and as numpy arrays."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._arguments import is_unicode
from ._errors import MachineError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from ._core import Checker

# Types that numpy has only from ml_dtypes, and whose bytes it hands out as these.
_AS_BYTES = {"bfloat16": "uint16", "float8_e4m3fn": "uint8", "float8_e5m2": "uint8"}
_EXPECTED = "an array of numbers: of numpy, torch, JAX, MLX or tinygrad, or a list"


def library_of(value: Any) -> str:
    """The first part of the module that a value's type comes from: "torch", "mlx", "numpy"."""
    return type(value).__module__.partition(".")[0]


def is_tensor(value: Any) -> bool:
    """Whether a value is an array of one of the known libraries, or of another that numpy can read.

    Modules and their parameters' containers are none; a Python number is none either.
    """
    if isinstance(value, (bool, int, float, complex, str, bytes, list, tuple, dict, type)):
        return False
    return hasattr(value, "shape") and hasattr(value, "dtype")


def on_host(array: Any, name: str = "array") -> tuple[Any, str]:
    """Makes an array readable for the compiled module.

    Args:
        array: A numpy array or scalar, a list of numbers, or a tensor of torch, JAX, MLX or tinygrad, on any
            device, of any element type and strides. torch tensors may require a gradient.
        name: What an error calls it.

    Returns:
        An object with ``__dlpack__`` in host memory, and the element type's name where the object's own type
        does not tell it ("bfloat16"), else "". The elements are not copied if they lie in host memory.

    Raises:
        UsageError: It is no array of numbers.
    """
    import numpy as np

    if is_torch(array):
        return torch_on_host(array), ""
    is_numpys = isinstance(array, (np.ndarray, np.generic))
    if not is_numpys and hasattr(array, "__dlpack_device__") and int(array.__dlpack_device__()[0]) == 1:  # kDLCPU
        return array, ""
    if not isinstance(array, np.ndarray):
        found = type(array).__name__
        try:
            array = array.numpy() if callable(getattr(array, "numpy", None)) else np.asarray(array)
        except (ValueError, TypeError, OverflowError) as error:  # rows of different lengths
            raise _no_array(name, f"{found}: {error}") from error
        if array.dtype.kind not in "biufcV":
            raise _no_array(name, found if array.dtype.kind == "O" else f"{found} of {array.dtype}")
    kind = array.dtype.name
    if kind in _AS_BYTES:
        return array.view(_AS_BYTES[kind]), kind
    if array.dtype.kind not in "biufc" or array.dtype.name in ("float128", "float96", "longdouble"):
        raise _no_array(name, f"an array of {array.dtype}")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array, ""


def hand_over(checker: Checker, name: Any, array: Any) -> str:
    """Gives one array of any framework to the compiled checker, which compares or records it.

    Returns:
        The result, as JSON.

    Raises:
        InputError: The array cannot be compared, or no file can hold its name.
        UsageError: The name is no text, or the array none of numbers.
        MachineError: It does not fit in memory.
    """
    if not isinstance(name, str) or not is_unicode(name):
        found, expected = f"a name {name!r}", "a text"
        raise UsageError(f"arrays: {found}; expected {expected}", "arrays", found, expected)
    host, dtype = on_host(array, name)
    try:
        return checker.check(name, host, dtype)
    except MemoryError as error:
        found = f"an array of {getattr(array, 'shape', '?')}, which does not fit in memory"
        raise MachineError(f"{name}: {found}", name, found) from error


def _no_array(name: str, found: str) -> UsageError:
    return UsageError(f"{name}: {found}; expected {_EXPECTED}", name, found, _EXPECTED)


def is_torch(value: Any) -> bool:
    """Whether a value is a tensor of torch, or of a class that is derived from it."""
    return library_of(value) == "torch" or hasattr(value, "requires_grad_")


def torch_on_host(tensor: Any) -> Any:
    """A torch tensor in host memory: strided, without a gradient. A distributed one is gathered."""
    import torch

    tensor = tensor.detach()
    if hasattr(tensor, "full_tensor"):
        tensor = tensor.full_tensor()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return tensor.cpu().resolve_conj().resolve_neg()


def as_numpy(value: Any) -> np.ndarray[Any, Any]:
    """A copy of a tensor's values, on the CPU.

    Types that numpy does not have (BF16, the 8-bit floats) become FP32, which holds them exactly. Other types keep
    theirs. Raises TypeError for elements that are no real numbers, and what the library raises if there are no values
    to read: on torch's "meta" device, or while a function is traced.
    """
    import numpy as np

    if is_torch(value):
        import torch

        tensor = value.detach()
        if tensor.is_complex():
            raise TypeError("complex numbers")
        if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
            tensor = tensor.float()
        return np.array(torch_on_host(tensor).numpy())
    library = library_of(value)
    if library == "mlx":
        import mlx.core as mx

        if value.dtype == mx.bfloat16:
            value = value.astype(mx.float32)
    elif library == "tinygrad":
        dtypes = import_module("tinygrad").dtypes  # its types say nothing of this name
        if dtypes.is_float(value.dtype) and value.dtype not in (dtypes.float16, dtypes.float32, dtypes.float64):
            value = value.float()
        value = value.numpy()
    array = np.array(value)
    # Of ml_dtypes, as JAX has them: kind "V", or "f" with a name that numpy itself does not know.
    if array.dtype.kind == "V" or array.dtype.name not in np.sctypeDict:
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"elements of type {array.dtype}")
    return array


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
