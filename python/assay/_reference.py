"""Reference activations: making them and reading them."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._arguments import path_of, texts_of, whole_number
from ._arrays import named
from ._errors import AssayError, InputError, UsageError
from ._manifest import FILE, field_error, is_id, is_prompt_id, read_manifest
from ._models import find_model
from ._text import missing_name

if TYPE_CHECKING:
    import numpy as np

    from . import _core

OnProgress = Callable[[str, float], None]


class Arrays(Mapping[str, "np.ndarray[Any, Any]"]):
    """The arrays of a file, by name: ``arrays["layer_00_output"]`` is a read-only numpy array.

    Args:
        path: .npz, .npy, .safetensors, .pt, .gguf, the .json sidecar of raw files, or a directory of .npy or .pt
            files.

    Arrays that lie in the file row-major and uncompressed are views of the mapped file. BF16 and FP8 have the
    types of ml_dtypes if that is installed; otherwise BF16 becomes float32, and FP8 stays uint8.

    Raises:
        InputError: The file is missing or damaged, or its kind is not known.
    """

    def __init__(self, path: str | os.PathLike[str]):
        from ._core import ArrayFile

        self.path = path_of(path, "path")
        self._file = ArrayFile(self.path)

    def __reduce__(self) -> tuple[Any, ...]:  # a compiled object is opened again
        return Arrays, (self.path,)

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        if name not in self:
            raise KeyError(missing_name(name, self._file.names, str(self.path)))
        array: np.ndarray[Any, Any] = named(self._file.load(name), self._file.form(name)[0])
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.names)

    def __len__(self) -> int:
        return len(self._file.names)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._file

    def form(self, name: str) -> tuple[str, tuple[int, ...]]:
        """An array's element type, as torch names it, and its shape. The elements are not read."""
        if name not in self._file:
            raise KeyError(missing_name(name, self._file.names, str(self.path)))
        dtype, shape = self._file.form(name)
        return dtype, tuple(shape)

    def __repr__(self) -> str:
        return f"<assay.Arrays: {len(self)} in {self.path}>"


class PromptReference(Arrays):
    """One prompt of a reference: its arrays by tap name, and what the manifest says of it.

    Attributes:
        id: The prompt's id.
        manifest: The prompt's object in manifest.json.
        oracle: The arrays of the run in double precision, or None if there was none.
    """

    def __init__(self, directory: Path, manifest: dict[str, Any], owner: Any = None):
        files = manifest["files"]
        super().__init__(directory / files["reference"])
        self.id: str = manifest["id"]
        self.manifest = manifest
        self.oracle = Arrays(directory / files["oracle"]) if "oracle" in files else None
        self._directory = directory
        self._owner = owner  # of a temporary directory, which lives as long as this

    def __reduce__(self) -> tuple[Any, ...]:
        return PromptReference, (self._directory, self.manifest)

    @property
    def input_ids(self) -> list[int]:
        """The prompt's token ids; empty if its model gets none (``assay capture`` of an image model)."""
        return list(self.manifest.get("input_ids", []))

    @property
    def generated_ids(self) -> list[int]:
        """The prompt's token ids and those of its greedy continuation.

        Raises:
            KeyError: The reference has none, as those of ``assay capture``.
            InputError: The array is not one of ids, [1, S].
        """
        array = self["generated_ids"]
        if array.dtype.kind not in "iu" or array.ndim != 2 or len(array) != 1:
            found, expected = f"{array.dtype} of shape {list(array.shape)}", "whole numbers of shape [1, S]"
            where = f"{self.path}: array 'generated_ids'"
            raise InputError(f"{where}: {found}; expected {expected}", where, found, expected)
        return list(array[0].tolist())

    @property
    def text(self) -> str | None:
        """The prompt's text; None if it was given as token ids."""
        return self.manifest.get("text")


