"""`assay compare`: its metrics against numpy's, and its verdict on an independent engine."""

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay_cli import assay_program
from assay_hf.model import HfModel, Numerics
from assay_hf.taps import choose_taps, record
from checkpoints import BUNDLED, COMPARE_PROMPTS

# Fused attention's intermediates cannot be observed.
HIDDEN = ("attn_scores", "attn_probs")


def compare(*arguments: Any) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [assay_program(), "compare", "--json", *map(str, arguments)],
        capture_output=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr.decode()
    return done.returncode, json.loads(done.stdout)


def number(value: float | str) -> float:
    return float(value)  # "NaN" and "Infinity" are read as such


def numpy_metrics(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The metrics as defined in include/assay/compare.h, in float64."""
    a, b = x.astype(np.float64).ravel(), y.astype(np.float64).ravel()
    hidden = np.isfinite(a) & (a < -1e38)
    finite = np.isfinite(a) & np.isfinite(b) & ~hidden
    unlike = ~finite & ~hidden & ~((np.isnan(a) & np.isnan(b)) | (a == b))
    p, q = a[finite], b[finite]
    # Scaled near 1 by a power of two, because squares of the smallest doubles are 0.
    power = math.frexp(max(np.abs(p).max(initial=0), np.abs(q).max(initial=0)))[1]
    ulps = np.abs(bf16_rank(p) - bf16_rank(q))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        p, q = np.ldexp(p, -power), np.ldexp(q, -power)
        error2, p2, q2 = ((p - q) ** 2).sum(), (p * p).sum(), (q * q).sum()
        if p2 > 0 and q2 > 0:
            cosine = (p * q).sum() / (math.sqrt(p2) * math.sqrt(q2))
        else:
            cosine = float(p2 == q2)
        relative = 0.0 if error2 == 0 else (math.inf if p2 == 0 else math.sqrt(error2 / p2))
    n = max(len(p), 1)
    return {
        "compared": len(p),
        "mse": math.ldexp(error2 / n, 2 * power),
        "rmse": math.ldexp(math.sqrt(error2 / n), power),
        "relative_l2": relative,
        "cosine": cosine,
        "scale_difference": error2 / (p2 + q2) if p2 + q2 else 0.0,
        "max_abs": math.ldexp(np.abs(p - q).max(initial=0), power),
        "max_ulp": ulps.max(initial=0),
        "mean_ulp": ulps.sum() / n,
        "exact_share": (p == q).sum() / n,
        "nan_reference": np.isnan(a[~hidden]).sum(),
        "nan_candidate": np.isnan(b).sum(),
        "unlike": unlike.sum(),
    }


def bf16_rank(x: np.ndarray) -> np.ndarray:
    """BF16 values numbered in order, rounded to nearest even."""
    with np.errstate(over="ignore"):
        bits = x.astype(np.float32).view(np.uint32).astype(np.int64)
    magnitude = ((bits & 0x7FFFFFFF) + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(bits >> 31 != 0, -magnitude, magnitude)


def arrays(kind: str, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    shape = (1, 7, 333)
    x = (random.standard_normal(shape) * np.exp(3 * random.standard_normal(shape))).astype(dtype)
    y = (x * (1 + 0.01 * random.standard_normal(shape))).astype(dtype)
    match kind:
        case "nan":
            x[0, 2, ::50] = np.nan
            y[0, 3, ::40] = np.nan
        case "infinite":
            x[0, 1, 5] = x[0, 1, 6] = np.inf
            y[0, 1, 5] = np.inf
            y[0, 4, 1] = -np.inf
        case "denormal":
            x, y = x * dtype(np.finfo(dtype).tiny), y * dtype(np.finfo(dtype).tiny)
        case "huge":
            x, y = x * dtype(1e33), y * dtype(1e33)
        case "zeros":
            x, y = np.zeros_like(x), np.zeros_like(y)
        case "zero_reference":
            x = np.zeros_like(x)
        case "scaled":
            y = x * dtype(2)
        case "equal":
            y = x.copy()
        case "one":
            x, y = x[:, :1, :1], y[:, :1, :1]
    return x, y


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "kind",
    [
        "random",
        "nan",
        "infinite",
        "denormal",
        "huge",
        "zeros",
        "zero_reference",
        "scaled",
        "equal",
        "one",
    ],
)
def test_metrics_are_numpys(scratch: Path, kind: str, dtype: type) -> None:
    x, y = arrays(kind, dtype)
    np.savez(scratch / "r.npz", layer_00_output=x)
    np.savez(scratch / "c.npz", layer_00_output=y)
    _, report = compare(scratch / "r.npz", scratch / "c.npz", "--tolerance", 1)
    found = report["prompts"][0]["tensors"][0]["metrics"]
    for name, value in numpy_metrics(x, y).items():
        assert number(found[name]) == pytest.approx(float(value), rel=1e-12, abs=0), name
    if np.isfinite(x).all() and np.isfinite(y).all():
        at = tuple(found["max_index"])
        assert abs(float(x[at]) - float(y[at])) == number(found["max_abs"])
        assert number(found["max_reference"]) == float(x[at])
        assert number(found["max_candidate"]) == float(y[at])
        rows = [numpy_metrics(x[0, p], y[0, p])["relative_l2"] for p in range(x.shape[1])]
        assert [number(e) for e in found["position_error"]] == pytest.approx(rows, rel=1e-12)


@pytest.mark.parametrize("kind", ["random", "nan", "infinite", "huge", "scaled", "zeros", "one"])
def test_details_are_numpys(scratch: Path, kind: str) -> None:
    x, y = arrays(kind, np.float32)
    np.savez(scratch / "r.npz", layer_00_output=x)
    np.savez(scratch / "c.npz", layer_00_output=y)
    html = scratch / "report.html"
    _, report = compare(
        scratch / "r.npz", scratch / "c.npz", "--tolerance", 1, "--html", html
    )
    detail = report["prompts"][0]["tensors"][0]["detail"]
    edges = np.array([number(e) for e in detail["edges"]])
    assert (np.diff(edges) > 0).all()
    for side, values in (("reference", x), ("candidate", y)):
        finite = values[np.isfinite(values)].astype(np.float64)
        counts = np.array(detail[f"{side}_counts"])
        assert counts.sum() == finite.size
        # An element on an edge may be on either side, because edges go through asinh and back.
        slack = 1e-9 * np.abs(edges)
        for i, count in enumerate(np.cumsum(counts)[:-1]):
            assert (finite < edges[i + 1] - slack[i + 1]).sum() <= count
            assert count <= (finite <= edges[i + 1] + slack[i + 1]).sum()
    with np.errstate(invalid="ignore"):
        differences = np.abs(x.astype(np.float64) - y.astype(np.float64))
    differences[(x == y) | (np.isnan(x) & np.isnan(y))] = 0
    differences[np.isnan(differences)] = np.inf
    order = np.argsort(-differences.ravel(), kind="stable")[:10]
    order = [i for i in order if differences.ravel()[i] > 0]
    expected = [list(map(int, np.unravel_index(i, x.shape))) for i in order]
    assert [e["index"] for e in detail["worst"]] == expected
    for element in detail["worst"]:
        at = tuple(element["index"])
        assert np.float32(number(element["reference"])) == x[at] or np.isnan(x[at])
        assert np.float32(number(element["candidate"])) == y[at] or np.isnan(y[at])


def test_an_empty_array_does_not_pass(scratch: Path) -> None:
    empty = np.zeros((1, 0, 64), np.float32)
    np.savez(scratch / "r.npz", layer_00_output=empty)
    np.savez(scratch / "c.npz", layer_00_output=empty)
    done = subprocess.run(
        [assay_program(), "compare", scratch / "r.npz", scratch / "c.npz"],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 3
    assert "r.npz: array 'layer_00_output': shape [1, 0, 64]" in done.stderr
    np.savez(scratch / "r.npz", layer_00_output=np.ones((1, 5, 64), np.float32))
    code, report = compare(scratch / "r.npz", scratch / "c.npz")
    assert code == 1
    assert report["prompts"][0]["tensors"][0]["verdict"] != "pass"


def test_more_than_2_31_elements(scratch: Path) -> None:
    # Sparse files: only non-zero parts of the arrays take disk space.
    count = 2**31 + 100
    for name, value in (("r", 3.0), ("c", 5.0)):
        (scratch / name).mkdir()
        path = scratch / name / "layer_00_output.npy"
        array = np.lib.format.open_memmap(
            path, mode="w+", dtype=np.float32, shape=(1, 2, count // 2)
        )
        array[0, 1, -1] = value
        array.flush()
    _, report = compare(scratch / "r", scratch / "c", "--tolerance", 1)
    found = report["prompts"][0]["tensors"][0]["metrics"]
    assert found["compared"] == count
    assert found["max_index"] == [0, 1, count // 2 - 1]
    assert found["max_abs"] == 2
    assert found["relative_l2"] == pytest.approx(2 / 3)
    assert found["mse"] == pytest.approx(4 / count, rel=1e-12)


def dump(model: HfModel, reference: Path, out: Path, globs: list[str]) -> Path:
    """transformers' arrays for the reference's prompts, under its own modules' names or taps'."""
    out.mkdir()
    manifest = json.loads((reference / "manifest.json").read_text(encoding="utf-8"))
    for prompt in manifest["prompts"]:
        names = [n for n in choose_taps(model, globs) if not n.endswith(HIDDEN)]
        taps = record(model, prompt["input_ids"], names)
        np.savez(out / f"{prompt['id']}.npz", **taps)
    return out


def test_sdpa_passes(reference: Path, scratch: Path) -> None:
    model = HfModel(BUNDLED, Numerics.BF16, "sdpa")
    code, report = compare(reference, dump(model, reference, scratch / "sdpa", ["*"]))
    assert code == 0
    assert len(report["prompts"]) == len(COMPARE_PROMPTS)
    ratios = [
        max(number(t["noise_ratio"]), number(t["position_ratio"]))
        for p in report["prompts"]
        for t in p["tensors"]
        if "noise_ratio" in t
    ]
    assert len(ratios) == len(COMPARE_PROMPTS) * (17 * 28 + 3)
    print(f"sdpa: largest noise ratio {max(ratios):.2f}")
    # It differs from the reference, so nothing is compared with itself.
    longest = report["prompts"][-1]["tensors"]
    assert any(t["metrics"]["exact_share"] < 0.9 for t in longest if t["verdict"] == "pass")


@pytest.mark.parametrize("numerics", [Numerics.F32, Numerics.BF16])
def test_eager_passes(reference: Path, scratch: Path, numerics: Numerics) -> None:
    model = HfModel(BUNDLED, numerics)
    code, _ = compare(reference, dump(model, reference, scratch / "eager", ["*"]))
    assert code == 0


@pytest.mark.parametrize(
    ("globs", "first"), [(["*"], "layer_05_q_norm"), ([], "layer_05_output")]
)
def test_a_skipped_q_norm_is_found(
    reference: Path, scratch: Path, globs: list[str], first: str
) -> None:
    model = HfModel(BUNDLED, Numerics.BF16)
    model.net.model.layers[5].self_attn.q_norm.forward = lambda x: x
    code, report = compare(reference, dump(model, reference, scratch / "fault", globs))
    assert code == 1
    for prompt in report["prompts"]:
        # A single token attends only to itself, whatever the query.
        if len(globs) == 0 and prompt["id"] == "prompt1":
            assert prompt["first_divergence"] is None
            continue
        assert prompt["first_divergence"]["tensor"] == first, prompt["id"]
