"""What the commands that Python carries out have in common: errors, exit codes and signals."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from ._errors import AssayError, InputError, MachineError, UsageError
from ._text import visible

_KINDS = {2: "usage", 3: "input", 4: "system"}


def exit_code(error: BaseException) -> int:
    """The exit code for an error: 2 wrong usage, 3 bad input, 4 the machine."""
    return 2 if isinstance(error, UsageError) else 3 if isinstance(error, InputError) else 4


class Parser(argparse.ArgumentParser):
    """A parser whose errors are `UsageError`, a line as all others."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} --help'")


def asks_for_json(arguments: Sequence[str] | None) -> bool:
    """Whether the arguments (None: of the command line) ask for JSON, also where they cannot be parsed."""
    return "--json" in (sys.argv[1:] if arguments is None else arguments)


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
        with contextlib.suppress(MachineError):  # the line has been printed
            say(json.dumps({"schema": "assay.error/1", "error": described}, indent=2))
    return code


def say(text: str) -> None:
    """Prints a command's result.

    Raises:
        MachineError: Standard output cannot be written to.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        # What is left in the buffer must not fail once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        found = f"cannot write: {error.strerror or error}"
        raise MachineError(f"standard output: {found}", "standard output", found) from error


def end_cleanly_on_signals() -> None:
    """SIGTERM ends the process as an exception does: what is half written is removed. So does SIGINT, which until
    then ends it at once."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGINT, signal.default_int_handler)
