"""`assay diagnose` on mistakes as people make them (faults_forms.py)."""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from assay_cli import ROOT
from assay_hf.model import HfModel, Numerics
from diagnosis import Answer, Arrays, ask, at_level, dump, run
from family_checkpoints import write
from fault_models import MODELS, TOKENS
from faults_forms import ALL, FORMS, Form, table_rows

# The fraction of forms that must be named, at each level; the others must not get another name.
REACH = {"all": 0.95, "layers": 0.9, "logits": 0.75}


@pytest.fixture(scope="module")
def models() -> Iterator[dict[str, Path]]:
    with TemporaryDirectory(prefix="assay-forms-") as directory:
        yield {
            name: write(MODELS[name], Path(directory) / f"{number}")
            for number, name in enumerate(sorted({form.model for form in FORMS}))
        }


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def prompt(form: Form) -> list[int]:
    return [Random(f"prompt {i}").randrange(1, 400) for i in range(form.tokens or TOKENS)]


def without_choice(arrays: Arrays, form: Form) -> Arrays:
    """A dump with a different number of experts has arrays of different shapes."""
    if "experts-count" not in form.entries:
        return arrays
    inner = ("expert_ids", "expert_weights", "gate_proj", "up_proj", "mlp_act")
    return {name: a for name, a in arrays.items() if not name.endswith(inner)}


def test_forms_are_named(
    models: dict[str, Path], pool: ThreadPoolExecutor, scratch: Path
) -> None:
    answers: dict[str, dict[str, tuple[Form, Future[Answer]]]] = {}
    for form in FORMS:
        for numerics in form.numerics:
            model = HfModel(models[form.model], Numerics(numerics))
            ids = prompt(form)
            arrays = without_choice(run(model, [form.change], ids, decode=False), form)
            name = f"{form.model}: {form.entries[0]}: {form.name}, {numerics}"
            assert name not in answers, name
            answers[name] = {
                level: (
                    form,
                    pool.submit(
                        ask, model.directory, dump(ids, at_level(model, arrays, level), scratch), 1
                    ),
                )
                for level in form.levels
            }
    found = {
        name: {level: a.result().report for level, (_, a) in of_level.items()}
        for name, of_level in answers.items()
    }
    kept = ROOT / "build" / "diagnose-forms.json"
    kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    wrong = []
    for level in ALL:
        missed = []
        total = 0
        for name, of_level in answers.items():
            if level not in of_level:
                continue
            form, asked = of_level[level]
            answer = asked.result()
            total += 1
            named = answer.verdict == form.verdict and set(form.entries) <= answer.all_names()
            if not named or len(answer.report["findings"]) > len(form.entries):
                missed.append((name, answer.verdict, answer.names))
            if answer.verdict == "correct":
                continue
            strangers = [n for n in answer.names if n not in form.entries]
            if strangers and not named:
                wrong.append((name, level, answer.names))
        share = 1 - len(missed) / total
        print(f"{level}: {share:.3f} of {total}; missed: {missed}")
        assert share >= REACH[level], (level, missed)
    print(f"another name alone: {wrong}")


@pytest.mark.parametrize("numerics", ["bf16", "f32"])
def test_rows_of_the_embedding_are_named(
    models: dict[str, Path], scratch: Path, numerics: str
) -> None:
    ids = [Random(f"prompt {i}").randrange(1, 400) for i in range(TOKENS)]
    first, second = ids[9], ids[14]
    for name, tied in (("llama", False), ("gemma2", True)):
        model = HfModel(models[name], Numerics(numerics))
        for rows in ({first: 17}, {first: None}, {first: second, second: first}):
            arrays = run(model, [table_rows(rows, tied)], ids, decode=False)
            for level in ("all", "layers"):
                answer = ask(
                    model.directory, dump(ids, at_level(model, arrays, level), scratch)
                )
                assert answer.verdict == "named", (name, rows, level, answer.report)
                assert answer.names[0] == "embed-rows", (name, rows, level, answer.names)
                detail = answer.report["findings"][0]["detail"]
                for row, source in rows.items():
                    word = "zeros" if source is None else f"that of token {source}"
                    assert f"token {row} has {word}" in detail, detail
                assert ("also in the head" in detail) == tied, detail
    assert np.unique(ids).size > 20
