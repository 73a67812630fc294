"""What `assay capture` knows about a run: sources through views and writes in place, names, choices."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from assay._golden import _records
from assay.capture.choices import COMPARED, RANDOM, choose_otherwise
from assay.capture.flow import DataFlow
from assay._outputs import safe_name
from assay.capture.names import native_names
from assay.capture.noise import by_position, relative_l2
from assay.capture.positions import default_axis, position_axis
from assay.capture.reference import Runs, unsteady_positions
from assay.capture.spool import Spool, SpoolReader
from assay.capture.trace import Trace, Traced


def traced(net: nn.Module, *inputs: torch.Tensor, **kinds: Any) -> dict[str, Traced]:
    trace = Trace(net, lambda *_: None, lambda _: None, lambda _: True)
    with torch.inference_mode():
        trace.run({f"x{i}": value for i, value in enumerate(inputs)})
    return {array.name: array for array in trace.arrays}


def sources(net: nn.Module, *inputs: torch.Tensor) -> dict[str, list[str]]:
    arrays = traced(net, *inputs)
    names = list(arrays)
    return {name: [names[i] for i in array.source] for name, array in arrays.items()}


class Calls(nn.Module):
    """Calls its parts as `body` says."""

    def __init__(self, body: Callable[..., Any]) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.same = nn.Identity()
        self.body = body

    def forward(self, x0: torch.Tensor) -> Any:
        return self.body(self, x0)


X = torch.randn(1, 3, 4)


def test_a_residual_has_both_sources() -> None:
    found = sources(Calls(lambda m, x: m.b(m.a(x)) + x), X)
    assert found["a"] == ["x0"]
    assert found["b"] == ["a"]
    assert found["output"] == ["x0", "b"]


def test_a_module_that_returns_its_input_is_another_name_of_it() -> None:
    arrays = traced(Calls(lambda m, x: m.same(m.a(x))), X)
    assert list(arrays) == ["x0", "output"]
    assert sorted(arrays["output"].also) == ["a", "same"]


def test_the_second_call_has_a_number() -> None:
    found = sources(Calls(lambda m, x: m.a(m.a(x)) * 2), X)
    assert found == {"x0": [], "a": ["x0"], "a#2": ["a"], "output": ["a#2"]}


def test_what_is_written_in_place_is_another_array() -> None:
    def body(m: Any, x: torch.Tensor) -> torch.Tensor:
        y = m.a(x)
        y.add_(x)
        return m.b(y)

    assert sources(Calls(body), X) == {
        "x0": [],
        "a": ["x0"],
        "b.input": ["x0", "a"],
        "output": ["b.input"],
    }


def test_a_view_reads_what_a_write_through_another_view_left() -> None:
    def body(m: Any, x: torch.Tensor) -> torch.Tensor:
        y = torch.zeros(1, 3, 4)
        y[:, 1] = m.a(x)[:, 0]
        return m.b(y[:, :2])

    found = sources(Calls(body), X)
    assert found["b.input"] == ["a"]
    assert found["output"] == ["b.input"]


def test_a_part_of_a_recorded_array_is_not_recorded_again() -> None:
    found = sources(Calls(lambda m, x: m.b(m.a(x)[:, :2]) + 1), X)
    assert found == {"x0": [], "a": ["x0"], "b": ["a"], "output": ["b"]}


def test_memory_that_is_used_again_has_no_old_sources() -> None:
    def body(m: Any, x: torch.Tensor) -> torch.Tensor:
        for _ in range(20):
            temporary = x * 2
            del temporary
        # Made without an operation that could be seen.
        new = [torch.from_numpy(np.ones((1, 3, 4), np.float32)) for _ in range(20)]
        return torch.cat(new) + m.b(torch.zeros(1, 3, 4))

    assert sources(Calls(body), X)["output"] == ["b"]


def test_only_indices_depend_on_a_choice() -> None:
    def body(m: Any, x: torch.Tensor) -> Any:
        values, indices = m.a(x).topk(2, dim=-1)
        return {"values": values * 2, "indices": indices, "rows": m.b.weight[indices[0, 0]] * 2}

    arrays = traced(Calls(body), X)
    assert arrays["values"].choices == []
    assert arrays["indices"].choices == arrays["rows"].choices == [0]


@pytest.mark.parametrize(
    "choose",
    [
        lambda x: x.topk(2, dim=-1)[1],
        lambda x: x.topk(2, dim=1, largest=False).indices,
        lambda x: x.kthvalue(2, dim=-1).indices,
        lambda x: x.max(dim=-1).indices,
        lambda x: x.min(dim=1, keepdim=True)[1],
        lambda x: x.argmax(-1),
        lambda x: x.argmin(),
        lambda x: x.sort(descending=True)[1],
        lambda x: x.argsort(dim=1),
        lambda x: x.median(dim=-1).indices,
        lambda x: x.softmax(-1).squeeze(0).multinomial(1),
        # A threshold: what is at least the second largest.
        lambda x: x >= x.topk(2, dim=-1).values[..., -1:],
        lambda x: (x.max(dim=-1, keepdim=True).values - x) / x.abs() > 0.02,
    ],
)
def test_whatever_chooses_by_value_is_a_choice(choose: Callable[..., Any]) -> None:
    """In inference mode, where torch does not take operations apart, and without."""
    net = Calls(lambda m, x: m.b.weight[choose(m.a(x)).flatten().long() % 4] * 2)
    for mode in (torch.inference_mode, torch.no_grad):
        trace = Trace(net, lambda *_: None, lambda _: None, lambda _: True)
        with mode():
            trace.run({"x0": X})
        # Of a threshold: that it was chosen, and what was compared with it.
        assert trace.arrays[-1].choices == [len(trace.choices) - 1]


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: torch.where(x > 0, x, 0.1 * x),  # an activation function
        lambda x: x.max() * x,
        lambda x: x.amax(-1, keepdim=True) * x,
        lambda x: torch.max(x, 2 * x),
        lambda x: x.long().sort()[1],  # of ids
    ],
)
def test_what_is_continuous_is_no_choice(compute: Callable[..., Any]) -> None:
    arrays = traced(Calls(lambda m, x: compute(m.a(x)) + 1), X)
    assert arrays["output"].choices == []


def runs_of(tmp_path: Path, count: int, *scores: np.ndarray) -> Runs:
    """The scores of one choice in BF16 and in double."""
    for name, value in zip(("bf16", "f64"), scores, strict=True):
        spool = Spool(tmp_path / f"{name}.bin", "f64")
        spool.write(-1, torch.from_numpy(value))
        spool.close({"choices": [{"call": "", "nth": 0, "count": count}]})
    return Runs({name: SpoolReader(tmp_path / f"{name}.bin") for name in ("bf16", "f64")})


def test_unsteady_are_positions_whose_order_a_rounding_may_change(scratch: Path) -> None:
    right = np.array([[5, 3, 1], [5, 4.999, 1], [3, 1, 1.001], [3, 2, 1]], np.float64)
    other = right.copy()
    other[3] = [2, 3, 1]
    assert unsteady_positions(runs_of(scratch, 1, other, right), 0, 4) == [1, 3]
    assert unsteady_positions(runs_of(scratch, 2, right, right), 0, 4) == [1, 2]
    # With an axis of groups, and without positions.
    groups = np.stack([right, right[::-1]])
    assert unsteady_positions(runs_of(scratch, 1, groups, groups), 0, 4) == [1, 2]
    assert unsteady_positions(runs_of(scratch, 1, right, right), 0, 9) == list(range(9))
    assert unsteady_positions(runs_of(scratch, 1, right[:1], right[:1]), 0, 9) == []
    assert unsteady_positions(runs_of(scratch, RANDOM, right, right), 0, 2) == [0, 1]


def test_unsteady_comparisons_are_those_of_nearly_equal_values(scratch: Path) -> None:
    right = np.array([[0, 1, 2], [0, 1e-4, 2], [0, 1, 2], [0, -1, 2]], np.float64)
    # Of what is compared with itself the difference is 0 in every run.
    other = right + np.array([0, 1e-5, 1e-3])
    assert unsteady_positions(runs_of(scratch, COMPARED, other, right), 0, 4) == [1]
    other[3, 1] = 1
    assert unsteady_positions(runs_of(scratch, COMPARED, other, right), 0, 4) == [1, 3]


def test_a_choice_can_be_made_otherwise_at_one_position() -> None:
    scores = torch.arange(12.0).reshape(1, 4, 3)
    for func, arguments in (
        (torch.ops.aten.topk.default, (2,)),
        (torch.ops.aten.max.dim, (-1,)),
        (torch.ops.aten.sort.default, ()),
    ):
        values, indices = func(scores, *arguments)
        others, elsewhere = choose_otherwise(func, (scores, *arguments), {}, 2, 4)
        changed = (indices != elsewhere).reshape(4, -1).any(dim=1)
        assert changed.tolist() == [False, False, True, False]
        assert torch.equal(others[0, :2], values[0, :2])  # the scores of what was chosen
        assert others[0, 2].flatten()[0] in scores[0, 2]


def test_a_tables_rows_are_told_from_what_is_computed() -> None:
    class Embeds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(9, 4), nn.Linear(4, 4)

        def forward(self, x0: torch.Tensor) -> Any:
            scaled = self.table(x0) * torch.tensor(2.0)
            return {"rows": scaled, "deep": self.head(scaled)}

    trace = Trace(Embeds(), lambda *_: None, lambda _: None, lambda name: name in ("rows", "deep"))
    with torch.inference_mode():
        trace.run({"x0": torch.tensor([[1, 2]])})
    assert {array.name: array.is_moved for array in trace.arrays} == {"rows": True, "deep": False}


def test_outputs_in_tuples_lists_and_dicts() -> None:
    class Inner(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return x * 2, (x * 3, {"k": x * 4}), [None, x * 5], "text", torch.tensor(1.0), x > 0

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def forward(self, x0: torch.Tensor) -> Any:
            return {"first": self.inner(x0)[0] + 1}

    assert list(traced(Outer(), X)) == [
        "x0",
        "inner",
        "inner[1][0]",
        "inner[1][1][k]",
        "inner[2][1]",
        "first",
    ]


def test_a_bundle_that_leaves_arrays_out_knows_what_they_mixed_and_chose() -> None:
    """A golden bundle of a captured reference: a, then b (causal), c (an expert's rows), d."""

    class Prompt(dict[str, Any]):
        manifest: dict[str, Any]

    def record(*sources: str, **fields: Any) -> dict[str, Any]:
        return {"from": list(sources), **fields}

    arrays = {
        "a": record(positions=1, reach="position", lookup=True),
        "b": record("a", positions=1, reach="causal", unsteady=[2]),
        "c": record("b", unsteady=[1, 2]),
        "d": record("c", positions=1, reach="position"),
    }
    prompt: Any = Prompt.fromkeys(arrays)
    prompt.manifest = {"arrays": arrays}

    def records_of(*names: str) -> dict[str, Any]:
        taken: Any = {name: SimpleNamespace(record=arrays[name]) for name in names}
        return _records(prompt, taken)

    assert records_of(*arrays) == arrays
    assert records_of("a", "d") == {
        "a": arrays["a"],
        "d": record("a", positions=1, reach="causal", unsteady=[1, 2]),
    }
    del arrays["b"]["reach"]  # unknown: any position
    assert records_of("a", "d")["d"] == record("a", positions=1, unsteady=[1, 2])


def test_storage_of_weights_is_no_source() -> None:
    flow = DataFlow(lambda *_: None)
    weight = torch.randn(4, 4)
    with torch.inference_mode(), flow:
        y = weight @ weight
    assert flow.sources_of(y) == frozenset()
    assert flow.is_computed(y) and not flow.is_computed(weight)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a/b\\c", "a.b.c"),
        ("x\n\x1b[31m", "x__[31m"),
        ("", "_"),
        ("é", "é"),
        ("y" * 999, "y" * 300),
    ],
)
def test_names_are_safe_in_an_archive(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_native_types_have_the_names_of_taps() -> None:
    rename = native_names("gemma2", 26)
    assert rename("model.layers.3.post_attention_layernorm") == "layer_03_attn_post_norm"
    assert rename("model.layers.3.mlp.act_fn") is None
    assert native_names("llama", 120)("model.layers.3") == "layer_003_output"
    assert native_names("gpt2", 12)("model.norm") is None


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((1, 9, 64), 1),
        ((1, 4, 9, 9), 2),
        ((1, 4, 9, 16), 2),
        ((1, 9, 4, 16), 1),
        ((1, 9, 9, 9), 2),
        ((9, 4), 0),
        ((1, 9), 1),
        ((18, 64), None),
        ((1, 64), None),
        ((1, 3, 32, 32), None),
        ((64,), None),
    ],
)
def test_the_axis_of_positions(shape: tuple[int, ...], axis: int | None) -> None:
    assert position_axis(shape, 9) == axis


def test_errors_are_told_apart_by_rows_without_positions() -> None:
    assert [default_axis((2,) * rank, None) for rank in (1, 2, 3, 4)] == [0, 0, 1, 2]


def test_noise() -> None:
    oracle = torch.randn(1, 5, 64).numpy()
    run = oracle.copy()
    assert relative_l2(run, oracle) == 0
    run[:, 2] *= 1.01
    whole, digits = by_position(run, oracle, 1)
    assert 0.002 < whole < 0.01 and relative_l2(run, oracle) == pytest.approx(whole)
    assert digits[2] == "z" and set(digits[:2] + digits[3:]) == {"0"}
