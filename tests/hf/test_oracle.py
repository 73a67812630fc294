"""The noise that `assay extract --numerics bf16,f64` records, checked with numpy alone."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from assay_cli import run_assay
from checkpoints import BUNDLED
from parity import relative_l2, seen

F32_LOWEST = np.finfo(np.float32).min


@pytest.fixture(scope="module")
def out() -> Iterator[Path]:
    with TemporaryDirectory(prefix="assay-oracle-") as name:
        run_assay(
            ["extract", "--model", BUNDLED, "--prompt", "What is 2+2?", "--taps", "*"]
            + ["--numerics", "bf16,f64", "--out", name]
        )
        yield Path(name)


def test_the_oracle_is_the_f64_run_in_fp32(out: Path) -> None:
    with TemporaryDirectory(prefix="assay-oracle-") as wide:
        run_assay(
            ["extract", "--model", BUNDLED, "--prompt", "What is 2+2?", "--taps", "*"]
            + ["--numerics", "f64", "--store", "f64", "--out", wide]
        )
        oracle = np.load(out / "prompt1" / "oracle.npz")
        double = np.load(Path(wide) / "prompt1" / "reference.npz")
        assert oracle.files == double.files
        for name in oracle.files:
            if oracle[name].dtype == np.int64:
                assert np.array_equal(oracle[name], double[name])
                continue
            assert oracle[name].dtype == np.float32 and double[name].dtype == np.float64, name
            rounded = np.maximum(double[name], float(F32_LOWEST)).astype(np.float32)
            assert np.array_equal(oracle[name], rounded), name


def test_the_manifest_tells_each_arrays_noise(out: Path) -> None:
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["numerics"], manifest["oracle"]) == ("bf16", "f64")
    (prompt,) = manifest["prompts"]
    reference, oracle = (np.load(out / prompt["files"][f]) for f in ("reference", "oracle"))
    assert list(prompt["arrays"]) == reference.files
    for name, array in prompt["arrays"].items():
        if array["dtype"] == "I64":
            assert "noise" not in array, name
            continue
        assert reference[name].shape == oracle[name].shape, name
        noise = relative_l2(seen(name, reference[name]), seen(name, oracle[name]))
        assert array["noise"] == pytest.approx(noise, rel=1e-3, abs=1e-12), name
        # The error of a BF16 run is at least that of one rounding, and at most that of a few dozen.
        assert name.startswith(("rope", "embedding")) or 1e-4 < noise < 0.1, name


@pytest.mark.parametrize("file", ["reference.npz", "oracle.npz"])
def test_numpy_reads_and_would_write_the_same_members(out: Path, file: str) -> None:
    path = out / "prompt1" / file
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    numpys = path.with_name("numpy-" + file)
    np.savez_compressed(numpys, **arrays)
    with zipfile.ZipFile(path) as ours, zipfile.ZipFile(numpys) as theirs:
        assert ours.testzip() is None
        assert ours.namelist() == theirs.namelist()
        for a, b in zip(ours.infolist(), theirs.infolist(), strict=True):
            for field in (
                "filename",
                "date_time",
                "compress_type",
                "create_system",
                "create_version",
                "extract_version",
                "flag_bits",
                "external_attr",
                "CRC",  # of header and elements: the .npy members equal numpy's byte for byte
                "file_size",
            ):
                assert getattr(a, field) == getattr(b, field), (a.filename, field)
