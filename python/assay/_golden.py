"""Golden bundles: small references that live in a repository."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._arguments import path_of, texts_of
from ._compare import explain
from ._errors import InputError, UsageError
from ._files import machine_errors, write_files
from ._manifest import FILE, field_error, is_id
from ._models import find_model
from ._npz import Member, archive_bytes, read_members
from ._reference import OnProgress, PromptReference, Reference, extract, missing_in_manifest, reference_path

# Short ones for details, a longer one for what grows with the position.
DEFAULT_PROMPTS = [
    {"id": "capital", "text": "The capital of France is"},
    {"id": "sum", "text": "What is 2+2?"},
    {"id": "hello", "text": "Hello"},
    {"id": "river", "text": "In the morning the old man walked down to the river, where the boats"},
]
DEFAULT_MAX_BYTES = 1_000_000
_IDS = ("input_ids", "generated_ids")
_DETAILED_LAYERS = 8
_LAYER = re.compile(r"layer_(\d+)_(\w+)")


@dataclass(frozen=True)
class _Item:
    """An array of a prompt that a bundle may hold."""

    prompt: int
    name: str
    members: tuple[Member, ...]  # the reference's and the oracle's
    record: dict[str, Any]

    @property
    def stored_bytes(self) -> int:
        return sum(m.stored_bytes for m in self.members) + len(json.dumps({self.name: self.record})) + 8


def golden(
    model: str | os.PathLike[str] | Reference | None = None,
    out: str | os.PathLike[str] = "tests/assay_golden",
    *,
    prompts: Sequence[Any] | str | os.PathLike[str] | None = None,
    taps: str | Sequence[str] | None = None,
    max_bytes: int | None = DEFAULT_MAX_BYTES,
    max_new_tokens: int = 8,
    threads: int = 0,
    stream: bool = False,
    on_progress: OnProgress | None = None,
) -> Reference:
    """Makes a golden bundle: a reference set that is small enough for a repository.

    A comparison with it needs no checkpoint: it is read wherever a reference is. It holds every array whole, as
    float32, with its oracle. If not all arrays fit, the most telling ones are taken: first the output of the final
    norm, which every mistake before it changes, the last and the first layer's output; then, of one short prompt
    first, layer outputs spread over the depth and all taps of some layers, the first of each kind among them. What is
    left out is in ``manifest["golden"]["left_out"]``, for each prompt as names and globs. The same checkpoint and
    arguments give the same bytes.

    Args:
        model: As `find_model` takes it; or a reference or its directory, of which the bundle becomes a part (its
            members are copied as they are compressed: extract it with ``compression="small"``).
        out: The directory to write. A bundle there is replaced; files that are not the bundle's stay.
        prompts: As in `extract`; None: four short ones.
        taps: Globs of the only arrays to take; None: whatever fits.
        max_bytes: The largest size of all files together; None: no limit.
        max_new_tokens: Tokens to generate greedily.
        threads: As in `extract`.
        stream: As in `extract`.
        on_progress: As in `extract`.

    Returns:
        The bundle.

    Raises:
        InputError: The checkpoint or a prompt cannot be used; a reference without an oracle.
        UsageError: Not even one array fits into max_bytes (the message tells how many bytes it takes); a glob
            matches no array; `out` holds something else.
        MachineError: `out` cannot be written.
    """
    target = path_of(out, "out")
    globs = None if taps is None else texts_of(taps, "taps")
    if max_bytes is not None and (not is_id(max_bytes) or max_bytes < 1):
        found = repr(max_bytes)
        raise UsageError(f"max_bytes: {found}; expected a whole number, at least 1, or None", "max_bytes", found)
    _expect_bundle_or_nothing(target)
    if isinstance(model, Reference) or (model is not None and Path(os.fsdecode(model), FILE).is_file()):
        if prompts is not None:
            raise UsageError("prompts: given, but a reference has its own; expected a checkpoint", "prompts", "given")
        return _write(Reference(reference_path(model)), target, {"model": None}, globs, max_bytes, [])
    detailed, digits = _layers_of(find_model(model))
    with tempfile.TemporaryDirectory(prefix="assay-") as directory:
        whole = extract(
            model, DEFAULT_PROMPTS if prompts is None else prompts, out=Path(directory, "data"),
            taps=[f"layer_{number:0{digits}}_*" for number in detailed] if globs is None else globs,
            max_new_tokens=max_new_tokens, compression="small", threads=threads, stream=stream, on_progress=on_progress,
        )  # fmt: skip
        return _write(whole, target, {"model": _name_to_keep(model)}, globs, max_bytes, detailed)


def update_golden(
    path: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    threads: int = 0,
    stream: bool = False,
    on_progress: OnProgress | None = None,
) -> Reference:
    """Makes a golden bundle again, from its checkpoint and as its own manifest says: prompts, arrays and size.

    Args:
        path: The bundle.
        model: The checkpoint; needed where the bundle was made from one that has no name in Hugging Face's cache.
        threads: As in `extract`.
        stream: As in `extract`.
        on_progress: As in `extract`.

    Raises:
        InputError: `path` holds no bundle; its manifest is damaged.
        UsageError: It is not known where the checkpoint is.
    """
    reference = Reference(path)
    manifest = reference.manifest
    file = str(reference.path / FILE)
    how = manifest.get("golden")
    if how is None:
        raise InputError(f"{file}: no field 'golden'; expected a bundle that `assay golden` wrote", file,
                         "no field 'golden'", "a bundle that `assay golden` wrote")  # fmt: skip
    if model is None and how.get("model") is None:
        name = manifest.get("model", {}).get("path_name", "?")
        raise UsageError(f"{file}: does not tell where the checkpoint '{name}' is; expected model=", file,
                         "no checkpoint", "model=")  # fmt: skip
    if "max_new_tokens" not in manifest.get("generation", {}):
        raise missing_in_manifest(reference, "generation.max_new_tokens", "a whole number")
    checkpoint = how["model"] if model is None else model
    return golden(
        None if checkpoint == "bundled" else checkpoint, path,
        prompts=_prompts_of(reference), taps=how.get("taps"), max_bytes=how.get("max_bytes"),
        max_new_tokens=manifest["generation"]["max_new_tokens"], threads=threads, stream=stream,
        on_progress=on_progress,
    )  # fmt: skip


def _prompts_of(reference: Reference) -> list[dict[str, Any]]:
    # A chat's text is rendered already. Only there do the files of the template belong to the checkpoint.
    manifest = reference.manifest
    files = {file["file"] for file in manifest.get("model", {}).get("files", [])}
    rendered = not files <= {"config.json", "generation_config.json"}
    prompts = []
    for prompt in manifest["prompts"]:
        by_ids = rendered or prompt.get("text") is None
        if by_ids and "input_ids" not in prompt:
            raise missing_in_manifest(reference, f"prompts.{prompt['id']}.input_ids", "a list of whole numbers")
        keys = ["id", *(["text"] if prompt.get("text") is not None else []), *(["input_ids"] if by_ids else [])]
        prompts.append({key: prompt[key] for key in keys})
    return prompts


def _name_to_keep(model: str | os.PathLike[str] | None) -> str | None:
    """What finds the checkpoint again on another machine; a path does not."""
    if model is None:
        return "bundled"
    return None if Path(os.fsdecode(model)).exists() else os.fsdecode(model)


def _expect_bundle_or_nothing(target: Path) -> None:
    file = target / FILE
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target}: a file; expected a directory", str(target), "a file", "a directory")
    if not file.exists():
        return
    try:
        manifest = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("golden"), dict):
        expected = "a directory without a manifest, or an earlier bundle"
        raise UsageError(f"{target}: holds a manifest that is not a golden bundle's; expected {expected}",
                         str(target), "another manifest", expected)  # fmt: skip


def _layers_of(model: Path) -> tuple[list[int], int]:
    """The layers to look into, the first of each kind first, and how many digits their numbers have."""
    described = explain(model, form="json")
    count = described["sizes"]["num_hidden_layers"]
    kinds = [block["layers"][0] for block in described["blocks"] if block["block"] == "layer"]
    return list(dict.fromkeys(kinds + _bisected(count)[:_DETAILED_LAYERS])), 3 if count > 100 else 2


def _bisected(count: int) -> list[int]:
    """0 to count - 1: the ends first, then always the middle of the widest gap."""
    order = list(dict.fromkeys([count - 1, 0])) if count else []
    gaps = deque([(0, count - 1)])
    while gaps:
        first, last = gaps.popleft()
        if last - first > 1:
            middle = (first + last) // 2
            order.append(middle)
            gaps += [(first, middle), (middle, last)]
    return order


def _by_importance(items: list[_Item], lengths: list[int], detailed: list[int]) -> list[_Item]:
    """The arrays in the order in which they are taken. detailed: the layers whose taps come first."""
    # A prompt of one token shows neither rotation nor attention.
    order = sorted(range(len(lengths)), key=lambda p: (lengths[p] < 2, lengths[p]))
    place = {prompt: i for i, prompt in enumerate(order)}
    shortest = min(range(len(lengths)), key=lambda p: lengths[p])
    layers = {int(m[1]) for i in items if (m := _LAYER.fullmatch(i.name))}
    depth = {number: rank for rank, number in enumerate(_bisected(max(layers, default=-1) + 1))}
    within = {number: rank for rank, number in enumerate(dict.fromkeys([*detailed, *depth]))}
    names: dict[int, list[str]] = {}
    for item in items:
        names.setdefault(item.prompt, []).append(item.name)
    spread = {  # over the run
        prompt: {own[number]: rank for rank, number in enumerate(_bisected(len(own)))} for prompt, own in names.items()
    }

    def rank(item: _Item) -> tuple[float, ...]:
        prompt = place[item.prompt]
        further = 3 * (prompt > 0)  # one prompt in depth tells more than all prompts
        layer = _LAYER.fullmatch(item.name)
        if item.name == "final_norm_output":
            return (0, prompt)
        if item.name == "logits":
            return (3,) if item.prompt == shortest else (9, prompt)
        if item.name.startswith("rope_"):
            return (8, prompt)
        if item.name == "embedding_output":
            return (1 + further, prompt)
        if layer and layer[2] == "output":
            rank = depth[int(layer[1])]  # the last and the first layer's are there for all prompts
            return (1, rank, prompt) if rank < 2 else (2 + further, prompt, rank)
        if layer:
            return (4 + further, within[int(layer[1])], prompt)
        return (4 + further, spread[item.prompt][item.name], prompt)  # names of modules

    return sorted(items, key=rank)


def _write(
    whole: Reference,
    target: Path,
    how: dict[str, Any],
    globs: list[str] | None,
    max_bytes: int | None,
    detailed: list[int],
) -> Reference:
    items, always = _items_of(whole, globs)
    lengths = [len(p.input_ids) for p in whole.values()]
    order = _by_importance(items, lengths, detailed)
    how |= {"taps": globs, "max_bytes": max_bytes}
    least = _total(_files_of(whole, always, order, how))
    room = float("inf") if max_bytes is None else max_bytes - least
    chosen: list[_Item] = []
    for item in order:
        if item.stored_bytes <= room:
            chosen.append(item)
            room -= item.stored_bytes
    files = _files_of(whole, always + chosen, order, how)
    while chosen and max_bytes is not None and _total(files) > max_bytes:
        chosen.pop()
        files = _files_of(whole, always + chosen, order, how)
    if not chosen:
        files = _smallest(whole, always, items, order, how)
        if max_bytes is not None and _total(files) > max_bytes:
            needed = _total(files) + max(0, len(str(_total(files))) - len(str(max_bytes)))  # it holds max_bytes too
            raise UsageError(f"max_bytes: {max_bytes}; expected at least {needed}, which these prompts take with one "
                             "array; shorter or fewer prompts take less",
                             "max_bytes", str(max_bytes), str(needed))  # fmt: skip
    old = _named_files(target)
    write_files(target, files)
    with machine_errors(target):
        for name in old - set(files):
            (target / name).unlink(missing_ok=True)
    return Reference(target)


def _smallest(
    whole: Reference, always: list[_Item], items: list[_Item], order: list[_Item], how: dict[str, Any]
) -> dict[str, bytes]:
    """The smallest bundle with an array: its list of what is left out depends on which array it is."""
    few = sorted(items, key=lambda i: i.stored_bytes)[:8]
    return min((_files_of(whole, [*always, i], order, how) for i in few), key=_total)


def _items_of(whole: Reference, globs: list[str] | None) -> tuple[list[_Item], list[_Item]]:
    """What may be taken, and the ids, which always are."""
    items: list[_Item] = []
    always: list[_Item] = []
    unused = set(globs or [])
    for number, (prompt_id, prompt) in enumerate(whole.items()):
        if prompt.oracle is None:
            raise InputError(f"{whole.path}: prompt {prompt.id!r} has no oracle; expected a reference with one "
                             "(extract --numerics bf16,f64)", str(whole.path), "no oracle", "an oracle")  # fmt: skip
        matching = {g: set(fnmatch.filter(prompt, g)) for g in globs or []}
        unused -= {g for g, names in matching.items() if names}
        wanted = set(prompt) if globs is None else set().union(*matching.values())
        kept = [name for name in prompt if name in wanted or name in _IDS]
        records = prompt.manifest.get("arrays", {})
        for name in kept:
            if name not in records:
                raise field_error(whole.path / FILE, f"prompts.{prompt_id}.arrays.{name}", "missing", "an object")
        archives = [read_members(arrays.path, [n for n in kept if n in arrays]) for arrays in (prompt, prompt.oracle)]
        for name in kept:
            members = tuple(a[name] for a in archives if name in a)
            item = _Item(number, name, members, records[name])
            (always if name in _IDS else items).append(item)
    if unused:
        glob = repr(min(unused))
        raise UsageError(f"taps: {glob} matches no array; expected globs such as 'layer_0?_output'", "taps", glob)
    if not items:
        raise UsageError("taps: no array but ids; expected at least one", "taps", "only ids")
    return items, always


def _files_of(whole: Reference, taken: list[_Item], offered: list[_Item], how: dict[str, Any]) -> dict[str, bytes]:
    """The bundle's files by name, the manifest last."""
    files: dict[str, bytes] = {}
    prompts = []
    left_out: dict[str, list[str]] = {}
    for number, (prompt_id, prompt) in enumerate(whole.items()):
        by_name = {i.name: i for i in taken if i.prompt == number}
        own = [by_name[name] for name in prompt if name in by_name]
        missing = _as_globs([i.name for i in offered if i.prompt == number], set(by_name))
        if missing:
            left_out[prompt_id] = missing
        paths = {role: f"{prompt_id}/{role}.npz" for role in ("reference", "oracle")}
        for which, path in enumerate(paths.values()):
            files[path] = archive_bytes([i.members[which] for i in own if which < len(i.members)])
        prompts.append(prompt.manifest | {"files": paths, "arrays": _records(prompt, by_name)})
    manifest = whole.manifest | {"golden": how | {"left_out": left_out}, "prompts": prompts}
    files[FILE] = (_pretty(manifest) + "\n").encode()
    return files


