"""python/extract_reference.py writes what `assay extract` writes: same files, names and schema."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import checkpoints
import numpy as np
import pytest
from assay_cli import ROOT, run_assay
from parity import relative_l2, seen

SCRIPT = ROOT / "python" / "extract_reference.py"
PROMPTS = [
    {"text": "The capital of France is"},
    {"id": "question", "text": "What is 2+2?"},
    {"input_ids": [39, 40, 41]},
]


@dataclass
class Sets:
    """The same reference set from both programs."""

    ours: Path
    theirs: Path

    def manifests(self) -> tuple[dict[str, Any], dict[str, Any]]:
        ours, theirs = (json.loads((d / "manifest.json").read_text()) for d in self.both())
        return ours, theirs

    def both(self) -> tuple[Path, Path]:
        return self.ours, self.theirs

    def files(self) -> Iterator[tuple[Any, Any]]:
        for file in sorted(self.ours.glob("*/*.npz")):
            with np.load(file) as a, np.load(self.theirs / file.relative_to(self.ours)) as b:
                yield a, b


@pytest.fixture(scope="module", params=["classic", "all"])
def sets(request: pytest.FixtureRequest) -> Iterator[Sets]:
    with TemporaryDirectory(prefix="assay-sets-") as name:
        scratch = Path(name)
        prompts = scratch / "prompts.jsonl"
        prompts.write_text("".join(json.dumps(prompt) + "\n" for prompt in PROMPTS))
        made = Sets(scratch / "ours", scratch / "theirs")
        common: list[str | Path] = ["--model", checkpoints.BUNDLED, "--prompts", prompts]
        common += ["--max-new-tokens", "12", *(["--taps", "*"] if request.param == "all" else [])]
        run_assay(["extract", "--numerics", "f32", "--out", made.ours, *common])
        script = [sys.executable, SCRIPT, "--dtype", "f32", "--out", made.theirs, *common]
        done = subprocess.run(script, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        yield made


def test_the_same_files(sets: Sets) -> None:
    ours, theirs = (sorted(p.relative_to(d) for p in d.rglob("*")) for d in sets.both())
    assert ours == theirs
    assert Path("question/reference.npz") in ours


def test_the_same_arrays_in_the_same_order(sets: Sets) -> None:
    for ours, theirs in sets.files():
        assert ours.files == theirs.files
        for name in ours.files:
            assert ours[name].shape == theirs[name].shape, name
            assert ours[name].dtype == theirs[name].dtype, name


def test_nearly_the_same_values(sets: Sets) -> None:
    for ours, theirs in sets.files():
        for name in ours.files:
            if ours[name].dtype == np.int64:
                assert np.array_equal(ours[name], theirs[name]), name
            else:
                assert relative_l2(seen(name, ours[name]), seen(name, theirs[name])) <= 1e-5, name


def structure(value: Any) -> Any:
    """Keys in order, and the type of every leaf; for a list, the distinct types of its elements."""
    if isinstance(value, dict):
        return [(key, structure(of)) for key, of in value.items()]
    if isinstance(value, list):
        distinct: list[Any] = []
        for element in map(structure, value):
            if element not in distinct:
                distinct.append(element)
        return distinct
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def test_manifests_of_the_same_structure(sets: Sets) -> None:
    ours, theirs = sets.manifests()
    # Only the producer must differ.
    assert ours.pop("producer").keys() == {"name", "version"}
    producer = theirs.pop("producer")
    assert producer["name"] == "transformers"
    assert producer.keys() == {"name", "version", "torch", "python"}
    assert structure(ours) == structure(theirs)


def test_manifests_say_the_same(sets: Sets) -> None:
    ours, theirs = sets.manifests()
    for key in ("schema", "numerics", "oracle", "model", "generation"):
        assert ours[key] == theirs[key], key
    for mine, hers in zip(ours["prompts"], theirs["prompts"], strict=True):
        for key in mine.keys() - {"arrays"}:
            assert mine[key] == hers[key], key
        for name, array in mine["arrays"].items():
            assert array["shape"] == hers["arrays"][name]["shape"], name
            assert array["dtype"] == hers["arrays"][name]["dtype"], name
            for figure, value in array.get("stats", {}).items():
                # A count of zeros may differ by one if FP32 underflows or cancels.
                tolerance = 1.0 if figure == "zeros" else 1e-4
                expected = hers["arrays"][name]["stats"][figure]
                assert value == pytest.approx(expected, rel=1e-4, abs=tolerance), (name, figure)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--taps", "layer_99_*"], 2, "matches no tap"),
        (["--model", "nowhere"], 3, "no config.json"),
        (["--prompts", "nowhere.txt"], 3, "nowhere.txt"),
    ],
)
def test_wrong_input_is_named(arguments: list[str], code: int, message: str) -> None:
    with TemporaryDirectory(prefix="assay-sets-") as out:
        command = [sys.executable, SCRIPT, "--out", out, *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == code
        assert message in done.stderr
        assert not (Path(out) / "manifest.json").exists()
