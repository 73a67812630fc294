"""What the commands that Python carries out have in common: errors, exit codes and signals."""

from __future__ import annotations

import json
import signal
import sys

from ._errors import AssayError, InputError, UsageError
from ._text import visible

_KINDS = {2: "usage", 3: "input", 4: "system"}


def exit_code(error: BaseException) -> int:
    """The exit code for an error: 2 wrong usage, 3 bad input, 4 the machine."""
    return 2 if isinstance(error, UsageError) else 3 if isinstance(error, InputError) else 4


def fail(error: BaseException, as_json: bool) -> int:
    """Prints an error as a line, and with --json as the program does (docs/json.md). Returns the exit code."""
    code = exit_code(error)
    message = visible(str(error)) or type(error).__name__
    print(f"assay: error: {message}", file=sys.stderr)
    if as_json:
        parts = (error.where, error.found, error.expected) if isinstance(error, AssayError) else ("", "", "")
        where, found, expected = parts
        described = {"kind": _KINDS[code], "exit_code": code, "where": where, "found": found or message,
                     "expected": expected, "message": message}  # fmt: skip
        print(json.dumps({"schema": "assay.error/1", "error": described}, indent=2))
    return code


def end_cleanly_on_sigterm() -> None:
    """SIGTERM ends the process as an exception does: what is half written is removed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
