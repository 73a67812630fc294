"""Measures `assay extract` against transformers, tap by tap, in all three numerics.

Error is relative L2 unless stated otherwise. The masked entries of attn_scores are excluded from all
figures and compared separately: they are the lowest number of the run's type.

In an MoE model one more rounding may choose a different expert, and then a token's figures tell nothing
about how well its experts were computed. So the BF16 figures of an MoE model are taken over the
steady tokens: those for which both engines chose the oracle's experts in every layer so far.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from assay_cli import run_assay
from assay_hf.model import HfModel, Numerics
from assay_hf.taps import record, tap_names
from checkpoints import Prompts
from rounding import own_bits

NEW_TOKENS = 20
MASKED = -1e38  # masked scores are below it, whatever the run's type
HUGE = 1000.0  # absolute thresholds are useless above it: an FP32 step is 6e-5


def write_prompts(file: Path, prompts: Prompts) -> Path:
    lines = [json.dumps({"id": name, "input_ids": ids}) for name, ids in prompts.items()]
    file.write_text("\n".join(lines) + "\n")
    return file


@dataclass
class TapFigures:
    """One tap of one prompt."""

    tap: str
    f64: float  # assay's f64 against transformers in double
    f32: float = np.nan  # assay's f32 against transformers FP32
    f32_ours: float = np.nan  # both against the oracle
    f32_theirs: float = np.nan
    f32_cosine: float = np.nan
    f32_mse: float = np.nan
    f32_max: float = np.nan  # largest absolute difference of elements below HUGE
    bf16_ours: float = np.nan  # assay's bf16 against the oracle
    bf16_theirs: float = np.nan  # transformers BF16 against the oracle
    bf16_ours_tail: float = np.nan  # the same two without the first token
    bf16_theirs_tail: float = np.nan
    bf16_same: float = np.nan  # fraction of elements that equal transformers' bits
    steady: float = 1.0  # fraction of tokens in the BF16 figures
    own_differ: int = 0  # elements that differ from transformers' although their inputs are equal
    own_count: int = 0  # elements whose inputs equal transformers'

    @property
    def layer(self) -> str:
        """The row of the table this tap belongs to: "00", "01", ... or the tap's own name."""
        return self.tap.split("_")[1] if self.tap.startswith("layer_") else self.tap

    @property
    def ratio(self) -> float:
        return error_ratio(self.bf16_ours, self.bf16_theirs)

    @property
    def tail_ratio(self) -> float:
        return error_ratio(self.bf16_ours_tail, self.bf16_theirs_tail)


@dataclass
class PromptFigures:
    prompt: str
    taps: list[TapFigures]
    rope: float = np.nan  # largest absolute difference of the FP32 tables
    rope_excess: float = np.nan  # the same, without what four FP32 steps of a frequency explain
    masked_differ: list[str] = field(default_factory=list)  # attn_scores with different masked entries
    # numerics -> taps of experts' choices -> how many differ from transformers'
    experts_differ: dict[str, dict[str, int]] = field(default_factory=dict)
    # the same in BF16, of those computed from logits equal to transformers'
    own_experts_differ: dict[str, int] = field(default_factory=dict)
    generated: dict[str, tuple[list[int], list[int]]] = field(default_factory=dict)  # ours, theirs
    residual_first: list[float] = field(default_factory=list)  # max |layer output|, first token
    residual_others: list[float] = field(default_factory=list)  # the same for all other tokens


def error_ratio(ours: float, theirs: float) -> float:
    """Our error divided by transformers'; 1 if both are exact."""
    if theirs == 0:
        return 1.0 if ours == 0 else np.inf
    return ours / theirs


def geometric_mean(values: list[float]) -> float:
    """Zero counts as zero, not as an error."""
    array = np.array(values)
    return float(np.exp(np.log(array).mean())) if (array > 0).all() else 0.0


Arrays = dict[str, np.ndarray]


