"""Errors that the user can fix: the package's own."""

from assay._errors import InputError, UsageError
from assay._text import visible

__all__ = ["InputError", "UsageError", "said", "visible"]


def said(error: BaseException) -> str:
    """What an exception of another library says, in one line; its class if it says nothing."""
    return " ".join(str(error).split())[:400] or type(error).__name__
