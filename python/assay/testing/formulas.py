"""The operations as formulas, each written once for every arithmetic.

A formula takes an `Arithmetic`, the inputs as float64 arrays, the operation's parameters, and `wrong`: the set of
mistakes to make, whose names are those of mistakes.py. Shapes are numpy's: the last axis is the contiguous one.
"""

from __future__ import annotations

import math

import numpy as np

from .arithmetic import Arithmetic, round_to
from .arithmetic import Array as Values

Mistakes = frozenset[str]
NONE: Mistakes = frozenset()
_erfc = np.frompyfunc(math.erfc, 1, 1)
_erf = np.frompyfunc(math.erf, 1, 1)


def rms_norm(
    a: Arithmetic,
    x: Values,
    weight: Values | None = None,
    *,
    eps: float = 1e-6,
    offset: float = 0.0,
    wrong: Mistakes = NONE,
) -> Values:
    """x / sqrt(mean(x^2) + eps) * (offset + weight), along the last axis. x [..., n], weight [n]."""
    x = a.of(x)
    if "subtracts the mean" in wrong:
        x = x - a.mean(x)
    square = a.of(round_to(x * x, a.stored or "float64")) if "rounded statistics" in wrong else x * x
    if "sum" in wrong:
        square = a.sum(square)
    elif "mean of absolute values" in wrong:
        square = a.mean(np.abs(x)) ** 2
    elif "whole array" in wrong:
        square = np.mean(square, keepdims=True)
    else:
        square = a.mean(square)
    if "rounded statistics" in wrong:
        square = a.step(square)
    y = _divided_by_root(a, x, square, eps, wrong)
    y = a.step(y)
    if weight is None or "no weight" in wrong:
        return y
    if "offset" in wrong:
        offset = 1.0 - offset
    return y * (a.dtype(offset) + a.of(weight))


def layer_norm(
    a: Arithmetic,
    x: Values,
    weight: Values | None = None,
    bias: Values | None = None,
    *,
    eps: float = 1e-5,
    wrong: Mistakes = NONE,
) -> Values:
    """(x - mean) / sqrt(var + eps) * weight + bias, along the last axis. x [..., n], weight and bias [n]."""
    x = a.of(x)
    mean = a.mean(x)
    if "rounded statistics" in wrong:
        mean = a.step(mean)
    centred = x if "keeps the mean" in wrong else x - mean
    if "cancellation" in wrong:
        variance = np.maximum(a.mean(x * x) - mean * mean, 0)
    elif "divides by n - 1" in wrong:
        variance = a.sum(centred * centred) / a.dtype(max(x.shape[-1] - 1, 1))
    else:
        variance = a.mean(centred * centred)
    if "rounded statistics" in wrong:
        variance = a.step(variance)
    y = a.step(_divided_by_root(a, centred, variance, eps, wrong))
    if weight is not None and "no weight" not in wrong:
        y = a.step(y * a.of(weight))
    if bias is not None and "no bias" not in wrong:
        y = y + a.of(bias)
    return y


def _divided_by_root(a: Arithmetic, x: Values, square: Values, eps: float, wrong: Mistakes) -> Values:
    eps = a.dtype(eps)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if "eps outside" in wrong:
            return x / (np.sqrt(square) + eps)
        if "no eps" in wrong:
            return x / np.sqrt(square)
        if "no root" in wrong:
            return x / (square + eps)
        return x / np.sqrt(square + eps)


def softmax(a: Arithmetic, x: Values, *, axis: int = -1, scale: float = 1.0, wrong: Mistakes = NONE) -> Values:
    """exp(scale x) / sum(exp(scale x)) along an axis."""
    x = a.of(x)
    if "wrong axis" in wrong:
        axis = axis - 1 if axis < 0 else axis + 1 - x.ndim
    if "no scale" not in wrong:
        x = a.step(x * a.dtype(scale))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        if "no maximum" not in wrong:
            x = x - x.max(axis, keepdims=True)
        if "rounded difference" in wrong:
            x = a.step(x)
        e = np.exp2(x) if "base 2" in wrong else np.exp(x)
        if "rounded exponentials" in wrong:
            e = a.step(e)
        if "not divided" in wrong:
            return e
        total = a.sum(e, axis)
        if "logarithm" in wrong:
            return x - np.log(total)
        return e / total


