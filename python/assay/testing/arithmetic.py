"""How a formula is computed: exactly, in FP32, with roundings, or as a wrong kernel does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any  # a numpy array: numpy's own types say less than a reader needs

# Bits of the significand, the smallest normal exponent, and the largest finite value.
_GRIDS = {
    "bfloat16": (8, -126, float.fromhex("0x1.fep127")),
    "float16": (11, -14, 65504.0),
    "tf32": (11, -126, float.fromhex("0x1.ffcp127")),
    "float32": (24, -126, float(np.finfo(np.float32).max)),
    "float64": (53, -1022, float(np.finfo(np.float64).max)),
}
OUTPUT_TYPES = ("bfloat16", "float16", "float32", "float64")


def round_to(x: Array, grid: str) -> Array:
    """The nearest values of a type, ties to even, in x's own dtype, which must hold them."""
    if grid == "float64" or (grid == "float32" and x.dtype == np.float32):
        return x
    if grid in ("float16", "float32"):
        with np.errstate(over="ignore"):
            return x.astype(grid).astype(x.dtype)
    bits, lowest, largest = _GRIDS[grid]
    with np.errstate(invalid="ignore", over="ignore"):
        _, exponent = np.frexp(x)
        unit = np.ldexp(np.ones((), x.dtype), np.maximum(exponent, lowest + 1) - bits)
        rounded = np.where(np.isfinite(x), np.rint(x / unit) * unit, x)
        return np.where(np.abs(rounded) > largest, np.copysign(np.inf, x), rounded).astype(x.dtype)


def spacing(x: Array, grid: str) -> Array:
    """The distance of neighbouring values of a type at x: one ulp."""
    bits, lowest, _ = _GRIDS[grid]
    _, exponent = np.frexp(x)
    return np.ldexp(1.0, np.maximum(exponent, lowest + 1) - bits)


def one_rounding(grid: str) -> float:
    """The relative L2 error of values spread evenly over a binade, rounded once."""
    return 2.0 ** -_GRIDS[grid][0] * 0.425


@dataclass(frozen=True)
class Arithmetic:
    """The number type of a computation and where it rounds.

    Attributes:
        dtype: What values are computed in.
        stored: The type to which a result is rounded that frameworks store between operations; None: nothing.
        operands: The type to which a product's operands are rounded before they are multiplied.
        sums: The type of the accumulator of a sum; None: that of dtype.
        block: With sums: how many terms are added up exactly before they are added to the accumulator.
    """

    dtype: Any = np.float64
    stored: str | None = None
    operands: str | None = None
    sums: str | None = None
    block: int = 1

    def of(self, array: Any) -> Array:
        """An array in this arithmetic."""
        return np.asarray(array, self.dtype)

    def step(self, x: Array) -> Array:
        """A result as it is stored."""
        return x if self.stored is None else round_to(x, self.stored)

    def sum(self, x: Array, axis: int = -1) -> Array:
        """The sum along an axis, which stays with length 1."""
        if self.sums is None:
            return x.sum(axis, keepdims=True, dtype=self.dtype)
        terms = np.moveaxis(x, axis, 0)
        total = np.zeros(terms.shape[1:], self.dtype)
        for start in range(0, len(terms), self.block):
            total = round_to(total + terms[start : start + self.block].sum(0, dtype=self.dtype), self.sums)
        return np.expand_dims(total, axis)

    def mean(self, x: Array, axis: int = -1) -> Array:
        """The mean along an axis, which stays with length 1."""
        return self.sum(x, axis) / self.dtype(x.shape[axis])

    def matmul(self, a: Array, b: Array) -> Array:
        """a @ b, with batch axes as numpy's matmul has them."""
        if self.operands is not None:
            a, b = round_to(a, self.operands), round_to(b, self.operands)
        if self.sums is None:
            return a @ b
        total = np.zeros((a[..., :1, :1] @ b[..., :1, :1]).shape[:-2] + (a.shape[-2], b.shape[-1]), self.dtype)
        for start in range(0, a.shape[-1], self.block):
            part = slice(start, start + self.block)
            total = round_to(total + a[..., part] @ b[..., part, :], self.sums)
        return total


EXACT = Arithmetic()
FP32 = Arithmetic(np.float32)
