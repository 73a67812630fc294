"""Files that numpy may read, generated and broken with knowledge of their structure: Assay's result for
each is compared with numpy's.

    .venv/bin/python fuzz/numpy_files.py READER [COUNT [SEED]]

READER: build/fuzz/fuzz_numpy_reader. What numpy reads, Assay reads as the same, or refuses for one of
REASONS. What numpy refuses, Assay may read only for one of LAX. A file that breaks this is kept.
"""

import ast
import io
import random
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

TYPES = {
    "BOOL": "|b1", "U8": "|u1", "I8": "|i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "F16": "<f2",
    "F32": "<f4", "F64": "<f8", "U16": "<u2", "U32": "<u4", "U64": "<u8", "BF16": "|V2",
}  # fmt: skip

# Why Assay refuses what numpy reads: a part of the message, and the reason.
REASONS = {
    r"dtype '|structured dtype": "a type that no tensor has",
    r"npy header: .*; expected": "a header that numpy does not write",
    r"bytes of data": "more bytes than the shape says",
    r"npy header of \d+ bytes": "a header above 64 KiB",
    r"no npy header|npy version": "a member that is not an array",
    r"duplicate (array|member) '": "a name twice",
    r"compression method": "neither stored nor deflated",
    r"encrypted": "encrypted",
    r"overlaps|has a different name|no local header": "a directory that disagrees with the members",
    r"stored, \d+ bytes|damaged deflate|said to inflate|CRC-32": "sizes that are not the member's",
    r"after the directory's": "more in the directory than it counts",
    r"members in a directory|no directory record|runs past|inside a zip record|zip64": "a broken zip",
    r"it to end inside the file": "bytes before the archive",
    r"no zip end record": "bytes after the archive",
    r"has a 0 byte in its name": "a name that ends early",
    r"bytes between the directory": "bytes between a directory and its end",
    r"more than|too many axes|fits in memory|an axis": "a shape that no memory has",
}

# What Assay reads and numpy does not: numpy's message, and why that is right.
LAX = {
    r"leading zeros|Cannot parse header": "how Python spells a number",
    r"shape is not valid: \d+$": "one axis without a comma",
    r"maximum supported dimension|array is too big|cannot reshape array of size 0":
        "more axes than numpy has, or no elements in many",
    r"zip file version|flag bit": "a zip that says it is newer",
    r"UnicodeDecodeError|a name twice": "a name that is none, or two that Python takes for one",
}

MAGIC = b"\x93NUMPY"
DESCRS = [
    "<f4", "<f4", "<f4", "<i8", "|b1", "|u1", "|i1", "<f8", "<f2", "<i4", "<u2", "<u4", "<u8", "<i2",
    "=f4", "|f4", "f4", "float32", ">f4", ">i8", "?", "b", "B", "e", "f", "d", "l", "<V2", "|V2", "<c8",
    "|S3", "<U2", "<M8[ns]", "|O", "<f16", "<b1", ">b1", "<u1", "=i2", "<F4", "", "<", "<f3", "bfloat16",
    "<f4 ", " <f4", "<i08", "|V0", "<f4,<f4", "(2,)<f4", "i", "int", "<l",
]  # fmt: skip
SHAPES = [
    "()", "(0,)", "(1,)", "(3,)", "(2, 3)", "(2,3)", "(3, 0, 2)", "(1, 2, 3,)", "(6)", "[2, 3]", "(-1,)",
    "(2, -3)", "(2L, 3L)", "(02, 3)", "(0x2, 3)", "(1_0,)", "(True, 2)", "(2.0,)", "((2,),)", "( 2 , 3 )",
    "(2\n,3)", "(4611686018427387904, 4)", "(9223372036854775807,)", "(18446744073709551616,)", "(2,,3)",
    "(,)", "(+2,)", "(-0,)", "(2+1,)", "(2, 3, )", "None", "(1,)*2", "(" + "1," * 33 + ")",
    "(" + "1," * 65 + ")", "(" + "1," * 64 + ")", "(0, 9223372036854775807, 9223372036854775807)",
]  # fmt: skip


