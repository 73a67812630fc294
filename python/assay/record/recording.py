"""The context manager that records a model's run."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from assay._arrays import as_numpy, is_tensor
from assay._errors import UsageError
from assay._files import machine_errors, replacing
from assay._npz import encode, write_archive
from assay._outputs import call_name, outputs_of, safe_name, unused

from .modules import token_ids, watch


class Recording(MutableMapping[str, np.ndarray]):
    """Arrays by name, in the order of the run: numpy arrays that own their elements.

    It is a dictionary, to which arrays may be added under names of one's own. Assigning a tensor of
    any library copies it; elements of types that numpy does not have become FP32.

    Attributes:
        skipped: what could not be read, as "NAME: why".
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, only: str | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.skipped: list[str] = []
        self._only = only
        self._arrays: dict[str, np.ndarray] = {}
        self._calls: dict[str, int] = {}
        self._hooks = ExitStack()

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if not isinstance(name, str) or not name:
            found = repr(name)
            raise UsageError(f"an array's name: {found}; expected a text", "name", found, "a text")
        if is_tensor(value):
            self._arrays[name] = as_numpy(value)
            return
        try:
            array = np.array(value)
        except (ValueError, TypeError):  # rows of different lengths
            array = np.array(None)
        if array.dtype.kind not in "biuf":
            found = type(value).__name__
            expected = "a tensor, a number, or a list of numbers"
            raise UsageError(f"{name}: {found}; expected {expected}", name, found, expected)
        self._arrays[name] = array

    def __delitem__(self, name: str) -> None:
        del self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        size = sum(array.nbytes for array in self._arrays.values())
        return f"<Recording: {len(self)} arrays, {size / 1e6:.1f} MB>"

    def add(self, module: str, returned: Any) -> None:
        """Adds the tensors that a call of a module returned.

        module: its path ("model.layers.0.mlp"), "" for the model itself. The second call's names
        are PATH#2, and so on. A
        tensor that cannot be read is noted in ``skipped``: recording must not stop the run.
        """
        count = self._calls[module] = self._calls.get(module, 0) + 1
        call = call_name(module, count) if module else ""
        for name, tensor in outputs_of(call, returned, is_tensor):
            name = safe_name(name)
            if not module:  # a module may be called as an output of the model is
                name = unused(call_name(name, count), self)
            if self._only and not fnmatchcase(name, self._only):
                continue
            try:
                self[name] = tensor
            except Exception as error:
                self.skipped.append(f"{name}: {error}")

    def save(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Writes the arrays as an .npz file, whole or not at all; its directory is made if need be.

        path: the recording's own if None. Returns the path. Raises UsageError without a path or
        without arrays, and MachineError if it cannot be written.
        """
        to = self.path if path is None else Path(path)
        if to is None:
            raise UsageError("path: none to save the recording to", "path", "none", "a path")
        if not self._arrays:
            why = f": {self.skipped[0]}" if self.skipped else ": was the model called in the block?"
            found = f"nothing was recorded{why}"
            raise UsageError(f"{to}: {found}", str(to), found)
        with machine_errors(to):
            to.parent.mkdir(parents=True, exist_ok=True)
        with replacing(to) as file:
            arrays = self._arrays.items()
            write_archive(file, (encode(name, array, "none") for name, array in arrays))
        return to

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, kind: type | None, *_rest: object) -> None:
        self._hooks.close()
        if self.skipped:
            more = f" (and {len(self.skipped) - 1} more)" if len(self.skipped) > 1 else ""
            warnings.warn(f"not recorded: {self.skipped[0]}{more}", stacklevel=2)
        if kind is None and self.path is not None:
            self.save()


def record(
    model: Any, path: str | os.PathLike[str] | None = None, *, only: str | None = None
) -> Recording:
    """Records what each module of a model returns while the ``with`` block runs.

    ::

        with assay.record(model, "dump/prompt1.npz") as dump:
            model(ids)
            dump["mine"] = hidden      # arrays of one's own, if need be

    model: a torch or MLX module, or any object whose attributes, lists and dictionaries hold
    objects that are called (tinygrad's models). Names are the modules' paths, as in the model
    ("model.layers.0.self_attn.q_proj"). A module's second call in the block is PATH#2; run one
    prompt per block. Of several tensors the first has the name itself, the others their place in
    brackets: ``NAME[1]``, ``NAME[KEY]``, ``NAME[1][0]``. What the model itself returns has the
    names of its fields ("logits", "hidden_states[3]"), or is "output" if it has none; "output~2"
    where a module has that name. Integers that the model is called with are "input_ids".
    ``assay capture`` and :func:`assay.check` use the same names.

    path: the .npz file to write when the block ends without an exception; None: none.
    only: a glob of the names to keep ("model.layers.5.*"), for models whose arrays are too many.

    Elements keep their type, but types that numpy does not have, such as BF16, become FP32, which
    holds them exactly. Arrays are copied when they are returned, so later changes in place do not
    matter. The model is as before after the block. Code that is compiled as a whole (torch.compile,
    mx.compile, TinyJit) calls no modules: what it hides cannot be recorded.

    Returns the :class:`Recording`, a dictionary of numpy arrays. Raises TypeError if the model has
    no modules that can be called, UsageError (a ValueError) if nothing was recorded, MachineError
    if the file cannot be written.
    """
    recording = Recording(path, only)
    keep: Callable[[str, Any], None] = recording.add

    def after(module: str, inputs: tuple[Any, ...], more: dict[str, Any], returned: Any) -> None:
        ids = None if module else token_ids(inputs, more)
        # They tell which prompt the dump is of, whatever `only` says.
        if ids is not None and "input_ids" not in recording:
            recording["input_ids"] = ids
        keep(module, returned)

    watch(model, after, recording._hooks)
    return recording
