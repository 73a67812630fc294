"""Paths, the checkpoints of the session, and the tables at the end of the output."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import pytest

# These are read when torch and numpy are imported. Threads that spin while they wait make a tiny
# model ten times slower as soon as anything else runs on the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Do not touch the user's hash cache.
os.environ["XDG_CACHE_HOME"] = mkdtemp(prefix="assay-cache-")

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

import torch  # noqa: E402

import checkpoints  # noqa: E402
import families  # noqa: E402
import family_config  # noqa: E402
from assay_cli import assay_program, run_assay  # noqa: E402
from parity import PromptFigures, measure  # noqa: E402
from tables import case_table, family_table, header, layer_table  # noqa: E402

# name -> function that makes (checkpoint directory, prompts) in a scratch directory
CASES: dict[str, Callable[[Path], tuple[Path, checkpoints.Prompts]]] = {
    "bundled": lambda d: (checkpoints.BUNDLED, checkpoints.text_prompts()),
    "massive": lambda d: (
        checkpoints.with_massive_activations(d / "massive"),
        checkpoints.text_prompts(checkpoints.MASSIVE_PREFIX),
    ),
    "stored_head": lambda d: (
        checkpoints.with_stored_head(d / "stored_head", equal=True),
        checkpoints.text_prompts(),
    ),
    "other_head": lambda d: (
        checkpoints.with_stored_head(d / "other_head", equal=False),
        checkpoints.text_prompts(),
    ),
    "f16_weights": lambda d: (
        checkpoints.with_stored_dtype(d / "f16", torch.float16),
        checkpoints.text_prompts(),
    ),
    "f32_weights": lambda d: (
        checkpoints.with_stored_dtype(d / "f32", torch.float32),
        checkpoints.text_prompts(),
    ),
    "sharded": lambda d: (checkpoints.sharded(d / "sharded"), checkpoints.text_prompts()),
    "full_size": lambda d: (synthesized(d / "full_size"), checkpoints.full_size_prompts()),
}
PER_LAYER = ("bundled", "massive", "full_size")

measured: dict[str, list[PromptFigures]] = {}
measured_families: dict[str, tuple[family_config.Configuration, list[PromptFigures]]] = {}


def synthesized(directory: Path) -> Path:
    """A random checkpoint of Qwen3-0.6B's shape, 1.2 GB."""
    run_assay(["synth", "--like", "Qwen3-0.6B", "--seed", "1", "--out", directory])
    return directory


@pytest.fixture(scope="session")
def figures() -> Callable[[str], list[PromptFigures]]:
    """Measures a case on first use, and deletes its checkpoint afterwards."""

    def of(case: str) -> list[PromptFigures]:
        if case not in measured:
            with TemporaryDirectory(prefix="assay-parity-") as scratch:
                checkpoint, prompts = CASES[case](Path(scratch))
                measured[case] = measure(checkpoint, prompts, Path(scratch))
        return measured[case]

    return of


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every tap of the bundled model, with oracle, for a few prompts."""
    directory = tmp_path_factory.mktemp("reference")
    prompts = directory / "prompts.txt"
    prompts.write_text("\n".join(checkpoints.COMPARE_PROMPTS) + "\n", encoding="utf-8")
    run_assay(
        ["extract", "--prompts", prompts, "--numerics", "bf16,f64", "--taps", "*"]
        + ["--out", directory / "reference"]
    )
    return directory / "reference"


@pytest.fixture(scope="session")
def assay_check() -> Iterator[Any]:
    """The Python module of the C API, with the library under test."""
    os.environ["ASSAY_LIBRARY"] = str(Path(assay_program()).with_name("libassay.so"))
    import assay_check as module

    yield module
    del os.environ["ASSAY_LIBRARY"]


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory that is deleted after the test: pytest's own keeps gigabytes of three runs."""
    with TemporaryDirectory(prefix="assay-parity-") as directory:
        yield Path(directory)


def pytest_sessionstart(session: pytest.Session) -> None:
    if not Path(assay_program()).is_file():
        pytest.exit(f"{assay_program()} does not exist: run `make build` first", returncode=2)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if measured_families:
        terminalreporter.section(f"random models, ASSAY_FAMILY_SEED={families.SEED}")
        terminalreporter.write_line(header())
        terminalreporter.write_line(family_table(measured_families))
    if not measured:
        return
    terminalreporter.section("parity with transformers")
    terminalreporter.write_line(header())
    for case in PER_LAYER:
        if case in measured:
            terminalreporter.write_line(f"\n{case}")
            terminalreporter.write_line(layer_table(measured[case]))
    terminalreporter.write_line("")
    terminalreporter.write_line(case_table(measured))
