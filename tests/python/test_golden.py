"""Golden bundles: small, complete, the same bytes every time, and enough to find mistakes."""

import fnmatch
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import assay
import numpy as np
import pytest
from assay._golden import _bisected, _by_importance, _Item


def size_of(directory):
    return sum(f.stat().st_size for f in directory.rglob("*") if f.is_file())


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "assay._golden_command", *map(str, arguments)], capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return assay.golden(out=tmp_path_factory.mktemp("golden") / "bundle", max_bytes=300_000)


def dump_of(bundle, model=None, **options):
    """The arrays of an engine that runs the bundle's prompts."""
    prompts = [{"id": p.id, "input_ids": p.input_ids} for p in bundle.values()]
    return assay.extract(model, prompts, oracle=False, taps="*", **options)


def test_a_bundle_is_a_part_of_the_reference(bundle, tmp_path):
    prompts = [{"id": p.id, "text": p.text} for p in bundle.values()]
    whole = assay.extract(prompts=prompts, taps="*", max_new_tokens=8, out=tmp_path / "whole")
    for name, prompt in bundle.items():
        assert {"input_ids", "generated_ids", "final_norm_output"} <= set(prompt)
        assert set(prompt.manifest["arrays"]) == set(prompt)
        for tap in prompt:
            np.testing.assert_array_equal(prompt[tap], whole[name][tap])
            if tap in prompt.oracle:
                np.testing.assert_array_equal(prompt.oracle[tap], whole[name].oracle[tap])
                assert prompt.oracle.form(tap)[0] in ("float32", "int64")
        with np.load(prompt.path) as archive:  # numpy reads what was copied
            assert archive.files == list(prompt)
            np.testing.assert_array_equal(archive["final_norm_output"], prompt["final_norm_output"])


@pytest.mark.parametrize("limit", [1_000_000, 150_000, 40_000, 25_000])
def test_a_bundle_keeps_to_its_size_and_tells_what_is_missing(tmp_path, limit):
    made = assay.golden(out=tmp_path / "g", max_bytes=limit)
    assert size_of(tmp_path / "g") <= limit
    golden = made.manifest["golden"]
    assert golden["max_bytes"] == limit
    for name, prompt in made.items():
        left_out = golden["left_out"].get(name, [])
        assert not [tap for tap in prompt for glob in left_out if fnmatch.fnmatchcase(tap, glob)]
    if limit == 1_000_000:
        assert "logits" in made["hello"] and "logits" in golden["left_out"]["river"]
        assert {f"layer_{i:02}_output" for i in range(28)} | {"layer_00_q_rope", "layer_27_mlp_norm"} <= set(
            made["capital"]
        )
    assert assay.compare(made, {name: dict(p) for name, p in made.items()})


def test_what_cannot_fit_is_refused_with_the_figure(tmp_path):
    with pytest.raises(assay.UsageError) as raised:
        assay.golden(out=tmp_path / "g", max_bytes=3000)
    needed = int(raised.value.expected)
    assert not (tmp_path / "g").exists()
    made = assay.golden(out=tmp_path / "g", max_bytes=needed)
    assert size_of(tmp_path / "g") <= needed and sum(len(p) for p in made.values()) > 2 * len(made)


