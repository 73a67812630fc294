"""Operations that choose by value: which experts a token goes to.

Where the values are nearly equal, one more rounding chooses otherwise, and what follows differs
although nothing is wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from assay.capture.positions import only_axis_of

Place = tuple[str, int]  # a module's call, and the number of the operation in it

RANDOM = -1  # the count of a choice by chance
COMPARED = 0  # that of a comparison


@dataclass
class Choice:
    """The largest `count` of the scores along the last axis, in their order. COMPARED: where the
    scores are above 0. RANDOM: whatever the generator says."""

    scores: torch.Tensor
    count: int


@dataclass
class _Chooser:
    """How to read an operation that chooses along one axis. It gets its arguments by name."""

    default_dim: int | None = -1  # None: among all elements
    count: Callable[[int, "_Argument"], int] = lambda width, argument: 1
    is_smallest: Callable[["_Argument"], bool] = lambda argument: False

    def choice(self, scores: torch.Tensor, argument: "_Argument") -> Choice | None:
        dim = argument("dim", self.default_dim)
        if dim is None:
            scores, dim = scores.reshape(-1), 0
        if not isinstance(dim, int) or scores.dim() == 0:
            return None
        moved = scores.movedim(dim, -1)
        count = self.count(moved.shape[-1], argument)
        return Choice(-moved if self.is_smallest(argument) else moved, count)


_Argument = Callable[[str, Any], Any]  # by name, or this default


def _all(width: int, _: _Argument) -> int:
    return width


def _half(width: int, _: _Argument) -> int:
    return (width + 1) // 2


def _k(_: int, argument: _Argument) -> int:
    return int(argument("k", 1))


def _always(_: _Argument) -> bool:
    return True


_SORTED = _Chooser(count=_all)
_MEDIAN = _Chooser(count=_half, is_smallest=_always)
_CHOOSE = {
    "topk": _Chooser(count=_k, is_smallest=lambda argument: not argument("largest", True)),
    "kthvalue": _Chooser(count=_k, is_smallest=_always),
    "argmax": _Chooser(default_dim=None),
    "argmin": _Chooser(default_dim=None, is_smallest=_always),
    "max": _Chooser(),
    "min": _Chooser(is_smallest=_always),
    "sort": _SORTED,
    "argsort": _SORTED,
    "mode": _SORTED,
    "cummax": _SORTED,
    "cummin": _SORTED,
    "median": _MEDIAN,
    "nanmedian": _MEDIAN,
    "multinomial": _Chooser(count=lambda *_: RANDOM),
}
_COMPARE = {
    *("gt", "ge", "lt", "le", "eq", "ne"),
    *("greater", "greater_equal", "less", "less_equal", "not_equal"),
}
# These mean something else without an axis: the value alone, or two tensors.
_NEED_DIM = ("max", "min", "median", "nanmedian")


def chooses(func: Any, args: Any) -> bool:
    """Whether an operation chooses among activations, or compares them; ids do not count."""
    if not args or not isinstance(args[0], torch.Tensor) or not args[0].is_floating_point():
        return False
    name = func._overloadpacket.__name__
    if name in _NEED_DIM:
        return bool(func._overloadname == "dim")
    return name in _CHOOSE or name in _COMPARE


def compares(func: Any) -> bool:
    """Whether it is a comparison, of the operations for which chooses() holds."""
    return func._overloadpacket.__name__ in _COMPARE


def choice_in(func: Any, args: Any, kwargs: dict[str, Any]) -> Choice | None:
    """What the operation chooses from, if chooses() holds."""
    if compares(func):
        # Exactly: where both are constants, all runs must give the same.
        other = args[1].double() if isinstance(args[1], torch.Tensor) else args[1]
        difference = args[0].double() - other
        return Choice(difference if difference.dim() else difference.reshape(1), COMPARED)
    return _CHOOSE[func._overloadpacket.__name__].choice(args[0], _argument(func, args, kwargs))


def choose_otherwise(
    func: Any, args: Any, kwargs: dict[str, Any], position: int, tokens: int
) -> Any:
    """The operation's result with another choice at that position alone."""
    if compares(func):
        result = func(*args, **kwargs)
        axis = only_axis_of(result.shape, tokens)
        if axis is not None:
            result.select(axis, position).logical_not_()
        return result
    scores = args[0]
    dim = _argument(func, args, kwargs)("dim", None)
    shape = list(scores.shape)
    if isinstance(dim, int):
        shape[dim] = 0
    elif func._overloadpacket.__name__ in ("argmax", "argmin"):
        return func(*args, **kwargs)
    else:
        dim, shape[-1] = -1, 0
    axis = only_axis_of(shape, tokens)
    if axis is None:
        return func(*args, **kwargs)
    others = scores.clone()
    others.select(axis, position).neg_()
    result = func(others, *args[1:], **kwargs)
    if not isinstance(result, (tuple, list)):
        return result
    values, indices = result
    if values.dim() != scores.dim():
        return scores.gather(dim, indices.unsqueeze(dim)).squeeze(dim), indices
    return scores.gather(dim, indices), indices


def _argument(func: Any, args: Any, kwargs: dict[str, Any]) -> _Argument:
    names = [argument.name for argument in func._schema.arguments]

    def argument(name: str, default: Any) -> Any:
        if name in kwargs:
            return kwargs[name]
        at = names.index(name) if name in names else len(args)
        return args[at] if at < len(args) else default

    return argument


class Choices(TorchDispatchMode):
    """Sees the choices of a run that an earlier one has numbered, by their place.

    place(): of the operation that comes now. wanted: the numbers by places."""

    def __init__(
        self,
        place: Callable[[], Place],
        wanted: dict[Place, int],
        choose: Callable[[int, Choice], None],
    ) -> None:
        super().__init__()
        self._place = place
        self._wanted = wanted
        self._choose = choose

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if chooses(func, args):
            number = self._wanted.get(self._place())
            choice = choice_in(func, args, kwargs) if number is not None else None
            if number is not None and choice is not None:
                self._choose(number, choice)
        return func(*args, **kwargs)


class OtherChoices(TorchDispatchMode):
    """Makes all of these choices otherwise at one position."""

    def __init__(
        self,
        place: Callable[[], Place],
        wanted: dict[Place, int],
        position: int,
        tokens: int,
    ) -> None:
        super().__init__()
        self._place = place
        self._wanted = wanted
        self._position = position
        self._tokens = tokens

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if chooses(func, args) and self._place() in self._wanted:
            return choose_otherwise(func, args, kwargs, self._position, self._tokens)
        return func(*args, **kwargs)