def measure(
    checkpoint: Path,
    prompts: Prompts,
    scratch: Path,
    new_tokens: int = NEW_TOKENS,
    generate: tuple[str, ...] = ("f32", "bf16"),
) -> list[PromptFigures]:
    """Runs both engines in f64, f32 and bf16. At most one assay run is on disk at a time."""
    prompts_file = write_prompts(scratch / "prompts.jsonl", prompts)

    @contextmanager
    def extracted(numerics: str, *more: str) -> Iterator[dict[str, Arrays]]:
        with TemporaryDirectory(dir=scratch) as out:
            fixed = ["--model", checkpoint, "--prompts", prompts_file, "--taps", "*"]
            fixed += ["--compression", "none", "--numerics", numerics, "--out", out]
            tokens = new_tokens if numerics in generate else 0
            run_assay(["extract", *fixed, "--max-new-tokens", str(tokens), *more])
            yield {name: np.load(f"{out}/{name}/reference.npz") for name in prompts}

    model = HfModel(checkpoint, Numerics.F64)
    names = tap_names(model)
    floats = [name for name in names if not name.endswith("expert_ids")]
    oracle = {p: record(model, ids, names, np.float64) for p, ids in prompts.items()}
    del model
    figures: list[PromptFigures] = []
    with extracted("f64", "--store", "f64") as ours:
        for p in prompts:
            taps = [
                TapFigures(n, relative_l2(seen(n, ours[p][n]), seen(n, oracle[p][n])))
                for n in floats
            ]
            figures.append(PromptFigures(p, taps))
            compare_experts(figures[-1], "f64", ours[p], oracle[p])

    model = HfModel(checkpoint, Numerics.F32)
    with extracted("f32") as ours:
        for prompt in figures:
            p = prompt.prompt
            theirs = record(model, prompts[p], names)
            for tap in prompt.taps:
                own, other = seen(tap.tap, ours[p][tap.tap]), seen(tap.tap, theirs[tap.tap])
                fill_f32(tap, own, other)
                exact = seen(tap.tap, oracle[p][tap.tap])
                tap.f32_ours, tap.f32_theirs = relative_l2(own, exact), relative_l2(other, exact)
                compare_masked(prompt, tap.tap, ours[p], theirs)
            compare_experts(prompt, "f32", ours[p], theirs)
            if "f32" in generate:
                prompt.generated["f32"] = compare_generated(model, prompts[p], ours[p], new_tokens)
            fill_rope(prompt, model, len(prompts[p]), ours[p])
    del model

    model = HfModel(checkpoint, Numerics.BF16)
    with extracted("bf16") as ours:
        for prompt in figures:
            p = prompt.prompt
            theirs = record(model, prompts[p], names)
            bits = {name: ours[p][name] for name in names}
            steady = np.ones(len(prompts[p]), dtype=bool)
            for name in names:
                if name.endswith("expert_ids"):
                    prompt.own_experts_differ[name] = own_bits(name, bits, theirs)[0]
                    steady = steady & same_choices(ours[p][name], oracle[p][name])
                    steady &= same_choices(theirs[name], oracle[p][name])
                    continue
                tap = next(t for t in prompt.taps if t.tap == name)
                fill_bf16(tap, ours[p][name], theirs[name], oracle[p][name], steady)
                tap.own_differ, tap.own_count = own_bits(name, bits, theirs)
                compare_masked(prompt, name, ours[p], theirs)
                if name == f"layer_{tap.layer}_output":
                    size = np.abs(ours[p][name])
                    prompt.residual_first.append(float(size[0, 0].max()))
                    prompt.residual_others.append(float(size[0, 1:].max(initial=0)))
            if "bf16" in generate:
                prompt.generated["bf16"] = compare_generated(model, prompts[p], ours[p], new_tokens)
            fill_rope(prompt, model, len(prompts[p]), ours[p])
    return figures


def seen(tap: str, array: np.ndarray) -> np.ndarray:
    """The elements that count, flat and in double."""
    if tap.endswith("attn_scores"):
        array = array[array > MASKED]
    return array.astype(np.float64).ravel()


