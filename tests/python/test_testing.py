"""assert_op: correct kernels pass, wrong ones fail and are named, and nothing is named that the numbers do not show."""

import assay
import numpy as np
import pytest
from assay.testing import CASES, OPS, Inputs, assert_op, check_op, operation
from assay.testing.arithmetic import EXACT, FP32, round_to, spacing
from assay.testing.mistakes import mistakes_of

ml_dtypes = pytest.importorskip("ml_dtypes")
DTYPES = ("float32", "bfloat16", "float16")
PARAMS = {
    "rms_norm": [{}, {"offset": 1.0}], "layer_norm": [{}], "softmax": [{"scale": 0.3}], "matmul": [{}], "linear": [{}],
    "rope": [{"theta": 1e6}, {"style": "interleaved", "rotary_dim": 32}], "gelu": [{}, {"approximate": "tanh"}],
    "silu_mul": [{}], "attention": [{}, {"window": 7, "softcap": 5.0}],
}  # fmt: skip
SHAPES = {"softmax": (20, 24, 24), "matmul": (17, 128, 128), "linear": (17, 128, 128)}


def kernel_of(op, dtype, params, arithmetic=FP32, wrong=frozenset()):
    """A kernel in numpy that computes an operation, perhaps wrongly."""

    def kernel(*arrays):
        with np.errstate(all="ignore"):
            values = [np.asarray(a, np.float64) for a in arrays]
            y = operation._FORMULAS[op](arithmetic, *values, **params, wrong=wrong)
            return round_to(np.asarray(y, np.float64), dtype).astype(np.float32).astype(
                ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)  # fmt: skip

    return kernel


@pytest.mark.parametrize(
    "grid, own", [("bfloat16", ml_dtypes.bfloat16), ("float16", np.float16), ("float32", np.float32)]
)
def test_rounding_is_the_types_own(grid, own):
    rng = np.random.default_rng(1)
    x = rng.standard_normal(20_000) * 10.0 ** rng.integers(-44, 38, 20_000)
    x = np.concatenate(
        [x, [0.0, -0.0, np.inf, -np.inf, np.nan, 65519.9, 65520, 3.4e38, 1e-45, 6e-8, 1.00390625, 1.01171875]]
    )
    x = x.astype(np.float32).astype(np.float64)  # types of 16 bits are rounded to from float32 by ml_dtypes
    with np.errstate(over="ignore"):
        expected = x.astype(own).astype(np.float64)
    np.testing.assert_array_equal(round_to(x, grid), expected)
    assert spacing(np.array(1.0), grid) == float(ml_dtypes.finfo(own).eps)
    # From double in one rounding, where two would go wrong.
    assert round_to(np.array(1 + 2**-8 + 2**-40), "bfloat16") == 1 + 2**-7


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", PARAMS)
def test_the_plain_formulas_pass(op, dtype):
    for params in PARAMS[op]:
        result = assert_op(kernel_of(op, dtype, params), Inputs(SHAPES.get(op), dtype), op=op, **params)
        assert result and result.mistakes == () and "cases pass" in str(result)
        assert all(case.ratio <= 1.0001 for case in result.cases)


# What the numbers cannot show: its effect is below the type's own noise in inputs of these sizes.
BELOW_NOISE = ("accumulated", "rounded to", "divided by n - 1", "which cancels", "maximum is not subtracted")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("op", PARAMS)
def test_every_mistake_is_named_or_below_the_noise(op, dtype):
    named = 0
    for params in PARAMS[op]:
        inputs = Inputs(SHAPES.get(op), dtype, cases=("normal", "tiny", "large"),
                        kv_heads=2 if op == "attention" else None, keys=30 if op == "attention" else None)  # fmt: skip
        values = next(iter(inputs.made_for(op, params)))[1]
        for mistake in mistakes_of(op, params, values, dtype):
            needed = {"softcap": "softcap", "window": "window"}
            if any(word in mistake.text and key not in params for key, word in needed.items()):
                continue  # without a window there is nothing to be wrong about
            arithmetic = FP32 if mistake.arithmetic is EXACT else mistake.arithmetic
            wrong = kernel_of(op, dtype, params | mistake.params, arithmetic, mistake.wrong)
            result = check_op(wrong, inputs, op=op, **params)
            if result:
                assert any(text in mistake.text for text in BELOW_NOISE), (op, params, mistake.text)
                continue
            assert mistake.text in result.mistakes, (op, params, mistake.text, result.mistakes)
            assert mistake.text in str(result)
            named += 1
    assert named >= {"matmul": 1, "gelu": 6, "silu_mul": 6}.get(op, 3)


