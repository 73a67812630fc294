"""`assay diagnose` gives the verdict "rounding" only if a rounding is the reason, and tells which one."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from assay_hf.model import HfModel, Numerics
from diagnosis import at_level, diagnose, run
from engine_roundings import FUSED, LITTLE_WRONG, ROUNDINGS, EngineRounding
from fault_base import Change
from test_diagnose import PROMPT, medium_checkpoint


@pytest.fixture(scope="module")
def model() -> Iterator[HfModel]:
    with TemporaryDirectory(prefix="assay-rounding-") as directory:
        yield HfModel(medium_checkpoint(Path(directory)), Numerics.F32)


# Layer outputs do not always tell which rounding it is, because the effects mix within a layer.
LEVELS = ("all", "layers")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("engine", ROUNDINGS, ids=lambda e: e.name)
def test_a_rounding_is_named(
    model: HfModel, scratch: Path, engine: EngineRounding, level: str
) -> None:
    arrays = at_level(model, run(model, [engine.change], PROMPT, decode=False), level)
    answer = diagnose(model.directory, PROMPT, arrays, scratch)
    if level == "all":
        assert answer.verdict == "rounding", answer.report
        assert engine.entry in answer.names, answer.report["summary"]
        for word in engine.words:
            assert word in answer.report["summary"]
    else:
        # Never called a mistake of logic; and either named or located.
        assert all(f["rounding"] for f in answer.report["findings"]), answer.report
        assert answer.verdict in ("rounding", "unexplained", "partly named")


@pytest.mark.parametrize("name,change,dtype", FUSED)
def test_a_fused_kernel_in_half_precision_is_one(
    model: HfModel, scratch: Path, name: str, change: Change, dtype: str
) -> None:
    answer = diagnose(model.directory, PROMPT, run(model, [change], PROMPT, False), scratch)
    assert answer.verdict == "rounding", answer.report
    assert set(answer.names) <= {"attn-lowp", "computed-coarsely", "values-lowp"}, answer.report
    assert dtype in answer.report["summary"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("change", LITTLE_WRONG, ids=lambda c: c.__name__)
def test_what_is_little_wrong_is_no_rounding(
    model: HfModel, scratch: Path, change: Change, level: str
) -> None:
    arrays = at_level(model, run(model, [change], PROMPT, decode=False), level)
    answer = diagnose(model.directory, PROMPT, arrays, scratch)
    # Over a whole layer, an error in one head of queries is lost in the others' noise.
    seen = level == "all" or change.__name__ != "one_head_off"
    assert answer.verdict != "rounding", answer.report
    assert not seen or answer.verdict != "correct", answer.report
    assert not any(f["rounding"] for f in answer.report["findings"]), answer.report