def npy(random: random.Random) -> bytes:
    """A .npy, right or nearly so."""
    descr = random.choice(DESCRS if random.random() < 0.3 else DESCRS[:14])
    shape = random.choice(SHAPES if random.random() < 0.3 else SHAPES[:8])
    order = random.choice(
        ["False", "False", "True", "True", "0", "1", "None", "'True'", "false"]
        if random.random() < 0.2
        else ["False", "True"]
    )
    quote = random.choice(["'", "'", "'", '"'])
    fields = [
        f"{quote}descr{quote}: {quote}{descr}{quote}",
        f"'fortran_order': {order}",
        f"'shape': {shape}",
    ]
    if random.random() < 0.1:
        random.shuffle(fields)
    odd = random.random()
    if odd < 0.03:
        fields.append(random.choice(["'x': 1", "'descr': '<i4'", "'shape': (1,)"]))
    elif odd < 0.05:
        fields.pop(random.randrange(3))
    elif odd < 0.06:
        fields[0] = "'descr': [('a', '<f4'), ('b', '<i4')]"
    text = "{" + random.choice([", ", ",", " , ", ",\n"]).join(fields)
    text += random.choice([", }", "}", ",}", " }", ",, }"] if odd > 0.9 else [", }", "}"])
    if odd > 0.97:
        text = random.choice([text + "#x", " " + text, text + "x", "\t" + text, text.replace("'", "''")])
    version = random.choice([1, 1, 1, 1, 2, 3])
    header = text.encode("utf8" if version == 3 else "latin1", "replace")
    pad = random.choice([0, 1, -1, 7]) if random.random() < 0.1 else None
    fixed = 10 if version == 1 else 12
    spaces = -(fixed + len(header) + 1) % 64 if pad is None else pad % 64
    header += b" " * spaces + random.choice([b"\n"] * 9 + [b"", b" ", b"\r", b"\0"])
    length = len(header) + (random.choice([-1, 1, 60000]) if random.random() < 0.03 else 0)
    try:
        count = int(np.prod([int(n) for n in ast.literal_eval(shape)], dtype=object))
        size = count * np.dtype(descr).itemsize
    except Exception:
        size = 24
    size = min(max(size, 0), 4096)
    if random.random() < 0.15:
        size = max(0, size + random.choice([-1, 1, -4, 4, 64]))
    major = bytes([version if random.random() > 0.01 else random.randrange(256), 0])
    packed = struct.pack("<H" if version == 1 else "<I", length % 65536)
    return MAGIC + major + packed + header + random.randbytes(size)


def archive(random: random.Random) -> bytes:
    """A .npz written field by field, some of them wrong."""
    out = bytearray(b"junk" if random.random() < 0.02 else b"")
    start = 0 if random.random() < 0.5 else len(out)
    wrong = random.random() < 0.3
    central = []
    for i in range(random.choice([1, 1, 2, 3])):
        name = random.choice(
            [f"a{i}.npy"] * 6
            + ["a0.npy", "a0", "d/b.npy", "é.npy", "", ".npy", "x.npy.npy", "../x.npy", "a\0b.npy", "a\\b.npy",
               "README.txt", "d/", "\u202e.npy"]  # fmt: skip
        )
        utf8 = not name.isascii() and random.random() < 0.8
        raw = name.encode("utf8") if utf8 else name.encode("cp437", "replace")
        member = npy(random)
        method = random.choice([0, 0, 8, 8])
        data = member
        if method == 8:
            packer = zlib.compressobj(random.choice([0, 1, 6, 9]), zlib.DEFLATED, -15)
            data = packer.compress(member) + packer.flush()
        fields = {
            "flags": 0x800 if utf8 else 0, "method": method, "crc": zlib.crc32(member), "packed": len(data),
            "size": len(member), "disk": 0, "version": 20,
        }  # fmt: skip
        local = dict(fields)
        if random.random() < 0.2:  # a data descriptor after the member
            fields["flags"] |= 8
            local = dict(fields, crc=0, packed=0, size=0)
        for side in (fields, local):
            if wrong and random.random() < 0.15:
                field = random.choice(list(side))
                side[field] = random.choice([0, 1, side[field] + 1, 0xFFFF, 12, 99, 8])
        zip64 = random.random() < 0.2
        offset = len(out) - start + (random.choice([1, -1, 30]) if wrong and random.random() < 0.05 else 0)
        offset = max(offset, 0)

        def extra_of(side: dict[str, int]) -> bytes:
            return struct.pack("<HHQQ", 1, 16, side["size"], side["packed"]) if zip64 else b""

        def sizes_of(side: dict[str, int]) -> tuple[int, int]:
            return (0xFFFFFFFF, 0xFFFFFFFF) if zip64 else (side["packed"], side["size"])

        more = random.choice([b""] * 8 + [b"\x99\x99\x02\0xy", b"\x01\0", b"\x75\x70\x05\0\x01abcd"])
        local_extra = extra_of(local) + more
        out += struct.pack(
            "<IHHHHHIIIHH", 0x04034B50, local["version"], local["flags"], local["method"], 0, 33, local["crc"],
            *sizes_of(local), len(raw), len(local_extra),
        )  # fmt: skip
        other_name = wrong and random.random() < 0.03
        out += (raw[::-1] if other_name else raw) + local_extra + data
        if fields["flags"] & 8:
            out += struct.pack("<IIII", 0x08074B50, fields["crc"], fields["packed"], fields["size"])
        extra = extra_of(fields) + more
        comment = random.choice([b"", b"", b"", b"PK\5\6 a comment"])
        central.append(
            struct.pack(
                "<IHHHHHHIIIHHHHHII", 0x02014B50, 20, fields["version"], fields["flags"], fields["method"], 0, 33,
                fields["crc"], *sizes_of(fields), len(raw), len(extra), len(comment), fields["disk"], 0, 0, offset,
            )  # fmt: skip
            + raw + extra + comment
        )  # fmt: skip
    if wrong and random.random() < 0.1:
        random.shuffle(central)
    directory = b"".join(central)
    at = len(out) - start
    count = len(central) + (random.choice([-1, 1]) if wrong and random.random() < 0.05 else 0)
    size = len(directory) + (random.choice([-1, 1, 46]) if wrong and random.random() < 0.05 else 0)
    out += directory
    if random.random() < 0.1:
        out += struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count % 2**64, count % 2**64, size, at)
        out += b"more" if wrong and random.random() < 0.1 else b""
        parts = random.choice([(0, 2), (1, 1), (0, 0)]) if wrong and random.random() < 0.2 else (0, 1)
        out += struct.pack("<IIQI", 0x07064B50, parts[0], at + len(directory), parts[1])
    comment = random.choice([b""] * 6 + [b"a comment", b"PK\5\6" + bytes(18)])
    out += struct.pack(
        "<IHHHHIIH", 0x06054B50, 0, 0, count % 65536, count % 65536, size, at, len(comment)
    )  # fmt: skip
    out += comment
    if wrong and random.random() < 0.03:
        out += b"behind"
    return bytes(out)