# One bug each that is in no list.
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", PARAMS)
@pytest.mark.parametrize("change", [
    lambda y: y * 1.07, lambda y: y[..., ::-1], lambda y: np.roll(y, 1, -2), lambda y: y + 0.03 * np.abs(y).max(),
    lambda y: np.where(np.arange(y.shape[-1]) % 32 == 31, 0, y), lambda y: np.concatenate([y[..., :-3], y[..., :3]], -1),
])  # fmt: skip
def test_an_unknown_mistake_is_not_given_a_name(op, dtype, change):
    params = PARAMS[op][0]
    right = kernel_of(op, "float32", params)

    def kernel(*arrays):
        y = change(right(*arrays).astype(np.float64))
        return round_to(y, dtype).astype(np.float32).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)

    result = check_op(kernel, Inputs(None, dtype), op=op, **params)
    assert not result and result.mistakes == (), str(result)
    assert "None of the known mistakes" in str(result)


def rms(x, eps=1e-6, root=np.sqrt):
    return x / root(np.mean(x * x, -1, keepdims=True) + np.float32(eps))


def test_the_message_has_it_all():
    def kernel(x, w):
        return x / (np.sqrt(np.mean(x * x, -1, keepdims=True)) + np.float32(1e-6)) * w

    with pytest.raises(AssertionError) as raised:
        assert_op(kernel, Inputs((8, 300)), op="rms_norm")
    text = str(raised.value)
    assert "It looks like: eps is added outside the square root" in text
    assert "tiny       float32" in text and "FAIL" in text and "worst in ulps: element [" in text
    assert isinstance(raised.value, assay.CheckFailed) and raised.value.where == "rms_norm"


def test_arrays_of_ones_own():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((3, 5, 64)).astype(np.float32), np.ones(64, np.float32)
    assert_op(lambda x, w: rms(x) * w, (x, w), op="rms_norm")
    assert_op(lambda x: rms(x), [x], op="rms_norm")
    result = check_op(lambda x, w: rms(x), {"ones": (x, w), "other": (x, w * 3)}, op="rms_norm")
    assert [case.passed for case in result.cases] == [True, False]
    assert result.mistakes == ("the weight is left out",)
    result = check_op(lambda x: x.astype(np.float64) / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-6),
                      [x], op="rms_norm")  # fmt: skip
    assert result and result.cases[0].dtype == "float64"


def test_wrong_outputs_on_a_grid_are_not_called_rounded():
    checked = check_op(lambda x, w: np.zeros_like(x), op="rms_norm")
    assert not checked and checked.mistakes == ()


def test_infinities_and_nans():
    def kernel(x):
        with np.errstate(all="ignore"):
            e = np.exp(x)
            return e / e.sum(-1, keepdims=True)

    result = check_op(kernel, Inputs(), op="softmax")
    assert result.mistakes == ("the maximum is not subtracted before exp",)
    assert any(case.unlike for case in result.cases) and "NaN or infinite on one side only" in str(result)
    # Overflow that the type itself has is right.
    big = (np.full((2, 64), 30000, np.float16), np.full((64, 2), 4, np.float16))
    assert_op(lambda a, b: (a.astype(np.float64) @ b).astype(np.float16), big, op="matmul")
    assert not check_op(lambda a, b: np.full((2, 2), 65504, np.float16), big, op="matmul")


