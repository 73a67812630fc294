"""manifest.json of a reference, checked: whatever it holds, what is read from it has the documented form."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._errors import InputError

SCHEMA = "assay.reference/1"
FILE = "manifest.json"
# As the compiled part has it (is_prompt_id).
_PROMPT_ID = re.compile(r"(?!\.|manifest\.json$)[A-Za-z0-9._-]{1,100}")


def is_prompt_id(name: Any) -> bool:
    """Whether a value can name a prompt, whose directory is named after it."""
    return isinstance(name, str) and _PROMPT_ID.fullmatch(name) is not None


def is_id(value: Any) -> bool:
    """Whether a value is a whole number that a token id can be."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def field_error(file: Path, field: str, found: str, expected: str) -> InputError:
    """The error for a field of a manifest. found: what is wrong with it."""
    where = f"{file}: field '{field}'"
    return InputError(f"{where}: {found}; expected {expected}", where, found, expected)


def _quoted(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."


def read_manifest(directory: Path) -> dict[str, Any]:
    """Reads and checks a directory's manifest. Fields that only some references have may be missing.

    Raises:
        InputError: The directory has no manifest, or a field of it is not of the documented form.
    """
    file = directory / FILE
    try:
        manifest = json.loads(file.read_bytes())
        # Refuses what Python reads and JSON does not have: NaN, infinity, halves of characters.
        json.dumps(manifest, ensure_ascii=False, allow_nan=False).encode()
    except OSError as error:
        expected = "a directory that assay extract has written"
        found = error.strerror or str(error)
        raise InputError(f"{file}: {found}; expected {expected}", str(file), found, expected) from error
    except (ValueError, RecursionError) as error:
        found = f"not valid JSON: {error}"
        raise InputError(f"{file}: {found}", str(file), found, "JSON") from error
    if not isinstance(manifest, dict):
        raise field_error(file, "schema", "no object", f'"{SCHEMA}"')
    _Checked(file, manifest).check()
    return manifest


class _Checked:
    """Checks a manifest's fields, and names the first that is wrong."""

    def __init__(self, file: Path, manifest: dict[str, Any]):
        self._file = file
        self._manifest = manifest

    def check(self) -> None:
        top = self._manifest
        if top.get("schema") != SCHEMA:
            raise field_error(self._file, "schema", _quoted(top.get("schema")), f'"{SCHEMA}"')
        if "model" in top:
            model = self._object(top, "model", "")
            self._maybe(model, "path_name", "model", _is_text, "a text")
            files = self._maybe(model, "files", "model", _is_list, "a list") or []
            for file in files:
                self._must(file, "file", "model.files", _is_text, "a text")
        if "generation" in top:
            generation = self._object(top, "generation", "")
            self._maybe(generation, "max_new_tokens", "generation", is_id, "a whole number")
        if "golden" in top:
            self._check_golden(self._object(top, "golden", ""))
        prompts = self._must(top, "prompts", "", _is_list, "a list")
        if not prompts:
            raise field_error(self._file, "prompts", "empty", "at least one")
        seen: set[str] = set()
        for prompt in prompts:
            name = self._must(prompt, "id", "prompts", is_prompt_id, "letters, digits, '-', '_' and '.', at most 100")
            if name in seen:
                raise field_error(self._file, "prompts.id", f"duplicate id {name!r}", "one prompt for each id")
            seen.add(name)
            self._check_prompt(prompt, f"prompts.{name}")

    def _check_golden(self, golden: dict[str, Any]) -> None:
        self._maybe(golden, "model", "golden", _or_none(_is_text), "a text or null")
        self._maybe(golden, "taps", "golden", _or_none(_is_texts), "a list of globs or null")
        self._maybe(golden, "max_bytes", "golden", _or_none(is_id), "a whole number or null")
        left_out = self._maybe(golden, "left_out", "golden", _is_object, "an object") or {}
        for name in left_out:
            self._must(left_out, name, "golden.left_out", _is_texts, "a list of names and globs")

    def _check_prompt(self, prompt: dict[str, Any], where: str) -> None:
        files = self._must(prompt, "files", where, _is_object, "paths by role")
        for role in files:
            self._must(files, role, f"{where}.files", _is_path_below, "a path below the directory")
        self._must(files, "reference", f"{where}.files", _is_text, "a path below the directory")
        self._maybe(prompt, "text", where, _or_none(_is_text), "a text or null")
        self._maybe(prompt, "input_ids", where, _is_ids, "a list of whole numbers")
        arrays = self._maybe(prompt, "arrays", where, _is_object, "an object for each array") or {}
        for name in arrays:
            record = self._object(arrays, name, f"{where}.arrays")
            self._maybe(record, "from", f"{where}.arrays.{name}", _is_texts, "a list of names")

    def _object(self, owner: Any, field: str, where: str) -> dict[str, Any]:
        found: dict[str, Any] = self._must(owner, field, where, _is_object, "an object")
        return found

    def _maybe(self, owner: Any, field: str, where: str, is_right: Callable[[Any], bool], expected: str) -> Any:
        return self._must(owner, field, where, is_right, expected) if field in owner else None

    def _must(self, owner: Any, field: str, where: str, is_right: Callable[[Any], bool], expected: str) -> Any:
        path = f"{where}.{field}" if where else field
        if not isinstance(owner, dict) or field not in owner:
            raise field_error(self._file, path, "missing", expected)
        if not is_right(owner[field]):
            raise field_error(self._file, path, _quoted(owner[field]), expected)
        return owner[field]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(is_id(item) for item in value)


def _is_path_below(value: Any) -> bool:
    return (
        isinstance(value, str)
        and value not in ("", ".")
        and "\0" not in value
        and not os.path.isabs(value)
        and ".." not in Path(value).parts
    )


def _or_none(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_right(value)