def _records(prompt: PromptReference, taken: Mapping[str, _Item]) -> dict[str, Any]:
    """The manifest's records of what is taken. Where they name sources, these lead past what is left out, whose
    unsteady choices and mixing of positions then lie before the array."""
    offered = prompt.manifest["arrays"]
    records = {}
    for name in prompt:
        if name not in taken:
            continue
        record = taken[name].record
        if "from" in record:
            sources: set[str] = set()
            between, open_ = {name}, [name]
            while open_:
                for source in offered.get(open_.pop(), {}).get("from", []):
                    if source in taken:
                        sources.add(source)
                    elif source not in between:
                        between.add(source)
                        open_.append(source)
            record = _past({n: offered.get(n, {}) for n in between}, record)
            record["from"] = [n for n in prompt if n in sources]
        records[name] = record
    return records


def _past(between: Mapping[str, dict[str, Any]], record: dict[str, Any]) -> dict[str, Any]:
    """A captured array's record with what holds of those on the way to it too."""
    rest = {key: value for key, value in record.items() if key not in ("unsteady", "reach", "lookup")}
    unsteady = sorted({p for other in between.values() for p in other.get("unsteady", [])})
    if unsteady:
        rest["unsteady"] = unsteady
    reaches = {other.get("reach") for other in between.values() if "positions" in other}
    if "reach" in record and None not in reaches:
        rest["reach"] = "causal" if "causal" in reaches else "position"
    if all(other.get("lookup") for other in between.values()):
        rest["lookup"] = True
    return rest


