"""assert_op: runs a kernel on its inputs, judges its outputs, and names the mistake that reproduces them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._errors import CheckFailed, InputError, UsageError
from . import formulas
from .arithmetic import EXACT, FP32, OUTPUT_TYPES, Arithmetic, Array, round_to
from .cases import Inputs
from .judge import LIMITS, Allowed, Error, Verdict, error_of, floor_of, judge, worst_element
from .mistakes import Mistake, mistakes_of

_FORMULAS: dict[str, Callable[..., Array]] = {
    name: getattr(formulas, name)
    for name in ("rms_norm", "layer_norm", "softmax", "rope", "matmul", "linear", "gelu", "silu_mul", "attention")
}
_ALIASES = {"swiglu": "silu_mul"}
_ELEMENTWISE = ("gelu", "silu_mul")
OPS = (*_FORMULAS, *_ALIASES)

# A mistake is named if it takes away three quarters of the error in the clearest case: less may be chance.
_EXPLAINED = 0.25


@dataclass(frozen=True)
class CaseResult:
    """A kernel's output for one set of inputs.

    Attributes:
        name: The case.
        shapes: The inputs' shapes.
        dtype: The output's type.
        passed: Whether the error is within the limit.
        ratio: The error over the allowed one; above `limit` the case fails.
        limit: The largest ratio.
        relative_error: Relative L2 error from the exact result.
        best_possible: That of the exact result, rounded to the output's type.
        plain_fp32: That of a computation in FP32, rounded once.
        stepwise: That of a computation that rounds every stored intermediate; None for FP32.
        max_ulp: The largest error of an element, in units in the last place of the exact result; where an operation adds
            up terms, of an element of at least its row's root mean square.
        worst: The index of that element.
        output, expected: The element's value, and the exact one.
        unlike: Elements that are NaN or infinite in only one of output and exact result.
        problem: Why there is nothing to compare; else empty.
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    dtype: str = ""
    passed: bool = False
    ratio: float = float("inf")
    limit: float = 0.0
    relative_error: float = float("nan")
    best_possible: float = float("nan")
    plain_fp32: float = float("nan")
    stepwise: float | None = None
    max_ulp: float = float("inf")
    worst: tuple[int, ...] = ()
    output: float = float("nan")
    expected: float = float("nan")
    unlike: int = 0
    problem: str = ""