def damaged(random: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 4])):
        if not out:
            break
        at = random.randrange(len(out))
        match random.randrange(5):
            case 0:
                out[at] = random.randrange(256)
            case 1:
                out[at] ^= 1 << random.randrange(8)
            case 2:
                del out[at : at + random.choice([1, 4, 16])]
            case 3:
                out[at:at] = out[at : at + random.choice([1, 4, 16])]
            case _:
                if random.random() < 0.2:
                    del out[at:]
    return bytes(out)


def saved(random: random.Random) -> bytes:
    """numpy's own."""
    file = io.BytesIO()
    make = {"a": np.arange(6).reshape(2, 3).astype(random.choice(["<f4", "<i8", "?", "<f2"]))}
    make["b"] = np.asfortranarray(make["a"])
    random.choice([np.savez, np.savez_compressed])(file, **make)
    return file.getvalue()


def made(random: random.Random) -> tuple[str, bytes]:
    """A file's ending and its bytes."""
    kind = random.random()
    if kind < 0.4:
        data = npy(random)
        return ".npy", damaged(random, data) if random.random() < 0.2 else data
    data = saved(random) if kind > 0.9 else archive(random)
    return ".npz", damaged(random, data) if random.random() < 0.2 or kind > 0.9 else data


Read = dict[str, Any]  # an array, or why there is none


def read_by_numpy(kind: str, data: bytes) -> Read | Exception:
    try:
        if kind == ".npy":
            if not data.startswith(MAGIC):  # numpy goes by the content, Assay by the name
                raise ValueError("no npy")
            return {"": np.load(io.BytesIO(data), allow_pickle=False)}
        arrays: Read = {}
        with np.lib.npyio.NpzFile(io.BytesIO(data), allow_pickle=False) as npz:
            infos = npz.zip.infolist()
            if len({info.filename for info in infos}) < len(infos):
                raise ValueError("a name twice")  # Python opens the last
            for info in infos:
                # Assay takes the bytes as they are; Python those that are not marked as UTF-8 for cp437.
                marked = info.flag_bits & 0x800
                name = info.orig_filename.encode("utf8" if marked else "cp437")
                name = name.removesuffix(b".npy").decode("utf8", "replace")
                try:
                    array = npz[info.filename]
                    arrays[name] = array if isinstance(array, np.ndarray) else ValueError("no array")
                except Exception as error:  # numpy and zipfile raise of every kind
                    arrays[name] = error
        return arrays
    except Exception as error:
        return error


