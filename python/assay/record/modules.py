"""Watches the calls of a model's modules: by hooks in torch, by the classes' __call__ elsewhere."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from assay._arrays import is_tensor, library_of

# Path of the module, what it was called with (positional, by name), what it returned.
After = Callable[[str, tuple[Any, ...], dict[str, Any], Any], None]
# What the model was called with (positional, by name).
Before = Callable[[tuple[Any, ...], dict[str, Any]], None]


def watch(model: Any, after: After, until: ExitStack, before: Before | None = None) -> None:
    """Has `after` called after each call of the model and its modules; "" is the model's own path.

    before: called before each call of the model itself. until: ends it, when it is closed. Raises
    TypeError for a model without modules.
    """
    if hasattr(model, "register_forward_hook"):
        _watch_torch(model, after, until, before)
        return
    if hasattr(model, "named_modules"):  # MLX
        names = {id(module): name for name, module in model.named_modules()}
        modules = [module for _, module in model.named_modules()]
    else:
        found = list(_objects_in(model))
        names = {id(module): name for name, module in found}
        modules = [module for _, module in found]
    if len(modules) < 2:
        raise TypeError(f"{type(model).__name__} has no modules that are called: is it the model?")
    if any(library_of(module) == "tinygrad" for module in modules):
        _uncompile_tinygrad(modules, until)
    _watch_classes(modules, names, after, until, before)


def token_ids(inputs: tuple[Any, ...], more: dict[str, Any]) -> Any | None:
    """The tensor of integers that a model is called with, or None."""
    given = (more.get("input_ids"), *inputs)
    return next((v for v in given if is_tensor(v) and "int" in str(v.dtype).lower()), None)


def _watch_torch(model: Any, after: After, until: ExitStack, before: Before | None) -> None:
    if before is not None:

        def begin(_module: Any, inputs: tuple[Any, ...], more: dict[str, Any]) -> None:
            before(inputs, more)

        until.callback(model.register_forward_pre_hook(begin, with_kwargs=True).remove)
    for name, module in model.named_modules():

        def hook(
            _module: Any,
            inputs: tuple[Any, ...],
            more: dict[str, Any],
            returned: Any,
            name: str = name,
        ) -> None:
            after(name, inputs, more, returned)

        until.callback(module.register_forward_hook(hook, with_kwargs=True).remove)


def _objects_in(model: Any) -> Iterator[tuple[str, Any]]:
    """The model and the objects below it that are called as modules are, with their paths."""
    seen: set[int] = set()
    pending = [("", model)]
    while pending:
        path, value = pending.pop()
        if id(value) in seen or is_tensor(value) or isinstance(value, type):
            continue
        inner: list[tuple[str, Any]]
        if isinstance(value, dict):
            inner = [(str(key), v) for key, v in value.items()]
        elif isinstance(value, (list, tuple)):
            inner = [(str(i), v) for i, v in enumerate(value)]
        elif path == "" or _is_module(value):
            yield path, value
            inner = list(getattr(value, "__dict__", {}).items())
        else:  # a config, a function
            continue
        seen.add(id(value))
        # What comes first in the model is looked at first: it names a module that it has twice.
        pending.extend((f"{path}.{key}" if path else key, v) for key, v in reversed(inner))


def _is_module(value: Any) -> bool:
    call = getattr(type(value), "__call__", None)  # noqa: B004
    # Functions, methods and what a compiler wraps are callable too.
    return (
        hasattr(call, "__code__")
        and not hasattr(value, "__wrapped__")
        and not hasattr(value, "fxn")
    )


def _watch_classes(
    modules: list[Any],
    names: dict[int, str],
    after: After,
    until: ExitStack,
    before: Before | None,
) -> None:
    until.callback(modules.clear)  # keeps them till then: another object may get a dead one's id
    owners = set()
    for module in modules:
        owner = next((c for c in type(module).__mro__ if "__call__" in vars(c)), None)
        if owner is not None and hasattr(vars(owner)["__call__"], "__code__"):
            owners.add(owner)
    running = threading.local()

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def __call__(module: Any, *inputs: Any, **more: Any) -> Any:
            name = names.get(id(module))
            active = running.__dict__.setdefault("modules", set())
            # A class that calls its base's __call__ is one call.
            if name is None or id(module) in active:
                return call(module, *inputs, **more)
            if before is not None and not name:
                before(inputs, more)
            active.add(id(module))
            try:
                returned = call(module, *inputs, **more)
            finally:
                active.discard(id(module))
            after(name, inputs, more, returned)
            return returned

        return __call__

    for owner in owners:
        original = vars(owner)["__call__"]
        setattr(owner, "__call__", watched(original))  # noqa: B010
        until.callback(setattr, owner, "__call__", original)


def _uncompile_tinygrad(modules: list[Any], until: ExitStack) -> None:
    """Runs blocks that tinygrad would compile as one function in steps, so that values exist."""

    def plain(*wrapped: Any, **_options: Any) -> Any:
        return wrapped[0] if wrapped else lambda f: f

    for name in {type(module).__module__ for module in modules}:
        source: Any = sys.modules.get(name)
        compiler = getattr(source, "function", None)
        if getattr(compiler, "__module__", "").startswith("tinygrad"):
            source.function = plain
            until.callback(setattr, source, "function", compiler)
