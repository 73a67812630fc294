"""Mistakes that kernels have: each predicts an output, and is named only where it reproduces the kernel's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .arithmetic import EXACT, FP32, Arithmetic, Array

_LOW = ("bfloat16", "float16")


@dataclass(frozen=True)
class Mistake:
    """A wrong computation.

    Attributes:
        text: What the kernel does, as a message says it.
        wrong: Names of the mistakes that the formula makes.
        params: Parameters with wrong values.
        arithmetic: How it computes. EXACT: the mistake is in the formula, and any arithmetic shows it. Otherwise
            the roundings are the mistake, and the kernel must reproduce the errors themselves.
    """

    text: str
    wrong: frozenset[str] = frozenset()
    params: dict[str, Any] = field(default_factory=dict)
    arithmetic: Arithmetic = EXACT


def _of_formula(*pairs: tuple[str, str]) -> list[Mistake]:
    return [Mistake(text, frozenset([wrong])) for wrong, text in pairs]


_ROOT = (
    ("eps outside", "eps is added outside the square root"),
    ("no eps", "eps is left out"),
    ("no root", "the square root is left out"),
)
_FORMULA = {
    "rms_norm": _of_formula(
        *_ROOT,
        ("sum", "the sum of squares is not divided by the number of elements"),
        ("mean of absolute values", "the mean of absolute values instead of the root mean square"),
        ("subtracts the mean", "the mean is subtracted, as in layer norm"),
        ("whole array", "normalised over the whole array instead of each row"),
        ("no weight", "the weight is left out"),
    ),
    "layer_norm": _of_formula(
        *_ROOT,
        ("divides by n - 1", "the variance is divided by n - 1 instead of n"),
        ("keeps the mean", "the mean is not subtracted from x"),
        ("no weight", "the weight is left out"),
        ("no bias", "the bias is left out"),
    ),
    "softmax": _of_formula(
        ("base 2", "powers of 2 instead of e"),
        ("not divided", "the exponentials are not divided by their sum"),
        ("logarithm", "the logarithm of the softmax"),
        ("wrong axis", "along the neighbouring axis"),
        ("no scale", "the scale is left out"),
    ),
    "rope": _of_formula(
        ("other direction", "rotated in the other direction: the sign of sin"),
        ("first position 1", "the first position is taken as 1 instead of 0"),
        ("no rotation", "not rotated: all positions are taken as 0"),
        ("half exponent", "the frequencies' exponent is i / D instead of 2 i / D"),
    ),
    "matmul": _of_formula(("transposed", "the second matrix is read transposed")),
    "linear": _of_formula(
        ("transposed", "the weight is read transposed, [in, out] instead of [out, in]"),
        ("no bias", "the bias is left out"),
        ("bias twice", "the bias is added twice"),
    ),
    "gelu": _of_formula(
        ("quick", "x sigmoid(1.702 x) instead of GELU"), ("silu", "SiLU instead of GELU"), ("relu", "ReLU instead of GELU")
    ),
    "silu_mul": _of_formula(
        ("swapped", "gate and up are swapped: silu(up) * gate"),
        ("sigmoid", "sigmoid(gate) instead of silu(gate)"),
        ("erf gelu", "GELU (erf) instead of SiLU"),
        ("tanh gelu", "GELU (tanh) instead of SiLU"),
        ("relu", "ReLU instead of SiLU"),
        ("no product", "not multiplied by up"),
    ),
    "attention": _of_formula(
        ("one later", "a query also sees the key after its own"),
        ("without itself", "a query does not see its own key"),
        ("heads in turn", "query head h reads key head h % kv_heads instead of h // (heads / kv_heads)"),
        ("no scale", "the scale is left out"),
        ("scale 1/D", "the scale is 1 / D instead of 1 / sqrt(D)"),
        ("no softcap", "the softcap is left out"),
        ("no window", "the window is left out: all earlier keys are seen"),
        ("window one wider", "the window has one key too many"),
        ("window one narrower", "the window has one key too few"),
        ("aligned at the start", "query i is taken to be at position i, not at T - S + i"),
    ),
}  # fmt: skip


def mistakes_of(op: str, params: dict[str, Any], inputs: list[Array], dtype: str) -> Iterator[Mistake]:
    """The mistakes of an operation that these parameters and inputs can show. dtype: the inputs' type."""
    yield from _FORMULA[op]
    yield from _by_parameters(op, params, inputs)
    yield from _of_arithmetic(op, dtype)