def rope(
    a: Arithmetic,
    x: Values,
    *tables: Values,
    theta: float = 10_000.0,
    style: str = "half",
    rotary_dim: int | None = None,
    seq_axis: int = -2,
    wrong: Mistakes = NONE,
) -> Values:
    """Rotates pairs of elements. x [..., S, D], with the positions at seq_axis.

    tables: positions [S] (angle = position * theta^(-2 i / rotary_dim)), or cos and sin, [..., S, rotary_dim] or
    half as wide. style: "half" pairs element i with i + rotary_dim / 2, "interleaved" 2 i with 2 i + 1.
    """
    x = a.of(x)
    wide = x.shape[-1]
    rotated = wide if rotary_dim is None or "whole head" in wrong else rotary_dim
    half = rotated // 2
    cos, sin = _tables(a, x, tables, theta, rotated, half, seq_axis, wrong)
    cos, sin = a.step(cos), a.step(sin)
    if "other direction" in wrong:
        sin = -sin
    interleaved = (style == "interleaved") != ("other pairs" in wrong)
    y = x.copy()
    first, second = (slice(0, rotated, 2), slice(1, rotated, 2)) if interleaved else (slice(half), slice(half, rotated))
    u, v = x[..., first], x[..., second]
    y[..., first] = a.step(u * cos) - a.step(v * sin)
    y[..., second] = a.step(v * cos) + a.step(u * sin)
    return y


def _tables(
    a: Arithmetic,
    x: Values,
    tables: tuple[Values, ...],
    theta: float,
    rotated: int,
    half: int,
    seq_axis: int,
    wrong: Mistakes,
) -> tuple[Values, Values]:
    axis = seq_axis % x.ndim
    if len(tables) == 2:
        cos, sin = (a.of(t) for t in tables)
        if cos.shape[-1] == rotated and rotated != half:  # each angle occurs twice
            pick = slice(0, rotated, 2) if np.array_equal(cos[..., 0::2], cos[..., 1::2]) else slice(half)
            cos, sin = cos[..., pick], sin[..., pick]
        while cos.ndim < x.ndim:
            cos, sin = np.expand_dims(cos, -3), np.expand_dims(sin, -3)
        if axis != x.ndim - 2:
            cos, sin = np.moveaxis(cos, -2, axis), np.moveaxis(sin, -2, axis)
        return cos, sin
    positions = a.of(tables[0])
    if "first position 1" in wrong:
        positions = positions + 1
    if "no rotation" in wrong:
        positions = positions * 0
    if "rounded positions" in wrong:
        positions = round_to(positions, a.stored or "float64")
    exponent = np.arange(half, dtype=a.dtype) * a.dtype((1 if "half exponent" in wrong else 2) / rotated)
    angles = positions[:, None] * a.dtype(theta) ** -exponent
    if "rounded angles" in wrong:
        angles = round_to(angles, a.stored or "float64")
    shape = [1] * x.ndim
    shape[axis], shape[-1] = angles.shape
    return np.cos(angles).reshape(shape), np.sin(angles).reshape(shape)


def matmul(a: Arithmetic, x: Values, y: Values, *, wrong: Mistakes = NONE) -> Values:
    """x @ y. x [..., M, K], y [..., K, N]."""
    x, y = a.of(x), a.of(y)
    if "transposed" in wrong:
        y = np.swapaxes(y, -1, -2)
    return a.matmul(x, y)


def linear(a: Arithmetic, x: Values, weight: Values, bias: Values | None = None, *, wrong: Mistakes = NONE) -> Values:
    """x @ weight^T + bias. x [..., K], weight [N, K], bias [N]."""
    x, weight = a.of(x), a.of(weight)
    y = a.matmul(x, weight if "transposed" in wrong else weight.T)
    if bias is None or "no bias" in wrong:
        return y
    # Frameworks add the bias before they round; two kernels round in between.
    y = a.step(y) + a.of(bias)
    return y + a.of(bias) if "bias twice" in wrong else y


def _sigmoid(x: Values) -> Values:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def _erf_gelu(a: Arithmetic, x: Values) -> Values:
    root = x * a.dtype(math.sqrt(0.5))
    if a.dtype == np.float64:  # 1 + erf loses all digits where erfc has them
        return x * 0.5 * _erfc(-root).astype(np.float64)
    return x * a.dtype(0.5) * (1 + _erf(root.astype(np.float64)).astype(a.dtype))


