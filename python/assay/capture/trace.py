"""Hooks on every module of a model: what each returns, in the order of execution.

The name of an array is the path of its module; from the second call on `path#2`, `path#3`, ... Of
several tensors that a module returns, the first has this name, and every other one its place in
brackets: `path[1]`, `path[2][0]`, `path[attentions][3]`. What the model itself returns is named by
its own fields: `logits`, `last_hidden_state`.

A module without children also shows its input, as `path.input`, if no module returned that tensor:
the context before an output projection, the residual stream before a norm.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from assay._outputs import call_name, outputs_of, safe_name, unused
from assay.capture.choices import Choice, Choices, Place, choice_in
from assay.capture.flow import DataFlow
from assay.capture.names import Rename


@dataclass
class Traced:
    """One array of a run."""

    name: str
    hook: str  # its name before a map, or the model's own output, gave it another
    module: str  # the path of the module that made it; "" for the model itself
    kind: str  # that module's class
    also: list[str] = field(default_factory=list)  # further modules that return this very tensor
    source: list[int] = field(default_factory=list)  # numbers of the arrays it is computed from
    choices: list[int] = field(
        default_factory=list
    )  # numbers of the choices it depends on directly
    is_integer: bool = False
    is_moved: bool = False  # whether its elements are those of its sources, or of weights

    def as_json(self) -> dict[str, Any]:
        """For the notes of a spool."""
        return asdict(self)


Write = Callable[[int, torch.Tensor], None]


@dataclass
class NumberedChoice:
    """A choice of a run. Its scores are stored under -1 - its number."""

    call: str  # the module's call in which it was made
    nth: int  # of the choices and comparisons in this call
    count: int


class Trace:
    """Records the first run: names, order and data flow. Modules may be called any number of times.

    write(number, tensor): stores an array at once, since later operations may overwrite it. wanted:
    whether to record an array of that name."""

    def __init__(
        self, net: nn.Module, write: Write, rename: Rename, wanted: Callable[[str], bool]
    ) -> None:
        self.arrays: list[Traced] = []
        self._net = net
        self._write = write
        self._rename = rename
        self._wanted = wanted
        self.choices: list[NumberedChoice] = []
        self._flow = DataFlow(self._choose)
        self._names: dict[str, int] = {}
        self._calls = Calls()

    def run(self, inputs: dict[str, torch.Tensor]) -> Any:
        """The model's output; `arrays` and `choices` then tell what was recorded."""
        for name, value in inputs.items():
            if _is_array(value) and self._wanted(name):
                self._flow.record(value, self._add(name, name, "", "input", value, []))
        with ExitStack() as stack:
            for path, module in self._net.named_modules():
                for hook in self._hooks(path, module):
                    stack.callback(hook.remove)
            stack.enter_context(self._flow)
            return self._net(**inputs)

    def _choose(self, func: Any, args: Any, kwargs: dict[str, Any], counts: bool) -> int | None:
        call, nth = self._calls.next_choice()
        choice = choice_in(func, args, kwargs) if counts else None
        if choice is None:
            return None
        number = len(self.choices)
        self.choices.append(NumberedChoice(call, nth, choice.count))
        self._write(-1 - number, choice.scores)
        return number

    def _hooks(self, path: str, module: nn.Module) -> Iterator[Any]:
        kind = type(module).__name__
        is_leaf = next(module.children(), None) is None

        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            call = self._calls.enter(path, kind)
            if is_leaf and path:
                self._note_input(call, args, kwargs)

        def leave(_: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
            call = self._calls.leave()
            for name, value in outputs_of(call if path else "", output, is_tensor):
                self._note(name, path, kind, value, is_output_of_model=not path)

        yield module.register_forward_pre_hook(enter, with_kwargs=True)
        yield module.register_forward_hook(leave)

    def _note_input(self, call: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        value = first_input(args, kwargs)
        if value is None or not self._flow.is_computed(value):
            return
        # It was made by the code of the module that calls this one.
        path, kind = self._calls.caller()
        self._note(f"{call}.input", path, kind, value)

    def _note(
        self,
        name: str,
        module: str,
        kind: str,
        value: torch.Tensor,
        *,
        is_output_of_model: bool = False,
    ) -> None:
        if not _is_array(value):
            return
        same = self._flow.recorded(value)
        if same is not None:
            array = self.arrays[same]
            if is_output_of_model and array.kind != "input" and "." not in name:
                name = self._rename_array(array, name)
            if name != array.name and name not in array.also:
                array.also.append(name)
            return
        sources = sorted(self._flow.sources_of(value))
        choices = sorted(self._flow.choices_of(value))
        is_moved = self._flow.is_moved(value)
        new = self._rename(name)
        # Both are asked, so that a glob of either kind counts as used.
        if not any([self._wanted(own) for own in (name, new) if own is not None]):
            return
        number = self._add(new or name, name, module, kind, value, sources)
        self.arrays[number].choices = choices
        self.arrays[number].is_moved = is_moved
        if new is not None and new != name:
            self.arrays[number].also.append(name)
        self._flow.record(value, number)

    def _rename_array(self, array: Traced, name: str) -> str:
        """Gives an array the name of the model's output, unless a map named it. Returns what the
        other name is."""
        if array.name != safe_name(array.hook) or name in self._names:
            return name
        number = self._names.pop(array.name)
        old, array.name = array.name, name
        self._names[name] = number
        return old

    def _add(
        self,
        name: str,
        hook: str,
        module: str,
        kind: str,
        value: torch.Tensor,
        sources: list[int],
    ) -> int:
        name = unused(safe_name(name), self._names)
        number = len(self.arrays)
        self.arrays.append(Traced(name, hook, module, kind, [], sources))
        self.arrays[number].is_integer = not value.is_floating_point()
        self._names[name] = number
        self._write(number, value)
        return number


class Calls:
    """The modules that are running, and how often each was called."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._running: list[tuple[str, str, str]] = []
        self._choices: dict[str, int] = {}

    def enter(self, path: str, kind: str) -> str:
        """The name of this call: the path, `path#2` for the second."""
        count = self._counts[path] = self._counts.get(path, 0) + 1
        call = call_name(path, count)
        self._running.append((call, path, kind))
        return call

    def leave(self) -> str:
        """The name of the call that ends."""
        return self._running.pop()[0]

    def next_choice(self) -> tuple[str, int]:
        """The place of an operation that chooses or compares: the call, and its number there."""
        call = self._running[-1][0] if self._running else ""
        nth = self._choices[call] = self._choices.get(call, -1) + 1
        return call, nth

    def caller(self) -> tuple[str, str]:
        """Path and class of the module that called the running one."""
        if len(self._running) < 2:
            return "", ""
        return self._running[-2][1:]


class Replay:
    """Records the same arrays and choices in a later run, by their hooks' names and places."""

    def __init__(
        self,
        net: nn.Module,
        write: Write,
        numbers: dict[str, int],
        choices: dict[Place, int],
    ) -> None:
        self._net = net
        self._write = write
        self._numbers = numbers
        self._calls = Calls()
        self._seen: set[int] = set()
        self._choices = choices

    def run(self, inputs: dict[str, torch.Tensor]) -> Any:
        """The model's output."""
        for name, value in inputs.items():
            self._keep(name, value)
        with ExitStack() as stack:
            for path, module in self._net.named_modules():
                for hook in self._hooks(path, module):
                    stack.callback(hook.remove)
            if self._choices:
                stack.enter_context(Choices(self._calls.next_choice, self._choices, self._choose))
            return self._net(**inputs)

    def _hooks(self, path: str, module: nn.Module) -> Iterator[Any]:
        is_leaf = next(module.children(), None) is None

        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            call = self._calls.enter(path, "")
            if is_leaf and path and f"{call}.input" in self._numbers:
                self._keep(f"{call}.input", first_input(args, kwargs))

        def leave(_: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
            call = self._calls.leave()
            for name, value in outputs_of(call if path else "", output, is_tensor):
                self._keep(name, value)

        yield module.register_forward_pre_hook(enter, with_kwargs=True)
        yield module.register_forward_hook(leave)

    def _choose(self, number: int, choice: Choice) -> None:
        self._write(-1 - number, choice.scores)

    def _keep(self, name: str, value: torch.Tensor | None) -> None:
        number = self._numbers.get(name)
        if number is None or number in self._seen or value is None or not _is_array(value):
            return
        self._seen.add(number)
        self._write(number, value)


def first_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
    """The first activation among a module's arguments."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            return value
    return None


def is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _is_array(value: Any) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.dim() > 0
        and value.numel() > 0
        and (value.is_floating_point() or value.dtype in _INTEGERS)
    )


_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