def test_the_same_arguments_give_the_same_bytes(bundle, tmp_path):
    again = assay.golden(out=tmp_path / "again", max_bytes=300_000, threads=1)
    files = sorted(p.relative_to(bundle.path) for p in bundle.path.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(again.path) for p in again.path.rglob("*") if p.is_file())
    for file in files:
        assert (bundle.path / file).read_bytes() == (again.path / file).read_bytes()
        if file.suffix == ".npz":  # nor do they depend on when
            with zipfile.ZipFile(again.path / file) as archive:
                assert {m.date_time for m in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_an_update_follows_the_bundles_own_manifest(tmp_path, model):
    made = assay.golden(out=tmp_path / "g", prompts=["Hello there", [378, 379]], taps=["layer_0?_output", "logits"],
                        max_bytes=100_000, max_new_tokens=3)  # fmt: skip
    before = {p.relative_to(made.path): p.read_bytes() for p in made.path.rglob("*") if p.is_file()}
    (made.path / "notes.txt").write_text("mine")
    (made.path / "prompt1/reference.npz").write_bytes(b"damaged")
    assay.update_golden(made.path)
    assert {p: (made.path / p).read_bytes() for p in before} == before
    assert (made.path / "notes.txt").read_text() == "mine"
    # A checkpoint given as a path is not remembered: it lies elsewhere on another machine.
    elsewhere = assay.golden(model, tmp_path / "h", prompts=["Hello"])
    with pytest.raises(assay.UsageError, match="expected model="):
        assay.update_golden(elsewhere.path)
    assay.update_golden(elsewhere.path, model=model)


def test_fewer_prompts_leave_no_files_behind(tmp_path):
    assay.golden(out=tmp_path / "g", prompts=["a", "b"])
    assay.golden(out=tmp_path / "g", prompts=["a"])
    assert [p.name for p in sorted((tmp_path / "g").rglob("*.npz"))] == ["oracle.npz", "reference.npz"]


def test_a_part_of_a_reference(reference, tmp_path):
    made = assay.golden(reference, tmp_path / "g", taps=["layer_05_*", "logits"], max_bytes=None)
    assert set(made["prompt2"]) == {n for n in reference["prompt2"] if n.startswith("layer_05_")} | {
        "logits", "input_ids", "generated_ids"}  # fmt: skip
    assert assay.compare(made, reference.path)


def test_the_data_flow_of_a_captured_reference_leads_past_what_is_left_out(reference, tmp_path):
    copy = shutil.copytree(reference.path, tmp_path / "captured")
    manifest = json.loads((copy / "manifest.json").read_text())
    for prompt in manifest["prompts"]:
        names = list(prompt["arrays"])
        for before, name in zip([None, *names], names, strict=False):  # each from the one before it
            prompt["arrays"][name]["from"] = [before] if before else []
    (copy / "manifest.json").write_text(json.dumps(manifest))
    made = assay.golden(copy, tmp_path / "g", taps=["embedding_output", "layer_0[35]_output", "logits"])
    flow = {name: record["from"] for name, record in made["prompt1"].manifest["arrays"].items()}
    assert flow == {
        "input_ids": [], "embedding_output": ["input_ids"], "layer_03_output": ["embedding_output"],
        "layer_05_output": ["layer_03_output"], "logits": ["layer_05_output"], "generated_ids": ["logits"]}  # fmt: skip


def test_modules_of_any_model_are_spread_over_the_run(tmp_path):
    assert _bisected(9) == [8, 0, 4, 2, 6, 1, 3, 5, 7]
    assert sorted(_bisected(28)) == list(range(28)) and _bisected(1) == [0] and _bisected(0) == []


def wrong_config(copy, fields):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | fields))


