"""Files that appear only when they are complete."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ._arguments import path_of
from ._errors import MachineError

_count = itertools.count()


@contextlib.contextmanager
def machine_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns an OSError into the `MachineError` that the compiled part raises: the file, and the system's reason."""
    try:
        yield
    except OSError as error:
        found = f"cannot write: {error.strerror or error}"
        raise MachineError(f"{os.fspath(path)}: {found}", os.fspath(path), found) from error


def partial_name(target: Path) -> Path:
    """A name beside a file, for its content until it is complete; no other thread or process has it."""
    return target.with_name(f".partial-{os.getpid()}-{next(_count)}-{target.name}"[:255])


def write_through(path: Path, data: bytes) -> None:
    """Writes a file and waits until it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A stream whose content becomes the file when the block ends; if it raises, the file is as it was.

    Raises:
        MachineError: The file cannot be written.
    """
    target = path_of(path, "path")
    partial = partial_name(target)
    try:
        with machine_errors(target):
            with partial.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, target)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_files(directory: Path, files: dict[str, bytes]) -> None:
    """Writes files below a directory; they get their names, the last one last, when all are complete.

    An earlier file of the last one's name, such as a manifest, is removed before another one is replaced: what an
    interruption leaves never looks complete. Directories made for nothing are removed.

    Raises:
        MachineError: A file cannot be written.
    """
    made: list[Path] = []
    partial: list[tuple[Path, Path]] = []
    try:
        with machine_errors(directory):
            for name, data in files.items():
                target = directory / name
                _make_directory(target.parent, made)
                staged = partial_name(target)
                partial.append((staged, target))
                write_through(staged, data)
            partial[-1][1].unlink(missing_ok=True)
            for staged, target in partial:
                os.replace(staged, target)
    finally:
        with contextlib.suppress(OSError):
            for staged, _ in partial:
                staged.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: they hold what was written
            for path in reversed(made):
                path.rmdir()


def _make_directory(path: Path, made: list[Path]) -> None:
    """Makes a directory and those above it; adds those that were not there to `made`."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        made.append(directory)
