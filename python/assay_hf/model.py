"""A checkpoint in transformers: loaded from local files, run eagerly, greedily, and if need be in
double.

A transformers model of dtype float64 is not computed in double: its RMSNorm casts to FP32, its
softmax asks for FP32, and its rotary module computes in FP32. `Numerics.F64` replaces these three
places, and nothing else.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from types import MethodType, ModuleType
from typing import Any

# Before transformers is imported: it reads this once.
os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402
from torch import nn  # noqa: E402
from transformers import AutoModelForCausalLM, GenerationConfig  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

from assay_hf.errors import InputError  # noqa: E402

transformers_logging.disable_progress_bar()


class Numerics(Enum):
    """How a run rounds; the values are the names of Assay's --numerics."""

    BF16 = "bf16"
    F32 = "f32"
    F64 = "f64"

    @property
    def dtype(self) -> torch.dtype:
        return {"bf16": torch.bfloat16, "f32": torch.float32, "f64": torch.float64}[self.value]


class HfModel:
    """A causal language model, with eager attention unless asked for another. Everything runs
    without gradients."""

    def __init__(self, directory: Path, numerics: Numerics, attention: str = "eager") -> None:
        if not (directory / "config.json").is_file():
            raise InputError(f"{directory}: no config.json, expected a checkpoint directory")
        self.directory = directory
        self.numerics = numerics
        # The dtype is given at load: a later .to() would round the rotary frequencies too.
        self.net = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=numerics.dtype,
            attn_implementation=attention,
            local_files_only=True,
        ).eval()
        self.eos_token_ids = read_eos_token_ids(directory)
        if numerics is Numerics.F64:
            _compute_in_double(self.net)

    @property
    def config(self) -> Any:
        return self.net.config

    @property
    def modeling(self) -> ModuleType:
        """The module with this model's attention function, e.g. transformers' modeling_qwen3."""
        return sys.modules[type(self.net).__module__]

    def forward(self, input_ids: list[int]) -> torch.Tensor:
        """Logits of all positions, [1, S, V]."""
        with torch.inference_mode(), _softmax_in_double():
            return self.net(torch.tensor([input_ids])).logits

    def generate(self, input_ids: list[int], max_new_tokens: int) -> list[int]:
        """Prompt and greedy continuation, which ends after an EOS id."""
        if max_new_tokens == 0:  # transformers' generate refuses this
            return list(input_ids)
        ids = torch.tensor([input_ids])
        # The checkpoint's own generation config asks for sampling.
        greedy = GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=self.eos_token_ids or None,
            pad_token_id=self.eos_token_ids[0] if self.eos_token_ids else 0,
        )
        self.net.generation_config = greedy
        with torch.inference_mode(), _softmax_in_double():
            out = self.net.generate(
                ids, attention_mask=torch.ones_like(ids), generation_config=greedy
            )
        return out[0].tolist()

    def rope_tables(self, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
        """cos and sin [1, P, D] of the model's own rotary module; FP32, double in a double run."""
        # The module answers in the dtype of its first argument.
        wide = torch.float64 if self.numerics is Numerics.F64 else torch.float32
        with torch.inference_mode():
            like = torch.empty(1, dtype=wide)
            cos, sin = self.net.model.rotary_emb(like, torch.arange(positions)[None])
        return cos, sin


def read_eos_token_ids(directory: Path) -> list[int]:
    """Ids after which generation stops; may be empty."""
    for name in ("generation_config.json", "config.json"):
        if (directory / name).is_file():
            eos = json.loads((directory / name).read_text(encoding="utf-8")).get("eos_token_id")
            if eos is not None:
                return list(eos) if isinstance(eos, list) else [eos]
    return []


def _compute_in_double(net: nn.Module) -> None:
    """Replaces RMSNorm and the rotary module; softmax is replaced around each run."""
    for module in net.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = MethodType(_rms_norm_in_double, module)
    rotary = net.model.rotary_emb
    if rotary.rope_type != "default":
        raise InputError(f"RoPE of type {rotary.rope_type}: only the default one runs in double")
    rotary.forward = MethodType(_rotary_in_double, rotary)


def _rms_norm_in_double(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
    variance = x.pow(2).mean(-1, keepdim=True)
    return self.weight * (x * torch.rsqrt(variance + self.variance_epsilon))


def _rotary_in_double(
    self: nn.Module, x: torch.Tensor, position_ids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    dim = self.config.head_dim
    theta = float(self.config.rope_parameters["rope_theta"])
    inv_freq = 1.0 / (theta ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim))
    angles = position_ids[..., None].double() * inv_freq
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


@contextmanager
def _softmax_in_double() -> Iterator[None]:
    """Lets softmax of doubles be double, whatever dtype the caller asks for."""
    original = nn.functional.softmax

    def softmax(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if x.dtype == torch.float64:
            kwargs["dtype"] = torch.float64
        return original(x, *args, **kwargs)

    nn.functional.softmax = softmax
    try:
        yield
    finally:
        nn.functional.softmax = original
