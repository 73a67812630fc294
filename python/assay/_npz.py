"""Members of .npz archives: made from arrays, or copied as they are compressed.

numpy and zipfile compress with one core at zlib's full search, which finds nothing in activations: their mantissas are
random. What can be saved is in the frequency of bytes, since half of a BF16 value's are 0 in FP32; Huffman codes alone
get that, three times as fast.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ._errors import InputError

if TYPE_CHECKING:
    import numpy as np

_MOST = 0xFFFFFFFF  # larger sizes are 64-bit fields of their own
_DATE = 0x21  # 1980-01-01: the bytes depend on nothing but the arrays
_UTF8 = 1 << 11
_STORED, _DEFLATED = 0, 8
_LOCAL = struct.Struct("<4s5H3I2H")


@dataclass(frozen=True)
class Member:
    """An array in an archive.

    Attributes:
        name: The array's name, without .npy.
        method: zip's: 0 stored, 8 deflated.
        crc: Of the file before compression.
        size: Bytes of the file before compression.
        parts: What is stored, in order.
    """

    name: str
    method: int
    crc: int
    size: int
    parts: tuple[Any, ...]

    @property
    def packed(self) -> int:
        """How many bytes its content takes in the archive."""
        return sum(len(part) for part in self.parts)

    @property
    def stored_bytes(self) -> int:
        """How many bytes it takes in an archive, with both of its headers."""
        return self.packed + len(_local_header(self)) + len(_entry(self, 0))


def encode(name: str, array: np.ndarray[Any, Any], compression: str) -> Member:
    """The member that holds an array. compression: "none", "fast" or "small"."""
    import numpy as np

    header = BytesIO()
    array = np.asarray(array, order="C")  # the header must tell the order in which the elements are written
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    elements = array.reshape(-1).data.cast("B") if array.size else b""
    parts: tuple[Any, ...] = (header.getvalue(), elements)
    size = sum(len(part) for part in parts)
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    if compression == "none":
        return Member(name, _STORED, crc, size, parts)
    small = compression == "small"
    strategy = zlib.Z_DEFAULT_STRATEGY if small else zlib.Z_HUFFMAN_ONLY
    packer = zlib.compressobj(9 if small else 1, zlib.DEFLATED, -15, 9, strategy)
    return Member(name, _DEFLATED, crc, size, (*(packer.compress(part) for part in parts), packer.flush()))


def read_members(path: Path, names: Sequence[str]) -> dict[str, Member]:
    """The members of an archive with these names, in the names' order. Their checksums are checked.

    Raises:
        InputError: The archive is damaged, or lacks one of the names.
    """
    members = {}
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            entries = {entry.filename: entry for entry in archive.infolist()}
            for name in names:
                entry = entries.get(f"{name}.npy")
                if entry is None:
                    raise InputError(f"{path}: no array {name!r}, which the manifest names", str(path),
                                     f"no array {name!r}", "an array that the manifest names")  # fmt: skip
                members[name] = _read(name, entry, file)
    except (zipfile.BadZipFile, struct.error, zlib.error, OSError, ValueError, EOFError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        found = f"not a readable .npz archive: {error}"
        raise InputError(f"{path}: {found}", str(path), found) from error
    return members


def _read(name: str, entry: zipfile.ZipInfo, file: BinaryIO) -> Member:
    file.seek(entry.header_offset)
    local = _LOCAL.unpack(file.read(_LOCAL.size))
    file.seek(entry.header_offset + _LOCAL.size + local[9] + local[10])
    data = file.read(entry.compress_size)
    if len(data) != entry.compress_size:
        raise zipfile.BadZipFile(f"member {name!r} is cut off")
    if entry.compress_type not in (_STORED, _DEFLATED):
        raise zipfile.BadZipFile(f"member {name!r} has compression {entry.compress_type}")
    if _checksum(data, entry.compress_type, entry.file_size) != entry.CRC:
        raise zipfile.BadZipFile(f"member {name!r} is damaged: its checksum differs")
    return Member(name, entry.compress_type, entry.CRC, entry.file_size, (data,))


def _checksum(data: bytes, method: int, size: int) -> int:
    """The checksum of a member's file; -1 if its size differs. What it unpacks to is never all in memory."""
    if method == _STORED:
        return zlib.crc32(data) if len(data) == size else -1
    unpack = zlib.decompressobj(-15)
    crc, total = 0, 0
    while piece := unpack.decompress(data, 1 << 20):
        crc, total, data = zlib.crc32(piece, crc), total + len(piece), unpack.unconsumed_tail
        if total > size:
            return -1
    return crc if unpack.eof and total == size else -1


def write_archive(file: BinaryIO, members: Iterable[Member]) -> None:
    """Writes a complete archive. Its bytes depend only on the members."""
    entries: list[bytes] = []
    position = 0
    for member in members:
        entries.append(_entry(member, position))
        header = _local_header(member)
        file.write(header)
        for part in member.parts:
            file.write(part)
        position += len(header) + member.packed
    directory = b"".join(entries)
    file.write(directory)
    file.write(_end(len(entries), position, len(directory)))


def archive_bytes(members: Iterable[Member]) -> bytes:
    """A complete archive in memory."""
    file = BytesIO()
    write_archive(file, members)
    return file.getvalue()


def _common(member: Member, extra: bytes) -> bytes:
    version = 45 if extra else 20  # 4.5 has the 64-bit sizes
    sizes = [min(size, _MOST) for size in (member.packed, member.size)]
    name = _file_name(member)
    return struct.pack("<5H3L2H", version, _UTF8, member.method, 0, _DATE, member.crc, *sizes, len(name), len(extra))


def _file_name(member: Member) -> bytes:
    return f"{member.name}.npy".encode()


def _wide(values: Iterable[int]) -> bytes:
    large = list(values)
    return struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""


def _local_header(member: Member) -> bytes:
    sizes = (member.size, member.packed)
    extra = _wide(sizes) if max(sizes) >= _MOST else b""  # a local header has both or none
    return b"PK\3\4" + _common(member, extra) + _file_name(member) + extra


def _entry(member: Member, offset: int) -> bytes:
    extra = _wide(x for x in (member.size, member.packed, offset) if x >= _MOST)
    rest = struct.pack("<3H2L", 0, 0, 0, 0, min(offset, _MOST))
    return b"PK\1\2" + struct.pack("<H", 20) + _common(member, extra) + rest + _file_name(member) + extra


def _end(count: int, start: int, size: int) -> bytes:
    many = min(count, 0xFFFF)
    end = b"PK\5\6" + struct.pack("<4H2LH", 0, 0, many, many, min(size, _MOST), min(start, _MOST), 0)
    if count < 0xFFFF and start + size < _MOST:
        return end
    wide = struct.pack("<Q2H2L4Q", 44, 45, 45, 0, 0, count, count, size, start)
    return b"PK\6\6" + wide + b"PK\6\7" + struct.pack("<LQL", 0, start + size, 1) + end
