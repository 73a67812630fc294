import concurrent.futures
import copy
import gc
import inspect
import json
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import assay
import numpy as np
import pytest


def run(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "assay", *map(str, arguments)], capture_output=True, text=True,
                          **options)  # fmt: skip


def test_extract_writes_what_the_command_writes(reference, tmp_path):
    assert run("extract", "--numerics", "bf16,f64", "--taps", "*", "--out", tmp_path / "data").returncode == 0
    for path in ["manifest.json", *(f"{p}/{f}.npz" for p in reference for f in ("reference", "oracle"))]:
        assert (tmp_path / "data" / path).read_bytes() == (reference.path / path).read_bytes()


def test_arrays_are_numpys(reference):
    prompt = reference["prompt2"]
    with np.load(reference.path / "prompt2/reference.npz") as arrays:
        assert list(prompt) == arrays.files
        for name in arrays.files:
            np.testing.assert_array_equal(prompt[name], arrays[name])
            assert prompt.form(name) == (arrays[name].dtype.name, arrays[name].shape)
    assert prompt["layer_07_output"].shape == (1, len(prompt.input_ids), 64)
    assert prompt.generated_ids[: len(prompt.input_ids)] == prompt.input_ids
    assert prompt.oracle is not None and "logits" in prompt.oracle


