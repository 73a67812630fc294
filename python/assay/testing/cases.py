"""Inputs that show mistakes: ordinary ones, and those on which kernels go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._errors import UsageError
from .arithmetic import Array, round_to

CASES = ("normal", "outliers", "large", "tiny", "zero rows", "offset", "long row")
_SHAPES = {
    "rms_norm": (16, 1000), "layer_norm": (16, 1000), "softmax": (16, 1000), "rope": (4, 40, 64), "matmul": (17, 512, 40),
    "linear": (17, 512, 40), "gelu": (16, 1000), "silu_mul": (16, 1000), "attention": (1, 4, 24, 32),
}  # fmt: skip
_NAMES = {
    "rms_norm": "(..., n)", "layer_norm": "(..., n)", "softmax": "(..., n)", "rope": "(..., positions, D)",
    "matmul": "(M, K, N)", "linear": "(M, K, N)", "gelu": "(..., n)", "silu_mul": "(..., n)",
    "attention": "(..., heads, positions, D)",
}  # fmt: skip


@dataclass(frozen=True)
class Inputs:
    """Inputs to be made for an operation.

    Attributes:
        shape: rms_norm, layer_norm, softmax, gelu, silu_mul: that of x, (..., n). rope: of x, (..., positions, D).
            matmul, linear: (M, K, N). attention: of q, (..., heads, positions, D). None: a small one with odd sizes.
        dtype: "bfloat16", "float16" or "float32". bfloat16 in numpy needs ml_dtypes.
        framework: "numpy", "torch", "jax" or "mlx": what the kernel gets.
        device: torch's device.
        seed: Of the random numbers.
        cases: Names from `assay.testing.CASES`; None: all that apply. "long row" has rows (or sums, or keys) eight
            times as long: leave it out where the kernel's shape is fixed.
        kv_heads, keys: attention only: heads and positions of k and v; None: as many as q.
    """

    shape: tuple[int, ...] | None = None
    dtype: str = "float32"
    framework: str = "numpy"
    device: str | None = None
    seed: int = 0
    cases: tuple[str, ...] | None = None
    kv_heads: int | None = None
    keys: int | None = None

    def made_for(self, op: str, params: dict[str, Any]) -> Iterator[tuple[str, list[Array]]]:
        """The inputs of each case, as float64 arrays of values that the dtype has."""
        if self.dtype not in ("bfloat16", "float16", "float32"):
            raise UsageError(f"dtype: {self.dtype!r}; expected bfloat16, float16 or float32", "dtype", self.dtype)
        shape = tuple(self.shape or _SHAPES[op])
        least = 3 if op in ("matmul", "linear", "attention") else 2 if op == "rope" else 1
        if len(shape) < least or min(shape) < 1 or (op in ("matmul", "linear") and len(shape) != 3):
            raise UsageError(f"shape: {shape} for {op}; expected {_NAMES[op]}", "shape", str(shape), _NAMES[op])
        chosen = CASES if self.cases is None else self.cases
        for case in chosen:
            if case not in CASES:
                raise UsageError(f"cases: {case!r}; expected of {', '.join(CASES)}", "cases", str(case))
            if self.cases is None and not _applies(op, case):
                continue
            rng = np.random.default_rng([self.seed, CASES.index(case)])
            arrays = _arrays(op, case, self._sized(op, case, shape), self, params, rng)
            yield case, [a if a.dtype.kind == "i" else round_to(a, self.dtype) for a in arrays]

    def _sized(self, op: str, case: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        if case != "long row":
            return shape
        if op in ("matmul", "linear"):
            return (min(shape[0], 4), 8 * shape[1], min(shape[2], 8))
        if op == "attention":
            return (*shape[:-2], 8 * shape[-2], shape[-1])
        return (2, 8 * shape[-1])

    def as_arrays(self, arrays: list[Array]) -> list[Any]:
        """The arrays as the kernel gets them."""
        return [_converted(a, self.dtype, self.framework, self.device) for a in arrays]


def _applies(op: str, case: str) -> bool:
    if case == "long row":
        return op not in ("rope", "gelu", "silu_mul")
    if case == "offset":  # rows far from zero: a variance that cancels, a maximum that is needed
        return op in ("layer_norm", "softmax")
    if case == "zero rows":
        return op not in ("gelu",)
    return True


def _values(case: str, shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> Array:
    x = rng.standard_normal(shape)
    if case == "outliers":  # a few channels a hundred times as large, and one value of a thousand, as in trained models
        channels = rng.choice(shape[-1], max(1, shape[-1] // 100), replace=False)
        x[..., channels] *= 100
        x.reshape(-1, shape[-1])[0, channels[0]] = 1000
    elif case == "large":
        x *= 1e3
    elif case == "tiny":
        x *= 1e-3 if dtype == "float16" else 1e-4
    elif case == "zero rows":
        x.reshape(-1, shape[-1])[::3] = 0
    elif case == "offset":
        x += 100 * rng.choice([-3, -1, 1, 3], (*shape[:-1], 1))
    return x


def _arrays(
    op: str, case: str, shape: tuple[int, ...], spec: Inputs, params: dict[str, Any], rng: np.random.Generator
) -> list[Array]:
    def values(of: tuple[int, ...] = shape) -> Array:
        return _values(case, of, spec.dtype, rng)

    n = shape[-1]
    if op == "softmax":
        # 1e3 would leave one probability of 1: scores of a few hundred overflow exp just as well.
        return [values() * (0.1 if case == "large" else 1)]
    if op == "rms_norm":
        return [values(), rng.standard_normal(n) * 0.3 + 1 - params.get("offset", 0.0)]
    if op == "layer_norm":
        return [values(), rng.standard_normal(n) * 0.3 + 1, rng.standard_normal(n)]
    if op == "rope":
        return [values(), np.arange(shape[params.get("seq_axis", -2)], dtype=np.int64)]
    if op in ("gelu", "silu_mul"):
        x = values() * {"large": 0.03, "outliers": 0.1}.get(case, 2)
        if case == "normal":
            x = np.clip(x, -4, 4)  # beyond, FP32 has no digits left of GELU
        return [x] if op == "gelu" else [x, rng.standard_normal(shape)]
    if op in ("matmul", "linear"):
        m, k, n = shape
        second = rng.standard_normal((k, n) if op == "matmul" else (n, k)) / k**0.5
        if case == "large" and spec.dtype == "float16":
            second /= 30  # the sums stay finite
        return [values((m, k)), second] + ([rng.standard_normal(n)] if op == "linear" else [])
    keys = shape[-2] if spec.keys is None or case == "long row" else spec.keys
    kv = (*shape[:-3], spec.kv_heads or shape[-3], keys, shape[-1])
    if shape[-3] % kv[-3]:
        raise UsageError(f"kv_heads: {kv[-3]} for {shape[-3]} heads; expected a divisor", "kv_heads", str(kv[-3]))
    small = {"large": 0.01, "outliers": 0.2}.get(case, 1)  # scores of some dozens
    return [values() * small, values(kv) * small, rng.standard_normal(kv)]


def _converted(array: Array, dtype: str, framework: str, device: str | None) -> Any:
    integers = array.dtype.kind == "i"
    if framework == "torch":
        import torch

        tensor = torch.from_numpy(array.copy())
        return tensor.to(device=device, dtype=None if integers else getattr(torch, dtype))
    if framework == "jax":
        import jax.numpy as jnp

        return jnp.asarray(array.astype(np.int32 if integers else np.float32)).astype("int32" if integers else dtype)
    if framework == "mlx":
        import mlx.core as mx

        return mx.array(array.astype(np.int32 if integers else np.float32)).astype(
            mx.int32 if integers else getattr(mx, dtype))  # fmt: skip
    if framework != "numpy":
        raise UsageError(f"framework: {framework!r}; expected numpy, torch, jax or mlx", "framework", framework)
    if integers:
        return array
    if dtype == "bfloat16":
        try:
            import ml_dtypes
        except ImportError as error:
            raise UsageError("dtype: bfloat16 in numpy needs ml_dtypes; expected ml_dtypes, or framework='torch'",
                             "dtype", "no ml_dtypes") from error  # fmt: skip
        return array.astype(np.float32).astype(ml_dtypes.bfloat16)
    return array.astype(dtype)
