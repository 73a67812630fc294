"""The installed package, tried as its users use it."""

import contextlib
import json
import shutil

import pytest

import assay

# pytester forgets the modules that its own runs import, and a process cannot load torch twice.
with contextlib.suppress(ModuleNotFoundError):
    import torch  # noqa: F401


@pytest.fixture(scope="session")
def model():
    return assay.bundled_model()


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    return assay.extract(out=tmp_path_factory.mktemp("reference") / "data", taps="*")


@pytest.fixture(scope="session")
def wrong_rope(tmp_path_factory, model, reference):
    """The arrays of an engine that has a wrong RoPE base."""
    copy = tmp_path_factory.mktemp("wrong") / "model"
    shutil.copytree(model, copy)
    config = json.loads((copy / "config.json").read_text())
    config["rope_theta"] = 10_000
    (copy / "config.json").write_text(json.dumps(config))
    prompts = [{"id": p.id, "input_ids": p.input_ids} for p in reference.values()]
    return assay.extract(copy, prompts, out=copy.parent / "data", oracle=False, taps="*")