def test_a_stored_array_is_a_view_of_the_file_and_outlives_it(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.savez(tmp_path / "a.npz", values=values)
    view = assay.Arrays(tmp_path / "a.npz")["values"]
    np.testing.assert_array_equal(view, values)
    assert not view.flags.writeable and not view.flags.owndata
    with open(tmp_path / "a.npz", "r+b") as file:  # the file's pages are the array's
        position = file.read().index(values.tobytes())
        file.seek(position)
        file.write(np.float32(7).tobytes())
    assert view[0, 0] == 7


def test_a_wrong_name_gets_a_suggestion(reference):
    with pytest.raises(KeyError, match="did you mean 'layer_07_output'"):
        reference["prompt1"]["layer_07_outpt"]
    with pytest.raises(KeyError, match="did you mean 'prompt1'"):
        reference["promt1"]


@pytest.mark.parametrize("prompts", [
    ["The capital of France is"], "The capital of France is", [[378, 379]], [np.array([[378, 379]])],
    [{"id": "mine", "text": "Hello"}], [{"input_ids": (378,)}],
])  # fmt: skip
def test_prompts_of_all_kinds(prompts):
    made = assay.extract(prompts=prompts, oracle=False, max_new_tokens=1)
    (prompt,) = made.values()
    assert made.path.exists() and len(prompt.generated_ids) == len(prompt.input_ids) + 1
    path = made.path
    del made, prompt
    assert not path.exists()


def test_messages_become_a_chat():
    pytest.importorskip("jinja2")
    chat = {"id": "chat", "messages": [{"role": "user", "content": "Hello"}]}
    made = assay.extract(prompts=["Hello", chat], oracle=False, max_new_tokens=0)
    assert made["prompt1"].text == "Hello"
    assert made["chat"].text.startswith("<|im_start|>user\nHello<|im_end|>")


def test_a_file_of_prompts(tmp_path):
    (tmp_path / "prompts.txt").write_text("Hello\nGoodbye\n")
    made = assay.extract(prompts=tmp_path / "prompts.txt", oracle=False, max_new_tokens=0)
    assert [p.text for p in made.values()] == ["Hello", "Goodbye"]


def test_a_correct_dump_passes(reference):
    result = assay.compare(reference, reference.path / "prompt1/reference.npz", prompt="prompt1")
    assert result and result.passed and result.first_divergence is None and result.failed == []
    result.raise_on_failure()
    assert "PASS" in repr(result) and str(result)


def test_a_wrong_dump_fails_where_it_goes_wrong(reference, wrong_rope):
    result = assay.compare(reference, wrong_rope.path)
    assert not result
    assert result.first_divergence.tensor == "rope_cos"
    assert "rope_cos" in repr(result) and "layer_00_q_rope" in result._repr_html_()
    assert result["prompt2"]["layer_00_q_rope"].verdict == "fail"
    assert result["prompt2"]["layer_00_q_proj"].relative_l2 == 0
    with pytest.raises(AssertionError, match="layer_00_q_rope"):
        result.raise_on_failure()


def test_the_result_is_the_commands(reference, wrong_rope, tmp_path):
    result = assay.compare(reference, wrong_rope.path)
    output = run("compare", reference.path, wrong_rope.path, "--json", "--junit", tmp_path / "cli.xml")
    assert output.returncode == 1
    expected = json.loads(output.stdout)
    expected["date"] = result.json["date"]
    assert result.json == expected
    result.to_json(tmp_path / "api.json")
    assert json.loads((tmp_path / "api.json").read_text()) == result.json
    result.to_junit(tmp_path / "api.xml")
    assert (tmp_path / "api.xml").read_text() == (tmp_path / "cli.xml").read_text()
    result.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "layer_00_q_rope" in page and '"reference_counts"' in page
    assert sorted(f.name for f in tmp_path.iterdir()) == ["api.json", "api.xml", "cli.xml", "report.html"]


def test_arrays_in_memory_are_a_dump(reference, wrong_rope):
    wrong = {name: array for name, array in wrong_rope["prompt2"].items() if not name.startswith("rope_")}
    assert assay.compare(reference, wrong).first_divergence.tensor == "layer_00_q_rope"
    assert assay.compare(reference, {p: dict(a) for p, a in reference.items()})
    with pytest.raises(assay.UsageError, match="no arrays"):
        assay.compare(reference, {})


def test_diagnose_names_the_mistake(reference, wrong_rope):
    diagnosis = assay.diagnose(reference, wrong_rope.path)
    assert not diagnosis and diagnosis.verdict == "named"
    assert diagnosis.findings[0]["id"] == "rope-theta" and "10000" in diagnosis.summary
    assert assay.diagnose(reference, reference.path)
    with pytest.raises(assay.UsageError, match="model="):
        assay.diagnose(assay.Reference(reference.path), wrong_rope.path)


def test_the_catalog_and_explain(model):
    assert {"rope-theta"} <= {m["id"] for m in assay.known_mistakes()}
    assert "q_proj" in assay.explain(model, layer=3)
    assert assay.explain(model, form="json")["model_type"] == "qwen3"
    with pytest.raises(assay.UsageError):
        assay.explain(model, form="pdf")


def test_check_takes_one_array_at_a_time(reference, wrong_rope, tmp_path):
    prompt, wrong = reference["prompt2"], wrong_rope["prompt2"]
    with assay.check(reference, prompt="prompt2", record=tmp_path / "record.npz") as c:
        assert c.wants("layer_00_q_rope") and c.wants("nobody's")  # it would be recorded
        assert c("layer_00_q_proj", prompt["layer_00_q_proj"]).verdict == "pass"
        assert c("layer_00_q_rope", wrong["layer_00_q_rope"]).verdict == "fail"
        assert c.first_failure.name == "layer_00_q_rope"
    assert not c.result
    with pytest.raises(assay.CheckFailed, match="layer_00_q_rope"):
        c.raise_on_failure()
    assert set(assay.Arrays(tmp_path / "record.npz")) == {"layer_00_q_proj", "layer_00_q_rope"}
    with assay.check(reference, prompt="prompt2", stop=True) as c, pytest.raises(assay.CheckFailed):
        c("layer_00_q_rope", wrong["layer_00_q_rope"])
    with assay.check(reference) as c:
        pass
    with pytest.raises(assay.CheckFailed, match="nothing was compared"):
        c.raise_on_failure()


def test_a_model_of_plain_objects_is_checked_too(reference, tmp_path):
    class Layer:
        def __init__(self, output):
            self.output = output

        def __call__(self, _x):
            return self.output

    class Model:
        def __init__(self, outputs):
            self.blocks = [Layer(output) for output in outputs]

        def __call__(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    prompt = reference["prompt2"]
    outputs = [prompt[f"layer_{i:02}_output"].copy() for i in range(3)]
    outputs[1] *= 2
    rules = tmp_path / "rules.json"
    rules.write_text('{"blocks.{layer}": "layer_{layer}_output"}')
    with assay.check(reference, module=Model(outputs), map=rules) as c:
        Model(outputs)(prompt["input_ids"])  # another object of the same class
        assert c.results == []
    model = Model(outputs)
    with assay.check(reference, module=model, map=rules) as c:
        model(prompt["input_ids"])
    assert [r.verdict for r in c.results[1:4]] == ["pass", "fail", "pass"]
    assert [r.verdict for r in c.results[4:]] == ["not compared"]  # what the model returns: no logits
    assert c.first_failure.name == "layer_01_output"


def test_strides_orders_and_types_of_numpy(reference):
    prompt = reference["prompt3"]
    array = prompt["layer_00_output"]
    with assay.check(reference, prompt="prompt3") as c:
        for same in (np.asfortranarray(array), array[..., ::-1].copy()[..., ::-1], array.astype(">f4"),
                     array.astype(np.float64), array.tolist()):  # fmt: skip
            with assay.check(reference, prompt="prompt3") as c:
                assert c("layer_00_output", same).relative_l2 == 0
    with assay.check(reference, prompt="prompt3") as c, pytest.raises(assay.UsageError, match="layer_00_output"):
        c("layer_00_output", array.astype(np.complex64))


def test_bf16_with_and_without_ml_dtypes(tmp_path, monkeypatch, model):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    weights = assay.Arrays(model / "model.safetensors")
    name = "model.norm.weight"
    assert weights.form(name)[0] == "bfloat16" and weights[name].dtype == ml_dtypes.bfloat16
    assay.save(tmp_path / "a.npz", {"w": weights[name]})
    written = assay.Arrays(tmp_path / "a.npz")["w"]
    np.testing.assert_array_equal(written, weights[name].astype(np.float32))
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    np.testing.assert_array_equal(weights[name], written)


@pytest.mark.parametrize("call, kind, text", [
    (lambda d: assay.extract("no-such-model"), assay.InputError, "no-such-model: no such file"),
    (lambda d: assay.Reference(d), assay.InputError, "manifest.json"),
    (lambda d: assay.Arrays(d / "none.npz"), assay.InputError, "none.npz"),
    (lambda d: assay.extract(prompts=["a"], taps="nothing_*", out=d / "o"), assay.UsageError, "nothing_"),
    (lambda d: assay.extract(prompts=[3.5]), assay.UsageError, "prompt1: float"),
    (lambda d: assay.extract(prompts=[[10**9]]), assay.InputError, "1000000000"),
    (lambda d: assay.extract(prompts=[{"id": "../up", "text": "a"}], out=d / "o"), assay.UsageError, "'../up'"),
    (lambda d: assay.compare(d, {"/up": {"a": [1.0]}}), assay.UsageError, "'/up'"),
    (lambda d: assay.extract(store="f16"), assay.UsageError, "store: f16"),
    (lambda d: assay.extract(prompts=["a"], out="/proc/no"), assay.MachineError, "/proc/no"),
])  # fmt: skip
def test_errors_say_what_and_where(call, kind, text, tmp_path):
    with pytest.raises(kind, match=text) as raised:
        call(tmp_path)
    assert raised.value.where and raised.value.found
    copy = pickle.loads(pickle.dumps(raised.value))  # as pytest-xdist sends it
    assert str(copy) == str(raised.value) and copy.where == raised.value.where


def test_a_manifest_names_only_files_below(tmp_path):
    prompt = {"id": "p", "input_ids": [1], "files": {"reference": "../../etc/passwd"}}
    (tmp_path / "manifest.json").write_text(json.dumps({"schema": "assay.reference/1", "prompts": [prompt]}))
    with pytest.raises(assay.InputError, match="'prompts.p.files.reference'.*below the directory"):
        assay.Reference(tmp_path)


def test_a_cached_model_is_found(tmp_path, monkeypatch, model):
    snapshot = tmp_path / "models--Somebody--Tiny/snapshots/abc"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(model)
    (tmp_path / "models--Somebody--Tiny/refs").mkdir()
    (tmp_path / "models--Somebody--Tiny/refs/main").write_text("abc")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert assay.find_model("Somebody/Tiny") == assay.find_model("Tiny") == snapshot
    with pytest.raises(assay.InputError):
        assay.find_model("Somebody/T*")


def test_progress_is_reported_and_other_threads_run():
    seen, ticks, done = [], [], threading.Event()

    def tick():
        while not done.wait(0.01):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    assay.extract(prompts=["The capital of France is"], on_progress=lambda what, part: seen.append((what, part)))
    done.set()
    thread.join()
    assert seen and all(isinstance(what, str) and 0 <= part <= 1 for what, part in seen)
    assert len(ticks) >= 3


def test_an_error_in_on_progress_reaches_the_caller(tmp_path):
    def fail(what, part):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        assay.extract(prompts=["a"], on_progress=fail, out=tmp_path / "o")
    assert list(tmp_path.iterdir()) == [] or not (tmp_path / "o/manifest.json").exists()


def test_ctrl_c_stops_and_leaves_nothing(tmp_path):
    code = (
        "import assay, sys\n"
        f"assay.extract(prompts=['Hello ' * 400], out={str(tmp_path / 'o')!r}, numerics=['f64', 'f32', 'bf16'],\n"
        "              taps='*', on_progress=lambda *a: print('at work', flush=True))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "at work\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0 and "KeyboardInterrupt" in errors
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_the_program_is_in_the_package():
    from importlib.metadata import version

    shown = run("--version")
    assert shown.returncode == 0 and assay.__version__ in shown.stdout and version("assay") == assay.__version__
    script = Path(sys.executable).with_name("assay")
    if script.exists():
        assert subprocess.run([script, "--version"], capture_output=True, text=True).stdout == shown.stdout
    assert run("no-such-command").returncode == 2


def test_everything_public_is_documented_and_typed():
    assert set(assay.__all__) <= set(dir(assay))
    for name in assay.__all__:
        value = getattr(assay, name)
        if not callable(value):
            continue
        assert inspect.getdoc(value), name
        for function in [value] if inspect.isfunction(value) else vars(value).values():
            if inspect.isfunction(function) and not function.__name__.startswith("_"):
                assert inspect.getdoc(function) or function.__doc__, f"{name}.{function.__name__}"
                parameters = list(inspect.signature(function).parameters.values())
                untyped = [p.name for p in parameters if p.annotation is p.empty and p.name != "self"]
                assert untyped == [], f"{name}.{function.__name__}"
    package = Path(assay.__file__).parent
    assert (package / "py.typed").exists() and "def compare" in (package / "_core.pyi").read_text()
    assert os.access(package / "bin/assay", os.X_OK)


def test_results_are_copied_pickled_and_iterated_over(reference, wrong_rope, tmp_path):
    result = assay.compare(reference, wrong_rope.path)
    diagnosis = assay.diagnose(reference, wrong_rope.path)
    for other in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result), copy.copy(result)):
        assert other.json == result.json and str(other) == str(result) and not other
        assert other.text(every_tensor=True, color=True) == result.text(every_tensor=True, color=True)
        other.to_html(tmp_path / "copy.html")
        assert "layer_00_q_rope" in (tmp_path / "copy.html").read_text()
    for other in (pickle.loads(pickle.dumps(diagnosis)), copy.deepcopy(diagnosis)):
        assert other.json == diagnosis.json and other.text(color=True) == diagnosis.text(color=True)
    assert [p.id for p in result] == list(reference) and len(result) == 3 and "prompt2" in result
    assert [t.name for t in result["prompt1"]] == [t.name for t in result["prompt1"].tensors]
    assert "logits" in result["prompt1"] and "nothing" not in result["prompt1"]
    with pytest.raises(KeyError, match="did you mean 'logits'"):
        result["prompt1"]["logit"]


def test_references_are_copied_and_pickled_and_outlive_each_other():
    reference = assay.extract(prompts=["a"], max_new_tokens=1)
    path = reference.path
    again = pickle.loads(pickle.dumps(reference))
    assert list(again) == ["prompt1"] and again.model == reference.model
    prompt = copy.deepcopy(reference)["prompt1"]
    array, expected = reference["prompt1"]["logits"], again["prompt1"]["logits"].copy()
    del reference, again
    gc.collect()
    assert path.is_dir() and pickle.loads(pickle.dumps(prompt.oracle))["logits"].shape == expected.shape
    np.testing.assert_array_equal(prompt["logits"], expected)
    del prompt
    gc.collect()
    assert not path.exists()  # what was temporary
    np.testing.assert_array_equal(array, expected)


def test_threads_and_a_forked_process_compare_at_once(reference, wrong_rope):
    expected = str(assay.compare(reference, wrong_rope.path).first_divergence)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: str(assay.compare(reference, wrong_rope.path).first_divergence), range(6)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork, where there are threads
        with multiprocessing.get_context("fork").Pool(1) as process:
            found.append(process.apply(_compared, (reference.path, wrong_rope.path)))
    assert set(found) == {expected}


def _compared(reference, candidate):
    return str(assay.compare(reference, candidate).first_divergence)


@pytest.mark.parametrize("value", [None, "x", ["x"], object(), [[1], [1, 2]], np.array(["2020"], "M8[D]"), b"x", int,
                                   [2**70], np.zeros(2, [("x", "f4")]), np.zeros(2, np.longdouble), np.zeros(2, complex)])  # fmt: skip
def test_what_is_no_array_is_refused_by_name(reference, tmp_path, value):
    for call in (lambda: assay.save(tmp_path / "a.npz", {"mine": value}),
                 lambda: assay.compare(reference, {"mine": value}),
                 lambda: assay.check(reference, prompt="prompt1")("mine", value)):  # fmt: skip
        with pytest.raises(assay.UsageError, match="^mine: "):
            call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ids, text", [
    ([1, 2.5], "2.5 at place 1"), (np.array([3.0]), "3.0 at place 0"), ([True], "True at place 0"),
    ([2**70], "at place 0"),
    ([[1], [2]], "at place 0"), ({"input_ids": [1.0]}, "1.0 at place 0"), ({"input_ids": "12"}, "str; expected a list"),
    ({"text": 3}, "int; expected a text"), ("\ud800", "half of a character"), ({"messages": {1: object()}}, "JSON"),
])  # fmt: skip
def test_what_is_no_prompt_is_refused(ids, text):
    with pytest.raises(assay.UsageError, match=text):
        assay.extract(prompts=[ids])


