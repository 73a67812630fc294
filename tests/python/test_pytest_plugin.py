"""The pytest plugin in pytest runs of their own."""

import json
import shutil
import textwrap

import assay
import pytest

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    return assay.golden(out=tmp_path_factory.mktemp("golden") / "bundle", max_bytes=300_000)


@pytest.fixture
def project(pytester, bundle):
    """A project whose tests compare with a bundle; its engine computes what the reference has, times a factor."""
    shutil.copytree(bundle.path, pytester.path / "tests/assay_golden")
    pytester.makepyfile(
        engine="""
        import assay
        def run(prompt, tap, factor=1.0):
            return assay.Reference("tests/assay_golden")[prompt][tap] * factor
    """
    )
    return pytester


def run(project, *arguments):
    return project.runpytest_subprocess("-p", "no:cacheprovider", *arguments)


def test_pytest_starts_without_numpy_and_the_compiled_module(pytester):
    pytester.makepyfile("""
        import sys
        def test_nothing_is_loaded():
            assert "assay.pytest_plugin" in sys.modules
            assert not {"numpy", "assay._core", "assay._reference"} & set(sys.modules)
    """)
    run(pytester).assert_outcomes(passed=1)


def test_a_test_runs_once_for_each_prompt(project):
    project.makepyfile("""
        from engine import run
        def test_layer(assay_reference, assay_prompt):
            assert assay_reference.prompt == assay_prompt and assay_prompt in assay_reference.prompts
            assert assay_reference.input_ids() == assay_reference.reference[assay_prompt].input_ids
            result = assay_reference.assert_matches("layer_00_output", run(assay_prompt, "layer_00_output"))
            assert result.verdict == "pass" and result.relative_l2 == 0
    """)
    result = run(project, "-v")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines_random([f"*test_layer?{p}? PASSED*" for p in ("capital", "sum", "hello", "river")])


def test_a_wrong_tensor_fails_and_says_all(project):
    project.makepyfile("""
        from engine import run
        def test_layer(assay_reference):
            assay_reference.assert_matches("embedding_output", run("capital", "embedding_output"), prompt="capital")
            assay_reference.assert_matches("model.layers.0", run("capital", "layer_00_output", 1.01), prompt="capital")
    """)
    result = run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        "*model.layers.0 (layer_00_output) of prompt capital is not what *tests/assay_golden has: noise ratio 2.*",
        "*  noise ratio         2.*, limit 2",
        "*  per-position ratio  2.*, limit 2",
        "*  relative L2         0.01",
        "*  largest error       0.0* at [[]*: -*, reference -*",
        "*  bit-identical       0.0 %",
        "*First divergence: capital: layer_00_output*embedding_output passes*",
        "*Passed before it: embedding_output",
        "*assay diagnose --model MODEL --reference *tests/assay_golden --prompt capital --candidate FILE",
        "*pytest --assay-dump DIR writes the FILE*",
    ])  # fmt: skip
    assert "pytest_plugin.py" not in result.stdout.str()  # the traceback ends in the user's test


def test_dumps_are_what_compare_and_diagnose_read(project, model):
    project.makepyfile("""
        from engine import run
        def test_layer(assay_reference, assay_prompt):
            for tap in ("embedding_output", "layer_00_output"):
                assay_reference.assert_matches(tap, run(assay_prompt, tap, 1.01))
    """)
    result = run(project, "--assay-dump", "dumps", "-k", "capital")
    result.assert_outcomes(failed=1)
    (dump,) = (project.path / "dumps").rglob("*.npz")
    result.stdout.fnmatch_lines([f"*--prompt capital --candidate {dump.relative_to(project.path)}"])
    assert set(assay.Arrays(dump)) == {"embedding_output"}  # until it failed
    golden = project.path / "tests/assay_golden"
    assert not assay.compare(golden, dump, prompt="capital")
    assert assay.diagnose(golden, dump, model=model, prompt="capital").verdict != "correct"


@pytest.mark.parametrize("body, text", [
    ('assay_reference.assert_matches("layer_00_output", [1.0])', "*8 prompts*expected prompt=*assay_prompt*"),
    ('assay_reference.assert_matches("layer_00_outptu", [1.0], prompt="sum")', "*did you mean layer_00_output?*"),
    ('assay_reference.assert_matches("layer_01_k_proj", [1.0], prompt="capital")', "*has no such array*"),
    ('assay_reference.assert_matches("logits", [1.0], prompt="river")', "*left out to keep the bundle small*"),
    ('assay_reference.assert_matches("layer_00_output", [1.0], prompt="sum")', "*layer_00_output of prompt sum*"),
    ('assay_reference.input_ids("summ")', "*did you mean 'sum'*"),
    ('assert assay_reference.compare({"layer_00_output": [[1.0] * 64] * 7}, prompt="sum")',
     "*Comparison: FAIL, first divergence sum: layer_00_output*"),
])  # fmt: skip
def test_what_cannot_be_compared_fails_with_advice(project, body, text):
    project.makepyfile(f"def test_it(assay_reference):\n    {body}\n")
    result = run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([text.replace("8", "4")])


