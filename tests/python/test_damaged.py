"""Whatever stands in a reference's files: a right answer, or an InputError that names file and field."""

import copy
import json
import random
import shutil

import assay
import numpy as np
import pytest


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return assay.golden(out=tmp_path_factory.mktemp("golden") / "bundle", prompts=["Hello there", [378, 379]],
                        taps=["layer_00_output", "layer_01_output", "logits"], max_bytes=None)  # fmt: skip


STRANGE = [None, True, -1, 0, 2**70, 1.5, float("nan"), "", "x", "../up", "/etc/passwd", "a\0b", "\ud800", "\x1b[31m", [], {},
          [[]], [None], {"a": 1}, ["x"], [1.5], "bf16"]  # fmt: skip


def places_in(value, place=()):
    """All places of a JSON value."""
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places_in(inner, (*place, key))


def mutated(manifest, rng):
    manifest = copy.deepcopy(manifest)
    # Lists of numbers and arrays' records are most of it, and all alike.
    places = [p for p in places_in(manifest) if p and (len(p) < 4 or rng.random() < 0.02)]
    *owner, key = rng.choice(places)
    target = manifest
    for step in owner:
        target = target[step]
    how = rng.randrange(4)
    if how == 0:
        del target[key]
    elif how == 1 and isinstance(target, list):
        target.append(copy.deepcopy(target[key]))
    elif how == 2 and isinstance(target, dict):
        target[rng.choice(["", "x", "\x1b[2J", "../y"])] = target.pop(key)
    else:
        target[key] = copy.deepcopy(rng.choice(STRANGE))
    return manifest


def use(path, out):
    """Everything that reads a manifest."""
    reference = assay.Reference(path)
    for prompt in reference.values():
        assert all(isinstance(i, int) for i in prompt.input_ids) and isinstance(prompt.text, (str, type(None)))
        prompt.generated_ids  # noqa: B018
        for name in prompt:
            prompt[name]
    assay.golden(path, out, max_bytes=None)


def test_every_damaged_manifest_is_refused_or_read(bundle, tmp_path):
    here = shutil.copytree(bundle.path, tmp_path / "bundle")
    outcomes = []
    for seed in range(400):
        (here / "manifest.json").write_text(json.dumps(mutated(bundle.manifest, random.Random(seed))))
        for run in (lambda: use(here, tmp_path / "out"), lambda: assay.update_golden(here, model=tmp_path / "none")):
            try:
                run()
                outcomes.append("read")
            except assay.InputError as error:
                outcomes.append("refused")
                assert error.where and error.found, seed
                assert not any(ord(c) < 32 or c == "\ud800" for c in str(error)), (seed, str(error))
            except assay.UsageError as error:  # the manifest does not tell what the bundle is of
                assert "at least one" in str(error) or "matches no array" in str(error), (seed, str(error))
            except Exception as error:
                raise AssertionError(f"seed {seed}: {error!r}") from error
    assert {outcomes.count("read") > 50, outcomes.count("refused") > 100} == {True}


@pytest.mark.parametrize(
    "text", ["", "[]", "nul", '"x"', "[" * 100_000, '{"a":' * 50_000, "\xff", '{"schema": 1}', "9" * 10_000]
)
def test_what_is_no_manifest_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(assay.InputError, match=r"manifest\.json"):
        assay.Reference(tmp_path)
    with pytest.raises(assay.InputError, match=r"manifest\.json"):
        assay.golden(tmp_path, tmp_path / "out")


def test_every_damaged_archive_is_refused_or_copied_whole(bundle, tmp_path):
    here = shutil.copytree(bundle.path, tmp_path / "bundle")
    file = here / "prompt1/reference.npz"
    whole = file.read_bytes()
    refused = 0
    for seed in range(300):
        rng = random.Random(seed)
        data = bytearray(whole)
        for _ in range(rng.choice([1, 1, 4])):
            # Headers are few among the bytes.
            at = rng.choice([rng.randrange(len(data)), rng.randrange(100), len(data) - 1 - rng.randrange(400)])
            data[at] = rng.choice([0, 255, data[at] ^ 1, rng.randrange(256)])
        if rng.random() < 0.2:
            data = data[: rng.randrange(len(data))]
        file.write_bytes(data)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        try:
            made = assay.golden(here, tmp_path / "out", max_bytes=None)
        except assay.InputError as error:
            refused += 1
            assert "prompt1" in str(error), seed
            assert not (tmp_path / "out").exists()
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
        else:
            for name in made["prompt1"]:
                np.testing.assert_array_equal(made["prompt1"][name], bundle["prompt1"][name], err_msg=f"seed {seed}")
    assert refused > 150