@pytest.mark.parametrize("options, text", [
    ({"numerics": []}, "none"), ({"numerics": ["bf16", "bf16"]}, "twice"), ({"numerics": "b"}, "'b'"),
    ({"max_new_tokens": -1}, "-1"), ({"out": ""}, "empty"),
])  # fmt: skip
def test_what_extract_cannot_do_is_refused(options, text):
    with pytest.raises(assay.UsageError, match=text):
        assay.extract(prompts=["a"], **options)


def test_runs_may_be_named_in_a_text(tmp_path):
    made = assay.extract(prompts=["a"], numerics="bf16,f64", max_new_tokens=1, out=tmp_path / "a")
    assert made["prompt1"].oracle is not None
    assert assay.extract(prompts=["a"], numerics="f32", max_new_tokens=1).manifest["numerics"] == "f32"


@pytest.mark.parametrize("options, text", [
    ({"prompt": 3}, "prompt: 3"), ({"map": 3}, "map: 3"), ({"tolerance": -1}, "tolerance: -1"),
    ({"tolerance": float("nan")}, "tolerance: nan"), ({"tolerance": "x"}, "tolerance: 'x'"),
    ({"as_type": None}, "as_type: None"),
    ({"profile": "x"}, "'x'"), ({"model": 3}, "model: int"),
])  # fmt: skip
def test_compare_and_check_refuse_the_same_options(reference, options, text):
    for call in (lambda: assay.compare(reference, reference, **options), lambda: assay.check(reference, **options)):
        with pytest.raises(assay.UsageError, match=text):
            call()


