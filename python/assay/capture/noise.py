"""Distances from the double run, as `assay extract` writes them (docs/reference-data-format.md)."""

import numpy as np

_HIDDEN = -1e38  # scores below it are masked: the lowest number of the run's type
_FLOOR = 1.66e-3 * 2.0**-16  # one rounding to FP32
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def relative_l2(run: np.ndarray, oracle: np.ndarray) -> float:
    """|run - oracle| / |oracle| over what is not masked in both; infinite if only the run is not 0."""
    error, size = _squares(run, oracle, axis=0)
    total = float(error.sum())
    return 0.0 if total == 0 else float(np.sqrt(np.divide(total, size.sum())))


def by_position(run: np.ndarray, oracle: np.ndarray, axis: int) -> tuple[float, str]:
    """The same, at least one rounding to FP32; and for each position a digit for the number of half
    octaves by which its own distance exceeds that."""
    error, size = _squares(run, oracle, axis)
    whole = float(_relative(error.sum(), size.sum()))
    digits = ""
    for noise in _relative(error, size):
        digit, limit = 0, _FLOOR
        while not noise <= limit and digit + 1 < len(_DIGITS):
            digit += 1
            limit *= np.sqrt(2)
        digits += _DIGITS[digit]
    return whole, digits


def _relative(error: np.ndarray, size: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error == 0, _FLOOR, np.maximum(np.sqrt(error / size), _FLOOR))


def _squares(run: np.ndarray, oracle: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of squares of the difference and of the oracle, for each index of the axis."""
    x, y = run.astype(np.float64), oracle.astype(np.float64)
    masked = (x < _HIDDEN) & (y < _HIDDEN)
    if masked.any():
        x[masked] = y[masked] = 0
    others = tuple(a for a in range(y.ndim) if a != axis)
    x -= y
    return np.square(x, out=x).sum(axis=others), np.square(y, out=y).sum(axis=others)
