"""What the documentation shows is what happens: its commands are run, and their output is compared."""

import json
import re
import shutil
from pathlib import Path

import assay
import pytest
from pages import ROOT, Page, apply_diff, first_difference, sessions, shell


@pytest.fixture(scope="module")
def engine():
    return (ROOT / "examples/tutorial/engine.py").read_text()


def test_the_tutorial(tmp_path, engine):
    page = Page("docs/tutorial.md")
    assert page.of("python") == [engine]
    done = []
    for language, text in page.blocks:
        if language == "python":
            (tmp_path / "engine.py").write_text(text)
        elif language == "diff":
            (tmp_path / "engine.py").write_text(apply_diff(engine, text))
        elif language == "console":
            for command, shown in sessions(text):
                ran = shell(command, tmp_path)
                assert first_difference(shown, ran.stdout) is None, f"$ {command}\n{ran.stdout}"
                done.append((command.split()[1], ran.returncode))
    assert done == [("extract", 0), ("tokenize", 0), ("compare", 1), ("diagnose", 1), ("tokenize", 0), ("compare", 0)]
    assert (tmp_path / "report.html").stat().st_size > 100_000


def test_the_readme(tmp_path, engine):
    (tmp_path / "engine.py").write_text(engine)
    done = []
    for block in Page("README.md").of("console"):
        for command, shown in sessions(block):
            ran = shell(command, tmp_path)
            assert first_difference(shown, ran.stdout) is None, f"$ {command}\n{ran.stdout}"
            done.append((command.split()[1], ran.returncode))
            if command.startswith("assay extract"):
                assert shell('assay tokenize --ids "$(python engine.py)"', tmp_path).stdout.startswith(
                    "What is 2+2? 5."
                )
    assert done == [("extract", 0), ("compare", 1), ("diagnose", 1)]


RUST_MAIN = """
fn main() {
    let mut dump = Dump { name: "short".into(), bin: vec![], arrays: vec![] };
    dump.add("input_ids", "I32", &[3], &[5i32, 6, 7]);
    dump.add("layer_00_output", "F32", &[3, 2], &[1f32, 2., 3., 4., 5., 6.]);
    dump.write().unwrap();
}
"""
CPP_MAIN = """
int main() {
  Dump dump{"short"};
  const int ids[] = {5, 6, 7};
  const float output[] = {1, 2, 3, 4, 5, 6};
  dump.add("input_ids", "I32", {3}, ids);
  dump.add("layer_00_output", "F32", {3, 2}, output);
  dump.write();
}
"""


@pytest.mark.parametrize(("language", "rest", "compiler"), [
    ("rust", RUST_MAIN, "rustc -o main main.rust"),
    ("cpp", CPP_MAIN, "g++ -std=c++20 -Wall -Werror -o main main.cpp"),
])  # fmt: skip
def test_the_dumpers_of_the_skill_write_what_assay_reads(tmp_path, language, rest, compiler):
    (snippet,) = Page("SKILL.md").of(language)
    (tmp_path / f"main.{language}").write_text(snippet + rest)
    ran = shell(f"{compiler} && ./main", tmp_path)
    assert ran.returncode == 0, ran.stdout
    arrays = assay.Arrays(tmp_path / "dump/short.json")
    assert arrays["input_ids"].tolist() == [5, 6, 7]
    assert arrays["layer_00_output"].tolist() == [[1, 2], [3, 4], [5, 6]]


def test_the_skill_is_installed():
    share = Path(assay.__file__).parent / "share/assay"
    assert (share / "SKILL.md").read_text() == (ROOT / "SKILL.md").read_text()
    # It says that these lie beside it.
    assert (share / "json.md").read_text() == (ROOT / "docs/json.md").read_text()
    assert {path.name for path in (share / "schema").iterdir()} == {p.name for p in (ROOT / "docs/schema").iterdir()}


def test_the_fields_that_the_skill_reads_exist(tmp_path, engine):
    (tmp_path / "engine.py").write_text(engine)
    shell('assay extract --prompt "What is 2+2?" --numerics bf16,f64 --taps "*"; python engine.py', tmp_path)
    shell("assay compare reference_data dump.npz --strict --json >compare.json", tmp_path)
    shell("assay diagnose --reference reference_data --candidate dump.npz --json >diagnose.json", tmp_path)
    compared, diagnosed = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("compare", "diagnose"))
    assert {"passed", "coarse"} <= compared.keys()
    prompt = compared["prompts"][0]
    assert {"id", "passed", "first_divergence", "findings", "unmatched", "tokens", "tensors"} <= prompt.keys()
    assert {"tensor", "text"} <= prompt["first_divergence"].keys() and {"verdict", "reason"} <= prompt["tokens"].keys()
    failed = next(t for t in prompt["tensors"] if t["verdict"] == "fail")
    assert {"name", "verdict", "noise_ratio", "reason"} <= failed.keys()
    assert {"verdict", "summary", "dump", "unreadable", "findings", "first"} <= diagnosed.keys()
    assert {"id", "name", "detail", "where", "look_at", "alternatives"} <= diagnosed["findings"][0].keys()
    assert {"operation", "layers", "heads", "positions", "channels", "relations"} <= diagnosed["first"].keys()


