"""Which recorded arrays, and which choices, a tensor was computed from.

This is followed through every operation of a run.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from assay.capture.choices import chooses, compares

Sources = frozenset[int]
NONE: Sources = frozenset()


@dataclass
class _Memory:
    """What a tensor's memory holds."""

    # Its address is not used again as long as this exists.
    storage: StorageWeakRef | None
    sources: Sources = NONE
    choices: Sources = NONE  # since the recorded arrays that it was computed from
    is_moved: bool = True  # whether the elements are those of its sources, or of constants
    is_chosen: bool = False  # whether a choice's scores are in it: others may be compared with them
    # Recorded arrays that it still holds, by offset, shape, strides and dtype.
    recorded: dict[tuple[Any, ...], int] = field(default_factory=dict)


# Their results are elements of their arguments.
_MOVE = {
    *("embedding", "index", "index_select", "gather", "take_along_dim", "slice", "select", "cat"),
    *("stack", "repeat", "expand", "clone", "contiguous", "reshape", "view", "flatten", "to"),
    *(
        "_to_copy",
        "type_as",
        "detach",
        "detach_",
        "lift_fresh",
        "squeeze",
        "unsqueeze",
        "transpose",
        "permute",
        "t",
    ),
}
# After these a chosen score is no threshold any more, but one of many terms.
_MIX = {
    *("linear", "matmul", "mm", "addmm", "bmm", "baddbmm", "einsum", "convolution", "softmax"),
    *("_softmax", "scaled_dot_product_attention", "embedding"),
}


class DataFlow(TorchDispatchMode):
    """Sees every operation while it is entered. A recorded array stands for all that it was computed
    from: `sources_of` a tensor are the nearest recorded arrays, not those before them.

    Tensors are told apart by their memory, since views share what an operation writes in place.

    choose(func, args, kwargs, counts): called at every operation that chooses or compares. counts:
    whether what follows depends on it. Then it returns the number of the choice."""

    def __init__(self, choose: Callable[[Any, Any, dict[str, Any], bool], int | None]) -> None:
        super().__init__()
        self._choose = choose
        self._memory: dict[int, _Memory] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func._overloadpacket.__name__
        own: set[int] = set()
        new = _Memory(None, is_moved=name in _MOVE or _scales(name, args))
        for tensor in _tensors((args, kwargs)):
            if (storage := _storage(tensor)) is not None:
                own.add(storage._cdata)
                new.sources |= self.sources_of(tensor)
                new.choices |= self.choices_of(tensor)
                if (memory := self._memory.get(storage._cdata)) is not None:
                    new.is_chosen |= memory.is_chosen
                    if tensor.is_floating_point() and _place(tensor) not in memory.recorded:
                        new.is_moved &= memory.is_moved
        chosen: int | None = None
        if chooses(func, args):
            chosen = self._choose(func, args, kwargs, new.is_chosen or not compares(func))
        new.is_chosen &= name not in _MIX
        if func._schema.is_mutable:
            self._write(func, args, kwargs, new)
        for tensor in _tensors(result):
            storage = _storage(tensor)
            if storage is None or storage._cdata in own:  # a view, or written in place
                continue
            made = replace(new, storage=StorageWeakRef(storage), recorded={})
            if chosen is not None:
                # Only the indices depend on it: the values move as little as the scores do.
                if tensor.is_floating_point():
                    made.is_chosen = True
                else:
                    made.choices |= {chosen}
            self._memory[storage._cdata] = made
        return result

    def _write(self, func: Any, args: Any, kwargs: dict[str, Any], new: _Memory) -> None:
        for i, argument in enumerate(func._schema.arguments):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            written = kwargs.get(argument.name, args[i] if i < len(args) else None)
            for tensor in _tensors(written):
                storage = _storage(tensor)
                if storage is not None:
                    self._memory[storage._cdata] = replace(
                        new, storage=StorageWeakRef(storage), recorded={}
                    )

    def choices_of(self, tensor: torch.Tensor) -> Sources:
        """Numbers of the choices that it depends on, but no recorded array before it does."""
        memory = self._memory_of(tensor)
        return NONE if memory is None or _place(tensor) in memory.recorded else memory.choices

    def sources_of(self, tensor: torch.Tensor) -> Sources:
        """Numbers of the nearest recorded arrays that it is computed from; its own if it is one."""
        memory = self._memory_of(tensor)
        if memory is None:
            return NONE
        array = memory.recorded.get(_place(tensor))
        return memory.sources if array is None else frozenset({array})

    def is_moved(self, tensor: torch.Tensor) -> bool:
        """Whether its elements are those of its sources, or of weights."""
        memory = self._memory_of(tensor)
        return memory is None or _place(tensor) in memory.recorded or memory.is_moved

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
        """From now on the tensor stands for what it was computed from. array: its number."""
        storage = _storage(tensor)
        if storage is None:
            return
        memory = self._memory.setdefault(storage._cdata, _Memory(StorageWeakRef(storage)))
        memory.recorded[_place(tensor)] = array
        # Other parts of the memory may hold something else.
        if tensor.numel() * tensor.element_size() == storage.nbytes():
            memory.sources = frozenset({array})
            memory.choices = NONE
            memory.is_moved = True

    def _memory_of(self, tensor: torch.Tensor) -> _Memory | None:
        storage = _storage(tensor)
        return self._memory.get(storage._cdata) if storage is not None else None


def _scales(name: str, args: Any) -> bool:
    """Whether an operation multiplies by one number, as embeddings do that are then added to others."""
    return name == "mul" and (not isinstance(args[1], torch.Tensor) or args[1].numel() == 1)


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
