"""Writes the archives of a capture: members are encoded on all cores while the file is written."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TypeVar

from assay._npz import Member, encode, write_archive

__all__ = ["Member", "encode", "in_order", "write_members"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def write_members(path: Path, members: Iterable[Member]) -> None:
    """The file is complete, or an exception is thrown."""
    with path.open("wb") as file:
        write_archive(file, members)
        file.flush()
        os.fsync(file.fileno())


def in_order(
    pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Like pool.map, but at most `ahead` results wait in memory."""
    running: deque[Future[Result]] = deque()
    for item in items:
        running.append(pool.submit(work, item))
        if len(running) >= ahead:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()