@dataclass(frozen=True)
class OpResult:
    """What `check_op` found: true if every case passes; ``print(result)`` shows a table.

    Attributes:
        op: The operation.
        cases: The results.
        mistakes: What the kernel does wrong, where the numbers show it: each of these reproduces its outputs.
    """

    op: str
    cases: tuple[CaseResult, ...]
    mistakes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every case passes."""
        return all(case.passed for case in self.cases)

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        failed = [case for case in self.cases if not case.passed]
        lines = [f"{self.op}: {len(failed)} of {len(self.cases)} cases fail" if failed else
                 f"{self.op}: all {len(self.cases)} cases pass"]  # fmt: skip
        lines.append(f"  {'case':<10} {'type':<9} {'error':>9} {'best':>9} {'FP32':>9} {'stepwise':>9} {'max ulp':>9} "
                     f"{'ratio':>9} {'limit':>5}")  # fmt: skip
        lines += [f"  {_row(case)}" for case in self.cases]
        for case in failed:
            lines.append(f"{case.name}: {_what_is_wrong(case)}")
        if self.mistakes:
            lines.append("It looks like: " + "\n           or: ".join(self.mistakes))
            lines.append("  (computing so gives these outputs in every case)")
        elif any(not case.problem for case in failed):
            lines.append("None of the known mistakes reproduces these outputs.")
        return "\n".join(lines)


def _row(case: CaseResult) -> str:
    if case.problem:
        return f"{case.name:<10} FAIL: {case.problem}"
    stepwise = "" if case.stepwise is None else f"{case.stepwise:.2e}"
    return (f"{case.name:<10} {case.dtype:<9} {case.relative_error:>9.2e} {case.best_possible:>9.2e} "
            f"{case.plain_fp32:>9.2e} {stepwise:>9} {case.max_ulp:>9.4g} {case.ratio:>9.3g} {case.limit:>5g}"
            f"{'' if case.passed else '  FAIL'}")  # fmt: skip


def _what_is_wrong(case: CaseResult) -> str:
    if case.problem:
        return case.problem
    shapes = " and ".join(str(list(shape)) for shape in case.shapes)
    where = f"element {list(case.worst)} is {case.output:.6g}, exact {case.expected:.6g}; inputs {shapes}"
    if case.unlike:
        return f"{case.unlike} elements are NaN or infinite on one side only: {where}"
    return f"worst in ulps: {where}"


def assert_op(
    fn: Callable[..., Any],
    inputs: Inputs | Sequence[Any] | Mapping[str, Sequence[Any]] | None = None,
    *,
    op: str,
    limit: float | None = None,
    **params: Any,
) -> OpResult:
    """Fails unless a kernel's output is as close to the exact result as its type allows.

    Args:
        fn: The kernel: it gets the inputs as positional arguments, in the order below, and returns one array.
        inputs: What to make (`Inputs`), the arrays themselves (of numpy, torch, JAX, MLX or tinygrad), or several sets
            of arrays by name. None: float32 arrays of numpy.
        op: ==========  ============================  ============================================
            rms_norm    x [..., n], weight [n]        eps=1e-6, offset=0 (1 for Gemma's 1 + w)
            layer_norm  x [..., n], weight, bias [n]  eps=1e-5
            softmax     x                             axis=-1, scale=1
            rope        x [..., S, D], positions [S]  theta=1e4, style="half" or "interleaved",
                        (or cos, sin [..., S, D])     rotary_dim=D, seq_axis=-2
            matmul      x [..., M, K], y [..., K, N]
            linear      x [..., K], weight [N, K],
                        bias [N] (may be missing)
            gelu        x                             approximate="none" or "tanh"
            silu_mul    gate, up                      (also called swiglu)
            attention   q [..., heads, S, D],         causal=True, scale=1/sqrt(D), window=None,
                        k and v [..., kv_heads, T, D] softcap=None
            ==========  ============================  ============================================
        limit: How many times the error of correct implementations is allowed. None: 2 where the output is BF16 or F16,
            16 where it is FP32.
        params: The operation's parameters. They describe the exact result; the kernel does not get them.

    Returns:
        The result: figures of every case.

    Raises:
        CheckFailed: A case fails; the message has the figures, the worst element, and the mistake that reproduces the
            outputs, if one does.
        UsageError: An unknown operation or parameter, or inputs that do not fit it.
    """
    __tracebackhide__ = True
    result = check_op(fn, inputs, op=op, limit=limit, **params)
    if not result:
        raise CheckFailed(str(result), op, result.mistakes[0] if result.mistakes else "not within the limit")
    return result


def check_op(
    fn: Callable[..., Any],
    inputs: Inputs | Sequence[Any] | Mapping[str, Sequence[Any]] | None = None,
    *,
    op: str,
    limit: float | None = None,
    **params: Any,
) -> OpResult:
    """As `assert_op`, but returns the result in any case."""
    if op not in OPS:
        raise UsageError(f"op: {op!r}; expected one of {', '.join(OPS)}", "op", str(op), ", ".join(OPS))
    name = _ALIASES.get(op, op)
    known = [p.name for p in inspect.signature(_FORMULAS[name]).parameters.values() if p.kind == p.KEYWORD_ONLY]
    known.remove("wrong")
    for key in params:
        if key not in known:
            expected = ", ".join(known) or "none"
            raise UsageError(f"{op}: parameter {key!r}; expected of: {expected}", key, "an unknown parameter", expected)
    if limit is not None and not limit > 0:
        raise UsageError(f"limit: {limit}; expected more than 0", "limit", str(limit), "more than 0")
    runs = [_run(fn, case, name, params, limit) for case in _cases(inputs, name, params)]
    failed = [run for run in runs if not run.result.passed]
    named: tuple[str, ...] = ()
    if failed:
        named = _named([run for run in runs if run.output is not None], name, params)
    return OpResult(op, tuple(run.result for run in runs), named)


@dataclass(frozen=True)
class _Case:
    name: str
    arrays: list[Any]  # as the kernel gets them
    values: list[Array]  # the same as float64
    dtype: str


@dataclass(frozen=True)
class _Run:
    case: _Case
    result: CaseResult
    output: Array = None
    verdict: Verdict | None = None
    limit: float = 0.0


def _cases(inputs: Any, op: str, params: dict[str, Any]) -> list[_Case]:
    if inputs is None:
        inputs = Inputs()
    if isinstance(inputs, Inputs):
        return [
            _Case(name, inputs.as_arrays(arrays), arrays, inputs.dtype) for name, arrays in inputs.made_for(op, params)
        ]
    sets = inputs if isinstance(inputs, Mapping) else {"given": inputs}
    cases = []
    for name, arrays in sets.items():
        if not isinstance(arrays, (list, tuple)) or not arrays:
            raise UsageError(f"inputs: {type(arrays).__name__}; expected a list or tuple of arrays, the arguments of the "
                             "kernel", "inputs", type(arrays).__name__)  # fmt: skip
        read = [_values_of(a) for a in arrays]
        cases.append(_Case(str(name), list(arrays), [values for values, _ in read], read[0][1]))
    return cases


def _values_of(array: Any) -> tuple[Array, str]:
    """An array of any framework as float64, and its type's name."""
    module = type(array).__module__.split(".")[0]
    if module == "torch":
        tensor = array.detach().cpu()
        return tensor.double().numpy(), str(tensor.dtype).removeprefix("torch.")
    if module == "mlx":
        import mlx.core as mx

        return np.array(array.astype(mx.float32)).astype(np.float64), str(array.dtype).removeprefix("mlx.core.")
    if not isinstance(array, np.ndarray) and callable(getattr(array, "numpy", None)):
        array = array.numpy()
    array = np.asarray(array)
    try:
        return array.astype(np.float64), array.dtype.name
    except (TypeError, ValueError) as error:
        raise InputError(f"an array of type {array.dtype}; expected numbers", "array", str(array.dtype)) from error


def _computed(
    op: str, arithmetic: Arithmetic, case: _Case, params: dict[str, Any], wrong: formulas.Mistakes = formulas.NONE
) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(_FORMULAS[op](arithmetic, *case.values, **params, wrong=wrong), np.float64)


def _run(fn: Callable[..., Any], case: _Case, op: str, params: dict[str, Any], limit: float | None) -> _Run:
    shapes = tuple(v.shape for v in case.values)
    try:
        exact = _computed(op, EXACT, case, params)
    except (ValueError, TypeError, IndexError) as error:
        shown = ", ".join(str(list(s)) for s in shapes)
        raise UsageError(f"inputs: {shown} do not fit {op}: {error}", "inputs", shown, f"inputs of {op}") from error
    try:
        returned = fn(*case.arrays)
    except Exception as error:
        if isinstance(error, (AssertionError, KeyboardInterrupt)):
            raise
        shown = " and ".join(str(list(s)) for s in shapes)
        text = f"the kernel raised {type(error).__name__}: {error} (inputs {shown})"
        return _Run(case, CaseResult(case.name, shapes, problem=text))
    output, dtype = _values_of(returned)
    problem = ""
    if dtype not in OUTPUT_TYPES:
        problem = f"the output is {dtype}; expected {', '.join(OUTPUT_TYPES)}"
    elif output.shape != exact.shape:
        problem = f"the output's shape is {list(output.shape)}, expected {list(exact.shape)}"
    if problem:
        return _Run(case, CaseResult(case.name, shapes, dtype, problem=problem))
    most = LIMITS[dtype] if limit is None else limit
    by_element = op in _ELEMENTWISE
    allowed = _allowed(op, case, params, exact, dtype)
    verdict = judge(output, exact, allowed, dtype, by_element, most)
    worst, ulps = worst_element(output, exact, dtype, by_element)
    result = CaseResult(
        case.name, shapes, dtype, verdict.passed, verdict.ratio * most, most, verdict.error.whole, allowed.best.whole,
        allowed.plain.whole, allowed.stepwise.whole if allowed.stepwise else None, ulps, worst,
        float(output[worst]), float(exact[worst]), verdict.unlike,
    )  # fmt: skip
    return _Run(case, result, output, verdict, most)


def _allowed(
    op: str,
    case: _Case,
    params: dict[str, Any],
    exact: Array,
    grid: str,
    wrong: formulas.Mistakes = formulas.NONE,
) -> Allowed:
    by_element = op in _ELEMENTWISE

    def error(values: Array) -> Error:
        return error_of(round_to(values, grid), exact, by_element)

    stepwise = None
    if grid in ("bfloat16", "float16"):
        stepwise = error(_computed(op, Arithmetic(np.float32, stored=grid), case, params, wrong))
    plain = EXACT if grid == "float64" else FP32
    return Allowed(error(exact), error(_computed(op, plain, case, params, wrong)), stepwise, floor_of(grid))


def _named(runs: list[_Run], op: str, params: dict[str, Any]) -> tuple[str, ...]:
    """The mistakes that reproduce all outputs, the closest first, without those that are clearly further off."""
    runs = sorted(runs, key=lambda run: run.result.passed)  # failing ones first: they reject most mistakes
    if not runs or runs[0].result.passed:
        return ()
    found = []
    for mistake in mistakes_of(op, params, runs[0].case.values, runs[0].case.dtype):
        left: list[float] = []
        try:
            for run in runs:
                part = _left(run, mistake, op, params | mistake.params)
                if part is None:
                    break
                if not run.result.passed:
                    left.append(part)
            else:
                if min(left) <= _EXPLAINED:
                    found.append((min(left), mistake.text))
        except (ValueError, IndexError):  # the mistake is not possible with these shapes
            continue
    found.sort(key=lambda pair: pair[0])
    named = [text for score, text in found if score <= 2 * found[0][0] + 0.01]
    return (*_coarse_values(runs, op, params), *named)


def _coarse_values(runs: list[_Run], op: str, params: dict[str, Any]) -> list[str]:
    """Outputs in FP32 that are all values of a narrower type, and right but for the rounding to it.

    Outputs that are wrong altogether, such as zeros, may lie on any grid by chance.
    """
    outputs = [run.output for run in runs if run.result.dtype == "float32"]
    if len(outputs) < len(runs):
        return []
    for run in runs:
        exact = _computed(op, EXACT, run.case, params)
        with np.errstate(all="ignore"):
            if not np.linalg.norm(run.output - exact) <= 0.05 * np.linalg.norm(exact):
                return []
    for grid, shown in (("bfloat16", "BF16"), ("float16", "FP16"), ("tf32", "TF32")):
        with np.errstate(all="ignore"):
            if all(np.array_equal(round_to(o, grid), o, equal_nan=True) for o in outputs):
                return [f"the outputs are FP32, but all of them are {shown} values: they were rounded to it"]
    return []


def _left(run: _Run, mistake: Mistake, op: str, params: dict[str, Any]) -> float | None:
    """How much of a run's error the mistake leaves; None if it does not reproduce the output."""
    output, verdict, grid = run.output, run.verdict, run.result.dtype
    assert verdict is not None
    by_element = op in _ELEMENTWISE
    arithmetic = mistake.arithmetic
    predicted = _computed(op, arithmetic, run.case, params, mistake.wrong)
    if predicted.shape != output.shape:
        raise ValueError("another shape")
    if arithmetic is EXACT:
        allowed = _allowed(op, run.case, params, predicted, grid, mistake.wrong)
        own = judge(output, predicted, allowed, grid, by_element, run.limit)
        if not own.passed:
            return None
        left = own.ratio / verdict.ratio if verdict.ratio > 0 else 0.0
    else:
        predicted = round_to(predicted, grid)
        # NaN where NaN is predicted, infinite where infinite: the one thing that arithmetic alone decides.
        if not np.array_equal(np.isfinite(predicted), np.isfinite(output)):
            return None
        rows = error_of(output, predicted, by_element).rows
        left = rows / verdict.error.rows if verdict.error.rows > 0 else 0.0
    if verdict.passed or (verdict.unlike and verdict.ratio <= 1):
        return 0.0
    return left if arithmetic is EXACT or left <= 2 * _EXPLAINED else None
