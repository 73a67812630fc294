"""One small random checkpoint of a family: its config and its other peculiarities."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

Config = dict[str, Any]


@dataclass
class Configuration:
    """One checkpoint: its config.json and its other peculiarities."""

    name: str
    what: str  # the features that it tests
    config: Config
    seed: str  # for its weights and prompts
    shard_size: str = "5GB"
    tied_experts: bool = False  # pairs of experts that always have equal logits, in each router
    exchanged_experts: bool = False  # fused, with the last two axes exchanged
    fp8_scales: str | None = None  # the type of the scales, in FP8
    fused_experts: bool = False  # stored as transformers 5 holds them in memory
    further_lengths: list[int] = field(default_factory=list)  # of additional prompts

    @property
    def family(self) -> str:
        return self.config["model_type"]

    @property
    def text(self) -> Config:
        """The language model's config, perhaps within a multimodal one."""
        return self.config.get("text_config", self.config)

    @property
    def is_mixture(self) -> bool:
        return experts_in(self.text) > 0


def experts_in(config: Config) -> int:
    names = ("num_experts", "num_local_experts", "n_routed_experts")
    return next((config[name] for name in names if name in config), 0)


def rope(config: Config, rng: Random, **parameters: Any) -> None:
    """Rotary parameters in either spelling: rope_parameters in transformers 5, rope_theta and rope_scaling
    in published configs."""
    theta = round(10 ** rng.uniform(3.5, 6), 1)
    if rng.random() < 0.5:
        parameters.setdefault("rope_type", "default")
        config["rope_parameters"] = {"rope_theta": theta, **parameters}
        return
    config["rope_theta"] = theta
    if parameters:
        if rng.random() < 0.5:
            parameters["type"] = parameters.pop("rope_type")
        config["rope_scaling"] = parameters


Variant = Callable[[Configuration, Random], None]
