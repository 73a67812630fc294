"""Which recorded arrays a tensor was computed from, followed through every operation of a run.

Some operations choose by value: which experts a token goes to. Where the values are nearly equal, one
more rounding chooses otherwise, and what follows is different although nothing is wrong. So it is also
followed which choices a tensor depends on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

Sources = frozenset[int]
NONE: Sources = frozenset()


@dataclass
class _Memory:
    """What a tensor's memory holds."""

    # Its address is not used again as long as this exists.
    storage: StorageWeakRef
    sources: Sources = NONE
    choices: Sources = NONE  # since the recorded arrays that it was computed from
    # Recorded arrays that it still holds, by offset, shape, strides and dtype.
    recorded: dict[tuple[Any, ...], int] = field(default_factory=dict)


@dataclass
class Choice:
    """The largest `count` of the scores along the last axis; all of them where they are sorted."""

    scores: torch.Tensor
    count: int


_CHOOSE = {
    torch.ops.aten.topk.default: lambda scores, args: args[1],
    torch.ops.aten.argmax.default: lambda scores, args: 1,
    torch.ops.aten.sort.default: lambda scores, args: scores.shape[-1],
    torch.ops.aten.sort.stable: lambda scores, args: scores.shape[-1],
    torch.ops.aten.argsort.default: lambda scores, args: scores.shape[-1],
}


def choice_in(func: Any, args: Any) -> Choice | None:
    """What an operation chooses from, if it does; ids do not count."""
    if func not in _CHOOSE or not args or not args[0].is_floating_point() or args[0].dim() == 0:
        return None
    return Choice(args[0], _CHOOSE[func](args[0], args))


class Choices(TorchDispatchMode):
    """Hands over all choices of a run, in their order."""

    def __init__(self, choose: Callable[[Choice], None]) -> None:
        super().__init__()
        self._choose = choose

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if (choice := choice_in(func, args)) is not None:
            self._choose(choice)
        return func(*args, **(kwargs or {}))


class DataFlow(TorchDispatchMode):
    """Sees every operation while it is entered. A recorded array stands for all that it was computed
    from: `sources_of` a tensor are the nearest recorded arrays, not those before them.

    Tensors are told apart by their memory, since views share what an operation writes in place."""

    def __init__(self, choose: Callable[[Choice], None]) -> None:
        super().__init__()
        self._choose = choose
        self._chosen = 0
        self._memory: dict[int, _Memory] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        own: set[int] = set()
        sources = choices = NONE
        for tensor in _tensors((args, kwargs)):
            if (storage := _storage(tensor)) is not None:
                own.add(storage._cdata)
                sources |= self.sources_of(tensor)
                choices |= self.choices_of(tensor)
        if func._schema.is_mutable:
            self._write(func, args, kwargs, sources, choices)
        choice = choice_in(func, args)
        if choice is not None:
            self._choose(choice)
        for tensor in _tensors(result):
            storage = _storage(tensor)
            if storage is None or storage._cdata in own:  # a view, or written in place
                continue
            # Of a choice only the indices depend on it: the values move as little as the scores do.
            is_index = choice is not None and not tensor.is_floating_point()
            depends = choices | {self._chosen} if is_index else choices
            self._memory[storage._cdata] = _Memory(StorageWeakRef(storage), sources, depends)
        self._chosen += choice is not None
        return result

    def _write(
        self, func: Any, args: Any, kwargs: dict[str, Any], sources: Sources, choices: Sources
    ) -> None:
        for i, argument in enumerate(func._schema.arguments):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            written = kwargs.get(argument.name, args[i] if i < len(args) else None)
            for tensor in _tensors(written):
                storage = _storage(tensor)
                if storage is not None:
                    self._memory[storage._cdata] = _Memory(
                        StorageWeakRef(storage), sources, choices
                    )

    def choices_of(self, tensor: torch.Tensor) -> Sources:
        """Numbers of the choices that it depends on, but no recorded array before it does."""
        memory = self._memory_of(tensor)
        return NONE if memory is None or _place(tensor) in memory.recorded else memory.choices

    def sources_of(self, tensor: torch.Tensor) -> Sources:
        memory = self._memory_of(tensor)
        if memory is None:
            return NONE
        array = memory.recorded.get(_place(tensor))
        return memory.sources if array is None else frozenset({array})

    def is_computed(self, tensor: torch.Tensor) -> bool:
        """Whether an operation made it that no recorded array shows: not a part or view of one, nor
        a weight or an input of the model."""
        memory = self._memory_of(tensor)
        return memory is not None and not memory.recorded

    def recorded(self, tensor: torch.Tensor) -> int | None:
        """The array that this very tensor, or another with its memory, was recorded as."""
        memory = self._memory_of(tensor)
        return memory.recorded.get(_place(tensor)) if memory else None

    def record(self, tensor: torch.Tensor, array: int) -> None:
        storage = _storage(tensor)
        if storage is None:
            return
        memory = self._memory.setdefault(storage._cdata, _Memory(StorageWeakRef(storage)))
        memory.recorded[_place(tensor)] = array
        # Other parts of the memory may hold something else.
        if tensor.numel() * tensor.element_size() == storage.nbytes():
            memory.sources = frozenset({array})
            memory.choices = NONE

    def _memory_of(self, tensor: torch.Tensor) -> _Memory | None:
        storage = _storage(tensor)
        return self._memory.get(storage._cdata) if storage is not None else None


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def _storage(tensor: torch.Tensor) -> torch.UntypedStorage | None:
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):  # of vmap and the like: no memory of its own
        return None


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for element in value:
            yield from _tensors(element)
    elif isinstance(value, dict):
        for element in value.values():
            yield from _tensors(element)
