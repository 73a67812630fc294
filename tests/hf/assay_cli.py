"""Runs the assay program for the tests that compare it with the Hugging Face libraries."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def assay_program():
    """The program under test: $ASSAY, else build/assay."""
    return os.environ.get("ASSAY") or str(ROOT / "build" / "assay")


def run_assay(args, stdin=None, check=True):
    """Runs the program. stdin: text or None. Returns the CompletedProcess, with text outputs;
    with check, an exit code other than 0 is an AssertionError that shows stderr."""
    result = subprocess.run(
        [assay_program(), *map(str, args)],
        input=None if stdin is None else stdin.encode("utf-8"),
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
    )
    result.stdout = result.stdout.decode("utf-8")
    result.stderr = result.stderr.decode("utf-8", errors="replace")
    if check and result.returncode != 0:
        raise AssertionError(f"assay {args} exited with {result.returncode}: {result.stderr}")
    return result
