"""Assay reads the same from valid and damaged .npz and .npy files as numpy."""

import random
import sys
import warnings
from pathlib import Path

from assay_cli import assay_program

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "fuzz"))

import numpy_files  # noqa: E402

FILES = 2000


def test_files_are_read_as_numpy_reads_them(tmp_path: Path) -> None:
    reader = Path(assay_program()).parent / "fuzz" / "fuzz_numpy_reader"
    seed = random.SystemRandom().randrange(2**32)
    with warnings.catch_warnings(action="ignore"):  # numpy warns about headers that it reads anyway
        seen, wrong = numpy_files.run(reader, FILES, seed, tmp_path)
    assert not wrong, f"seed {seed}: " + "\n".join(wrong)
    # Some files are valid and some are not.
    assert seen["read as the same"] > FILES / 10
    assert seen["refused by both"] > FILES / 10