def test_types_between():
    def low(a, b):
        return (a.astype(ml_dtypes.bfloat16).astype(np.float32)) @ (b.astype(ml_dtypes.bfloat16).astype(np.float32))

    def tf32(a, b):
        return (round_to(a, "tf32") @ round_to(b, "tf32")).astype(np.float32)

    assert check_op(low, op="matmul").mistakes == ("the operands of the products are rounded to BF16",)
    # Within FP16's range, it and TF32 are the same grid.
    assert set(check_op(tf32, op="matmul").mistakes) >= {"the operands of the products are rounded to TF32"}
    rounded = check_op(lambda a, b: (a @ b).astype(ml_dtypes.bfloat16).astype(np.float32), op="matmul")
    assert rounded.mistakes[0] == "the outputs are FP32, but all of them are BF16 values: they were rounded to it"


def test_an_accumulator_in_bf16_is_named():
    def kernel(x, w):
        total = np.zeros((x.shape[0], w.shape[0]), ml_dtypes.bfloat16)
        for i in range(x.shape[1]):
            product = x[:, i : i + 1].astype(np.float32) * w[:, i].astype(np.float32)
            total = (total.astype(np.float32) + product).astype(ml_dtypes.bfloat16)
        return total

    bare = Inputs((17, 300, 20), "bfloat16", cases=("normal", "outliers"))
    arrays = {name: bare.as_arrays(values[:2]) for name, values in bare.made_for("linear", {})}
    result = check_op(kernel, arrays, op="linear")
    assert not result and result.mistakes == ("sums are accumulated in BF16",)


def test_what_a_kernel_does_instead_of_returning():
    def only_whole_warps(x, w):
        if x.shape[-1] % 32:
            raise RuntimeError("n must be a multiple of 32")
        return rms(x) * w

    result = check_op(only_whole_warps, Inputs((4, 100)), op="rms_norm")
    assert (
        not result
        and "the kernel raised RuntimeError: n must be a multiple of 32 (inputs [4, 100] and [100])" in str(result)
    )
    assert_op(only_whole_warps, Inputs((4, 96)), op="rms_norm")
    assert "shape is [4], expected [4, 96]" in str(check_op(lambda x, w: x[:, 0], Inputs((4, 96)), op="rms_norm"))
    assert "the output is int32" in str(check_op(lambda x, w: x.astype(np.int32), Inputs((4, 96)), op="rms_norm"))


@pytest.mark.parametrize("call, text", [
    (lambda: check_op(rms, op="rmsnorm"), "op: 'rmsnorm'; expected one of rms_norm"),
    (lambda: check_op(rms, op="rms_norm", epsilon=1), "parameter 'epsilon'; expected of: eps, offset"),
    (lambda: check_op(rms, op="rms_norm", limit=0), "limit: 0"),
    (lambda: check_op(rms, Inputs(dtype="int8"), op="rms_norm"), "dtype: 'int8'"),
    (lambda: check_op(rms, Inputs((3, 4)), op="matmul"), r"expected \(M, K, N\)"),
    (lambda: check_op(rms, Inputs(cases=("huge",)), op="rms_norm"), "cases: 'huge'"),
    (lambda: check_op(rms, Inputs(framework="theano"), op="rms_norm"), "framework: 'theano'"),
    (lambda: check_op(rms, Inputs(kv_heads=3), op="attention"), "kv_heads: 3"),
    (lambda: check_op(rms, np.ones(3), op="rms_norm"), "inputs: ndarray"),
    (lambda: check_op(rms, (np.ones((2, 3)), np.ones(4)), op="rms_norm"), r"\[2, 3\], \[4\] do not fit rms_norm"),
    (lambda: check_op(rms, (np.ones((2, 3)), np.ones((2, 3))), op="matmul"), "do not fit matmul"),
])  # fmt: skip
def test_usage(call, text):
    with pytest.raises(assay.UsageError, match=text):
        call()


