"""How a comparison judges: the options that compare, check and diagnose share."""

from __future__ import annotations

import math
import numbers
import os
from typing import Any

from ._errors import UsageError
from ._models import find_model


def judging(
    *,
    prompt: str = "",
    map: str | os.PathLike[str] = "auto",
    profile: str | os.PathLike[str] = "noise",
    tolerance: float | None = None,
    model: str | os.PathLike[str] | None = None,
    as_type: str = "",
) -> dict[str, Any]:
    """The options as the compiled module takes them; `assay.compare` documents them.

    Raises:
        InputError: There is no such model.
        UsageError: An option of another type.
    """
    for name, value, is_right, expected in (
        ("prompt", prompt, isinstance(prompt, str), "a prompt's id"),
        ("map", map, isinstance(map, (str, os.PathLike)), "a name, or the path of a .json file"),
        ("profile", profile, isinstance(profile, (str, os.PathLike)), "a name, or the path of a .json file"),
        ("tolerance", tolerance, tolerance is None or _is_limit(tolerance), "a number of at least 0, or None"),
        ("as_type", as_type, isinstance(as_type, str), '"f32", "f16", "bf16" or "q8"'),
    ):
        if not is_right:
            found = repr(value)[:100]
            raise UsageError(f"{name}: {found}; expected {expected}", name, found, expected)
    return {
        "prompt": prompt,
        "map": "" if map == "auto" else os.fsdecode(map),
        "profile": os.fsdecode(profile),
        "tolerance": None if tolerance is None else float(tolerance),
        "model": "" if model is None else os.fspath(find_model(model)),
        "as": as_type,
    }


def _is_limit(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and 0 <= float(value) < math.inf
