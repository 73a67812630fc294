"""The figures that Assay promises against transformers, on random small models of every family.

ASSAY_FAMILY_SEED draws the same models again; the table at the end, and each failure, names it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import families
import family_checkpoints
from assay_cli import run_assay
from assay_hf.model import HfModel, Numerics
from conftest import measured_families
from parity import PromptFigures, TapFigures, geometric_mean, measure

NEW_TOKENS = 8
CONFIGURATIONS = {made.name: made for made in families.configurations()}
every_configuration = pytest.mark.parametrize("name", CONFIGURATIONS)
mixtures = pytest.mark.parametrize("name", [n for n, c in CONFIGURATIONS.items() if c.is_mixture])

Figures = Callable[[str], list[PromptFigures]]


@pytest.fixture(scope="module")
def checkpoint() -> Any:
    """The directory of the named configuration's checkpoint; only one exists at a time."""
    with TemporaryDirectory(prefix="assay-family-") as scratch:

        def of(name: str) -> Path:
            directory = Path(scratch) / name
            if not directory.exists():
                family_checkpoints.write(CONFIGURATIONS[name], directory)
            return directory

        yield of


@pytest.fixture(scope="module")
def figures(checkpoint: Callable[[str], Path]) -> Figures:
    failures: dict[str, BaseException] = {}

    def of(name: str) -> list[PromptFigures]:
        made = CONFIGURATIONS[name]
        print(f"ASSAY_FAMILY_SEED={families.SEED}: {made.what}: {made.config}")
        if name in failures:
            raise AssertionError(f"{name} could not be measured, see the first failure")
        if name not in measured_families:
            try:
                directory = checkpoint(name)
                prompts = family_checkpoints.draw_prompts(made, directory)
                taken = measure(directory, prompts, directory.parent, NEW_TOKENS, ("f32",))
            except BaseException as error:
                failures[name] = error
                raise
            measured_families[name] = (made, taken)
        return measured_families[name][1]

    return of


SINGLE_SUMS = ("attn_scores", "shared_expert_gate", "gdn_b", "gdn_a")
# The first token's state is one outer product, so the delta rule gives each head's values times one sum,
# of query and key.
SINGLE_SUMS += ("gdn_core", "gdn_norm", "gdn_output")


def offenders(
    prompts: list[PromptFigures], value: Callable[[TapFigures], float], limit: float
) -> list[str]:
    """Taps whose value exceeds the limit or is NaN, in data-flow order. Of a single token, taps that are
    one sum, or one for each of few heads, are excluded: it may have cancelled completely."""
    return [
        f"{p.prompt} {t.tap}: {value(t):.3e}, limit {limit:.3e}"
        for p in prompts
        for t in p.taps
        if not value(t) <= limit and not (p.prompt == "one" and t.tap.endswith(SINGLE_SUMS))
    ]


def f32_error(t: TapFigures) -> float:
    """transformers runs a prompt's delta rule in chunks, and Assay token by token. Where results cancel,
    the two FP32 runs differ by more than usual: then Assay's must be as near to double as transformers'."""
    as_near = "_gdn_" in t.tap and t.f32_ours <= 2 * t.f32_theirs
    return 0.0 if as_near else t.f32


def long_prompt(prompts: list[PromptFigures]) -> PromptFigures:
    return next(p for p in prompts if p.prompt == "long")