def test_everything_is_documented():
    import inspect

    from assay import testing

    for name in testing.__all__:
        value = getattr(testing, name)
        assert not callable(value) or inspect.getdoc(value), name
    assert all(op in testing.assert_op.__doc__ for op in OPS) and len(CASES) == 7


# torch's and transformers' own functions.

torch = pytest.importorskip("torch")
F = torch.nn.functional


def inputs_in(dtype, **options):
    return Inputs(options.pop("shape", None), dtype, "torch", **options)


def llama_rope(interleaved=False, theta=10_000.0):
    modeling = pytest.importorskip("transformers.models.llama.modeling_llama" if not interleaved else
                                   "transformers.models.cohere.modeling_cohere")  # fmt: skip

    def rope(x, positions):
        inverse = 1.0 / theta ** (torch.arange(0, x.shape[-1], 2).float() / x.shape[-1])
        angles = positions[:, None].float() * inverse
        angles = torch.repeat_interleave(angles, 2, -1) if interleaved else torch.cat([angles, angles], -1)
        cos, sin = angles.cos().to(x.dtype)[None], angles.sin().to(x.dtype)[None]
        return modeling.apply_rotary_pos_emb(x[None], x[None], cos, sin)[0][0]

    return rope


def hf_norm(family, eps):
    modeling = pytest.importorskip(f"transformers.models.{family.lower()}.modeling_{family.lower()}")

    def norm(x, w):
        module = getattr(modeling, f"{family}RMSNorm")(x.shape[-1], eps=eps)
        module.weight = torch.nn.Parameter(w)
        return module(x)

    return norm


def hf_attention(q, k, v, window=None, softcap=None):
    """transformers' eager attention, of Gemma 2, which has all of it."""
    modeling = pytest.importorskip("transformers.models.gemma2.modeling_gemma2")
    own = torch.arange(k.shape[-2] - q.shape[-2], k.shape[-2])[:, None]
    keys = torch.arange(k.shape[-2])[None]
    seen = keys <= own
    if window is not None:
        seen &= own - keys < window
    mask = torch.where(seen, 0.0, torch.finfo(q.dtype).min).to(q.dtype)[None, None]
    module = torch.nn.Module()
    module.num_key_value_groups = q.shape[-3] // k.shape[-3]
    module.head_dim = q.shape[-1]
    output, _ = modeling.eager_attention_forward(module, q, k, v, mask, scaling=q.shape[-1] ** -0.5, softcap=softcap)
    return output.transpose(1, 2)


def sdpa(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op, kernel, params", [
    ("rms_norm", lambda x, w: F.rms_norm(x, (x.shape[-1],), w, 1e-6), {}),
    ("rms_norm", lambda x, w: hf_norm("Llama", 1e-5)(x, w), {"eps": 1e-5}),
    ("rms_norm", lambda x, w: hf_norm("Qwen3", 1e-6)(x, w), {}),
    ("rms_norm", lambda x, w: hf_norm("Gemma2", 1e-6)(x, w), {"offset": 1.0}),
    ("layer_norm", lambda x, w, b: F.layer_norm(x, (x.shape[-1],), w, b, 1e-5), {}),
    ("softmax", lambda x: F.softmax(x, -1), {}),
    ("softmax", lambda x: F.softmax(x, 0), {"axis": 0}),
    ("softmax", lambda x: F.softmax(x * 0.3, -1), {"scale": 0.3}),
    ("rope", lambda x, p: llama_rope()(x, p), {}),
    ("rope", lambda x, p: llama_rope(theta=1e6)(x, p), {"theta": 1e6}),
    ("rope", lambda x, p: llama_rope(interleaved=True)(x, p), {"style": "interleaved"}),
    ("matmul", torch.matmul, {}),
    ("linear", F.linear, {}),
    ("gelu", F.gelu, {}),
    ("gelu", lambda x: F.gelu(x, approximate="tanh"), {"approximate": "tanh"}),
    ("swiglu", lambda gate, up: F.silu(gate) * up, {}),
    ("attention", sdpa, {}),
    ("attention", hf_attention, {}),
    ("attention", lambda q, k, v: hf_attention(q, k, v, 7, 5.0), {"window": 7, "softcap": 5.0}),
    ("attention", F.scaled_dot_product_attention, {"causal": False}),
])  # fmt: skip
def test_correct_kernels_pass(op, kernel, params, dtype):
    for seed in range(1 if op == "attention" else 2):
        assert_op(kernel, inputs_in(dtype, seed=seed), op=op, **params)
    if op == "attention" and kernel is not F.scaled_dot_product_attention:
        assert_op(kernel, inputs_in(dtype, kv_heads=2), op=op, **params)
        if kernel is not sdpa:
            assert_op(kernel, inputs_in(dtype, kv_heads=1, keys=40), op=op, **params)


