"""`assay capture`: references of models that Assay does not know, and what compare makes of them.

Each architecture is drawn small and at random. A correct run with other kernels must pass; a run with
a skipped norm, and one with wrong rotary frequencies or a wrong weight, must fail at that very module.
A run of the tests tries a part of the architectures, a different one each time; ALL=1 tries all.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import checkpoints
import numpy as np
import pytest
import torch
from architectures import ARCHITECTURES
from assay_cli import ROOT, run_assay
from captures import Captured, candidate, captured, compared, dump, first_divergence, recorded, told
from families import SEED
from safetensors.torch import load_file, save_file

from assay.capture import memory
from assay.capture.capture import report
from assay.capture.errors import InputError
from assay.capture.run import load

EVERY = os.environ.get("ALL") == "1"
# These cover what the others are made of: encoder-decoders, towers, experts, recurrences.
ALWAYS = ["gpt2", "t5", "whisper", "clip", "gemma3", "qwen2_moe", "mamba2", "deepseek_v3"]


def chosen() -> list[str]:
    if EVERY:
        return list(ARCHITECTURES)
    others = [name for name in ARCHITECTURES if name not in ALWAYS]
    return ALWAYS + Random(SEED).sample(others, 8)


def build(name: str, directory: Path) -> Captured:
    architecture = ARCHITECTURES[name]
    return captured(architecture, architecture.build(SEED), directory)


@pytest.fixture(scope="module", params=chosen())
def case(request: pytest.FixtureRequest) -> Iterator[Captured]:
    with TemporaryDirectory(prefix="assay-capture-") as scratch:
        yield build(request.param, Path(scratch))


def test_its_json_is_as_documented(case: Captured) -> None:
    schema = json.loads((ROOT / "docs/schema/capture-1.schema.json").read_text())["properties"]
    found = json.loads(report(case.reference, case.manifest, as_json=True))
    assert found["schema"] == schema["schema"]["const"]
    assert set(found) == set(schema)
    assert found["files"]
    for file in found["files"]:
        assert set(file) == set(schema["files"]["items"]["properties"])


def test_bf16_arrays_are_what_plain_hooks_give(case: Captured) -> None:
    """Bit for bit: following the data flow changes no value."""
    own = np.load(case.reference / "prompt1" / "reference.npz")
    plain_hooks = dump(load(case.model, "bf16"), case, threads=torch.get_num_threads())
    with np.load(plain_hooks) as plain:
        for path in plain.files:
            if path in case.others():
                assert np.array_equal(own[case.others()[path]], plain[path], equal_nan=True), path
        assert len(plain.files) > len(own.files) / 3


def test_a_correct_run_passes(case: Captured) -> None:
    report = compared(case, dump(candidate(case), case), 0)
    prompt = report["prompts"][0]
    seen = [t for t in prompt["tensors"] if t["verdict"] != "not compared"]
    # All but what only inputs of modules and eager attention show.
    assert len(seen) > len(case.arrays) / 2
    assert prompt["unmatched"] == []
    assert not report["coarse"]


def test_a_run_in_fp32_passes_and_is_not_coarse(case: Captured) -> None:
    report = compared(case, dump(candidate(case, numerics="f32"), case, "f32"), 0)
    assert not report["coarse"]
    assert any(t.get("precision_ratio") for t in report["prompts"][0]["tensors"])


def test_a_skipped_norm_is_found(case: Captured) -> None:
    net = candidate(case)
    norms = [
        p for p, m in net.named_modules() if "Norm" in type(m).__name__ and not list(m.children())
    ]
    norms = recorded(case, norms)
    path = norms[len(norms) // 2]
    net.get_submodule(path).forward = lambda x, *_, **__: x
    assert first_divergence(case, net) == case.array_of(path)


def test_wrong_frequencies_or_weights_are_found(case: Captured) -> None:
    net = candidate(case)
    rotary = [p for p, m in net.named_modules() if hasattr(m, "inv_freq")]
    if rotary:
        module = net.get_submodule(rotary[-1])
        module.inv_freq.copy_(module.inv_freq**0.8)
        assert first_divergence(case, net) == case.array_of(rotary[-1])
        return
    matrices = [p for p, m in net.named_modules() if getattr(m, "weight", None) is not None]
    matrices = [p for p in recorded(case, matrices) if net.get_submodule(p).weight.dim() == 2]
    path = matrices[len(matrices) // 2]
    with torch.no_grad():
        weight = net.get_submodule(path).weight
        weight.copy_(weight.roll(1, dims=0))
    assert first_divergence(case, net) == case.array_of(path)


def run_capture(*arguments: Any) -> Any:
    """By the program, as users do."""
    os.environ["ASSAY_PYTHON"] = sys.executable
    return run_assay(["capture", *arguments], check=False)


def test_the_program_captures_a_native_model_under_the_names_of_its_taps(scratch: Path) -> None:
    out = scratch / "reference"
    done = run_capture(checkpoints.BUNDLED, "--prompt", "Hello", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["files"]) == 2
    run_assay(["extract", "--prompt", "Hello", "--taps", "*", "--out", scratch / "own"])
    # An engine's dump by any of the known maps matches: here Assay's own.
    done = run_assay(["compare", out, scratch / "own", "--json"], check=False)
    assert done.returncode == 0, told(done)
    tensors = json.loads(done.stdout)["prompts"][0]["tensors"]
    compared = {t["name"] for t in tensors if t["verdict"] == "pass"}
    for tap in ("q_norm", "attn_context", "attn_residual", "mlp_act", "output"):
        assert f"layer_05_{tap}" in compared
    # The data flow is the one that Assay knows for this model.
    (record,) = json.loads((out / "manifest.json").read_text())["prompts"]
    flow = {name: array["from"] for name, array in record["arrays"].items()}
    assert flow["layer_05_q_norm"] == ["layer_05_q_proj"]
    assert flow["layer_05_attn_residual"] == ["layer_04_output", "layer_05_attn_output"]
    assert flow["layer_05_output"] == ["layer_05_attn_residual", "layer_05_mlp_output"]
    assert flow["logits"] == ["final_norm_output"]
    # Nothing but the reference is left.
    assert sorted(p.name for p in out.iterdir()) == ["manifest.json", "prompt1"]


@pytest.fixture(scope="module")
def vit() -> Iterator[Captured]:
    with TemporaryDirectory(prefix="assay-capture-") as scratch:
        yield build("vit", Path(scratch))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 3, "--inputs FILE.npz (its main input: pixel_values)"),
        (["--inputs", "nowhere.npz"], 3, "nowhere.npz"),
        (["--runs", "bf16,f16"], 2, "f16"),
        (["--runs", "f64,f64"], 2, "at most once"),
        (["--map", "nowhere.json"], 3, "nowhere.json"),
        (["--prompts", "nowhere.txt"], 3, "nowhere.txt"),
        (["--frobnicate"], 2, "frobnicate"),
    ],
)
def test_wrong_input_is_named(
    vit: Captured, scratch: Path, arguments: list[str], code: int, message: str
) -> None:
    if not arguments:
        (scratch / "ids.jsonl").write_text('{"input_ids": [1, 2]}\n')
        arguments = ["--prompts", str(scratch / "ids.jsonl")]
    done = run_capture(vit.model, "--out", scratch / "out", *arguments)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert not (scratch / "out").exists()


def test_what_the_model_does_not_have_is_refused(scratch: Path) -> None:
    net = ARCHITECTURES["llama"].build(SEED)
    net.save_pretrained(scratch / "model")
    (scratch / "ids.jsonl").write_text('{"input_ids": [1, 2]}\n')
    (scratch / "far.jsonl").write_text('{"input_ids": [1, 9999]}\n')
    np.savez(scratch / "more.npz", attention_maks=np.ones((1, 2), np.int64))
    with_ids = [scratch / "model", "--out", scratch / "out", "--runs", "bf16", "--prompts"]

    def refused(code: int, message: str, *arguments: Any) -> None:
        done = run_capture(*with_ids, *arguments)
        assert (done.returncode, message in done.stderr) == (code, True), done.stderr
        assert not (scratch / "out").exists()

    ids = scratch / "ids.jsonl"
    refused(2, "has no 'layer_00_outputs'; did you mean", ids, "--taps", "logits,layer_00_outputs")
    refused(3, "token 9999 at 1, expected 0 to", scratch / "far.jsonl")
    refused(3, "did you mean 'attention_mask'?", ids, "--inputs", scratch / "more.npz")
    # Globs of both kinds of names of the same arrays.
    both = "layer_*_output,model.layers.?"
    assert run_capture(*with_ids, ids, "--taps", both).returncode == 0


def test_weights_that_are_not_numbers_are_reported(scratch: Path) -> None:
    net = ARCHITECTURES["llama"].build(SEED)
    with torch.no_grad():
        net.model.norm.weight[3] = float("nan")
    net.save_pretrained(scratch / "model")
    (scratch / "ids.jsonl").write_text('{"input_ids": [1, 2]}\n')
    done = run_capture(
        scratch / "model", "--prompts", scratch / "ids.jsonl", "--out", scratch / "out"
    )
    assert done.returncode == 0, done.stderr
    assert "warning: model.norm.weight: 1 of" in done.stdout


def test_what_does_not_fit_in_memory_is_refused(vit: Captured, monkeypatch: Any) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 300_500_000)
    with pytest.raises(InputError, match=r"the f64 run does not fit in memory: [\d,]+ parameters"):
        memory.expect_room(vit.model, ["bf16", "f64", "f32"])
    memory.expect_room(vit.model, ["bf16"])


def test_a_missing_weight_is_an_error(vit: Captured, scratch: Path) -> None:
    shutil.copytree(vit.model, scratch / "model")
    weights = load_file(scratch / "model" / "model.safetensors")
    del weights["classifier.bias"]
    save_file(weights, scratch / "model" / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"1 weights are missing, classifier.bias"):
        load(scratch / "model", "bf16")


def test_diagnose_locates_what_it_cannot_name(vit: Captured) -> None:
    net = candidate(vit)
    path = "vit.layernorm"
    net.get_submodule(path).forward = lambda x: x
    options = ["diagnose", "--reference", vit.reference, "--candidate", dump(net, vit), "--json"]
    done = run_assay(options, check=False)
    assert done.returncode == 1, done.stderr
    diagnosis = json.loads(done.stdout)
    assert diagnosis["first"]["tap"] == path
    assert "names mistakes only in the types" in " ".join(diagnosis["notes"])
    right = run_assay([*options[:-3], "--candidate", dump(candidate(vit), vit), "--json"])
    assert json.loads(right.stdout)["verdict"] == "correct"


def test_a_map_names_modules_and_the_html_report_shows_them(vit: Captured) -> None:
    net = candidate(vit)
    with np.load(dump(net, vit)) as arrays:
        others = {
            name.replace("vit.layers.", "blk/").replace(".", "/"): arrays[name] for name in arrays
        }
    np.savez(vit.directory / "others.npz", **others)
    (vit.directory / "map.json").write_text('{"blk/{layer}": "vit.layers.{layer}"}')
    html = vit.directory / "report.html"
    options = ["--map", vit.directory / "map.json", "--html", html, "--json"]
    done = run_assay(["compare", vit.reference, vit.directory / "others.npz", *options])
    tensors = {t["name"]: t for t in json.loads(done.stdout)["prompts"][0]["tensors"]}
    layer = tensors["vit.layers.1"]
    assert (layer["verdict"], layer["candidate_name"]) == ("pass", "blk/1")
    assert layer["block"] == "vit.layers.1"
    assert "vit.layers.1" in html.read_text()
