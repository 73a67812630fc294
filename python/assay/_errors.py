"""The exceptions that Assay raises."""

from __future__ import annotations

from ._text import visible


class AssayError(Exception):
    """Something that Assay could not do. Its texts are safe to print, whatever they quote.

    Attributes:
        where: The file, tensor, field or argument.
        found: What was there.
        expected: What should have been there; may be empty.
    """

    def __init__(self, message: str, where: str = "", found: str = "", expected: str = ""):
        super().__init__(self._safe(message))
        self.where = visible(where)
        self.found = visible(found)
        self.expected = visible(expected)

    @staticmethod
    def _safe(message: str) -> str:
        return visible(message)

    def __reduce__(self) -> tuple[type[AssayError], tuple[str, str, str, str]]:
        return type(self), (str(self), self.where, self.found, self.expected)


class UsageError(AssayError, ValueError):
    """An argument is not what it should be, or is ambiguous."""


class InputError(AssayError, ValueError):
    """A file, or a value in it, is not what it should be."""


class MachineError(AssayError):
    """The machine refused: the disk is full, a file cannot be written, memory is short."""


class CheckFailed(AssayError, AssertionError):
    """An engine's arrays differ from the reference. The message may have several lines."""

    @staticmethod
    def _safe(message: str) -> str:
        return "\n".join(visible(line) for line in message.split("\n"))
