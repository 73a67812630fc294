"""numpy reads what `assay extract` writes, and cannot tell the archive from one of its own."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import checkpoints
import numpy as np
import pytest
from assay_cli import run_assay

COMPRESSIONS = ("none", "fast", "small")
DTYPES = {"F32": np.float32, "F64": np.float64, "I64": np.int64}
MEMBER_FIELDS = (
    "compress_type", "create_system", "create_version", "extract_version", "flag_bits",
    "date_time", "external_attr", "internal_attr", "volume", "extra", "comment", "CRC", "file_size",
)  # fmt: skip


@pytest.fixture(scope="module")
def archives() -> Iterator[dict[str, Path]]:
    """One prompt's archive per compression."""
    with TemporaryDirectory(prefix="assay-npz-") as scratch:
        made = {}
        for compression in COMPRESSIONS:
            out = Path(scratch) / compression
            run_assay(
                ["extract", "--model", checkpoints.BUNDLED, "--prompt", "What is 2+2?", "--taps",
                 "layer_01_*", "--compression", compression, "--out", out]
            )  # fmt: skip
            made[compression] = out / "prompt1" / "reference.npz"
        yield made


def numpys_own(archive: Path, compression: str) -> bytes:
    with np.load(archive) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    out = io.BytesIO()
    (np.savez if compression == "none" else np.savez_compressed)(out, **arrays)
    return out.getvalue()


def same(ours: float | None, theirs: Any) -> bool:
    return ours is not None and abs(ours - float(theirs)) <= 1e-12 * max(1.0, abs(float(theirs)))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_numpy_loads_what_inspect_shows(archives: dict[str, Path], compression: str) -> None:
    shown = json.loads(run_assay(["inspect", archives[compression], "--json"]).stdout)["arrays"]
    with np.load(archives[compression], allow_pickle=False) as arrays:
        assert [entry["name"] for entry in shown] == arrays.files
        assert len(arrays.files) > 20
        for entry in shown:
            array = arrays[entry["name"]]
            assert array.dtype == DTYPES[entry["dtype"]], entry["name"]
            assert list(array.shape) == entry["shape"], entry["name"]
            assert array.flags.c_contiguous
            wide = array.astype(np.float64)
            assert same(entry["min"], wide.min()), entry["name"]
            assert same(entry["max"], wide.max()), entry["name"]
            assert same(entry["mean"], wide.mean()), entry["name"]
            assert same(entry["std"], wide.std()), entry["name"]
            assert entry["zeros"] == np.count_nonzero(wide == 0), entry["name"]
            assert entry["nan"] == 0 and entry["inf"] == 0, entry["name"]


def test_compression_changes_no_array(archives: dict[str, Path]) -> None:
    with np.load(archives["none"]) as stored:
        for compression in COMPRESSIONS[1:]:
            with np.load(archives[compression]) as deflated:
                assert deflated.files == stored.files
                for name in stored.files:
                    assert deflated[name].tobytes() == stored[name].tobytes(), name


def test_stored_archive_is_numpys_byte_for_byte(archives: dict[str, Path]) -> None:
    assert archives["none"].read_bytes() == numpys_own(archives["none"], "none")


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_zip_and_npy_fields_are_numpys(archives: dict[str, Path], compression: str) -> None:
    own = io.BytesIO(numpys_own(archives[compression], compression))
    with zipfile.ZipFile(archives[compression]) as ours, zipfile.ZipFile(own) as theirs:
        assert ours.testzip() is None
        assert ours.comment == theirs.comment
        assert ours.namelist() == theirs.namelist()
        for a, b in zip(ours.infolist(), theirs.infolist()):
            for field in MEMBER_FIELDS:
                assert getattr(a, field) == getattr(b, field), f"{a.filename}: {field}"
            assert ours.read(a) == theirs.read(b), a.filename  # npy header and elements