def _tanh_gelu(a: Arithmetic, x: Values) -> Values:
    inner = a.dtype(math.sqrt(2 / math.pi)) * (x + a.dtype(0.044715) * x * x * x)
    if a.dtype == np.float64:  # 0.5 (1 + tanh(z)) = sigmoid(2 z)
        return x * _sigmoid(2 * inner)
    return x * a.dtype(0.5) * (1 + np.tanh(inner))


def gelu(a: Arithmetic, x: Values, *, approximate: str = "none", wrong: Mistakes = NONE) -> Values:
    """x * Phi(x), or its approximation by tanh, elementwise."""
    x = a.of(x)
    if "quick" in wrong:
        return x * a.step(_sigmoid(a.step(a.dtype(1.702) * x)))
    if "silu" in wrong:
        return x * _sigmoid(x)
    if "relu" in wrong:
        return np.maximum(x, 0)
    return _tanh_gelu(a, x) if (approximate == "tanh") != ("other form" in wrong) else _erf_gelu(a, x)


def silu_mul(a: Arithmetic, gate: Values, up: Values, *, wrong: Mistakes = NONE) -> Values:
    """silu(gate) * up, elementwise."""
    gate, up = a.of(gate), a.of(up)
    if "swapped" in wrong:
        gate, up = up, gate
    if "sigmoid" in wrong:
        activated = _sigmoid(gate)
    elif "erf gelu" in wrong:
        activated = _erf_gelu(a, gate)
    elif "tanh gelu" in wrong:
        activated = _tanh_gelu(a, gate)
    elif "relu" in wrong:
        activated = np.maximum(gate, 0)
    else:
        activated = gate * _sigmoid(gate)
    activated = a.step(activated)
    return activated if "no product" in wrong else activated * up


def attention(
    a: Arithmetic,
    q: Values,
    k: Values,
    v: Values,
    *,
    causal: bool = True,
    scale: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
    wrong: Mistakes = NONE,
) -> Values:
    """softmax(mask(softcap(q k^T scale))) v. q [..., heads, S, D], k and v [..., kv_heads, T, D].

    Query head h reads key head h // (heads / kv_heads). Query i is at position T - S + i; it sees the keys up to
    its own position (causal), of these the last `window`. softcap c: c tanh(score / c).
    """
    q, k, v = a.of(q), a.of(k), a.of(v)
    group = q.shape[-3] // k.shape[-3]
    heads = np.arange(q.shape[-3])
    heads = heads % k.shape[-3] if "heads in turn" in wrong else heads // group
    k, v = np.take(k, heads, -3), np.take(v, heads, -3)
    factor = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    factor = 1.0 if "no scale" in wrong else 1 / q.shape[-1] if "scale 1/D" in wrong else factor
    scores = a.step(a.step(a.matmul(q, np.swapaxes(k, -1, -2))) * a.dtype(factor))
    if softcap is not None and "no softcap" not in wrong:
        scores = a.step(a.dtype(softcap) * np.tanh(scores / a.dtype(softcap)))
    queries, keys = scores.shape[-2:]
    seen = _seen(queries, keys, causal, window, wrong)
    scores = np.where(seen, scores, -np.inf)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore", under="ignore"):
        if "no maximum" not in wrong:
            scores = scores - np.max(scores, -1, keepdims=True)
        e = np.exp(scores)
        return a.matmul(a.step(e / a.sum(e)), v)


def _seen(queries: int, keys: int, causal: bool, window: int | None, wrong: Mistakes) -> Values:
    """[S, T]: which keys a query sees."""
    shift = 0 if "aligned at the start" in wrong else keys - queries
    own = np.arange(queries)[:, None] + shift
    key = np.arange(keys)[None, :]
    seen = np.ones((queries, keys), bool)
    if causal != ("causal" in wrong):
        seen &= key <= own + ("one later" in wrong) - ("without itself" in wrong)
    if window is not None and "no window" not in wrong:
        seen &= own - key < window + ("window one wider" in wrong) - ("window one narrower" in wrong)
        if not causal:
            seen &= key - own < window
    return seen
