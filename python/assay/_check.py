"""The check from inside a running engine: every tensor is compared the moment it exists."""

from __future__ import annotations

import json
import os
import warnings
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ._arguments import path_of, whole_number
from ._arrays import hand_over, is_tensor
from ._errors import CheckFailed, UsageError
from ._judging import judging
from ._outputs import call_name, outputs_of, safe_name, unused
from ._reference import Reference, reference_path
from ._results import Comparison, TensorResult

if TYPE_CHECKING:
    from ._core import Checker


class Check:
    """A running comparison; `check` makes it. A context manager, which removes its hooks at the end.

    Attributes:
        results: The result of every tensor so far, in the order of the checks.
    """

    def __init__(self, checker: Checker, has_prompt: bool, stop: bool, record: bool):
        self._checker = checker
        self._has_prompt = has_prompt
        self._stop = stop
        self._record = record
        self._is_written = False
        self._hooks = ExitStack()
        self._unwanted: dict[str, None] = {}  # names of tensors that nothing is compared with
        self.results: list[TensorResult] = []

    def wants(self, name: str) -> bool:
        """Whether a tensor with this name would be compared or recorded. Ask before computing it."""
        return self._checker.wants(name)

    def set_positions(self, first: int, count: int) -> None:
        """Declares that the next forward pass computes positions [first, first + count) of the sequence.

        Before the first call every tensor is taken to be the whole prompt's.
        """
        self._checker.set_positions(whole_number(first, "first"), whole_number(count, "count"))

    def __call__(self, name: str, array: Any) -> TensorResult:
        """Compares one tensor.

        Args:
            name: A tap's name, or one that the map knows. "input_ids" chooses the prompt and comes first.
            array: An array of any framework; batch axes of 1 may be missing, heads split or joined.

        Raises:
            CheckFailed: The tensor fails, and the check was made with ``stop=True``.
            InputError: The tensor cannot be compared.
            UsageError: A name that is no text, no array of numbers, or a check that has written its record.
            MachineError: The tensor does not fit in memory.
        """
        if self._is_written:
            found, expected = "the record is written already", "calls before the check ends"
            raise UsageError(f"{name}: {found}; expected {expected}", name, found, expected)
        result = TensorResult._from_json(json.loads(hand_over(self._checker, name, array)))
        self.results.append(result)
        if self._stop and not result:
            whose = name if result.name == name else f"{name} ({result.name})"
            raise CheckFailed(f"{whose}: {result.reason}", name, result.reason)
        return result

    @property
    def result(self) -> Comparison:
        """The comparison of everything checked so far."""
        return Comparison(self._checker.report())

    @property
    def first_failure(self) -> TensorResult | None:
        """The first tensor that failed, in the order of the checks."""
        return next((r for r in self.results if not r), None)

    def raise_on_failure(self) -> None:
        """Raises `CheckFailed` with the report if anything failed, or if nothing could be compared."""
        if not any(r.verdict != "not compared" for r in self.results):
            seen = dict.fromkeys([*(r.candidate_name or r.name for r in self.results), *self._unwanted])
            names = ", ".join(seen) or "none"
            raise CheckFailed(f"nothing was compared; tensors seen: {names[:400]}", "check", "nothing compared")
        self.result.raise_on_failure()

    def hook(self, module: Any) -> None:
        """Checks the outputs of all modules of a model from now on, under the names that `assay.record` gives them.

        What the model itself returns is checked too, "logits" for example, and counts more than what a module returns
        that leads to it: lm_head's logits are not soft-capped yet.

        Args:
            module: A torch or MLX module, or any model whose modules are Python objects that are called.
        """
        from .record.modules import token_ids, watch

        calls: dict[str, int] = {}

        def before(inputs: tuple[Any, ...], more: dict[str, Any]) -> None:
            calls.clear()
            ids = token_ids(inputs, more)
            if ids is None:
                return
            cache = more.get("past_key_values")
            past = 0 if cache is None or not hasattr(cache, "get_seq_length") else int(cache.get_seq_length())
            # The ids choose the prompt where none was named: then they must be all of its ids.
            if not self._has_prompt:
                self("input_ids", ids)
                self._has_prompt = True
                self.set_positions(past, ids.shape[-1])
            else:
                self.set_positions(past, ids.shape[-1])
                self("input_ids", ids)

        def after(path: str, _inputs: Any, _more: Any, returned: Any) -> None:
            calls[path] = calls.get(path, 0) + 1
            call = call_name(path, calls[path]) if path else ""
            for name, tensor in outputs_of(call, returned, is_tensor):
                name = safe_name(name)
                if not path:  # a module may be called as an output of the model is
                    name = unused(name, calls)
                if not self.wants(name):  # before it is copied from its device
                    self._unwanted[name] = None
                    continue
                try:
                    self(name, tensor)
                except UsageError as error:  # complex numbers: what cannot be compared must not stop the model
                    warnings.warn(f"not checked: {error}", stacklevel=2)

        watch(module, after, self._hooks, before)

    def close(self) -> None:
        """Removes the hooks and writes the record."""
        self._hooks.close()
        if self._record:
            self._checker.write_record()
            self._record = False
            self._is_written = True

    def __enter__(self) -> Check:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def check(
    reference: Reference | str | os.PathLike[str] | None,
    *,
    module: Any = None,
    prompt: str = "",
    map: str | os.PathLike[str] = "auto",
    profile: str | os.PathLike[str] = "noise",
    tolerance: float | None = None,
    model: str | os.PathLike[str] | None = None,
    as_type: str = "",
    record: str | os.PathLike[str] | None = None,
    stop: bool = False,
) -> Check:
    """Opens a comparison that takes one tensor at a time.

    ::

        with assay.check(ref, module=my_model) as c:
            my_model(ids)
        c.raise_on_failure()

    Args:
        reference: A reference, its directory, or a single file of arrays; None only to record.
        module: A model of torch, MLX or tinygrad: the outputs of all its modules are checked, under their paths. A
            torch model's calls with transformers' cache are followed position by position.
        prompt: The prompt's id; needed where the reference has several and no "input_ids" are checked, or where the
            module's first call gets only a part of the prompt.
        map: As in `compare`.
        profile: As in `compare`.
        tolerance: As in `compare`.
        as_type: As in `compare`.
        model: The checkpoint that the engine runs: the reference of a different one is refused.
        record: An .npz file to which everything checked is written at the end.
        stop: Raise `CheckFailed` at the first tensor that fails, where it is computed.

    Raises:
        InputError: The reference cannot be used.
        UsageError: No such prompt, map, profile or type.
    """
    from ._core import Checker

    how = judging(prompt=prompt, map=map, profile=profile, tolerance=tolerance, model=model, as_type=as_type)
    checker = Checker(
        reference_path(reference) if reference is not None else "", how,
        path_of(record, "record") if record is not None else "",
    )  # fmt: skip
    made = Check(checker, bool(prompt), stop, record is not None)
    if module is not None:
        made.hook(module)
    return made
