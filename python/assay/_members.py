"""Members of .npz archives, copied as they are compressed."""

from __future__ import annotations

import os
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ._errors import InputError

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_DATE = 0x21  # 1980-01-01: the bytes depend on nothing but the arrays


@dataclass(frozen=True)
class Member:
    """An array in an archive; data are its compressed bytes."""

    name: str
    method: int
    crc: int
    size: int
    data: bytes

    @property
    def stored_bytes(self) -> int:
        """What it takes in an archive, with both of its headers."""
        return len(self.data) + _LOCAL.size + _CENTRAL.size + 2 * len(self.name + ".npy")


def read_members(path: Path, names: list[str]) -> dict[str, Member]:
    """The members of an archive with these names, in the names' order.

    Raises:
        InputError: The archive is damaged, or lacks one of the names.
    """
    members = {}
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            for name in names:
                entry = archive.getinfo(f"{name}.npy")
                file.seek(entry.header_offset)
                local = _LOCAL.unpack(file.read(_LOCAL.size))
                file.seek(entry.header_offset + _LOCAL.size + local[9] + local[10])
                data = file.read(entry.compress_size)
                if len(data) != entry.compress_size or max(entry.file_size, len(data)) >= 1 << 31:
                    raise zipfile.BadZipFile(f"member {name!r} is cut off, or larger than 2 GB")
                members[name] = Member(name, entry.compress_type, entry.CRC, entry.file_size, data)
    except KeyError as error:
        raise InputError(f"{path}: {error.args[0]}", str(path), "a missing member") from error
    except (zipfile.BadZipFile, struct.error) as error:
        raise InputError(f"{path}: not a readable .npz archive: {error}", str(path), str(error)) from error
    return members


def archive_bytes(members: list[Member]) -> bytes:
    """A complete .npz archive. Its bytes depend only on the members."""
    parts, directory, offset = [], [], 0
    for m in members:
        name = f"{m.name}.npy".encode()
        form = (20, 0x800, m.method, 0, _DATE, m.crc, len(m.data), m.size, len(name), 0)
        parts += [_LOCAL.pack(b"PK\3\4", *form), name, m.data]
        directory += [_CENTRAL.pack(b"PK\1\2", 20, *form, 0, 0, 0, 0, offset), name]
        offset += _LOCAL.size + len(name) + len(m.data)
    central = b"".join(directory)
    if offset + len(central) >= 1 << 32:
        raise ValueError("an archive of more than 4 GB")
    end = _END.pack(b"PK\5\6", 0, 0, len(members), len(members), len(central), offset, 0)
    return b"".join([*parts, central, end])


def write_files(directory: Path, files: dict[str, bytes]) -> None:
    """Writes files below a directory; they get their names, the last one last, when all are complete."""
    partial: list[tuple[Path, Path]] = []
    try:
        for name, data in files.items():
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            staged = target.with_name(f".partial-{os.getpid()}-{target.name}")
            partial.append((staged, target))
            with staged.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for staged, target in partial:
            os.replace(staged, target)
    finally:
        for staged, _ in partial:
            staged.unlink(missing_ok=True)
