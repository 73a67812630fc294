"""Puts the runs of a capture together: reference.npz, oracle.npz and manifest.json."""

import re
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assay.capture import files, npz
from assay.capture.choices import COMPARED, RANDOM
from assay.capture.noise import by_position, relative_l2
from assay.capture.positions import default_axis, only_axis_of, position_axis
from assay.capture.reach import NO_POSITIONS, widest
from assay.capture.spool import Member, SpoolReader

_AHEAD = 4  # arrays that may wait in memory
_BLOCK = re.compile(r"(?:[^.]+\.)*?\d+(?=\.|$)")


@dataclass
class Runs:
    """A prompt's spools, by numerics; the first is the reference."""

    spools: dict[str, SpoolReader]

    @property
    def first(self) -> SpoolReader:
        """The reference's."""
        return next(iter(self.spools.values()))

    @property
    def oracle(self) -> SpoolReader | None:
        """That of the run in double, unless it is the reference."""
        others = list(self.spools.items())[1:]
        return next((spool for numerics, spool in others if numerics == "f64"), None)

    @property
    def f32(self) -> SpoolReader | None:
        """That of the FP32 run, unless it is the reference."""
        others = list(self.spools.items())[1:]
        return next((spool for numerics, spool in others if numerics == "f32"), None)


def kept_arrays(runs: Runs, warnings: list[str], prompt: str) -> list[int]:
    """Numbers of the arrays that all runs have, in the same shape. Experts that a rounding chooses
    may run in only some of them."""
    kept: list[int] = []
    lost: list[str] = []
    arrays = runs.first.notes["arrays"]
    oracle = runs.oracle
    for number, member in runs.first.members.items():
        if number < 0:  # the scores of a choice
            continue
        same = all(_alike(member, spool.members.get(number)) for spool in runs.spools.values())
        if same and oracle is not None and member.kind != "I64":
            own, exact = runs.first.read(number), oracle.read(number)
            same = np.array_equal(np.isfinite(own), np.isfinite(exact))
        if same:
            kept.append(number)
        else:
            lost.append(arrays[number]["name"])
    if lost:
        warnings.append(
            f"{prompt}: {len(lost)} arrays are left out, because the runs do not agree on their"
            f" shape or on what is finite: {', '.join(lost[:3])}"
            + (", ..." if len(lost) > 3 else "")
        )
    return kept


def _alike(a: Member, b: Member | None) -> bool:
    return b is not None and a.shape == b.shape and (a.kind == "I64") == (b.kind == "I64")


def write_prompt(
    directory: Path,
    runs: Runs,
    kept: list[int],
    tokens: int | None,
    compression: str,
    pool: Executor,
) -> dict[str, Any]:
    """Writes reference.npz and oracle.npz; returns the manifest's records of the arrays."""
    arrays = runs.first.notes["arrays"]
    records: dict[str, Any] = {}
    sources = _Sources(runs, set(kept), tokens)
    unsteady = [
        unsteady_positions(runs, c, tokens) for c in range(len(runs.first.notes["choices"]))
    ]

    def encode(number: int) -> tuple[str, dict[str, Any], npz.Member]:
        array = runs.first.read(number)
        traced = arrays[number]
        record = files.describe_array(array)
        axis = sources.axes.get(number)
        if array.dtype.kind == "f":
            _add_noise(record, runs, number, array, axis)
        record["module"] = traced["module"]
        record["class"] = traced["kind"]
        if traced["also"]:
            record["also"] = traced["also"]
        block = _BLOCK.match(traced["hook"])
        if block:
            record["block"] = block[0]
        if axis is not None:
            record["positions"] = axis
        before = sources.of(number)
        record["from"] = [arrays[source]["name"] for source in before.arrays]
        if before.is_lookup:
            record["lookup"] = True
        if axis is not None and before.reach != "any":
            record["reach"] = before.reach
        if positions := sorted({p for choice in before.choices for p in unsteady[choice]}):
            record["unsteady"] = positions
        return traced["name"], record, npz.encode(traced["name"], array, compression)

    def reference() -> Iterator[npz.Member]:
        for name, record, member in npz.in_order(pool, encode, kept, _AHEAD):
            records[name] = record
            yield member

    npz.write_members(directory / "reference.npz", reference())
    oracle = runs.oracle
    if oracle is not None:
        # All bits of its values are in use: only a long search saves a tenth.
        how = "small" if compression == "small" else "none"
        members = npz.in_order(
            pool, lambda n: npz.encode(arrays[n]["name"], oracle.read(n), how), kept, _AHEAD
        )
        npz.write_members(directory / "oracle.npz", members)
    return records


@dataclass
class _Before:
    """What an array is computed from."""

    arrays: list[int]  # their numbers
    choices: set[int]  # those between these arrays and it
    reach: str  # of the positions on this way
    is_lookup: bool  # whether its elements are a table's, chosen by ids


