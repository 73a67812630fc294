"""Names of what modules return: those of `assay.record`, `assay.check` and ``assay capture`` are the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

_DEPTH = 8  # of lists in lists; one may contain itself


def call_name(path: str, call: int) -> str:
    """The name of a module's call: its path, ``path#2`` for the second."""
    return path if call == 1 else f"{path}#{call}"


def outputs_of(call: str, returned: Any, is_tensor: Callable[[Any], bool]) -> Iterator[tuple[str, Any]]:
    """The tensors that a call returned, by name.

    Of several tensors the first has the call's name, and every other one its place in brackets: ``path[1]``,
    ``path[2][0]``, ``path[attentions][3]``. What the model itself returns is named by its own fields, ``logits`` or
    ``hidden_states[3]``, and is ``output`` if it has none. Other objects (caches) are not looked into.

    Args:
        call: The call's name, as `call_name` gives it; "" for the model itself.
        returned: A tensor, or tuples, lists and mappings of them (transformers' ModelOutput is one).
        is_tensor: Tells tensors from everything else.
    """
    for place, value in _tensors_in(returned, is_tensor, ()):
        if call and place in ((), (0,), (_first_key(returned),)):
            yield call, value
        elif call or not place or isinstance(place[0], int):
            yield (call or "output") + "".join(f"[{key}]" for key in place), value
        else:
            yield str(place[0]) + "".join(f"[{key}]" for key in place[1:]), value


def _tensors_in(
    value: Any, is_tensor: Callable[[Any], bool], place: tuple[Any, ...]
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if is_tensor(value):
        yield place, value
    elif len(place) < _DEPTH and isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _tensors_in(inner, is_tensor, (*place, key))
    elif len(place) < _DEPTH and isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from _tensors_in(inner, is_tensor, (*place, index))


def _first_key(returned: Any) -> Any:
    return next(iter(returned), None) if isinstance(returned, Mapping) else None


def safe_name(name: str) -> str:
    """A name that is fit for a member of an .npz: without separators of paths and control characters, at most 300
    characters."""
    name = re.sub(r"[/\\]", ".", name)
    name = re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "_", name)
    return name[:300] or "_"


def unused(name: str, taken: Container[str]) -> str:
    """The name, or the first of ``name~2``, ``name~3``, ... that is not taken: a module may be called as an output of
    the model is."""
    count, candidate = 1, name
    while candidate in taken:
        count += 1
        candidate = f"{name}~{count}"
    return candidate
