"""What `assay capture` knows about a run: sources through views and writes in place, names, choices."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from assay.capture.flow import DataFlow
from assay.capture.names import native_names, safe_name
from assay.capture.noise import by_position, relative_l2
from assay.capture.positions import default_axis, position_axis
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


def test_storage_of_weights_is_no_source() -> None:
    flow = DataFlow(lambda *_: None)
    weight = torch.randn(4, 4)
    with torch.inference_mode(), flow:
        y = weight @ weight
    assert flow.sources_of(y) == frozenset()
    assert flow.is_computed(y) and not flow.is_computed(weight)


@pytest.mark.parametrize(
    ("name", "safe"),
    [("a/b\\c", "a.b.c"), ("x\n\x1b[31m", "x__[31m"), ("", "_"), ("é", "é"), ("y" * 999, "y" * 300)],
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