def wrong_weight(copy, name, change):
    """Changes a tensor of the checkpoint in place; its shape stays."""
    data = bytearray((copy / "model.safetensors").read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    first, last = json.loads(data[8:start])[name]["data_offsets"]
    bits = np.frombuffer(bytes(data[start + first : start + last]), np.uint16)
    values = change((bits.astype(np.uint32) << 16).view(np.float32))
    data[start + first : start + last] = (np.float32(values).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    (copy / "model.safetensors").write_bytes(data)


@pytest.mark.parametrize("mistake, limit", [
    ((wrong_config, {"rope_theta": 10_000}), 150_000),
    ((wrong_config, {"rms_norm_eps": 1e-3}), 150_000),
    ((wrong_weight, "model.layers.5.self_attn.q_norm.weight", np.ones_like), 150_000),
    ((wrong_weight, "model.layers.13.self_attn.k_norm.weight", np.ones_like), 40_000),
    ((wrong_weight, "model.layers.27.mlp.down_proj.weight", np.zeros_like), 40_000),
    ((wrong_weight, "model.norm.weight", lambda w: w + 1), 25_000),
])  # fmt: skip
def test_a_small_bundle_finds_mistakes(tmp_path, model, mistake, limit):
    bundle = assay.golden(out=tmp_path / "g", max_bytes=limit)
    right = dump_of(bundle)
    assert assay.compare(bundle, right.path)
    shutil.copytree(model, tmp_path / "model")
    plant, *how = mistake
    plant(tmp_path / "model", *how)
    wrong = dump_of(bundle, tmp_path / "model")
    assert not assay.compare(bundle, wrong.path)


def test_no_checkpoint_is_needed(bundle, tmp_path):
    """The program and the C API read a bundle as any reference."""
    moved = shutil.copytree(bundle.path, tmp_path / "elsewhere")
    run = [sys.executable, "-m", "assay", "compare", moved, bundle.path, "--json"]
    output = subprocess.run(run, capture_output=True, text=True)
    assert output.returncode == 0 and json.loads(output.stdout)["passed"] is True
    with assay.check(moved, prompt="sum") as c:  # the checker of the C API
        assert c("final_norm_output", bundle["sum"]["final_norm_output"]).verdict == "pass"
        assert c("layer_27_output", bundle["sum"]["layer_27_output"] * 1.1).verdict == "fail"


@pytest.mark.parametrize("call, text", [
    (lambda d, r: assay.golden(out=r.path), "not a golden bundle's"),
    (lambda d, r: assay.golden(r, d / "g", prompts=["a"]), "a reference has its own"),
    (lambda d, r: assay.golden(out=d / "g", taps="nothing_*"), "nothing_"),
    (lambda d, r: assay.golden(r, d / "g", taps="nothing_*"), "nothing_"),
    (lambda d, r: assay.golden(out=d / "g", max_bytes=0), "at least 1"),
    (lambda d, r: assay.update_golden(r.path), "no field 'golden'"),
    (lambda d, r: assay.golden(assay.extract(prompts=["a"], oracle=False, out=d / "r"), d / "g"), "no oracle"),
])  # fmt: skip
def test_errors(tmp_path, reference, call, text):
    before = {p: p.read_bytes() for p in reference.path.rglob("*") if p.is_file()}
    with pytest.raises(assay.AssayError, match=text):
        call(tmp_path, reference)
    assert not (tmp_path / "g").exists()
    assert {p: p.read_bytes() for p in reference.path.rglob("*") if p.is_file()} == before


def test_a_damaged_or_hostile_reference(reference, tmp_path):
    copy = shutil.copytree(reference.path, tmp_path / "copy")
    data = (copy / "prompt2/reference.npz").read_bytes()
    (copy / "prompt2/reference.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(assay.InputError, match="prompt2"):
        assay.golden(copy, tmp_path / "g")
    text = (reference.path / "manifest.json").read_text().replace('"id": "prompt2"', '"id": "../escape"')
    shutil.copytree(reference.path, copy, dirs_exist_ok=True)
    (copy / "manifest.json").write_text(text)
    with pytest.raises(assay.InputError, match="escape"):
        assay.golden(copy, tmp_path / "g")
    assert not (tmp_path / "g").exists() and not (tmp_path / "escape").exists()


def test_the_command(tmp_path):
    output = command("--out", tmp_path / "g", "--prompt", "Hello", "--max-bytes", "30k", "--taps", "*_output,logits")
    assert output.returncode == 0 and "Written to" in output.stdout and size_of(tmp_path / "g") <= 30_000
    output = command("--update", tmp_path / "g", "--json")
    described = json.loads(output.stdout)
    jsonschema = pytest.importorskip("jsonschema")
    schemas = Path(__file__).parents[2] / "docs/schema"
    jsonschema.validate(described, json.loads((schemas / "golden-1.schema.json").read_text()))
    failed = json.loads(command("no-such-model", "--out", tmp_path / "h", "--json").stdout)
    jsonschema.validate(failed, json.loads((schemas / "error-1.schema.json").read_text()))
    assert described["bytes"] == size_of(tmp_path / "g") and described["prompts"][0]["id"] == "prompt1"
    assert command("--max-bytes", "lots").returncode == 2
    assert command("--out", tmp_path / "h", "--max-bytes", "1k").returncode == 2
    missing = command("no-such-model", "--out", tmp_path / "h")
    assert missing.returncode == 3 and "no-such-model" in missing.stderr and "Traceback" not in missing.stderr


def test_a_full_disk_leaves_what_was_there(reference, tmp_path):
    """A limit on the size of files stands for it: the system's answer comes from the same call."""
    code = (
        "import resource, sys, assay\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from assay._golden_command import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = [reference.path, "--out", tmp_path / "new/g", "--taps", "layer_0*", "--json"]
    ran = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert ran.returncode == 4 and "cannot write: File too large" in ran.stderr and "Traceback" not in ran.stderr
    assert json.loads(ran.stdout)["error"]["where"] == str(tmp_path / "new/g")
    assert list(tmp_path.iterdir()) == []


def run_golden(*arguments, **options):
    command = [sys.executable, "-m", "assay._golden_command", *map(str, arguments)]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, **options)


def test_a_full_standard_output_is_an_error_in_one_line(reference, tmp_path):
    with open("/dev/full", "w") as full:
        ran = run_golden(reference.path, "--out", tmp_path / "g", "--json", stdout=full)
    assert ran.returncode == 4 and ran.stderr.count("\n") == 1, ran.stderr
    assert "standard output: cannot write" in ran.stderr


@pytest.mark.parametrize("arguments", [["--max-bytes", "x"], ["--nope"], ["a", "b"], ["--threads", "many"]])
def test_wrong_usage_is_one_line_and_json(arguments):
    ran = run_golden("--json", *arguments, stdout=subprocess.PIPE)
    assert ran.returncode == 2 and ran.stderr.count("\n") == 1, ran.stderr
    assert json.loads(ran.stdout)["error"]["kind"] == "usage"


@pytest.mark.parametrize("stop, status", [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_ends_the_command_and_leaves_nothing(tmp_path, stop, status):
    (tmp_path / "tmp").mkdir()
    code = (
        "import assay, sys, assay._golden\n"
        "from assay._golden_command import main\n"
        "extract = assay._golden.extract\n"
        "def told(*a, **k): return extract(*a, **{**k, 'on_progress': lambda *_: print('at work', flush=True)})\n"
        "assay._golden.extract = told\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["--out", tmp_path / "g", "--prompt", "Hello " * 400]
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path / "tmp")})  # fmt: skip
    assert process.stdout.readline() == "at work\n"
    process.send_signal(getattr(signal, stop))
    _, errors = process.communicate(timeout=300)
    assert process.returncode == status and "Traceback" not in errors
    assert [str(p) for p in tmp_path.rglob("*")] == [str(tmp_path / "tmp")]


def test_an_interrupted_overwrite_never_looks_complete(bundle, tmp_path, monkeypatch):
    here = shutil.copytree(bundle.path, tmp_path / "g")
    replace, calls = os.replace, []

    def stopping(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stopping)
    with pytest.raises(KeyboardInterrupt):
        assay.golden(bundle, here, taps="logits")
    assert len(calls) == 2 and not (here / "manifest.json").exists()
    assert not [p for p in here.rglob("*") if p.name.startswith(".partial")]
    monkeypatch.undo()
    assay.golden(bundle, here, taps="final_norm_output")
    assert assay.compare(here, bundle.path)


def test_names_are_printed_safely(reference, tmp_path):
    copy = shutil.copytree(reference.path, tmp_path / "r")
    text = (copy / "manifest.json").read_text().replace('"layer_03_output"', '"layer\\u001b[31m"')
    (copy / "manifest.json").write_text(text)
    ran = command(copy, "--out", tmp_path / "g")
    assert ran.returncode == 3 and "\x1b" not in ran.stderr and "layer_03_output" in ran.stderr
    ran = command("no\x1b[31m\u202e-model", "--out", tmp_path / "g")
    assert ran.returncode == 3 and r"no\x1b[31m\u202e-model" in ran.stderr


def test_a_reference_with_many_modules_is_ordered_quickly(tmp_path):
    items = [_Item(0, f"module.{i}", (), {}) for i in range(20_000)]
    order = [int(i.name[7:]) for i in _by_importance(items, [5], [])]
    assert order[:3] == [19_999, 0, 9_999] and sorted(order) == list(range(20_000))