def manual_norm(x, w, eps=1e-6):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * w  # in x's own type


@pytest.mark.parametrize("op, kernel, params, dtypes, name", [
    ("rms_norm", lambda x, w: F.rms_norm(x, (x.shape[-1],), w, 1e-5), {}, DTYPES, "eps is 1e-05 instead of 1e-06"),
    ("rms_norm", lambda x, w: F.rms_norm(x, (x.shape[-1],), w, 1e-6), {"offset": 1.0}, DTYPES, "w instead of 1 + w"),
    ("rms_norm", lambda x, w: F.rms_norm(x, (x.shape[-1],), 1 + w, 1e-6), {}, DTYPES, "1 + w instead of w"),
    ("rms_norm", lambda x, w: F.layer_norm(x, (x.shape[-1],), w, None, 1e-6), {}, DTYPES, "the mean is subtracted"),
    ("rms_norm", lambda x, w: (x.float() * torch.rsqrt(x.float().pow(2).sum(-1, True) + 1e-6) * w).to(x.dtype), {}, DTYPES, "not divided by the number"),
    ("rms_norm", manual_norm, {}, ["float16"], ""),
    ("layer_norm", lambda x, w, b: F.layer_norm(x, (x.shape[-1],), w, b, 1e-12), {}, DTYPES, "eps is 1e-12 instead of 1e-05"),
    ("layer_norm", lambda x, w, b: F.rms_norm(x, (x.shape[-1],), w, 1e-5) + b, {}, ["float32", "float16"], ""),
    ("layer_norm", lambda x, w, b: F.layer_norm(x, (x.shape[-1],), w, None, 1e-5), {}, DTYPES, "the bias is left out"),
    ("layer_norm", lambda x, w, b: (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + 1e-5) * w + b,
     {}, ["float32"], "divided by n - 1"),
    ("softmax", lambda x: x.float().exp().div(x.float().exp().sum(-1, keepdim=True)).to(x.dtype), {}, DTYPES, "the maximum is not"),
    ("softmax", lambda x: F.log_softmax(x, -1), {}, DTYPES, "the logarithm"),
    ("softmax", lambda x: torch.exp2(x - x.amax(-1, True)) / torch.exp2(x - x.amax(-1, True)).sum(-1, True), {}, ["float32"], "powers of 2"),
    ("rope", lambda x, p: llama_rope(interleaved=True)(x, p), {}, DTYPES, "pairs 2 i and 2 i + 1 instead of i and i + D / 2"),
    ("rope", lambda x, p: llama_rope()(x, p), {"style": "interleaved"}, DTYPES, "pairs i and i + D / 2 instead of 2 i and 2 i + 1"),
    ("rope", lambda x, p: llama_rope(theta=5e5)(x, p), {}, DTYPES, "theta is 500000 instead of 10000"),
    ("rope", lambda x, p: llama_rope()(x, p + 1), {}, DTYPES, "the first position is taken as 1"),
    ("rope", lambda x, p: llama_rope()(x, -p), {}, DTYPES, "the other direction"),
    ("linear", lambda x, w, b: F.linear(x, w), {}, DTYPES, "the bias is left out"),
    ("matmul", lambda a, b: (a.bfloat16() @ b.bfloat16()).float(), {}, ["float32"], "all of them are BF16 values"),
    ("gelu", lambda x: F.gelu(x, approximate="tanh"), {}, DTYPES, "the tanh form instead of the erf form"),
    ("gelu", F.gelu, {"approximate": "tanh"}, DTYPES, "the erf form instead of the tanh form"),
    ("gelu", lambda x: x * torch.sigmoid(1.702 * x), {}, DTYPES, "sigmoid(1.702 x)"),
    ("gelu", F.silu, {}, DTYPES, "SiLU instead of GELU"),
    ("silu_mul", lambda g, u: F.silu(u) * g, {}, DTYPES, "gate and up are swapped"),
    ("silu_mul", lambda g, u: torch.sigmoid(g) * u, {}, DTYPES, "sigmoid(gate)"),
    ("silu_mul", lambda g, u: F.gelu(g, approximate="tanh") * u, {}, DTYPES, "GELU (tanh) instead of SiLU"),
    ("silu_mul", lambda g, u: F.silu(g), {}, DTYPES, "not multiplied by up"),
    ("attention", F.scaled_dot_product_attention, {}, DTYPES, "no causal mask"),
    ("attention", sdpa, {"causal": False}, DTYPES, "a causal mask where there should be none"),
    ("attention", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0), {}, DTYPES, "the scale is left out"),
    ("attention", sdpa, {"window": 7}, DTYPES, "the window is left out"),
    ("attention", lambda q, k, v: hf_attention(q, k, v, 8), {"window": 7}, DTYPES, "one key too many"),
    ("attention", sdpa, {"softcap": 1.0}, DTYPES, "the softcap is left out"),
])  # fmt: skip
def test_wrong_kernels_fail_and_are_named(op, kernel, params, dtypes, name):
    for dtype in dtypes:
        result = check_op(kernel, inputs_in(dtype), op=op, **params)
        assert not result, dtype
        if name:
            assert len(result.mistakes) >= 1 and name in result.mistakes[0], f"{dtype}\n{result}"


