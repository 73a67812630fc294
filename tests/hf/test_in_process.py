"""The C API inside an independent engine: transformers, through hooks on its modules."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assay_cli import ROOT, assay_program
from assay_hf.model import HfModel, Numerics
from checkpoints import BUNDLED


class Watched:
    """A model that passes its modules' outputs to a checker, under their own names."""

    def __init__(self, model: HfModel) -> None:
        self.net = model.net
        self.checker: Any = None
        self.verdicts: dict[str, list[str]] = {}
        for name, module in self.net.named_modules():
            module.register_forward_hook(lambda _m, _i, output, name=name: self.see(name, output))

    def see(self, name: str, output: Any) -> None:
        if isinstance(output, tuple):
            output = output[0]
        if not isinstance(output, torch.Tensor) or not self.checker.wants(name):
            return
        verdict = self.checker.check(name, output.float().numpy())
        self.verdicts.setdefault(verdict.name, []).append(name)

    def run(self, ids: list[int], checker: Any, steps: list[int]) -> None:
        """Runs it in pieces of these lengths, with a KV cache."""
        self.checker = checker
        self.verdicts = {}
        cache = None
        done = 0
        with torch.inference_mode():
            for count in steps:
                checker.set_positions(done, count)
                out = self.net(
                    torch.tensor([ids[done : done + count]]), past_key_values=cache, use_cache=True
                )
                cache = out.past_key_values
                # The logits are not in every version a module's output with a tap's name.
                checker.check("logits", out.logits.float().numpy())
                done += count


def prompts(reference: Path) -> list[tuple[str, list[int]]]:
    manifest = json.loads((reference / "manifest.json").read_text(encoding="utf-8"))
    return [(p["id"], p["input_ids"]) for p in manifest["prompts"]]


def steps_of(how: str, tokens: int) -> list[int]:
    if how == "whole":
        return [tokens]
    if how == "token by token":
        return [1] * tokens
    return [min(7, tokens - begin) for begin in range(0, tokens, 7)]


@pytest.mark.parametrize("how", ["whole", "token by token", "in pieces of 7"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_transformers_passes(reference: Path, assay_check: Any, how: str, attention: str) -> None:
    watched = Watched(HfModel(BUNDLED, Numerics.BF16, attention))
    for prompt, ids in prompts(reference):
        checker = assay_check.Checker(reference)
        assert checker.check("input_ids", np.array(ids, np.int32)) == assay_check.Verdict.PASS
        watched.run(ids, checker, steps_of(how, len(ids)))
        report = json.loads(checker.report_json())["prompts"][0]
        assert report["id"] == prompt
        assert set(watched.verdicts) <= {"PASS", "NOT_COMPARED"}, watched.verdicts
        compared = {t["name"] for t in report["tensors"] if t["verdict"] == "pass"}
        assert {f"layer_{n:02}_output" for n in range(28)} <= compared
        assert {f"layer_{n:02}_q_norm" for n in range(28)} <= compared
        assert {"embedding_output", "final_norm_output", "logits"} <= compared
        assert checker.close() == assay_check.Verdict.PASS


def test_a_skipped_q_norm_stops_the_engine_there(reference: Path, assay_check: Any) -> None:
    model = HfModel(BUNDLED, Numerics.BF16)
    model.net.model.layers[5].self_attn.q_norm.forward = lambda x: x
    watched = Watched(model)
    for _, ids in prompts(reference):
        checker = assay_check.Checker(reference)
        checker.check("input_ids", np.array(ids))
        watched.run(ids, checker, [len(ids)])
        assert watched.verdicts["FAIL"][0] == "model.layers.5.self_attn.q_norm"
        report = json.loads(checker.report_json())["prompts"][0]
        assert report["first_divergence"]["tensor"] == "layer_05_q_norm"
        assert checker.close() == assay_check.Verdict.FAIL


def test_what_it_records_is_a_candidate(
    reference: Path, assay_check: Any, scratch: Path
) -> None:
    watched = Watched(HfModel(BUNDLED, Numerics.BF16, "sdpa"))
    prompt, ids = prompts(reference)[1]
    record = scratch / f"{prompt}.npz"
    checker = assay_check.Checker(record=record)
    checker.check("input_ids", np.array(ids))
    watched.run([*ids, 11, 12], checker, [len(ids), 1, 1])
    assert checker.close() == assay_check.Verdict.NOT_COMPARED
    done = subprocess.run(
        [assay_program(), "compare", reference, record, "--json"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    with np.load(record) as arrays:
        assert arrays["model.layers.3"].shape == (1, len(ids) + 2, 64)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(np.float64, "PASS"), (np.float32, "PASS"), (np.float16, "PASS"), (np.complex64, "ERROR")],
)
def test_arrays_of_numpy(
    reference: Path, assay_check: Any, dtype: type, expected: str
) -> None:
    with np.load(reference / "prompt2" / "reference.npz") as arrays:
        output = arrays["layer_05_output"]
    with assay_check.Checker(reference, prompt="prompt2") as checker:
        if expected == "ERROR":
            with pytest.raises(TypeError, match="complex64"):
                checker.check("layer_05_output", output.astype(dtype))
            return
        # A permuted view of every second element of a larger array.
        larger = np.zeros((*output.shape[1:], 2), dtype)
        larger[..., 0] = output[0]
        verdict = checker.check("layer_05_output", larger[..., 0].T)
        assert verdict.name == expected, checker.result.message
    assert checker.check("layer_05_output", output) == assay_check.Verdict.NOT_COMPARED


def test_the_python_example_runs() -> None:
    script = ROOT / "tests" / "capi" / "try_example.sh"
    subprocess.run([script, "python", Path(assay_program()).parent], check=True, timeout=300)
