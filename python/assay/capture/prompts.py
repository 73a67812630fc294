"""Prompts from the command line and from files, under the rules of `assay extract`."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.capture.errors import InputError

DEFAULT_PROMPTS = ("Hello", "The capital of France is", "What is 2+2?")

# A prompt's id becomes a directory name beside the manifest; src/base/text.cpp has the same rule.
_SAFE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")


@dataclass
class Prompt:
    """A prompt: its text, its ids, or both."""

    id: str
    text: str | None
    input_ids: list[int] | None  # None until the text is tokenized


def collect_prompts(texts: list[str], files: list[Path]) -> list[Prompt]:
    """All prompts in order, numbered prompt1, prompt2, ... if they have no id of their own."""
    prompts = [Prompt(f"prompt{n}", text, None) for n, text in enumerate(texts, 1)]
    for file in files:
        prompts += read_prompts(file, len(prompts) + 1)
    if not prompts:
        return collect_prompts(list(DEFAULT_PROMPTS), [])
    ids = [prompt.id for prompt in prompts]
    for id_ in ids:
        if ids.count(id_) > 1:
            raise InputError(f"prompts: duplicate id '{id_}', expected unique ids")
    return prompts


def read_prompts(file: Path, first_number: int) -> list[Prompt]:
    """A prompt per line; from .jsonl objects with "text" or "input_ids" and optionally "id"."""
    try:
        lines = file.read_bytes().decode("utf-8").split("\n")
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: invalid UTF-8 at byte {error.start}") from error
    prompts: list[Prompt] = []
    for number, line in enumerate(lines, 1):
        line = line.removesuffix("\r")
        if not line:
            continue
        default_id = f"prompt{first_number + len(prompts)}"
        if file.suffix == ".jsonl":
            prompts.append(_parse_line(line, f"{file}:{number}", default_id))
        else:
            prompts.append(Prompt(default_id, line, None))
    if not prompts:
        raise InputError(f"{file}: no prompts, expected at least one line")
    return prompts


def _parse_line(line: str, where: str, default_id: str) -> Prompt:
    try:
        fields: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON: {error}") from error
    if not isinstance(fields, dict) or ("text" in fields) == ("input_ids" in fields):
        raise InputError(f"{where}: expected an object with either 'text' or 'input_ids'")
    id_, text, ids = fields.get("id", default_id), fields.get("text"), fields.get("input_ids")
    if not isinstance(id_, str) or not _SAFE_ID.fullmatch(id_) or id_ == "manifest.json":
        raise InputError(
            f"{where}: field 'id' is {_short(id_)}, expected letters, digits, '-', '_', '.', at most"
            " 100, and not manifest.json"
        )
    if "text" in fields and not isinstance(text, str):
        raise InputError(f"{where}: field 'text' is {_short(text)}, expected a string")
    if "input_ids" in fields:
        if not isinstance(ids, list) or not ids or not all(map(_is_token, ids)):
            raise InputError(
                f"{where}: field 'input_ids' is {_short(ids)}, expected a list of token ids"
            )
    return Prompt(id_, text, ids)


def _is_token(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 31


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