def test_a_whole_dump_and_a_check(project):
    project.makepyfile("""
        import numpy as np, pytest, assay
        from engine import run
        def test_dump(assay_reference, assay_prompt):
            arrays = dict(assay_reference.reference[assay_prompt])
            assert assay_reference.compare(arrays)
            arrays["layer_27_output"] = arrays["layer_27_output"] * np.float32(1.1)
            result = assay_reference.compare(arrays)
            assert not result and result.first_divergence.tensor == "layer_27_output"
        @pytest.mark.assay(prompts="capital")
        def test_check(assay_reference):
            with assay_reference.check() as c:
                c("layer_00_output", run("capital", "layer_00_output"))
            with pytest.raises(assay.CheckFailed, match="(?s)final_norm_output of prompt capital.*assay diagnose"):
                with assay_reference.check() as c:
                    c("layer_00_output", run("capital", "layer_00_output"))
                    c("final_norm_output", run("capital", "final_norm_output", 1.1))
            with pytest.raises(assay.CheckFailed, match="nothing was compared"), assay_reference.check():
                pass
    """)
    run(project).assert_outcomes(passed=5)


def test_a_torch_module_is_checked(project, model):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    project.makepyfile(f"""
        import pytest, torch, transformers
        @pytest.fixture(scope="module")
        def engine():
            return transformers.AutoModelForCausalLM.from_pretrained({str(model)!r}, dtype=torch.bfloat16).eval()
        def test_right(assay_reference, assay_prompt, engine):
            with torch.no_grad(), assay_reference.check(engine):
                engine(torch.tensor([assay_reference.input_ids()]))
        def test_wrong(assay_reference, assay_prompt, engine, monkeypatch):
            weight = engine.model.norm.weight
            monkeypatch.setattr(engine.model.norm, "weight", torch.nn.Parameter(weight * 2))
            with torch.no_grad(), assay_reference.check(engine):
                engine(torch.tensor([assay_reference.input_ids()]))
    """)
    result = run(project, "-k", "capital or river")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["*model.norm (final_norm_output) of prompt *"])


def test_where_the_reference_is_found(project, bundle):
    project.makepyfile("""
        import pytest
        def test_path(assay_reference):
            print("default:", assay_reference.path)
        @pytest.mark.assay(reference="other")
        def test_marked(assay_reference):
            print("marked:", assay_reference.path)
    """)
    shutil.copytree(bundle.path, project.path / "other")
    shutil.copytree(bundle.path, project.path / "configured")
    here = project.path

    def shown(*arguments):
        result = run(project, "-s", *arguments)
        result.assert_outcomes(passed=2)
        return [line.split(": ")[1] for line in result.outlines if ": /" in line and "rootdir" not in line]

    assert [p.rstrip(".") for p in shown()] == [str(here / "tests/assay_golden"), str(here / "other")]
    project.makeini("[pytest]\nassay_reference = configured\n")
    assert [p.rstrip(".") for p in shown()] == [str(here / "configured"), str(here / "other")]
    both = shown("--assay-reference", "tests/assay_golden")
    assert [p.rstrip(".") for p in both] == [str(here / "tests/assay_golden")] * 2


def test_a_missing_or_damaged_reference_fails(project):
    project.makepyfile("def test_a(assay_reference): pass\ndef test_b(assay_reference, assay_prompt): pass\n")
    (project.path / "tests/assay_golden/manifest.json").write_text("{")
    run(project).assert_outcomes(errors=2)
    shutil.rmtree(project.path / "tests/assay_golden")
    result = run(project)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*no reference; expected a golden bundle*", "*assay golden MODEL --out *"])


def test_markers(project):
    project.makepyfile("""
        import numpy as np, pytest
        from engine import run
        @pytest.mark.assay(prompts=["sum", "river"], tolerance=0.1)
        def test_loose(assay_reference, assay_prompt):
            assay_reference.assert_matches("layer_00_output", run(assay_prompt, "layer_00_output", 1.05))
        @pytest.mark.assay(map="names.json", prompts="capital")
        def test_map(assay_reference):
            for _ in range(2):
                assay_reference.assert_matches("block0", run("capital", "layer_00_output"))
        @pytest.mark.assay(strict=True, prompts="capital")
        def test_strict(assay_reference):
            exact = assay_reference.reference["capital"].oracle["layer_00_output"]
            assay_reference.assert_matches("layer_00_output", exact)
            assay_reference.assert_matches("layer_00_output", exact * np.float32(1.0001))
    """)
    (project.path / "names.json").write_text(json.dumps({"block{layer}": "layer_{layer}_output"}))
    result = run(project, "--strict-markers")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*precision ratio*"])
    project.makepyfile("""
        import pytest
        @pytest.mark.assay(promts="sum")
        def test_it(assay_reference): pass
    """)
    assert "promts=" in run(project).stdout.str()


