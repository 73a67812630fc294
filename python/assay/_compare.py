"""Is a dump right, and which mistake explains it?"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ._arguments import path_of, whole_number
from ._arrays import hand_over, is_tensor
from ._errors import UsageError
from ._judging import judging
from ._models import find_model
from ._reference import OnProgress, Reference, check_prompt_id, reference_path
from ._results import Comparison, Diagnosis


def save(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> None:
    """Writes arrays of any framework as an .npz file.

    Args:
        path: The file; it appears only when it is complete.
        arrays: Arrays and tensors by name. BF16 and FP8 are written as float32, which holds the same values.

    Raises:
        InputError: A name that no file can hold.
        UsageError: There are no arrays; a name that is no text; an element type that Assay does not know.
        MachineError: The file cannot be written; an array does not fit in memory.
    """
    from ._core import Checker

    if not arrays:
        raise UsageError("arrays: none; expected at least one", "arrays", "none", "at least one")
    recorder = Checker("", judging(), path_of(path, "path"))
    for name, array in arrays.items():
        hand_over(recorder, name, array)
    recorder.write_record()


@contextlib.contextmanager
def _on_disk(candidate: Any) -> Iterator[Path]:
    """The path of a dump that is a path or a mapping of arrays."""
    if isinstance(candidate, Reference):
        yield candidate.path
        return
    if not isinstance(candidate, Mapping):
        if is_tensor(candidate) or not isinstance(candidate, (str, bytes, os.PathLike)):
            found, expected = type(candidate).__name__, "a path, or a mapping of names to arrays"
            raise UsageError(f"candidate: {found}; expected {expected}", "candidate", found, expected)
        yield path_of(candidate, "candidate")
        return
    if not candidate:
        raise UsageError("candidate: no arrays; expected at least one", "candidate", "no arrays")
    with tempfile.TemporaryDirectory(prefix="assay-") as directory:
        if all(isinstance(value, Mapping) for value in candidate.values()):
            for prompt, arrays in candidate.items():
                check_prompt_id(prompt)
                save(Path(directory, f"{prompt}.npz"), arrays)
            yield Path(directory)
        else:
            save(Path(directory, "arrays.npz"), candidate)
            yield Path(directory, "arrays.npz")


def compare(
    reference: Reference | str | os.PathLike[str],
    candidate: str | os.PathLike[str] | Mapping[str, Any],
    *,
    prompt: str = "",
    map: str | os.PathLike[str] = "auto",
    profile: str | os.PathLike[str] = "noise",
    tolerance: float | None = None,
    model: str | os.PathLike[str] | None = None,
    as_type: str = "",
    threads: int = 0,
    details: bool = False,
    on_progress: OnProgress | None = None,
) -> Comparison:
    """Compares an engine's arrays with a reference, as ``assay compare`` does.

    Args:
        reference: A reference, its directory, or a single file of arrays.
        candidate: The engine's dump: a path (.npz, .npy, .safetensors, .pt, .gguf, the .json sidecar of raw files, a
            directory of these), a mapping of names to arrays of numpy, torch, JAX, MLX or tinygrad, or a mapping of
            prompt ids to such mappings.
        prompt: The prompt's id, where neither the dump's ids nor its layout tell it.
        map: How the dump's names become taps: "auto" for all known engines, an engine ("llama.cpp"), or a .json
            file of rules.
        profile: "noise", "table", or a .json file.
        tolerance: Largest relative L2 error of every array, instead of a profile.
        model: The checkpoint, to judge the dump's generated text step by step; as `find_model` takes it.
        as_type: The precision to expect: "f32", "f16", "bf16" or "q8"; "" for what the values show.
        threads: 0 for all cores.
        details: Keep what an HTML report shows of every array.
        on_progress: Called with what is done and the fraction done; None: a bar on a terminal.

    Raises:
        InputError: A file cannot be read; nothing could be compared; it is not clear which prompt the dump is of.
        UsageError: An unknown map, profile or type.
    """
    from . import _core

    how = judging(prompt=prompt, map=map, profile=profile, tolerance=tolerance, model=model, as_type=as_type)

    whole, cores = reference_path(reference), whole_number(threads, "threads")

    def run(with_details: bool) -> _core.Report:
        with _on_disk(candidate) as path:
            return _core.compare(whole, path, how, cores, with_details, on_progress)

    return Comparison(run(details), None if details else lambda: run(True))


def draft_map(
    reference: Reference | str | os.PathLike[str],
    candidate: str | os.PathLike[str] | Mapping[str, Any],
    *,
    prompt: str = "",
    map: str | os.PathLike[str] = "auto",
) -> tuple[str, dict[str, Any]]:
    """Drafts rules for the unknown names of a dump from its values.

    Args:
        reference: As in `compare`.
        candidate: As in `compare`.
        prompt: As in `compare`.
        map: As in `compare`: what is known of the names already.

    Returns:
        The text of a file of rules, which `compare` takes as ``map``, and the description of
        ``assay compare --suggest-map --json``. Read the rules before you use them.

    Raises:
        InputError: A file cannot be read; it is not clear which prompt the dump is of.
        UsageError: An unknown map.
    """
    from . import _core

    with _on_disk(candidate) as path:
        rules, description = _core.draft_map(reference_path(reference), path, judging(prompt=prompt, map=map))
    return rules, json.loads(description)


def diagnose(
    reference: Reference | str | os.PathLike[str] | None,
    candidate: str | os.PathLike[str] | Mapping[str, Any],
    *,
    model: str | os.PathLike[str] | None = None,
    prompt: str = "",
    map: str | os.PathLike[str] = "auto",
    as_type: str = "",
    threads: int = 0,
    on_progress: OnProgress | None = None,
) -> Diagnosis:
    """Names the mistake that explains a dump, as ``assay diagnose`` does.

    Args:
        reference: A reference or its directory: whose tokens the dump is of. None if the dump has input_ids.
        candidate: As in `compare`.
        model: The checkpoint, as `find_model` takes it; may be left out if `extract` has made the reference.
        prompt: As in `compare`.
        map: As in `compare`.
        as_type: As in `compare`.
        threads: As in `compare`.
        on_progress: As in `compare`.

    Raises:
        InputError: A file cannot be read.
        UsageError: The checkpoint is not known; it is not clear which prompt the dump is of.
    """
    from . import _core

    if model is None and isinstance(reference, Reference):
        model = reference.model
    if model is None:
        raise UsageError("model: not known; expected model=, since a reference on disk does not hold its path",
                         "model", "not known", "model=")  # fmt: skip
    path = reference_path(reference) if reference is not None else ""
    how = judging(prompt=prompt, map=map, model=model, as_type=as_type)
    cores = whole_number(threads, "threads")
    with _on_disk(candidate) as dump:
        return Diagnosis(_core.diagnose(path, dump, how, cores, on_progress))


def explain(model: str | os.PathLike[str] | None = None, *, layer: int | None = None, form: str = "text") -> Any:
    """What a model computes, step by step, as ``assay explain`` shows it.

    Args:
        model: As `find_model` takes it. A directory with only a config.json is enough.
        layer: Only this layer; None: each kind of layer once.
        form: "text", "markdown", or "json" for an object.

    Raises:
        InputError: The config cannot be used.
        UsageError: No such layer or form.
    """
    from . import _core

    if form not in ("text", "markdown", "json"):
        raise UsageError(f"form: {form!r}; expected text, markdown or json", "form", form)
    text = _core.explain(find_model(model), None if layer is None else whole_number(layer, "layer"), form)
    return json.loads(text) if form == "json" else text


def known_mistakes() -> list[dict[str, Any]]:
    """The catalog of mistakes that `diagnose` knows, as objects with "id", "name" and more (docs/json.md)."""
    from . import _core

    known = json.loads(_core.known_mistakes())
    return list(known["mistakes"] if isinstance(known, dict) else known)