def _by_parameters(op: str, params: dict[str, Any], inputs: list[Array]) -> Iterator[Mistake]:
    if op in ("rms_norm", "layer_norm"):
        right = params.get("eps", 1e-6 if op == "rms_norm" else 1e-5)
        for eps in (1e-3, 1e-5, 1e-6, 1e-8, 1e-12):
            if eps != right:
                yield Mistake(f"eps is {eps:g} instead of {right:g}", params={"eps": eps})
    if op == "rms_norm":
        missing = params.get("offset", 0.0) == 1.0
        text = "multiplied by w instead of 1 + w" if missing else "multiplied by 1 + w instead of w"
        yield Mistake(text, frozenset(["offset"]))
    if op == "gelu":
        other = "erf form instead of the tanh form" if params.get("approximate") == "tanh" else (
            "tanh form instead of the erf form")  # fmt: skip
        yield Mistake(f"the {other}", frozenset(["other form"]))
    if op == "attention":
        causal = params.get("causal", True)
        text = "no causal mask" if causal else "a causal mask where there should be none"
        yield Mistake(text, frozenset(["causal"]))
    if op == "rope":
        interleaved = params.get("style", "half") == "interleaved"
        pairs = ("i and i + D / 2", "2 i and 2 i + 1")
        text = f"pairs {pairs[not interleaved]} instead of {pairs[interleaved]}"
        yield Mistake(text, frozenset(["other pairs"]))
        if len(inputs) == 2:  # with tables the caller has made the angles
            right = params.get("theta", 10_000.0)
            for theta in (10_000.0, 100_000.0, 500_000.0, 1_000_000.0, 5_000_000.0):
                if theta != right:
                    yield Mistake(f"theta is {theta:g} instead of {right:g}", params={"theta": theta})
        if params.get("rotary_dim") not in (None, inputs[0].shape[-1]):
            yield Mistake(
                "the whole head is rotated instead of its first rotary_dim elements", frozenset(["whole head"])
            )


def _of_arithmetic(op: str, dtype: str) -> Iterator[Mistake]:
    low = [dtype] if dtype in _LOW else []
    if op in ("softmax", "attention"):
        text = "the maximum is not subtracted before exp"
        yield Mistake(text, frozenset(["no maximum"]), arithmetic=FP32)
        if "float16" in low:
            yield Mistake(f"{text}, in FP16", frozenset(["no maximum", "rounded exponentials"]),
                          arithmetic=Arithmetic(np.float32, "float16", sums="float16"))  # fmt: skip
    for stored in low:
        shown = {"bfloat16": "BF16", "float16": "FP16"}[stored]
        if op in ("rms_norm", "layer_norm"):
            yield Mistake(f"the statistics are rounded to {shown}", frozenset(["rounded statistics"]),
                          arithmetic=Arithmetic(np.float32, stored))  # fmt: skip
        if op == "softmax":
            yield Mistake(f"the exponentials are rounded to {shown} before the sum", frozenset(["rounded exponentials"]),
                          arithmetic=Arithmetic(np.float32, stored))  # fmt: skip
            yield Mistake(f"every step is rounded to {shown}",
                          frozenset(["rounded exponentials", "rounded difference"]),
                          arithmetic=Arithmetic(np.float32, stored))  # fmt: skip
        if op == "rope":
            for what in ("positions", "angles"):
                yield Mistake(f"the {what} are rounded to {shown}", frozenset([f"rounded {what}"]),
                              arithmetic=Arithmetic(np.float32, stored))  # fmt: skip
    if op == "layer_norm":
        yield Mistake(
            "the variance is mean(x^2) - mean(x)^2, which cancels", frozenset(["cancellation"]), arithmetic=FP32
        )
    if op in ("rms_norm", "layer_norm", "softmax", "matmul", "linear", "attention"):
        for sums in ["bfloat16", "float16"] if dtype == "float32" else low:
            shown = {"bfloat16": "BF16", "float16": "FP16"}[sums]
            for block in (1, 8, 16, 32, 64, 128):
                by = "" if block == 1 else f", after every {block} terms"
                yield Mistake(f"sums are accumulated in {shown}{by}",
                              arithmetic=Arithmetic(np.float32, sums=sums, block=block))  # fmt: skip
    if op in ("matmul", "linear", "attention") and dtype == "float32":
        for operands, shown in (("tf32", "TF32"), ("bfloat16", "BF16"), ("float16", "FP16")):
            yield Mistake(f"the operands of the products are rounded to {shown}",
                          arithmetic=Arithmetic(np.float32, operands=operands))  # fmt: skip
