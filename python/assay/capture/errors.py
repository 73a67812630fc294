"""Errors that the user can fix; the message tells what was found where."""

import re


class InputError(Exception):
    """A file that cannot be used: exit code 3."""


class UsageError(Exception):
    """An argument that cannot be used: exit code 2."""


_UNSAFE = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")


def visible(text: str) -> str:
    """Text from outside, made safe for a terminal: one line, control characters as escapes."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def said(error: BaseException) -> str:
    """What an exception of another library says, in one line; its class if it says nothing."""
    return " ".join(str(error).split())[:400] or type(error).__name__