class NoFp32(TorchDispatchMode):
    """Prevents operations from returning FP32."""

    fp32 = torch.float32  # in a double run the name is patched

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = operation(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                assert leaf.dtype is not self.fp32, f"{operation} answers in FP32"
        return result


@every_configuration
def test_the_oracle_never_computes_in_fp32(
    checkpoint: Callable[[str], Path], name: str
) -> None:
    model = HfModel(checkpoint(name), Numerics.F64)
    assert {buffer.dtype for buffer in model.text.buffers()} == {torch.float64}
    with NoFp32():
        model.generate([1, 2, 3], 2)
        tables = model.rope_tables(3, 5)
    assert {table.dtype for table in tables.values()} == {torch.float64}
    # One part in 1e12 of a weight would vanish in any narrower type.
    before = model.forward([1, 2, 3, 4])
    with torch.no_grad():
        model.text.norm.weight.add_(1e-12)
    after = model.forward([1, 2, 3, 4])
    change = ((after - before).norm() / before.norm()).item()
    assert 1e-14 < change < 1e-10


@every_configuration
def test_f64_equals_transformers_in_double(figures: Figures, name: str) -> None:
    assert not offenders(figures(name), lambda t: t.f64, 1e-12)


@every_configuration
def test_f32_is_within_1e5_of_transformers_fp32(figures: Figures, name: str) -> None:
    assert not offenders(figures(name), f32_error, 1e-5)


@every_configuration
def test_f32_generates_the_same_tokens(figures: Figures, name: str) -> None:
    for prompt in figures(name):
        ours, theirs = prompt.generated["f32"]
        assert ours == theirs, prompt.prompt


@every_configuration
def test_bf16_is_as_close_to_the_oracle_as_transformers(figures: Figures, name: str) -> None:
    prompt = long_prompt(figures(name))
    assert not offenders([prompt], lambda t: t.ratio, 1.25)
    assert geometric_mean([t.ratio for t in prompt.taps]) <= 1.02


@every_configuration
def test_bf16_rounds_where_transformers_rounds(figures: Figures, name: str) -> None:
    # If an operation's inputs equal transformers', hardly any bit may differ.
    judged = 0
    small: dict[str, tuple[int, int]] = {}  # by tap, of all layers together
    for prompt in figures(name):
        for tap in prompt.taps:
            if tap.own_count >= 1000:  # otherwise a single element would have too much weight
                judged += 1
                share = tap.own_differ / tap.own_count
                assert share <= 0.01, f"{prompt.prompt} {tap.tap}: {share:.1%} of {tap.own_count}"
            else:
                base = tap.tap.split("_", 2)[-1]
                differ, count = small.get(base, (0, 0))
                small[base] = (differ + tap.own_differ, count + tap.own_count)
    for base, (differ, count) in small.items():
        assert count < 300 or differ / count <= 0.01, f"{base}: {differ / count:.1%} of {count}"
    assert judged >= 20  # all of the first layer, on the long prompt at least


@every_configuration
def test_rope_tables_are_within_1e6(figures: Figures, name: str) -> None:
    # torch's pow is not correctly rounded: one in a hundred frequencies is off by an FP32 step,
    # which far positions multiply.
    for prompt in figures(name):
        assert prompt.rope_excess <= 1e-6, (prompt.prompt, prompt.rope)


@every_configuration
def test_masked_scores_are_transformers_own(figures: Figures, name: str) -> None:
    for prompt in figures(name):
        assert not prompt.masked_differ, prompt.prompt


@every_configuration
def test_doctor_finds_every_tensor(checkpoint: Callable[[str], Path], name: str) -> None:
    told = run_assay(["doctor", "--json", "--model", checkpoint(name)], check=False)
    checks = {check["name"]: check for check in json.loads(told.stdout)["checks"]}
    for tensors in ("weights", "tensors", "values"):
        assert checks[tensors]["status"] == "ok", checks[tensors]


@mixtures
def test_the_same_experts_are_chosen(figures: Figures, name: str) -> None:
    for prompt in figures(name):
        for numerics in ("f64", "f32"):
            differ = prompt.experts_differ[numerics]
            assert differ and not any(differ.values()), (prompt.prompt, numerics, differ)
        # From the same logits, which in BF16 are often equal.
        differ = prompt.own_experts_differ
        assert differ and not any(differ.values()), (prompt.prompt, "bf16", differ)


@mixtures
def test_most_tokens_of_a_mixture_are_steady(figures: Figures, name: str) -> None:
    # Otherwise the BF16 figures would have little meaning.
    assert min(t.steady for t in long_prompt(figures(name)).taps) >= 0.5