class Reader:
    """Assay, in one process for all files."""

    def __init__(self, program: Path, scratch: Path):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.scratch = scratch

    def take(self, count: int) -> bytes:
        data = self.process.stdout.read(count)
        if len(data) < count:
            raise RuntimeError(f"{self.process.args[0]} ended with {self.process.wait()}")
        return data

    def number(self, form: str) -> int:
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def text(self) -> bytes:
        return self.take(self.number("I"))

    def array(self) -> Any:
        if self.take(1) == b"R":
            return ValueError(self.text().decode())
        descr = TYPES[self.text().decode()]
        shape = [self.number("q") for _ in range(self.number("I"))]
        return descr, shape, self.take(self.number("Q"))

    def read(self, kind: str, data: bytes) -> Read | Exception:
        path = self.scratch / f"x{kind}"
        path.write_bytes(data)
        self.process.stdin.write(bytes(path) + b"\n")
        self.process.stdin.flush()
        if self.take(1) == b"R":
            return ValueError(self.text().decode())
        arrays = {}
        for _ in range(self.number("I")):
            name = self.text()
            arrays[name.decode("utf8", "replace")] = self.array()
        return arrays


def reason_of(error: Exception, known: dict[str, str]) -> str | None:
    text = f"{type(error).__name__}: {error}"
    return next((reason for part, reason in known.items() if re.search(part, text)), None)


def difference(numpys: Any, assays: Any, seen: Counter[str]) -> str | None:
    """None where Assay may do what it does; else what is wrong. Of a file, or of an array in it."""
    if isinstance(assays, Exception):
        if isinstance(numpys, Exception):
            seen["refused by both"] += 1
            return None
        reason = reason_of(assays, REASONS)
        if reason is None:
            return f"refused without a known reason: {assays}"
        seen[f"Assay refuses: {reason}"] += 1
        return None
    if isinstance(numpys, Exception):
        reason = reason_of(numpys, LAX)
        if reason is None:
            return f"read, but numpy says {type(numpys).__name__}: {numpys}"
        seen[f"numpy refuses: {reason}"] += 1
        return None
    descr, shape, data = assays
    bits = numpys.dtype.itemsize == 2 and numpys.dtype.kind == "V" and descr == "|V2"
    if not bits and numpys.dtype != np.dtype(descr):
        return f"type {descr}, numpy's {numpys.dtype}"
    if list(numpys.shape) != shape:
        return f"shape {shape}, numpy's {numpys.shape}"
    if np.ascontiguousarray(numpys).tobytes() != data:
        return "other elements"
    seen["read as the same"] += 1
    return None


def differences(numpys: Read | Exception, assays: Read | Exception, seen: Counter[str]) -> list[str]:
    if isinstance(assays, Exception) and not isinstance(numpys, Exception):
        # Refused whole: one reason does for all that numpy reads in it.
        numpys = next((a for a in numpys.values() if not isinstance(a, Exception)), ValueError("nothing"))
    if isinstance(numpys, Exception) and not isinstance(assays, Exception):
        assays = next((a for a in assays.values() if not isinstance(a, Exception)), ValueError("nothing"))
    if isinstance(numpys, dict) and isinstance(assays, dict):
        if set(numpys) != set(assays):
            return [f"names {sorted(assays)}, numpy's {sorted(numpys)}"]
        found = [difference(numpys[name], assays[name], seen) for name in numpys]
    else:
        found = [difference(numpys, assays, seen)]
    return [text for text in found if text is not None]


def run(program: Path, count: int, seed: int, keep: Path) -> tuple[Counter[str], list[str]]:
    """What was seen, and what is wrong; the files that show it are kept."""
    own = random.Random(seed)
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    with TemporaryDirectory(prefix="assay-numpy-") as scratch:
        reader = Reader(program, Path(scratch))
        for i in range(count):
            kind, data = made(own)
            try:
                found = differences(read_by_numpy(kind, data), reader.read(kind, data), seen)
            except RuntimeError as error:  # Assay is gone
                found = [str(error)]
                reader = Reader(program, Path(scratch))
            if found:
                keep.mkdir(parents=True, exist_ok=True)
                path = keep / f"{seed}-{i}{kind}"
                path.write_bytes(data)
                wrong.append(f"{path}: {'; '.join(found)}")
        reader.process.stdin.close()
        reader.process.wait()
    return seen, wrong


def main() -> int:
    program = Path(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 20000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.SystemRandom().randrange(2**32)
    seen, wrong = run(program, count, seed, Path("build-fuzz/findings/numpy"))
    print(f"{count} files, seed {seed}")
    for what, times in seen.most_common():
        print(f"{times:8} {what}")
    for text in wrong:
        print(text)
    return 1 if wrong else 0


if __name__ == "__main__":
    np.seterr(all="ignore")
    sys.exit(main())
