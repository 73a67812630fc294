"""The context manager that records a model's run."""

from __future__ import annotations

import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from .modules import token_ids, watch
from .values import as_numpy, is_tensor, tensors_in


class Recording(MutableMapping[str, np.ndarray]):
    """Arrays by name, in the order of the run: numpy arrays that own their elements.

    It is a dictionary, to which arrays may be added under names of one's own. Assigning a tensor of
    any library converts it (:func:`assay.record.values.as_numpy`).

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
        if not name:
            raise ValueError("an array needs a name")
        self._arrays[name] = as_numpy(value) if is_tensor(value) else np.array(value)

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

        module: its path ("model.layers.0.mlp"). The second call's names are PATH#2, and so on. A
        tensor that cannot be read is noted in ``skipped``: recording must not stop the run.
        """
        call = self._calls[module] = self._calls.get(module, 0) + 1
        path = module if call == 1 else f"{module}#{call}"
        for name, tensor in tensors_in(returned, path):
            if self._only and not fnmatchcase(name, self._only):
                continue
            try:
                self[name] = tensor
            except Exception as error:
                self.skipped.append(f"{name}: {error}")

    def save(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Writes the arrays as an .npz file, whole or not at all; its directory is made if need be.

        path: the recording's own if None. Returns the path. Raises ValueError without a path or
        without arrays, and OSError if it cannot be written.
        """
        to = self.path if path is None else Path(path)
        if to is None:
            raise ValueError("no path to save the recording to")
        if not self._arrays:
            why = f": {self.skipped[0]}" if self.skipped else ": was the model called in the block?"
            raise ValueError(f"{to}: nothing was recorded{why}")
        to.parent.mkdir(parents=True, exist_ok=True)
        partial = tempfile.NamedTemporaryFile(
            dir=to.parent, prefix=f".{to.name}.", suffix=".npz", delete=False
        )
        try:
            with partial:
                _save_npz(partial, self._arrays)
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(partial.name, 0o666 & ~umask)
            os.replace(partial.name, to)
        except BaseException:
            os.unlink(partial.name)
            raise
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


def _save_npz(file: Any, arrays: dict[str, np.ndarray]) -> None:
    """As np.savez does, which cannot take arrays called "file"."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array).reshape(array.shape))


def record(
    model: Any, path: str | os.PathLike[str] | None = None, *, only: str | None = None
) -> Recording:
    """Records what each module of a model returns while the ``with`` block runs.

    ::

        with assay.record(model, "dump/prompt1.npz") as dump:
            dump["logits"] = model(ids)

    model: a torch or MLX module, or any object whose attributes, lists and dictionaries hold objects
    that are called (tinygrad's models). Names are the modules' paths, as in the model
    ("model.layers.0.self_attn.q_proj"). A module's second call in the block is PATH#2; run one
    prompt per block. Its first tensor has the name itself, the others NAME[1] and so on, those of a
    dictionary NAME.KEY; what the model itself returns as a dictionary has the bare keys, and a bare
    tensor of it is "output". Integers that the model is called with are "input_ids".

    path: the .npz file to write when the block ends without an exception; None: none.
    only: a glob of the names to keep ("model.layers.5.*"), for models whose arrays are too many.

    Elements keep their type, but types that numpy does not have, such as BF16, become FP32, which
    holds them exactly. Arrays are copied when they are returned, so later changes in place do not
    matter. The model is as before after the block. Code that is compiled as a whole (torch.compile,
    mx.compile, TinyJit) calls no modules: what it hides cannot be recorded.

    Returns the :class:`Recording`, a dictionary of numpy arrays. Raises TypeError if the model has
    no modules that can be called, ValueError if nothing was recorded, OSError if the file cannot be
    written.
    """
    recording = Recording(path, only)
    keep: Callable[[str, Any], None] = recording.add

    def after(module: str, inputs: tuple[Any, ...], more: dict[str, Any], returned: Any) -> None:
        if module:
            keep(module, returned)
            return
        ids = token_ids(inputs, more)
        # They tell which prompt the dump is of, whatever `only` says.
        if ids is not None and "input_ids" not in recording:
            recording["input_ids"] = ids
        # A module may have that name too; its output is then what the model returns, or near it.
        if not is_tensor(returned):
            keep("", returned)
        elif "output" not in recording:
            keep("output", returned)

    watch(model, after, recording._hooks)
    return recording
