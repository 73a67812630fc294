"""Errors that the user can fix: the package's own."""

from assay._errors import InputError, UsageError
from assay._text import visible

__all__ = ["InputError", "UsageError", "visible"]
