"""Captured mixtures of experts, where nearly equal scores make a correct engine choose other experts.

No correct run may be accused, in whatever order it adds up; a wrong expert must be found where no choice
explains it. A run of the tests tries a part of the architectures; ALL=1 tries all.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from captures import Captured, candidate, captured, compared, dump, first_divergence
from expert_architectures import EXPERTS, ROUTED, Routed, routers, tie
from families import SEED
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from assay.capture.run import inputs_of

# Choices by max.dim and thresholds, attention in both directions, experts that are modules, sorted tokens.
ALWAYS = ["phimoe", "switch", "jetmoe", "mixtral"]


def chosen() -> list[str]:
    if os.environ.get("ALL") == "1":
        return list(ROUTED)
    others = [name for name in ROUTED if name not in ALWAYS]
    return ALWAYS + Random(SEED).sample(others, 2)


def built(routed: Routed) -> nn.Module:
    """The model with experts whose outputs are of a normal size."""
    net = routed.architecture.build(SEED)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() == 3:
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
    return net


@pytest.fixture(scope="module", params=chosen())
def tied(request: pytest.FixtureRequest) -> Iterator[Captured]:
    """All routers are in doubt at all tokens."""
    routed = ROUTED[request.param]
    net = built(routed)
    for router, _ in routers(net, routed.router):
        tie(net, router)
    with TemporaryDirectory(prefix="assay-experts-") as scratch:
        yield captured(routed.architecture, net, Path(scratch))


class OtherRoundings(TorchDispatchMode):
    """Chooses by the same scores with other roundings to BF16; their values stay."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        at = {"aten.topk.default": 2, "aten.max.dim": 1, "aten.argmax.default": 1}.get(str(func))
        if at is None or not args[0].is_floating_point():
            return func(*args, **kwargs)
        scores = args[0]
        rounded = (scores.double() * (1 + 2**-9 * torch.randn(scores.shape))).to(scores.dtype)
        result = func(rounded, *args[1:], **kwargs)
        if isinstance(result, torch.Tensor):
            return result
        dim = kwargs.get("dim", args[at] if len(args) > at else -1)
        _, indices = result
        if indices.dim() == scores.dim():
            return scores.gather(dim, indices), indices
        return scores.gather(dim, indices.unsqueeze(dim)).squeeze(dim), indices


def test_scores_that_are_nearly_equal_are_known(tied: Captured) -> None:
    assert any("unsteady" in array for array in tied.arrays.values())


def test_a_run_with_other_kernels_passes(tied: Captured) -> None:
    assert not compared(tied, dump(candidate(tied), tied), 0)["coarse"]


def test_a_run_in_fp32_passes(tied: Captured) -> None:
    net = candidate(tied, numerics="f32")
    assert not compared(tied, dump(net, tied, "f32"), 0)["coarse"]


def test_a_run_that_chooses_otherwise_passes(tied: Captured) -> None:
    for _ in range(3):
        net = candidate(tied)
        with OtherRoundings():
            file = dump(net, tied)
        compared(tied, file, 0)


@pytest.fixture(scope="module", params=chosen())
def tied_at_the_end(request: pytest.FixtureRequest) -> Iterator[tuple[Captured, str]]:
    """Only the last router is in doubt. With the path of the first one."""
    routed = ROUTED[request.param]
    if not routed.is_local:
        pytest.skip("every position depends on every choice")
    net = built(routed)
    paths = [path for path, _ in routers(net, routed.router)]
    tie(net, paths[-1])
    with TemporaryDirectory(prefix="assay-experts-") as scratch:
        yield captured(routed.architecture, net, Path(scratch)), paths[0]


def test_a_wrong_expert_is_found(tied_at_the_end: tuple[Captured, str]) -> None:
    case, router = tied_at_the_end
    block = sparse_block(candidate(case), router)
    inputs = inputs_of(candidate(case), None, str(case.directory / "inputs.npz"), "bf16")
    wrong = max(range(EXPERTS), key=lambda expert: effect(case, block, expert, inputs))
    net = candidate(case)
    spoil(net.get_submodule(block), wrong)
    first = first_divergence(case, net)
    assert first.startswith(block) or block in case.arrays[first].get("also", [])


def sparse_block(net: nn.Module, router: str) -> str:
    """The module around a router and its experts."""
    path = router
    while not any(is_of_experts(name, p) for name, p in net.get_submodule(path).named_parameters()):
        path = path.rpartition(".")[0]
    return path


def is_of_experts(name: str, parameter: nn.Parameter) -> bool:
    return parameter.dim() == 3 or "expert_" in name


def effect(case: Captured, block: str, expert: int, inputs: dict[str, torch.Tensor]) -> float:
    """What a wrong expert changes."""
    right, wrong = candidate(case), candidate(case)
    spoil(wrong.get_submodule(block), expert)
    with torch.inference_mode():
        return (right(**inputs)[0].float() - wrong(**inputs)[0].float()).norm().item()


def spoil(block: nn.Module, expert: int) -> None:
    with torch.no_grad():
        for name, parameter in block.named_parameters():
            if parameter.dim() == 3 and expert < len(parameter):
                parameter[expert] = parameter[expert].roll(1, 0)
            elif f"expert_{expert}." in name:
                parameter.copy_(parameter.roll(1, 0))


def test_positions_that_attention_mixes_are_measured(tied: Captured) -> None:
    """What is computed for each token alone, what is causal, and what is neither."""
    reach = {name: array.get("reach") for name, array in tied.arrays.items()}
    embedded = [name for name, array in tied.arrays.items() if array.get("lookup")]
    assert embedded and all(reach[name] == "position" for name in embedded if "decoder" not in name)
    bidirectional = [name for name in reach if "encoder" in name and name.endswith("o.input")]
    assert all(reach[name] is None for name in bidirectional)
    causal = [
        name for name in reach if name.startswith("model.layers.") and ".o_proj.input" in name
    ]
    assert all(reach[name] == "causal" for name in causal)


def test_their_records_are_valid(tied: Captured) -> None:
    text = (tied.reference / "manifest.json").read_text()
    (prompt,) = json.loads(text)["prompts"]
    tokens = len(prompt["input_ids"])
    for array in prompt["arrays"].values():
        assert array.get("reach", "position") in ("position", "causal")
        assert all(0 <= p < tokens for p in array.get("unsteady", []))
        assert "reach" not in array or "positions" in array
    assert np.load(tied.reference / prompt["files"]["reference"]).files == list(prompt["arrays"])