def test_the_api_page_has_every_name():
    shown = (ROOT / "docs/python-api.md").read_text()
    assert set(re.findall(r"^::: assay\.(\w+)", shown, re.MULTILINE)) >= set(assay.__all__) - {"__version__"}


@pytest.mark.parametrize(("shown", "real", "difference"), [
    ("a 1\nb", "a 1\n\nb\n", None),
    ("a\n...\nd", "a\nb\nc\nd", None),
    ("a\n...", "a\nb", None),
    ("a\n...\nd", "a\nb\nc", "d"),
    ("a", "a\nb", "(end of the output), where it prints b"),
    ("12 arrays", "13 arrays", "12 arrays"),
    ("ratio 6.7e-08", "ratio 8.2e-08", None),
    ("ratio 6.7e-08", "ratio 8.2e-07", "ratio 6.7e-08"),
    ("60.6 % equal", "60.67 % equal", None),
    ("x pass", "x FAIL", "x pass"),
])  # fmt: skip
def test_differences_are_seen(shown, real, difference):
    assert first_difference(shown, real) == difference


def test_no_page_has_a_conflict_in_it():
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        assert not re.search(r"^(<<<<<<<|>>>>>>>) ", path.read_text(), re.MULTILINE), path


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A directory as a page's reader has it: the model in Hugging Face's cache, and a dump."""
    model = assay.bundled_model()
    hub = tmp_path / "hub/models--Qwen--Qwen3-0.6B"
    (hub / "snapshots").mkdir(parents=True)
    (hub / "snapshots/abc").symlink_to(model)
    (hub / "refs").mkdir()
    (hub / "refs/main").write_text("abc")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    ref = assay.extract(prompts=["The capital of France is"], taps="*")
    for name in ("dump", "reference_data"):
        shutil.copytree(ref.path, tmp_path / name)
    return ref


def namespace_of(ref):
    """What the snippets of the pages take for granted."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(ref.model, dtype=torch.bfloat16).eval()
    prompt = ref["prompt1"]
    return {
        "assay": assay, "ids": torch.tensor([prompt.input_ids]), "model": model.requires_grad_(False), "my_model": model,
        "hidden": prompt["layer_00_output"], "logits": prompt["logits"],
        "my_rms_norm": lambda x, weight, eps=1e-6: torch.nn.functional.rms_norm(x, x.shape[-1:], weight, eps),
    }  # fmt: skip


def test_the_snippets_of_the_python_guide_run(reader):
    blocks = [block for block in Page("docs/python.md").of("python") if "def test" not in block]
    names = namespace_of(reader)
    assert len(blocks) == 6
    for block in blocks:
        if "embed(" in block:  # the parts of a model of one's own
            names |= {"embed": lambda _: reader["prompt1"]["embedding_output"], "layer": lambda _: names["hidden"]}
        exec(block, names)
    assert names["result"] and names["c"].result
    assert {p.name for p in Path.cwd().iterdir()} >= {"report.html", "dump.npz"}
    readme = next(block for block in Page("README.md").of("python") if "assay.extract" in block)
    exec(readme, names)


def test_the_snippets_that_read_files_run(reader, monkeypatch):
    names = {}
    monkeypatch.chdir(Path.cwd())
    shell("assay extract --out reference_data", Path.cwd())
    for page in ("docs/extract.md", "docs/reference-data-format.md"):
        for block in Page(page).of("python"):
            exec(block, names)
    assert names["hidden"].shape[-1] == 64


def test_the_tests_of_the_pages_run(reader, tmp_path):
    pytest.importorskip("torch")
    assay.golden(out=tmp_path / "tests/assay_golden", max_bytes=300_000)
    blocks = [block for page in ("docs/ci.md", "docs/python.md", "README.md") for block in Page(page).of("python")]
    tests = [re.sub(r"def test_(\w+)", rf"def test_{i}_\1", b) for i, b in enumerate(blocks) if "def test" in b]
    (tmp_path / "tests/test_it.py").write_text("\n".join([HELPERS, *tests]).replace('device="cuda"', 'device="cpu"'))
    shutil.rmtree(tmp_path / "dump")
    shutil.copytree(tmp_path / "tests/assay_golden", tmp_path / "dump")
    ran = shell("python -m pytest -q -p no:cacheprovider tests", tmp_path)
    assert ran.returncode == 0, ran.stdout
    assert "18 passed" in ran.stdout  # four tests for each of four prompts, and two that take none


HELPERS = """
import assay, pytest, torch, transformers
from types import SimpleNamespace

@pytest.fixture(scope="session")
def model():
    return transformers.AutoModelForCausalLM.from_pretrained(assay.bundled_model(), dtype=torch.bfloat16).eval()

BY_IDS = {tuple(p.input_ids): p for p in assay.Reference("tests/assay_golden").values()}
def my_first_layer(ids):
    return BY_IDS[tuple(ids)]["layer_00_output"]
my_layer, my_engine = my_first_layer, SimpleNamespace(first_layer=my_first_layer)
def my_rms_norm(x, weight, eps=1e-6):
    return torch.nn.functional.rms_norm(x, x.shape[-1:], weight, eps)
"""
