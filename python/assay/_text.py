"""Text from outside, made safe to print."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Control characters, line separators, marks that change the direction of writing, tags and lone surrogates (which
# stand for bytes that are not UTF-8): as src/base/text.cpp has them.
_HIDDEN = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufeff\\ufff9-\\ufffb"
    "\\U000e0000-\\U000e007f\\ud800-\\udfff]"
)


def visible(text: str) -> str:
    """Text from outside, made safe for a message or a terminal: one line, hidden characters as escapes."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def missing_name(name: object, names: Sequence[str], where: str) -> str:
    """What to say of a name that is not there, with the one that was probably meant."""
    import difflib

    close = difflib.get_close_matches(str(name), names, 1)
    return f"{where} has no {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")