def test_heads_in_turn_are_named():
    def in_turn(q, k, v):
        times = q.shape[1] // k.shape[1]
        return F.scaled_dot_product_attention(q, k.repeat(1, times, 1, 1), v.repeat(1, times, 1, 1), is_causal=True)

    result = check_op(in_turn, inputs_in("bfloat16", kv_heads=2), op="attention")
    assert "query head h reads key head h % kv_heads" in result.mistakes[0]


def test_cached_keys_and_alignment():
    late = inputs_in("float32", keys=40)
    result = check_op(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), late, op="attention")
    assert "query i is taken to be at position i, not at T - S + i" in result.mistakes[0]  # as torch aligns it


def test_tables_given_by_the_caller():
    modeling = pytest.importorskip("transformers.models.llama.modeling_llama")
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(1, 4, 12, 16, generator=rng)
    angles = torch.arange(12)[:, None] / 10_000.0 ** (torch.arange(8) / 8)
    cos, sin = torch.cat([angles, angles], -1).cos()[None], torch.cat([angles, angles], -1).sin()[None]
    assert_op(lambda x, c, s: modeling.apply_rotary_pos_emb(x, x, c, s)[0], (x, cos, sin), op="rope")
    result = check_op(lambda x, c, s: modeling.apply_rotary_pos_emb(x, x, c, -s)[0], (x, cos, sin), op="rope")
    assert "the sign of sin" in result.mistakes[0]
