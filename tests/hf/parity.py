"""Measures `assay extract` against transformers, tap by tap, in all three numerics.

Error is relative L2 unless said otherwise. The masked entries of attn_scores are left out of every
figure, and compared apart: they hold the lowest number of the run's type, whatever that is.
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

NEW_TOKENS = 20
HUGE = 1000.0  # elements beyond it are out of reach of absolute thresholds: an FP32 step is 6e-5


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
    f32_cosine: float = np.nan
    f32_mse: float = np.nan
    f32_max: float = np.nan  # largest absolute difference of elements below HUGE
    bf16_ours: float = np.nan  # assay's bf16 against the oracle
    bf16_theirs: float = np.nan  # transformers BF16 against the oracle
    bf16_ours_tail: float = np.nan  # the same two without the first token
    bf16_theirs_tail: float = np.nan
    bf16_same: float = np.nan  # share of elements with transformers' very bits

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
    masked_differ: list[str] = field(default_factory=list)  # attn_scores with other masked entries
    generated: dict[str, tuple[list[int], list[int]]] = field(default_factory=dict)  # ours, theirs
    residual_first: list[float] = field(default_factory=list)  # max |layer output|, first token
    residual_others: list[float] = field(default_factory=list)  # the same of all other tokens


def error_ratio(ours: float, theirs: float) -> float:
    """How many times transformers' error ours is; 1 where both are exact."""
    if theirs == 0:
        return 1.0 if ours == 0 else np.inf
    return ours / theirs


def geometric_mean(values: list[float]) -> float:
    """Zero counts as zero, not as an error."""
    array = np.array(values)
    return float(np.exp(np.log(array).mean())) if (array > 0).all() else 0.0


def measure(checkpoint: Path, prompts: Prompts, scratch: Path) -> list[PromptFigures]:
    """Runs both engines in f64, f32 and bf16. At most one assay run is on disk at a time."""
    prompts_file = write_prompts(scratch / "prompts.jsonl", prompts)

    @contextmanager
    def extracted(numerics: str, *more: str) -> Iterator[dict[str, np.lib.npyio.NpzFile]]:
        with TemporaryDirectory(dir=scratch) as out:
            fixed = ["--model", checkpoint, "--prompts", prompts_file, "--taps", "*"]
            fixed += ["--compression", "none", "--numerics", numerics, "--out", out]
            run_assay(["extract", *fixed, *more])
            yield {name: np.load(f"{out}/{name}/reference.npz") for name in prompts}

    model = HfModel(checkpoint, Numerics.F64)
    names = tap_names(model)
    oracle = {p: record(model, ids, names, np.float64) for p, ids in prompts.items()}
    del model
    figures: list[PromptFigures] = []
    with extracted("f64", "--store", "f64", "--max-new-tokens", "0") as ours:
        for p in prompts:
            taps = [
                TapFigures(n, relative_l2(seen(n, ours[p][n]), seen(n, oracle[p][n])))
                for n in names
            ]
            figures.append(PromptFigures(p, taps))

    generate = ("--max-new-tokens", str(NEW_TOKENS))
    model = HfModel(checkpoint, Numerics.F32)
    with extracted("f32", *generate) as ours:
        for prompt in figures:
            p = prompt.prompt
            theirs = record(model, prompts[p], names)
            for tap in prompt.taps:
                fill_f32(tap, seen(tap.tap, ours[p][tap.tap]), seen(tap.tap, theirs[tap.tap]))
                compare_masked(prompt, tap.tap, ours[p], theirs)
            prompt.generated["f32"] = compare_generated(model, prompts[p], ours[p])
            fill_rope(prompt, model, ours[p])
    del model

    model = HfModel(checkpoint, Numerics.BF16)
    with extracted("bf16", *generate) as ours:
        for prompt in figures:
            p = prompt.prompt
            theirs = record(model, prompts[p], names)
            for tap in prompt.taps:
                fill_bf16(tap, ours[p][tap.tap], theirs[tap.tap], oracle[p][tap.tap])
                compare_masked(prompt, tap.tap, ours[p], theirs)
                if tap.tap == f"layer_{tap.layer}_output":
                    size = np.abs(ours[p][tap.tap])
                    prompt.residual_first.append(float(size[0, 0].max()))
                    prompt.residual_others.append(float(size[0, 1:].max(initial=0)))
            prompt.generated["bf16"] = compare_generated(model, prompts[p], ours[p])
            fill_rope(prompt, model, ours[p])
    return figures


def seen(tap: str, array: np.ndarray) -> np.ndarray:
    """The elements that count, flat and in double."""
    if tap.endswith("attn_scores"):
        array = array[..., np.tril(np.ones(array.shape[-2:], dtype=bool))]
    return array.astype(np.float64).ravel()


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


def fill_bf16(tap: TapFigures, ours: np.ndarray, theirs: np.ndarray, oracle: np.ndarray) -> None:
    a, b, o = (seen(tap.tap, array) for array in (ours, theirs, oracle))
    tap.bf16_ours, tap.bf16_theirs = relative_l2(a, o), relative_l2(b, o)
    tap.bf16_same = float((a == b).mean())
    # Tokens stand on axis 1, or on axis 2 in [1, heads, S, S].
    axis = 2 if tap.tap.endswith(("attn_scores", "attn_probs")) else 1
    if ours.shape[axis] > 1 and not tap.tap.endswith("attn_scores"):
        tail = slice(1, None)
        cut = (slice(None),) * axis + (tail,)
        a, b, o = (array[cut].astype(np.float64).ravel() for array in (ours, theirs, oracle))
        tap.bf16_ours_tail, tap.bf16_theirs_tail = relative_l2(a, o), relative_l2(b, o)


def compare_masked(
    prompt: PromptFigures,
    tap: str,
    ours: np.lib.npyio.NpzFile,
    theirs: dict[str, np.ndarray],
) -> None:
    if tap.endswith("attn_scores"):
        masked = np.triu(np.ones(theirs[tap].shape[-2:], dtype=bool), 1)
        if not np.array_equal(ours[tap][..., masked], theirs[tap][..., masked]):
            prompt.masked_differ.append(tap)


def compare_generated(
    model: HfModel, input_ids: list[int], ours: np.lib.npyio.NpzFile
) -> tuple[list[int], list[int]]:
    return ours["generated_ids"][0].tolist(), model.generate(input_ids, NEW_TOKENS)


def fill_rope(prompt: PromptFigures, model: HfModel, ours: np.lib.npyio.NpzFile) -> None:
    tables = model.rope_tables(ours["rope_cos"].shape[1])
    for name, theirs in zip(("rope_cos", "rope_sin"), tables, strict=True):
        assert ours[name].shape == tuple(theirs.shape)
        difference = float(np.abs(ours[name] - theirs.numpy()).max())
        prompt.rope = np.fmax(prompt.rope, difference)
