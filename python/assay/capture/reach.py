"""How far positions reach.

Is a position of an array computed from the same position alone, from no later one, or from any? It is
measured. The run is repeated with everything at one position changed: each module returns what it did
in the first run but for that position, and all choices are made otherwise there. The positions at
which an array then differs are those that can be reached from one position of its sources. Arrays
without positions, such as the rows of an expert, are passed over: what counts is where their values
go.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import nn

from assay._outputs import outputs_of
from assay.capture.choices import OtherChoices, Place
from assay.capture.positions import position_axis
from assay.capture.spool import SpoolReader, stored
from assay.capture.trace import Calls, first_input, is_tensor

# Of the size of a position. Arrays are read back as F32; less than this explains no failure.
_SAME = 1e-5

# Of an expert's rows, which only by chance are as many as the prompt's tokens.
NO_POSITIONS = "none"
_ORDER = ("position", "causal", "any", NO_POSITIONS)


def widest(reaches: Iterator[str]) -> str:
    """The reach of a computation in several steps."""
    return max(reaches, key=_ORDER.index, default="position")


def probed_positions(tokens: int) -> list[int]:
    """One in the middle, with positions before and after it, and the last."""
    return sorted({tokens // 2 if tokens > 2 else 0, tokens - 1})


class Probe:
    """Runs the model with one position changed, and notes how far that reaches.

    first: the arrays of the run as it was. numbers: theirs, by their hooks' names. choices: the
    numbers of choices, by their place."""

    def __init__(
        self,
        net: nn.Module,
        first: SpoolReader,
        numbers: Mapping[str, int],
        choices: dict[Place, int],
        tokens: int,
        position: int,
    ) -> None:
        self.reach: dict[int, str] = {}
        self._net = net
        self._first = first
        self._numbers = numbers
        self._choices = choices
        self._tokens = tokens
        self._position = position
        self._calls = Calls()

    def run(self, inputs: dict[str, torch.Tensor]) -> None:
        """The model's forward pass on the same inputs as before."""
        with ExitStack() as stack:
            for path, module in self._net.named_modules():
                for hook in self._hooks(path, module):
                    stack.callback(hook.remove)
            stack.enter_context(
                OtherChoices(self._calls.next_choice, self._choices, self._position, self._tokens)
            )
            self._net(**inputs)

    def _hooks(self, path: str, module: nn.Module) -> Iterator[Any]:
        is_leaf = next(module.children(), None) is None

        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            call = self._calls.enter(path, "")
            number = self._numbers.get(f"{call}.input") if is_leaf and path else None
            value = first_input(args, kwargs)
            if number is None or value is None:
                return None
            new = self._seen(number, value)
            return (
                tuple(new if x is value else x for x in args),
                {name: new if x is value else x for name, x in kwargs.items()},
            )

        def leave(_: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
            call = self._calls.leave()
            new: list[torch.Tensor] = []
            for name, value in outputs_of(call if path else "", output, is_tensor):
                number = self._numbers.get(name)
                new.append(value if number is None else self._seen(number, value))
            return _with_tensors(output, iter(new))

        yield module.register_forward_pre_hook(enter, with_kwargs=True)
        yield module.register_forward_hook(leave)

    def _seen(self, number: int, value: torch.Tensor) -> torch.Tensor:
        """Notes where an array differs. Returns what the model is to go on with."""
        if number in self.reach or number not in self._first.members:
            return value
        shape = self._first.members[number].shape
        axis = position_axis(shape, self._tokens)
        if axis is None:
            return value
        before, now = self._first.read(number), stored(value, "f32")
        if shape != now.shape:
            self.reach[number] = NO_POSITIONS
            return value
        self.reach[number] = self._reach_of(_other_positions(before, now, axis))
        if not value.is_floating_point():
            return value  # what was chosen
        new = torch.from_numpy(before).to(value.dtype)
        part = new.select(axis, self._position)
        finite = part[part.isfinite()]
        size = finite.square().mean().sqrt() if finite.numel() else 0
        noise = torch.randn(part.shape, generator=torch.Generator().manual_seed(number))
        part.add_(noise.to(part.dtype) * size)
        return new

    def _reach_of(self, others: list[int]) -> str:
        if all(p == self._position for p in others):
            return "position"
        return "causal" if all(p >= self._position for p in others) else "any"


def _other_positions(before: np.ndarray, now: np.ndarray, axis: int) -> list[int]:
    rows = np.moveaxis(before, axis, 0).reshape(before.shape[axis], -1)
    others = np.moveaxis(now, axis, 0).reshape(rows.shape)
    if rows.dtype.kind != "f":
        return np.flatnonzero((rows != others).any(axis=1)).tolist()
    same = (rows == others) | (np.isnan(rows) & np.isnan(others))
    x, y = (np.where(same, 0, a.astype(np.float64)) for a in (rows, others))
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.sqrt(
            np.square(np.where(np.isfinite(rows), rows, 0), dtype=np.float64).sum(axis=1)
        )
        error = np.sqrt(np.square(x - y).sum(axis=1))
    return np.flatnonzero(~(error <= _SAME * size)).tolist()


def _with_tensors(value: Any, new: Iterator[torch.Tensor]) -> Any:
    """A module's output with other tensors, in the order in which outputs_of() names them."""
    if isinstance(value, torch.Tensor):
        return next(new)
    if isinstance(value, Mapping):
        result: Any = copy.copy(value)
        for key, element in value.items():
            result[key] = _with_tensors(element, new)
        return result
    if isinstance(value, (list, tuple)):
        elements = [_with_tensors(element, new) for element in value]
        return value._make(elements) if hasattr(value, "_make") else type(value)(elements)
    return value
