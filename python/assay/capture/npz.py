"""Writes .npz archives member by member, as numpy's savez would, with compression on all cores.

numpy and zipfile compress with one core at zlib's full search, which finds nothing in activations:
their mantissas are random. What can be saved is in the frequency of bytes, since half of a BF16 value's
are 0 in FP32; Huffman codes alone get that, three times as fast.
"""

import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

_MOST = 0xFFFFFFFF
_DATE = 33  # 1980-01-01, in MS-DOS's form
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class Member:
    """An array as it is written."""

    name: bytes
    parts: list[Any]  # bytes, in order
    packed: int
    size: int
    crc: int
    method: int  # 0 stored, 8 deflated


def encode(name: str, array: np.ndarray, compression: str) -> Member:
    """compression: "none", "fast" or "small"."""
    header = BytesIO()
    fields = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(header, fields)
    values = np.ascontiguousarray(array).reshape(-1).data.cast("B")
    parts: list[Any] = [header.getvalue(), values]
    size = sum(len(part) for part in parts)
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    method = 0
    if compression != "none":
        method = 8
        level = 9 if compression == "small" else 1
        strategy = zlib.Z_DEFAULT_STRATEGY if compression == "small" else zlib.Z_HUFFMAN_ONLY
        packer = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
        parts = [*(packer.compress(part) for part in parts), packer.flush()]
    packed = sum(len(part) for part in parts)
    return Member(f"{name}.npy".encode(), parts, packed, size, crc, method)


def write_members(path: Path, members: Iterable[Member]) -> None:
    """The file is complete, or an exception is thrown."""
    directory: list[bytes] = []
    with path.open("wb") as file:
        for member in members:
            directory.append(_entry(member, file.tell()))
            file.write(_local_header(member))
            for part in member.parts:
                file.write(part)
        start = file.tell()
        for entry in directory:
            file.write(entry)
        file.write(_end(len(directory), start, file.tell() - start))
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


# Versions 4.5 have the 64-bit sizes; bit 11 says that names are UTF-8.
def _common(member: Member, packed: int, size: int, extra: bytes) -> bytes:
    flags = 0 if member.name.isascii() else 1 << 11
    fields = (45, flags, member.method, 0, _DATE, member.crc, packed, size)
    return struct.pack("<5H3L2H", *fields, len(member.name), len(extra))


def _local_header(member: Member) -> bytes:
    extra = struct.pack("<2H2Q", 1, 16, member.size, member.packed)
    return b"PK\3\4" + _common(member, _MOST, _MOST, extra) + member.name + extra


def _entry(member: Member, offset: int) -> bytes:
    large = [x for x in (member.size, member.packed, offset) if x >= _MOST]
    extra = struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""
    common = _common(member, min(member.packed, _MOST), min(member.size, _MOST), extra)
    rest = struct.pack("<3H2L", 0, 0, 0, 0o600 << 16, min(offset, _MOST))
    return b"PK\1\2" + struct.pack("<H", 3 << 8 | 45) + common + rest + member.name + extra


def _end(count: int, start: int, size: int) -> bytes:
    many = min(count, 0xFFFF)
    end = b"PK\5\6" + struct.pack("<4H2LH", 0, 0, many, many, min(size, _MOST), min(start, _MOST), 0)
    if count < 0xFFFF and start + size < _MOST:
        return end
    wide = struct.pack("<Q2H2L4Q", 44, 3 << 8 | 45, 45, 0, 0, count, count, size, start)
    return b"PK\6\6" + wide + b"PK\6\7" + struct.pack("<LQL", 0, start + size, 1) + end
