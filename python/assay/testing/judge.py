"""How far an output is from the exact result, and how far it may be."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from .arithmetic import Array, one_rounding, round_to, spacing

# As `assay compare` has them: twice the error of a 16-bit run, 16 times that of an FP32 run, and a single row 4
# times as far.
LIMITS = {"bfloat16": 2.0, "float16": 2.0, "float32": 16.0, "float64": 16.0}
_ROW = 4.0


@dataclass(frozen=True)
class Error:
    """The error of an array: relative L2 of the whole, root mean square over the rows, and the worst row's."""

    whole: float
    rows: float
    worst_row: float


def error_of(values: Array, exact: Array, by_element: bool) -> Error:
    """The error where both are finite. by_element: every element is a row of its own."""
    with np.errstate(all="ignore"):
        finite = np.isfinite(values) & np.isfinite(exact)
        difference = np.where(finite, values - np.where(finite, exact, 0), 0)
        size = np.where(finite, exact, 0)
        whole = _ratio(np.sqrt(np.square(difference).sum()), np.sqrt(np.square(size).sum()))
        if by_element:
            rows = _ratio(np.abs(difference), np.abs(size))
        else:
            rows = _ratio(np.sqrt(np.square(difference).sum(-1)), np.sqrt(np.square(size).sum(-1)))
        rows = np.atleast_1d(rows)
        return Error(float(whole), float(np.sqrt(np.square(rows).mean())), float(rows.max(initial=0)))


def _ratio(error: Array, size: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(error == 0, 0.0, error / np.where(size == 0, 0.0, size))


@dataclass(frozen=True)
class Allowed:
    """What an operation's error is measured by: the errors of correct implementations.

    Attributes:
        best: The exact result, rounded once to the output's type.
        plain: Computed in FP32, rounded once.
        stepwise: As frameworks do without fusing: every stored intermediate is rounded. None where they would not.
    """

    best: Error
    plain: Error
    stepwise: Error | None
    floor: float

    def of(self, part: str) -> float:
        """The largest of them, of one part of `Error`; at least one rounding."""
        kinds = [self.best, self.plain] + ([self.stepwise] if self.stepwise else [])
        finite = [v for k in kinds if np.isfinite(v := getattr(k, part))]
        return float(max([self.floor, *finite]))


@dataclass(frozen=True)
class Verdict:
    """Whether an output is within the limit.

    Attributes:
        passed: Whether it is.
        ratio: Its error over the allowed one, divided by the limit: above 1 it fails.
        error: Its error.
        unlike: Elements that are NaN or infinite in only one of output and exact result.
    """

    passed: bool
    ratio: float
    error: Error
    unlike: int


def judge(output: Array, expected: Array, allowed: Allowed, grid: str, by_element: bool, limit: float) -> Verdict:
    """expected: the exact result, not rounded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        rounded = round_to(expected, grid)
    same = (np.isnan(output) & np.isnan(rounded)) | (output == rounded) | (np.isfinite(output) & np.isfinite(rounded))
    unlike = int((~same).sum())
    error = error_of(output, np.where(np.isfinite(rounded), expected, rounded), by_element)
    ratio = max(
        error.whole / (limit * allowed.of("whole")),
        error.rows / (limit * allowed.of("rows")),
        error.worst_row / (_ROW * limit * allowed.of("worst_row")),
    )
    return Verdict(unlike == 0 and ratio <= 1, ratio, error, unlike)


def floor_of(grid: str) -> float:
    """The smallest error that an array is expected to have. Products of FP64 are not exact in FP64."""
    return 1e-14 if grid == "float64" else one_rounding(grid)


def worst_element(output: Array, expected: Array, grid: str, by_element: bool) -> tuple[tuple[int, ...], float]:
    """Where the output is furthest from the exact result, and how many ulps.

    An ulp is that of the exact result; unless by_element, of an element of at least its row's root mean square, since
    what is left where large terms cancel has no digits.
    """
    rounded = round_to(expected, grid)
    unlike = ~(
        (np.isnan(output) & np.isnan(rounded)) | (output == rounded) | (np.isfinite(output) & np.isfinite(rounded))
    )
    if unlike.any():
        return tuple(int(i) for i in np.argwhere(unlike)[0]), float("inf")
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.abs(expected)
        if not by_element and size.ndim:
            size = np.maximum(size, np.sqrt(np.square(size).mean(-1, keepdims=True)))
        ulps = np.abs(output - expected) / spacing(size, grid)
    ulps = np.where(np.isfinite(ulps), ulps, 0)
    index = np.unravel_index(int(ulps.argmax()), ulps.shape) if ulps.size else ()
    return tuple(int(i) for i in index), float(ulps.max(initial=0))
