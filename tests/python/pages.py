"""Runs the commands that a page of the documentation shows, and compares what they print with the page.

A page's blocks are its fences with a language. In a `console` block, a line `$ COMMAND` is followed by what the
command prints.
"""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Page:
    """The blocks of a page, as (language, text) in their order."""

    def __init__(self, path):
        self.path = path
        self.blocks = BLOCK.findall((ROOT / path).read_text(encoding="utf-8"))

    def of(self, language):
        return [text for kind, text in self.blocks if kind == language]


def sessions(block):
    """The commands of a console block, each with the output that is shown after it."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)
    assert not parts[0], f"output before the first command: {parts[0]}"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def shell(command, directory):
    """Runs a command as a reader does, with `assay` and `python` being the tested ones."""
    tools = directory / ".bin"
    if not tools.is_dir():
        tools.mkdir()
        for name, arguments in (("assay", " -m assay"), ("python", "")):
            (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable}{arguments} "$@"\n')
            (tools / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "NO_COLOR": "1", "COLUMNS": "80"}
    return subprocess.run(["bash", "-c", command], cwd=directory, env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip


def _same_word(shown, real):
    """Whole numbers and words are equal; measured ones may differ by a third: sums depend on numpy's BLAS."""
    if shown == real:
        return True
    numbers = [re.fullmatch(r"\(?([-\d.]+(?:e[-+]?\d+)?)[,:%)]*", word) for word in (shown, real)]
    if not all(numbers) or not all("." in n[1] or "e" in n[1] for n in numbers):
        return False
    return math.isclose(float(numbers[0][1]), float(numbers[1][1]), rel_tol=1 / 3)


def first_difference(shown, real):
    """The first line of a page that a program does not print; None if all are printed.

    A line `...` stands for any number of lines.
    """
    lines = [line.split() for line in real.splitlines() if line.strip()]
    at, anywhere = 0, False
    for text in shown.splitlines():
        words = text.split()
        if not words:
            continue
        if words == ["..."]:
            anywhere = True
            continue
        while True:
            if at == len(lines):
                return text
            at += 1
            if len(words) == len(lines[at - 1]) and all(map(_same_word, words, lines[at - 1])):
                break
            if not anywhere:
                return text
        anywhere = False
    return None if at == len(lines) or anywhere else f"(end of the output), where it prints {' '.join(lines[at])}"


def apply_diff(text, diff):
    """Replaces the line that begins with - by the one that begins with +."""
    (old,) = re.findall(r"^-(.*)$", diff, re.MULTILINE)
    (new,) = re.findall(r"^\+(.*)$", diff, re.MULTILINE)
    assert text.count(old + "\n") == 1, old
    return text.replace(old + "\n", new + "\n")