def test_update_makes_bundles_again(project, bundle):
    golden = project.path / "tests/assay_golden"
    files = {p: p.read_bytes() for p in golden.rglob("*") if p.is_file()}
    project.makepyfile("""
        from engine import run
        def test_layer(assay_reference, assay_prompt):
            assay_reference.assert_matches("layer_00_output", run(assay_prompt, "layer_00_output"))
    """)
    result = run(project, "--assay-update")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["assay: *tests/assay_golden made again, *; nothing changed"])
    (golden / "sum/reference.npz").write_bytes(b"damaged")
    result = run(project, "--assay-update", "-n", "2")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["assay: *made again, *; 1 files changed: sum/reference.npz"])
    assert {p: p.read_bytes() for p in golden.rglob("*") if p.is_file()} == files
    manifest = json.loads((golden / "manifest.json").read_text())
    manifest["golden"]["model"] = None
    (golden / "manifest.json").write_text(json.dumps(manifest))
    result = run(project, "--assay-update")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*does not tell where the checkpoint 'tiny-qwen3' is*"])
    model = assay.bundled_model()
    # In another project: it is not taken for the one that is tested.
    other = project.path.parent / "other"
    shutil.copytree(model, other / "model")
    (other / "pyproject.toml").touch()
    run(project, "--assay-update", "--assay-model", str(other / "model")).assert_outcomes(passed=4)
    assert sorted(p.name for p in other.iterdir()) == ["model", "pyproject.toml"]
    shutil.rmtree(golden)
    project.makeini(f"[pytest]\nassay_model = {model}\n")
    run(project, "--assay-update").assert_outcomes(passed=4)
    assert (golden / "manifest.json").is_file()


def test_an_update_runs_once_whatever_the_number_of_workers(project):
    pytest.importorskip("xdist")
    project.makeconftest("""
        from assay import _golden
        real = _golden.update_golden
        def logged(*arguments, **options):
            with open("updates.txt", "a") as log:
                log.write("once\\n")
            return real(*arguments, **options)
        _golden.update_golden = logged
    """)
    project.makepyfile("def test_it(assay_reference, assay_prompt): pass")
    run(project, "--assay-update", "-n", "2").assert_outcomes(passed=4)
    assert (project.path / "updates.txt").read_text() == "once\n"


def test_xdist(project):
    pytest.importorskip("xdist")
    project.makepyfile("""
        from engine import run
        def test_right(assay_reference, assay_prompt):
            assay_reference.assert_matches("layer_00_output", run(assay_prompt, "layer_00_output"))
        def test_wrong(assay_reference, assay_prompt):
            assay_reference.assert_matches("layer_00_output", run(assay_prompt, "layer_00_output", 1.1))
    """)
    result = run(project, "-n", "2", "--assay-dump", "dumps")
    result.assert_outcomes(passed=4, failed=4)
    result.stdout.fnmatch_lines(["*of prompt river is not what *"])
    assert len(list((project.path / "dumps").rglob("*.npz"))) == 8


def test_tests_of_like_names_have_dumps_of_their_own(project):
    body = """
        from engine import run
        def test_it(assay_reference, assay_prompt):
            assay_reference.assert_matches("layer_00_output", run(assay_prompt, "layer_00_output", {factor}))
    """
    for directory, factor in (("a/b", 1.0), ("a_b", 1.1)):
        path = project.path / directory / "test_x.py"
        path.parent.mkdir(parents=True)
        path.write_text(textwrap.dedent(body.format(factor=factor)))
    options = ["--assay-dump", "dumps", "--import-mode=importlib", "-k", "capital"]
    run(project, *options, "a/b", "a_b").assert_outcomes(passed=1, failed=1)
    dumps = list((project.path / "dumps").rglob("*.npz"))
    assert len(dumps) == 2
    golden = project.path / "tests/assay_golden"
    assert sorted(bool(assay.compare(golden, dump, prompt="capital")) for dump in dumps) == [False, True]


def test_options_and_fixtures_are_documented(pytester):
    shown = run(pytester, "--help").stdout.str()
    for option in (
        "--assay-reference",
        "--assay-update",
        "--assay-model",
        "--assay-dump",
        "assay_reference",
        "assay_model",
    ):
        assert option in shown
    shown = run(pytester, "--fixtures").stdout.str()
    assert "assay_reference" in shown and "assay_prompt" in shown
    assert "pytest.mark.assay(" in run(pytester, "--markers").stdout.str()