class _Sources:
    """What arrays are computed from, with what is left out passed over."""

    def __init__(self, runs: Runs, kept: set[int], tokens: int | None) -> None:
        self._arrays = runs.first.notes["arrays"]
        self._kept = kept
        self._integers = {n for n in kept if self._arrays[n]["is_integer"]}
        reach = runs.oracle.notes.get("reach", {}) if runs.oracle is not None else {}
        self._reach = {int(number): reach for number, reach in reach.items()}
        # The axes that count positions.
        self.axes = {
            number: axis
            for number, member in runs.first.members.items()
            if (axis := position_axis(member.shape, tokens)) is not None
            and self._reach.get(number) != NO_POSITIONS
        }

    def of(self, number: int) -> _Before:
        """Of one array."""
        found: set[int] = set()
        between = {number}
        open_ = [number]
        while open_:
            for source in self._arrays[open_.pop()]["source"]:
                if source in self._kept:
                    found.add(source)
                elif source not in between:
                    between.add(source)
                    open_.append(source)
        is_moved = all(self._arrays[n]["is_moved"] for n in between)
        return _Before(
            sorted(found),
            {choice for n in between for choice in self._arrays[n]["choices"]},
            widest(self._reach.get(n, "any") for n in between & self.axes.keys()),
            bool(found) and is_moved and found <= self._integers,
        )


def _add_noise(
    record: dict[str, Any], runs: Runs, number: int, array: np.ndarray, axis: int | None
) -> None:
    if runs.oracle is None:
        return
    exact = runs.oracle.read(number)
    noise = relative_l2(array, exact)
    if np.isfinite(noise):
        record["noise"] = noise
    if runs.f32 is None:
        return
    whole, positions = by_position(runs.f32.read(number), exact, default_axis(array.shape, axis))
    if np.isfinite(whole):
        record["noise_f32"] = {"whole": whole, "positions": positions}


# Scores that differ by less than this many times their own noise are nearly equal.
_NEARLY = 6
_BF16_ROUNDING = 1.66e-3


def unsteady_positions(runs: Runs, choice: int, tokens: int | None) -> list[int]:
    """The prompt's positions at which a correct engine may choose otherwise: those of scores that are
    nearly equal. All of them if the choice is not by position, or is made by chance."""
    number, count = -1 - choice, runs.first.notes["choices"][choice]["count"]
    everywhere = list(range(tokens or 1))
    oracle = runs.oracle or runs.first
    own, exact = runs.first.members.get(number), oracle.members.get(number)
    if own is None or exact is None or own.shape != exact.shape or own.kind == "I64":
        return everywhere
    if count == RANDOM:
        return everywhere
    scores = runs.first.read(number).astype(np.float64)
    right = oracle.read(number).astype(np.float64)
    shape = own.shape
    if count == COMPARED:
        unsteady = _nearly_equal(scores, right)
    else:
        shape = shape[:-1]
        unsteady = _nearly_same_order(scores, right, count)
    axis = only_axis_of(shape, tokens)
    if axis is None:
        return everywhere if unsteady.any() else []
    others = tuple(a for a in range(len(shape)) if a != axis)
    return np.flatnonzero(unsteady.any(axis=others)).tolist()


def _nearly_same_order(scores: np.ndarray, right: np.ndarray, count: int) -> np.ndarray:
    """For each row whether its `count` largest scores, in their order, may be others."""
    noise = _noise(scores, right)
    with np.errstate(invalid="ignore"):
        best = -np.sort(-right, axis=-1)[..., : count + 1]
        margin = np.min(best[..., :-1] - best[..., 1:], axis=-1, initial=np.inf)
    order = [np.argsort(-x, axis=-1, kind="stable")[..., :count] for x in (scores, right)]
    unsteady: np.ndarray = (margin <= _NEARLY * noise) | (order[0] != order[1]).any(axis=-1)
    return unsteady


def _nearly_equal(differences: np.ndarray, right: np.ndarray) -> np.ndarray:
    """For each pair that was compared whether the other one may be the larger. Where the runs agree
    exactly, no activation is in it, such as where a row's maximum is compared with the row."""
    noise = _noise(differences, right)[..., np.newaxis]
    steady = differences == right
    near = np.abs(right) <= _NEARLY * noise
    unsteady: np.ndarray = ~steady & (near | (np.sign(differences) != np.sign(right)))
    return unsteady


def _noise(run: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The error of each row, at least one rounding to BF16."""
    with np.errstate(invalid="ignore"):
        size = np.where(np.isfinite(right), right, 0)
        error = np.where(np.isfinite(run - right), run - right, 0)
    noise = np.sqrt(np.square(error).mean(axis=-1))
    least = _BF16_ROUNDING * np.sqrt(np.square(size).mean(axis=-1))
    return np.asarray(np.maximum(noise, least))
