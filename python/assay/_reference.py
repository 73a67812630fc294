"""Reference activations: making them and reading them."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._arrays import named
from ._errors import InputError, UsageError
from ._models import find_model

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

        self.path = Path(path)
        self._file = ArrayFile(self.path)

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        if name not in self._file:
            raise KeyError(_missing(name, self._file.names, str(self.path)))
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
            raise KeyError(_missing(name, self._file.names, str(self.path)))
        dtype, shape = self._file.form(name)
        return dtype, tuple(shape)

    def __repr__(self) -> str:
        return f"<assay.Arrays: {len(self)} in {self.path}>"


def _missing(name: str, names: Sequence[str], where: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, names, 1)
    return f"{where} has no {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")


def _below(directory: Path, name: str) -> Path:
    """A file that a manifest names: it cannot lie elsewhere than below the manifest's directory."""
    if os.path.isabs(name) or ".." in Path(name).parts:
        expected = "a path below the directory"
        where = f"{directory / 'manifest.json'}: field 'files'"
        raise InputError(f"{where}: {name!r}; expected {expected}", where, name, expected)
    return directory / name


class PromptReference(Arrays):
    """One prompt of a reference: its arrays by tap name, and what the manifest says of it.

    Attributes:
        id: The prompt's id.
        manifest: The prompt's object in manifest.json.
        oracle: The arrays of the run in double precision, or None if there was none.
    """

    def __init__(self, directory: Path, manifest: dict[str, Any]):
        files = manifest["files"]
        super().__init__(_below(directory, files["reference"]))
        self.id: str = manifest["id"]
        self.manifest = manifest
        self.oracle = Arrays(_below(directory, files["oracle"])) if "oracle" in files else None

    @property
    def input_ids(self) -> list[int]:
        """The prompt's token ids."""
        return list(self.manifest["input_ids"])

    @property
    def generated_ids(self) -> list[int]:
        """The prompt's token ids and those of its greedy continuation."""
        return list(self["generated_ids"][0].tolist())

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
        InputError: The directory has no manifest, or one that is not a reference's.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.model: Path | None = None
        self._owner: tempfile.TemporaryDirectory[str] | None = None
        file = self.path / "manifest.json"
        try:
            self.manifest: dict[str, Any] = json.loads(file.read_bytes())
        except (OSError, ValueError) as error:
            expected = "a directory that assay extract has written"
            raise InputError(f"{file}: {error}; expected {expected}", str(file), str(error), expected) from error
        self._prompts = {prompt["id"]: prompt for prompt in self.manifest.get("prompts", [])}

    def __getitem__(self, prompt: str) -> PromptReference:
        if prompt not in self._prompts:
            raise KeyError(_missing(prompt, list(self._prompts), str(self.path)))
        return PromptReference(self.path, self._prompts[prompt])

    def __iter__(self) -> Iterator[str]:
        return iter(self._prompts)

    def __len__(self) -> int:
        return len(self._prompts)

    def __repr__(self) -> str:
        return f"<assay.Reference: {', '.join(self)} in {self.path}>"


def reference_path(reference: Reference | str | os.PathLike[str]) -> Path:
    """The path of a reference given as an object or as a path."""
    return reference.path if isinstance(reference, Reference) else Path(reference)


def check_prompt_id(name: Any) -> None:
    """Raises `UsageError` for an id that cannot name a prompt's directory."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
        expected = "letters, digits, '-', '_' and '.', not first"
        raise UsageError(f"prompt id {name!r}; expected {expected}", "prompt id", repr(name), expected)


def _prompt(item: Any, number: int) -> _core.Prompt:
    from . import _core

    name = f"prompt{number}"
    if isinstance(item, str):
        return _core.prompt(name, item, [], None)
    if isinstance(item, Mapping):
        name = item.get("id", name)
        check_prompt_id(name)
        if "messages" in item:
            os.environ.setdefault("ASSAY_PYTHON", sys.executable)  # runs the chat template
            messages = {key: item[key] for key in ("messages", "tools") if key in item}
            return _core.prompt(name, None, [], json.dumps(messages))
        if "input_ids" in item:
            return _core.prompt(name, item.get("text"), [int(i) for i in item["input_ids"]], None)
        if "text" in item:
            return _core.prompt(name, item["text"], [], None)
    elif not isinstance(item, bytes) and hasattr(item, "__iter__"):
        ids = item.tolist() if hasattr(item, "tolist") else list(item)
        if len(ids) == 1 and isinstance(ids[0], list):  # [1, S], as models take them
            ids = ids[0]
        if all(isinstance(i, int) for i in ids):
            return _core.prompt(name, None, ids, None)
    expected = 'a text, token ids, or a dict with "text", "input_ids" or "messages"'
    found = type(item).__name__
    raise UsageError(f"{name}: {found}; expected {expected}", name, found, expected)


def extract(
    model: str | os.PathLike[str] | None = None,
    prompts: Sequence[Any] | str | os.PathLike[str] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    taps: str | Sequence[str] = (),
    oracle: bool = True,
    numerics: Sequence[str] | None = None,
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
        numerics: The runs by name instead ("bf16", "f32", "f64"); the first is the reference.
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
        all_prompts = _core.read_prompts(Path(os.fspath(prompts)), 1)
    else:
        items = [prompts] if isinstance(prompts, (str, Mapping)) else list(prompts)
        all_prompts = [_prompt(item, i) for i, item in enumerate(items, 1)]
    owner = None
    if out is None:
        owner = tempfile.TemporaryDirectory(prefix="assay-")
        out = Path(owner.name) / "reference_data"
    directory = Path(out)
    runs = list(numerics) if numerics is not None else ["bf16", "f64"] if oracle else ["bf16"]
    for warning in _core.extract(
        path, directory, all_prompts, thinking, runs, [taps] if isinstance(taps, str) else list(taps),
        max_new_tokens, store, compression, threads, stream, blind_spots, on_progress,
    ):  # fmt: skip
        warnings.warn(warning, stacklevel=2)
    reference = Reference(directory)
    reference.model = path
    reference._owner = owner
    return reference
