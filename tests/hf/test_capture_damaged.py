"""`assay capture` with damaged files: it captures what they still hold, or refuses them in a line.

A run of the tests tries a few changes of each file; ALL=1 tries 200.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from architectures import ARCHITECTURES
from assay_cli import run_assay
from families import SEED
from tokenizers import Tokenizer, models, pre_tokenizers

from assay.capture import __main__ as program
from assay.capture import capture as captures
from assay.capture import files

ROOT = Path(__file__).resolve().parents[2]
TIMES = 200 if os.environ.get("ALL") == "1" else 15
BYTES = [
    b"null",
    b"-1",
    b"1e999",
    b"{}",
    b"[]",
    b"NaN",
    b"9" * 20,
    b"../../x",
    b"\xff\xfe",
    b"\0",
    b"[[",
]
VALUES = [None, -1, 0, 1.5, "x", [], {}, [1], True, 1e400, 10**30, "../../x", "\x1b[31m", "", [[]]]
FILES = [
    "inputs.npz",
    "prompts.jsonl",
    "map.json",
    "model/config.json",
    "model/generation_config.json",
    "model/tokenizer.json",
    "model/model.safetensors.index.json",
    "model/model-00001-of-00007.safetensors",
]


@pytest.fixture(scope="module")
def whole() -> Iterator[Path]:
    """A directory with everything that capture reads."""
    with TemporaryDirectory(prefix="assay-damaged-") as scratch:
        root = Path(scratch)
        ARCHITECTURES["llama"].build(SEED).save_pretrained(root / "model", max_shard_size="50KB")
        (root / "model/generation_config.json").write_text('{"eos_token_id": [2, 3]}')
        words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(97)}, unk_token="w96"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        words.save(str(root / "model/tokenizer.json"))
        ids = {"input_ids": np.arange(5)[None], "attention_mask": np.ones((1, 5), np.int64)}
        np.savez_compressed(root / "inputs.npz", **ids)
        (root / "prompts.jsonl").write_text('{"id": "a", "text": "w1 w2"}\n{"input_ids": [1, 2]}\n')
        (root / "map.json").write_text('{"model.layers.{layer}": "L{layer}"}')
        yield root


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    real = captures.capture
    monkeypatch.setattr(captures, "capture", lambda options: real(options, in_process=True))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.usefixtures("in_process")
def test_damaged_files(whole: Path, scratch: Path, name: str, capsys: Any) -> None:
    rng = Random(SEED)
    original = (whole / name).read_bytes()
    arguments = [str(whole / "model"), "--out", str(scratch / "out"), "--runs", "bf16"]
    arguments += ["--map", str(whole / "map.json")]
    inputs = "--inputs" if name == "inputs.npz" else "--prompts"
    arguments += [inputs, str(whole / ("inputs.npz" if name == "inputs.npz" else "prompts.jsonl"))]
    try:
        for _ in range(TIMES):
            (whole / name).write_bytes(damaged(rng, original))
            code = program.main(arguments)
            told = capsys.readouterr().err
            errors = [line for line in told.splitlines() if line.startswith("assay: error: ")]
            assert (code, len(errors)) in ((0, 0), (3, 1)), told
            assert "\x1b" not in told and "Traceback" not in told
            if code == 0:
                json.loads((scratch / "out/manifest.json").read_text(), parse_constant=refuse)
            shutil.rmtree(scratch / "out", ignore_errors=True)
    finally:
        (whole / name).write_bytes(original)


def test_a_full_disk_is_an_error_in_one_line(whole: Path, scratch: Path) -> None:
    """A limit on the size of files stands for it."""
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192));"
        " from assay.capture.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = [str(whole / "model"), "--out", str(scratch / "out"), "--runs", "bf16"]
    arguments += ["--prompts", str(whole / "prompts.jsonl")]
    ran = subprocess.run(
        [sys.executable, "-c", limited, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
        capture_output=True,
        text=True,
    )
    errors = [line for line in ran.stderr.splitlines() if "assay: error: " in line]
    assert ran.returncode == 4 and len(errors) == 1, ran.stderr
    assert "cannot write: File too large" in errors[0] and "Traceback" not in ran.stderr
    assert not (scratch / "out/manifest.json").exists()


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def damaged(rng: Random, original: bytes) -> bytes:
    data = bytearray(original)
    at = rng.randrange(len(data))
    how = rng.randrange(6)
    if how == 0:
        return original[:at]
    if how == 1:
        data[at] = rng.randrange(256)
    elif how == 2:
        data[at:at] = rng.choice(BYTES)
    elif how == 3:
        del data[at : at + rng.randrange(1, 60)]
    elif how == 4:
        return rng.choice([*BYTES, b"", b"[" * 100_000, b'{"a":' * 3000])
    else:
        return with_another_value(rng, original)
    return bytes(data)


def with_another_value(rng: Random, original: bytes) -> bytes:
    try:
        value = json.loads(original)
    except ValueError:
        return original[::-1]
    place: Any = value
    while True:
        key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        inner = place[key]
        if not isinstance(inner, (dict, list)) or not inner or rng.random() < 0.3:
            place[key] = rng.choice(VALUES)
            return json.dumps(value).encode()
        place = inner


@pytest.mark.parametrize("id_", ["runs", "prompts", "bf16", "f64", "bf16.json"])
@pytest.mark.usefixtures("in_process")
def test_a_prompt_may_be_called_as_a_run_is(whole: Path, scratch: Path, id_: str) -> None:
    (scratch / "p.jsonl").write_text(json.dumps({"id": id_, "input_ids": [1, 2]}))
    arguments = ["--prompts", str(scratch / "p.jsonl"), "--out", str(scratch / "out")]
    assert program.main([str(whole / "model"), *arguments]) == 0
    assert sorted(p.name for p in (scratch / "out").iterdir()) == sorted([id_, "manifest.json"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("generation_config.json", '{"eos_token_id": "x"}', "field 'eos_token_id' is \"x\""),
        ("generation_config.json", "[", "not valid JSON"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "../../x"}}', "below the directory"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "x"}}', "which is not there"),
        ("model.safetensors.index.json", "{}", "no field 'weight_map'"),
    ],
)
def test_damage_is_found_before_the_runs(
    whole: Path, scratch: Path, monkeypatch: Any, capsys: Any, name: str, text: str, message: str
) -> None:
    shutil.copytree(whole / "model", scratch / "model")
    (scratch / "model" / name).write_text(text)
    monkeypatch.setattr(captures, "_run_all", lambda *_: pytest.fail("it ran"))
    assert (
        program.main([str(scratch / "model"), "--prompt", "w1", "--out", str(scratch / "o")]) == 3
    )
    told = capsys.readouterr().err
    assert message in told and name in told


def test_a_prompt_cannot_be_called_as_the_manifest_is(
    whole: Path, scratch: Path, capsys: Any
) -> None:
    (scratch / "p.jsonl").write_text('{"id": "manifest.json", "text": "w1"}')
    arguments = ["--prompts", str(scratch / "p.jsonl"), "--out", str(scratch / "out")]
    assert program.main([str(whole / "model"), *arguments]) == 3
    assert "not manifest.json" in capsys.readouterr().err


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("name", ["mamba2", "bamba", "falcon_h1", "nemotron_h"])
def test_infinities_of_a_config_are_valid_json(scratch: Path, name: str) -> None:
    """As published checkpoints have them: Python's, which JSON does not know."""
    ARCHITECTURES[name].build(SEED).save_pretrained(scratch / "model")
    config = json.loads((scratch / "model/config.json").read_text())
    config["time_step_limit"] = [0.0, float("inf")]
    (scratch / "model/config.json").write_text(json.dumps(config))
    (scratch / "p.jsonl").write_text('{"input_ids": [5, 6, 7, 8, 9]}')
    arguments = ["--prompts", str(scratch / "p.jsonl"), "--out", str(scratch / "out")]
    assert program.main([str(scratch / "model"), *arguments]) == 0
    stored = files.read_config(scratch / "model")["time_step_limit"]
    assert stored == [0.0, float("inf")]
    manifest = json.loads((scratch / "out/manifest.json").read_text(), parse_constant=refuse)
    assert manifest["model"]["config"]["time_step_limit"] == [0.0, {"__float__": "Infinity"}]
    run_assay(["compare", scratch / "out", scratch / "out"])


def test_names_of_files_are_safe_to_print(whole: Path, scratch: Path) -> None:
    manifest: dict[str, Any] = {"architecture": "A\x1b[31m\nB", "prompts": [], "warnings": ["\x07"]}
    (scratch / "out").mkdir()
    (scratch / "out/x.npz").write_bytes(b"1")
    record = {"files": {"reference": "x.npz"}, "arrays": {}}
    report: Callable[..., str] = captures.report
    text = report(scratch / "out", manifest | {"prompts": [record]}, as_json=False)
    assert "\x1b" not in text and "\x07" not in text and "\\x1b[31m" in text