class Reference(Mapping[str, PromptReference]):
    """A directory of reference activations: ``reference["prompt1"]["layer_07_output"]``.

    Args:
        path: A directory that `extract`, ``assay extract`` or ``assay capture`` has written.

    Attributes:
        path: The directory.
        manifest: manifest.json, see docs/reference-data-format.md.
        model: The checkpoint's path if `extract` has made this object, else None: a manifest does not hold paths.
            Set it where you know it; `diagnose` uses it.

    Raises:
        InputError: The directory has no manifest, or one that is not a reference's: the message names the field.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = path_of(path, "path")
        self.model: Path | None = None
        self._owner: tempfile.TemporaryDirectory[str] | None = None
        self.manifest: dict[str, Any] = read_manifest(self.path)
        self._prompts = {prompt["id"]: prompt for prompt in self.manifest["prompts"]}

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.path, self.model)

    def __copy__(self) -> Reference:
        copy = _reopened(self.path, self.model)
        copy._owner = self._owner
        return copy

    def __deepcopy__(self, _memo: dict[int, Any]) -> Reference:
        return self.__copy__()  # a temporary directory lives as long as one of the copies

    def __getitem__(self, prompt: str) -> PromptReference:
        if prompt not in self._prompts:
            raise KeyError(missing_name(prompt, list(self._prompts), str(self.path)))
        return PromptReference(self.path, self._prompts[prompt], self._owner)

    def __iter__(self) -> Iterator[str]:
        return iter(self._prompts)

    def __len__(self) -> int:
        return len(self._prompts)

    def __repr__(self) -> str:
        return f"<assay.Reference: {', '.join(self)} in {self.path}>"


def _reopened(path: Path, model: Path | None) -> Reference:
    reference = Reference(path)
    reference.model = model
    return reference


def reference_path(reference: Reference | str | os.PathLike[str]) -> Path:
    """The path of a reference given as an object or as a path."""
    return reference.path if isinstance(reference, Reference) else path_of(reference, "reference")


def missing_in_manifest(reference: Reference, field: str, expected: str) -> InputError:
    """The error for a field that this use of a reference needs, and its manifest lacks."""
    return field_error(reference.path / FILE, field, "missing", expected)


def check_prompt_id(name: Any) -> None:
    """Raises `UsageError` for an id that cannot name a prompt's directory."""
    if not is_prompt_id(name):
        expected = "letters, digits, '-', '_' and '.' (not first), at most 100"
        found = repr(name)
        raise UsageError(f"prompt id {found}; expected {expected}", "prompt id", found, expected)


def _ids_of(item: Any, name: str) -> list[int]:
    """Token ids given as a list or an array, [S] or [1, S]."""
    ids = item.tolist() if hasattr(item, "tolist") else item
    if isinstance(ids, (str, bytes, Mapping)) or not hasattr(ids, "__iter__"):
        raise _no_prompt(name, ids, "a list or an array of token ids")
    ids = list(ids)
    if len(ids) == 1 and isinstance(ids[0], (list, tuple)):  # as models take them
        ids = list(ids[0])
    ids = [i.item() if hasattr(i, "item") else i for i in ids]  # numpy's and torch's own numbers
    for place, token in enumerate(ids):
        if not is_id(token):
            found, expected = f"{token!r} at place {place}", "token ids, which are whole numbers"
            raise UsageError(f"{name}: {found}; expected {expected}", name, found, expected)
    return ids


def _no_prompt(name: str, item: Any, expected: str) -> UsageError:
    found = type(item).__name__
    return UsageError(f"{name}: {found}; expected {expected}", name, found, expected)


def _text_of(item: Mapping[str, Any], name: str) -> str | None:
    text = item.get("text")
    if text is not None and not isinstance(text, str):
        raise _no_prompt(f"{name}: text", text, "a text")
    return None if text is None else _unicode(text, name)


