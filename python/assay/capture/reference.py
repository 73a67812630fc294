"""Puts the runs of a capture together: reference.npz, oracle.npz and manifest.json."""

import re
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assay.capture import files, npz
from assay.capture.noise import by_position, relative_l2
from assay.capture.spool import Member, SpoolReader

_AHEAD = 4  # arrays that may wait in memory
_BLOCK = re.compile(r"(?:[^.]+\.)*?\d+(?=\.|$)")


@dataclass
class Runs:
    """A prompt's spools, by numerics; the first is the reference."""

    spools: dict[str, SpoolReader]

    @property
    def first(self) -> SpoolReader:
        return next(iter(self.spools.values()))

    @property
    def oracle(self) -> SpoolReader | None:
        others = list(self.spools.items())[1:]
        return next((spool for numerics, spool in others if numerics == "f64"), None)

    @property
    def f32(self) -> SpoolReader | None:
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
    sources = _Sources(arrays, set(kept))
    unsteady = [unsteady_positions(runs, c, tokens) for c in range(len(runs.first.notes["choices"]))]

    def encode(number: int) -> tuple[str, dict[str, Any], npz.Member]:
        array = runs.first.read(number)
        traced = arrays[number]
        record = files.describe_array(array)
        axis = position_axis(array.shape, tokens)
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
        before, choices = sources.of(number)
        record["from"] = [arrays[source]["name"] for source in before]
        if positions := sorted({p for choice in choices for p in unsteady[choice]}):
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


class _Sources:
    """What arrays are computed from, with what is left out passed over."""

    def __init__(self, arrays: list[dict[str, Any]], kept: set[int]) -> None:
        self._arrays = arrays
        self._kept = kept

    def of(self, number: int) -> tuple[list[int], set[int]]:
        """Numbers of arrays, and of the choices between these and that one."""
        found: set[int] = set()
        choices = set(self._arrays[number]["choices"])
        open_ = list(self._arrays[number]["source"])
        seen = set(open_)
        while open_:
            source = open_.pop()
            if source in self._kept:
                found.add(source)
                continue
            choices.update(self._arrays[source]["choices"])
            for further in self._arrays[source]["source"]:
                if further not in seen:
                    seen.add(further)
                    open_.append(further)
        return sorted(found), choices


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
    """The prompt's positions at which a correct engine may choose otherwise: those of the largest
    scores that are nearly equal. All of them if the scores are not by position, or differ in kind."""
    number, count = -1 - choice, runs.first.notes["choices"][choice]
    everywhere = list(range(tokens or 0))
    oracle = runs.oracle or runs.first
    own, exact = runs.first.members.get(number), oracle.members.get(number)
    if own is None or exact is None or own.shape != exact.shape or own.kind == "I64":
        return everywhere
    width = own.shape[-1]
    scores = runs.first.read(number).astype(np.float64).reshape(-1, width)
    right = oracle.read(number).astype(np.float64).reshape(-1, width)
    if len(scores) != tokens:
        return everywhere
    with np.errstate(invalid="ignore"):
        size = np.where(np.isfinite(right), right, 0)
        error = np.where(np.isfinite(scores - right), scores - right, 0)
        noise = np.sqrt(np.square(error).mean(axis=1))
        noise = np.maximum(noise, _BF16_ROUNDING * np.sqrt(np.square(size).mean(axis=1)))
        best = -np.sort(-right, axis=1)[:, : count + 1]
        margin = np.min(best[:, :-1] - best[:, 1:], axis=1, initial=np.inf)
    order = [np.argsort(-x, axis=1, kind="stable")[:, :count] for x in (scores, right)]
    unsteady = (margin <= _NEARLY * noise) | (order[0] != order[1]).any(axis=1)
    return np.flatnonzero(unsteady).tolist()


def position_axis(shape: tuple[int, ...], tokens: int | None) -> int | None:
    """The axis that counts the prompt's tokens: the second, after the batch; the third of scores
    and of heads; the first where the batch is flattened. None for images, and for what is pooled."""
    if tokens is None or len(shape) < 2:
        return None
    if len(shape) == 4 and shape[2] == tokens and (shape[1] != tokens or shape[3] == tokens):
        return 2
    if shape[1] == tokens and shape[0] == 1:
        return 1
    if len(shape) == 2 and shape[0] == tokens and tokens > 1:
        return 0
    return None


def default_axis(shape: tuple[int, ...], axis: int | None) -> int:
    """The axis along which errors are told apart: that of the positions, or else the last but one."""
    return axis if axis is not None else max(len(shape) - 2, 0)
