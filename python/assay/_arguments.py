"""Arguments as people give them, checked before the compiled module sees them."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._errors import UsageError


def _wrong(name: str, value: Any, expected: str) -> UsageError:
    found = repr(value)[:100]
    return UsageError(f"{name}: {found}; expected {expected}", name, found, expected)


def path_of(value: Any, name: str) -> Path:
    """A path from a text, bytes or a path object.

    Raises:
        UsageError: It is none of these, or has characters that no file's name can have.
    """
    try:
        path = os.fsdecode(value)
        os.fsencode(path)
    except (TypeError, UnicodeError) as error:
        raise _wrong(name, value, "a path") from error
    return Path(path)


def whole_number(value: Any, name: str) -> int:
    """A whole number of at least 0, numpy's and torch's own among them.

    Raises:
        UsageError: It is not one.
    """
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number < 1 << 63:
        raise _wrong(name, value, "a whole number, at least 0")
    return number


def texts_of(value: str | Sequence[str], name: str) -> list[str]:
    """A list of texts, from one or several.

    Raises:
        UsageError: It is something else.
    """
    try:
        texts: list[Any] = [value] if isinstance(value, str) else list(value)
    except TypeError:
        texts = [None]
    for text in texts:
        if not isinstance(text, str) or not is_unicode(text):
            raise _wrong(name, value, "a text, or a list of texts")
    return texts


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: it has no half of a pair of surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
