"""What the documentation shows is what happens: its commands are run, and their output is compared."""

import re

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
                assert shell('assay tokenize --ids "$(python engine.py)"', tmp_path).stdout.startswith("What is 2+2? 5.")
    assert done == [("extract", 0), ("compare", 1), ("diagnose", 1)]


def test_the_api_page_has_every_name():
    shown = (ROOT / "docs/python-api.md").read_text()
    assert set(re.findall(r"^::: assay\.(\w+)", shown, re.MULTILINE)) == set(assay.__all__) - {"__version__"}


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