def _unicode(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found, expected = f"half of a character at place {error.start}", "Unicode"
        raise UsageError(f"{name}: {found}; expected {expected}", name, found, expected) from error
    return text


def _prompt(item: Any, number: int) -> _core.Prompt:
    from . import _core

    name = f"prompt{number}"
    if isinstance(item, str):
        return _core.prompt(name, _unicode(item, name), [], None)
    if isinstance(item, Mapping):
        name = item.get("id", name)
        check_prompt_id(name)
        if "messages" in item:
            os.environ.setdefault("ASSAY_PYTHON", sys.executable)  # runs the chat template
            messages = {key: item[key] for key in ("messages", "tools") if key in item}
            try:
                return _core.prompt(name, None, [], json.dumps(messages))
            except (TypeError, ValueError, RecursionError) as error:
                if isinstance(error, AssayError):
                    raise
                raise _no_prompt(f"{name}: messages", messages["messages"], f"what JSON can hold ({error})") from error
        if "input_ids" in item:
            return _core.prompt(name, _text_of(item, name), _ids_of(item["input_ids"], name), None)
        if item.get("text") is not None:
            return _core.prompt(name, _text_of(item, name), [], None)
    elif not isinstance(item, bytes) and hasattr(item, "__iter__"):
        return _core.prompt(name, None, _ids_of(item, name), None)
    raise _no_prompt(name, item, 'a text, token ids, or a dict with "text", "input_ids" or "messages"')


def extract(
    model: str | os.PathLike[str] | None = None,
    prompts: Sequence[Any] | str | os.PathLike[str] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    taps: str | Sequence[str] = (),
    oracle: bool = True,
    numerics: str | Sequence[str] | None = None,
    max_new_tokens: int = 20,
    thinking: bool | None = None,
    store: str = "f32",
    compression: str = "fast",
    threads: int = 0,
    stream: bool = False,
    blind_spots: bool = False,
    on_progress: OnProgress | None = None,
) -> Reference:
    """Runs a checkpoint over prompts and writes reference activations.

    Args:
        model: As `find_model` takes it; None for the bundled model.
        prompts: Texts, lists or arrays of token ids, dicts with "text", "input_ids" or "messages" and optionally
            "id"; a single text; or the path of a file of prompts as a `pathlib.Path`. None: the three default
            prompts.
        out: The directory to write. None: a temporary one that lives as long as the result.
        taps: Globs of more taps to record, "*" for all. The classic set is always recorded.
        oracle: Also run in double precision, which `compare` needs for its noise limits.
        numerics: The runs by name instead ("bf16", "f32", "f64", or "bf16,f64"); the first is the reference.
        max_new_tokens: Tokens to generate greedily.
        thinking: For prompts with "messages": the chat template's enable_thinking.
        store: "f64" stores activations as float64.
        compression: "none", "fast" or "small".
        threads: 0 for all cores. The result does not depend on it.
        stream: Keep at most one layer's weights in memory.
        blind_spots: Also find out which mistakes the prompts do not show (takes longer).
        on_progress: Called with what is done and the fraction done; None: a bar on a terminal.

    Returns:
        The reference.

    Raises:
        InputError: The checkpoint, a prompt or a file of prompts cannot be used.
        UsageError: An argument is not what it should be; a glob matches no tap.
        MachineError: The disk is full, or `out` cannot be written.
        KeyboardInterrupt: Ctrl-C; nothing is left behind.
    """
    from . import _core

    path = find_model(model)
    if prompts is None:
        all_prompts = _core.default_prompts()
    elif isinstance(prompts, os.PathLike):
        all_prompts = _core.read_prompts(path_of(prompts, "prompts"), 1)
    else:
        if not isinstance(prompts, (str, Mapping)) and not hasattr(prompts, "__iter__"):
            raise _no_prompt("prompts", prompts, "a text, or a list of prompts")
        items = [prompts] if isinstance(prompts, (str, Mapping)) else list(prompts)
        all_prompts = [_prompt(item, i) for i, item in enumerate(items, 1)]
    owner = None
    if out is None:
        owner = tempfile.TemporaryDirectory(prefix="assay-")
        out = Path(owner.name) / "reference_data"
    directory = path_of(out, "out")
    if not os.fspath(out):
        raise UsageError("out: empty; expected a directory", "out", "empty", "a directory")
    if isinstance(numerics, str):
        numerics = numerics.split(",")
    default = ["bf16", "f64"] if oracle else ["bf16"]
    runs = default if numerics is None else texts_of(numerics, "numerics")
    for warning in _core.extract(
        path, directory, all_prompts, thinking, runs, texts_of(taps, "taps"),
        whole_number(max_new_tokens, "max_new_tokens"), store, compression, whole_number(threads, "threads"), stream,
        blind_spots, on_progress,
    ):  # fmt: skip
        warnings.warn(warning, stacklevel=2)
    reference = Reference(directory)
    reference.model = path
    reference._owner = owner
    return reference