def _as_globs(offered: list[str], taken: set[str]) -> list[str]:
    """What was not taken: a glob for a layer of which everything, or everything but its output, is missing."""
    layers: dict[str, list[str]] = {}
    for name in offered:
        layer = _LAYER.fullmatch(name)
        layers.setdefault(f"layer_{layer[1]}_" if layer else name, []).append(name)
    globs = []
    for prefix, names in layers.items():
        present = [n for n in names if n in taken]
        inside = len(names) > 1 and all(n.removeprefix(prefix)[:1] != "o" for n in names if n != f"{prefix}output")
        if len(present) == len(names):
            continue
        if not present and len(names) > 1:
            globs.append(f"{prefix}*")
        elif inside and present == [f"{prefix}output"]:
            globs.append(f"{prefix}[!o]*")
        else:
            globs += [n for n in names if n not in taken]
    return globs


def _pretty(value: Any, depth: int = 0) -> str:
    """JSON with a line for each array, so that a change is one line of a diff."""
    if isinstance(value, dict) and value and depth < 4:
        pad = "\n" + "  " * (depth + 1)
        inner = (f"{pad}{json.dumps(k)}: {_pretty(v, depth + 1)}" for k, v in value.items())
        return "{" + ",".join(inner) + "\n" + "  " * depth + "}"
    if isinstance(value, list) and value and isinstance(value[0], dict) and depth < 4:
        pad = "\n" + "  " * (depth + 1)
        return "[" + ",".join(pad + _pretty(v, depth + 1) for v in value) + "\n" + "  " * depth + "]"
    return json.dumps(value, ensure_ascii=False)


def _total(files: dict[str, bytes]) -> int:
    return sum(map(len, files.values()))


def _named_files(directory: Path) -> set[str]:
    """The files that the manifest in a directory names: those of an earlier bundle."""
    if not (directory / FILE).exists():
        return set()
    try:
        prompts = Reference(directory).manifest["prompts"]
    except InputError:  # it is damaged, and about to be replaced
        return set()
    return {path for prompt in prompts for path in prompt["files"].values()}