def test_what_cannot_be_written_is_a_machine_error(reference, wrong_rope, tmp_path):
    result = assay.compare(reference, wrong_rope.path)
    for write in (result.to_html, result.to_json, result.to_junit):
        with pytest.raises(assay.MachineError, match="cannot write: No such file or directory") as raised:
            write(tmp_path / "no/report")
        assert raised.value.where == str(tmp_path / "no/report")
        with pytest.raises(assay.MachineError, match="directory"):
            write(tmp_path)
        write(os.fsencode(tmp_path / "report"))
    assert [p.name for p in tmp_path.iterdir()] == ["report"]


def test_the_command_finds_a_cached_model_too(tmp_path, model):
    hub = tmp_path / "hub"
    for owner in ("Somebody", "Other"):
        snapshot = hub / f"models--{owner}--Tiny/snapshots/abc"
        snapshot.parent.mkdir(parents=True)
        snapshot.symlink_to(model)
        (hub / f"models--{owner}--Tiny/refs").mkdir()
        (hub / f"models--{owner}--Tiny/refs/main").write_text("abc\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    for variables in ({"HF_HUB_CACHE": str(hub)}, {"HF_HOME": str(tmp_path)}):
        shown = run("tokenize", "--model", "Somebody/Tiny", "Hello", cwd=tmp_path, env={**environment, **variables})
        assert shown.returncode == 0, shown.stderr
    refused = run("tokenize", "--model", "Tiny", "Hello", cwd=tmp_path, env={**environment, "HF_HUB_CACHE": str(hub)})
    assert refused.returncode == 3 and "2 models in Hugging Face's cache have this name" in refused.stderr
    (hub / "models--Other--Tiny/refs/main").write_text("../../../..")
    shown = run("tokenize", "--model", "Tiny", "Hello", cwd=tmp_path, env={**environment, "HF_HUB_CACHE": str(hub)})
    assert shown.returncode == 0, shown.stderr
    refused = run(
        "tokenize", "--model", "Other/Tiny", "Hello", cwd=tmp_path, env={**environment, "HF_HUB_CACHE": str(hub)}
    )
    assert refused.returncode == 3 and "no such file, directory or cached model" in refused.stderr


def test_what_capture_imports_is_installed_with_the_program():
    root = Path(__file__).resolve().parents[2]
    needed, open_ = set(), list((root / "python/assay/capture").glob("*.py"))
    while open_:
        for name in re.findall(r"^from (?:assay)?\.(_\w+) import", open_.pop().read_text(), re.MULTILINE):
            if name not in needed:
                needed.add(name)
                open_.append(root / f"python/assay/{name}.py")
    (installed,) = re.findall(r"foreach\(file (_[\w ]+)\)", (root / "cmake/Install.cmake").read_text())
    assert set(installed.split()) == needed


@pytest.mark.parametrize("compression", ["none", "fast", "small"])
def test_archives_hold_arrays_of_any_order(tmp_path, compression):
    from assay._npz import archive_bytes, encode

    own = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = {"c": own, "fortran": np.asfortranarray(own), "part": own[:, ::2], "axes": own.transpose(2, 0, 1),
              "number": np.float32(3), "none": np.zeros((0, 3))}  # fmt: skip
    path = tmp_path / "a.npz"
    path.write_bytes(archive_bytes(encode(name, np.asarray(a), compression) for name, a in arrays.items()))
    read = np.load(path)
    for name, array in arrays.items():
        assert np.array_equal(read[name], array) and read[name].shape == np.shape(array), name
        assert np.array_equal(assay.Arrays(path)[name], array), name
