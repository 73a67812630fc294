"""The description of a fault, and helpers that change transformers' modules."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import MethodType
from typing import Any

from torch import nn

from assay_hf.model import HfModel

# (model, stack): changes the model, whose modules are a copy; the stack reverts global changes.
Change = Callable[[HfModel, ExitStack], None]


@dataclass
class Fault:
    entry: str
    variant: str
    change: Change
    decode: bool = False  # shows only in tokens decoded one by one
    bf16: bool = True  # whether it is a mistake in a BF16 run
    f32: bool = True
    untied: bool = False  # needs an untied head

    @property
    def name(self) -> str:
        return f"{self.entry}:{self.variant}" if self.variant else self.entry


FAULTS: list[Fault] = []


def fault(entry: str, variant: str = "", **options: Any) -> Callable[[Change], Change]:
    def add(change: Change) -> Change:
        FAULTS.append(Fault(entry, variant, change, **options))
        return change

    return add


def layers_of(model: HfModel) -> Any:
    return model.text.layers


def norms_of(model: HfModel) -> list[nn.Module]:
    return [m for m in model.net.modules() if type(m).__name__.endswith("RMSNorm")]


def replace(module: nn.Module, forward: Callable[..., Any]) -> None:
    module.forward = MethodType(forward, module)