def same_choices(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """For expert_ids [1, S, K]: the tokens for which they are the same, in the same order."""
    return (a == b).all(axis=-1)[0]


def relative_l2(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape, f"{a.shape} against {b.shape}"
    difference = a - b
    error = np.dot(difference, difference)
    return 0.0 if error == 0 else float(np.sqrt(error / np.dot(b, b)))


def fill_f32(tap: TapFigures, ours: np.ndarray, theirs: np.ndarray) -> None:
    difference = np.abs(ours - theirs)
    tap.f32 = relative_l2(ours, theirs)
    tap.f32_cosine = float(
        np.dot(ours, theirs) / np.sqrt(np.dot(ours, ours) * np.dot(theirs, theirs))
    )
    tap.f32_mse = float(np.dot(difference, difference) / difference.size)
    tap.f32_max = float(difference[np.abs(theirs) < HUGE].max(initial=0))


def fill_bf16(
    tap: TapFigures, ours: np.ndarray, theirs: np.ndarray, oracle: np.ndarray, steady: np.ndarray
) -> None:
    # The token axis is 1, or 2 in [1, heads, S, S].
    axis = 2 if tap.tap.endswith(("attn_scores", "attn_probs")) else 1
    if not steady.all():
        ours, theirs, oracle = (x.compress(steady, axis) for x in (ours, theirs, oracle))
    tap.steady = float(steady.mean())
    a, b, o = (seen(tap.tap, array) for array in (ours, theirs, oracle))
    tap.bf16_ours, tap.bf16_theirs = relative_l2(a, o), relative_l2(b, o)
    tap.bf16_same = float((a == b).mean()) if a.size else 1.0
    if ours.shape[axis] > 1 and not tap.tap.endswith("attn_scores"):
        tail = slice(1, None)
        cut = (slice(None),) * axis + (tail,)
        a, b, o = (array[cut].astype(np.float64).ravel() for array in (ours, theirs, oracle))
        tap.bf16_ours_tail, tap.bf16_theirs_tail = relative_l2(a, o), relative_l2(b, o)


def compare_masked(prompt: PromptFigures, tap: str, ours: Arrays, theirs: Arrays) -> None:
    if tap.endswith("attn_scores"):
        a, b = (np.minimum(of[tap], MASKED) for of in (ours, theirs))
        if not np.array_equal(a, b):
            prompt.masked_differ.append(tap)


def compare_experts(prompt: PromptFigures, numerics: str, ours: Arrays, theirs: Arrays) -> None:
    prompt.experts_differ[numerics] = {
        tap: int((ours[tap] != theirs[tap]).sum())
        for tap in theirs
        if tap.endswith("expert_ids")
    }


def compare_generated(
    model: HfModel, input_ids: list[int], ours: Arrays, new_tokens: int
) -> tuple[list[int], list[int]]:
    """Both continuations; in FP32 only up to a tie that separates them, where transformers' logits of the
    two tokens are as close as FP32's precision."""
    mine, theirs = ours["generated_ids"][0].tolist(), model.generate(input_ids, new_tokens)
    if model.numerics is Numerics.F32 and mine != theirs:
        parted = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), 0)
        if parted:
            logits = model.forward(theirs[:parted])[0, -1]
            gap = (logits[theirs[parted]] - logits[mine[parted]]) / logits.abs().max()
            if 0 <= gap < 1e-5:
                return mine[:parted], theirs[:parted]
    return mine, theirs


def fill_rope(prompt: PromptFigures, model: HfModel, tokens: int, ours: Arrays) -> None:
    tables = {n: t.numpy() for n, t in model.rope_tables(tokens, ours["rope_cos"].shape[1]).items()}
    for name, theirs in tables.items():
        assert ours[name].shape == theirs.shape, name
        difference = np.abs(ours[name] - theirs)
        prompt.rope = np.fmax(prompt.rope, float(difference.max()))
        of = name.removesuffix("_cos").removesuffix("_sin")
        cos, sin = (tables[f"{of}_{part}"][0, :2] for part in ("cos", "sin"))
        frequency = np.arctan2(sin[-1], cos[-1])  # of position 1
        angle = np.arange(theirs.shape[1])[:, None] * frequency
        excess = float((difference - angle * 2.0**-21).max())
        prompt.rope_excess = np.fmax(prompt.rope_excess, excess)
