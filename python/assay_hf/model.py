"""A checkpoint in transformers: loaded from local files, run eagerly, greedily, and if need be in
double.

A transformers model of dtype float64 is not computed in double: norms, softmax, router, rotary
frequencies and tables ask for FP32 by name. So for as long as a `Numerics.F64` model runs, FP32 is
double: transformers' own code computes in double, and none of it is written a second time.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

# Before transformers is imported: it reads this once.
os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402
from transformers import AutoModelForCausalLM, GenerationConfig  # noqa: E402
from transformers.integrations import moe  # noqa: E402
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
    """A causal language model, with eager attention by default. Everything runs without
    gradients."""

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
        if numerics is Numerics.F64:
            _widen_constants(self.net)
        self.eos_token_ids = read_eos_token_ids(directory)
        self._untouched_rope = _lengths_seen(self.net.model.rotary_emb)

    @property
    def config(self) -> Any:
        return self.net.config

    @property
    def modeling(self) -> ModuleType:
        """The module with this model's attention function, e.g. transformers' modeling_qwen3."""
        return sys.modules[type(self.net).__module__]

    def forward(self, input_ids: list[int]) -> torch.Tensor:
        """Logits of all positions, [1, S, V]."""
        with self._run():
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
        with self._run():
            out = self.net.generate(
                ids, attention_mask=torch.ones_like(ids), generation_config=greedy
            )
        return out[0].tolist()

    def rope_tables(self, prompt: int, positions: int) -> dict[str, torch.Tensor]:
        """The tables [1, P, R] of the model's own rotary module by their names in a reference set;
        FP32, double in a double run.

        Where frequencies depend on the sequence's length, the first `prompt` rows are those of a
        run over so many tokens, and each later row p those of a sequence of p + 1 tokens.
        """
        kinds: dict[str, tuple[str, ...]] = {"rope": ()}
        if isinstance(self.net.model.rotary_emb.rope_type, dict):  # Gemma 3: one per kind of layer
            kinds = {"rope": ("full_attention",), "rope_local": ("sliding_attention",)}
        tables: dict[str, torch.Tensor] = {}
        for name, kind in kinds.items():
            rows = [self._rope_rows(torch.arange(prompt), kind)]
            if _knows_length(self.net.model.rotary_emb):
                rows += [self._rope_rows(torch.tensor([p]), kind) for p in range(prompt, positions)]
            elif positions > prompt:
                rows.append(self._rope_rows(torch.arange(prompt, positions), kind))
            for part, of in zip(("cos", "sin"), zip(*rows, strict=True), strict=True):
                tables[f"{name}_{part}"] = torch.cat(of, dim=1)
        return tables

    def _rope_rows(
        self, positions: torch.Tensor, kind: tuple[str, ...]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        with self._run():
            # The module answers in the dtype of its first argument.
            return self.net.model.rotary_emb(torch.empty(1), positions[None], *kind)

    @contextmanager
    def _run(self) -> Iterator[None]:
        """A run without gradients that does not depend on the runs before it."""
        _forget_lengths(self.net.model.rotary_emb, self._untouched_rope)
        with torch.inference_mode(), self._wide():
            yield

    def _wide(self) -> AbstractContextManager[None]:
        return fp32_is_double() if self.numerics is Numerics.F64 else nullcontext()


def read_eos_token_ids(directory: Path) -> list[int]:
    """Ids after which generation stops; may be empty."""
    for name in ("generation_config.json", "config.json"):
        if (directory / name).is_file():
            eos = json.loads((directory / name).read_text(encoding="utf-8")).get("eos_token_id")
            if eos is not None:
                return list(eos) if isinstance(eos, list) else [eos]
    return []


@contextmanager
def fp32_is_double() -> Iterator[None]:
    """Makes every FP32 that Python code asks for a double, and so everything computed in it."""
    fp32, to_fp32, default = torch.float32, torch.Tensor.float, torch.get_default_dtype()
    can_use_grouped_mm = moe._can_use_grouped_mm
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    torch.set_default_dtype(torch.float64)
    # torch's grouped_mm does not support double; transformers has a loop for that case.
    moe._can_use_grouped_mm = lambda *_: False
    try:
        yield
    finally:
        torch.float32 = torch.float = fp32
        torch.Tensor.float = to_fp32
        torch.set_default_dtype(default)
        moe._can_use_grouped_mm = can_use_grouped_mm


def _widen_constants(net: Any) -> None:
    """Computes again, in double, what a model computes from its config when it is built. Loading
    itself must not take place in fp32_is_double(), where FP32 weights are read as doubles."""
    with fp32_is_double():
        net.model.rotary_emb = type(net.model.rotary_emb)(net.config).eval()
        embedding = net.model.embed_tokens
        if hasattr(embedding, "scalar_embed_scale"):  # Gemma's
            embedding.embed_scale = torch.tensor(embedding.scalar_embed_scale)


def _knows_length(rotary: Any) -> bool:
    """Whether the rotary module's frequencies depend on the sequence's length."""
    types = rotary.rope_type
    names = types.values() if isinstance(types, dict) else [types]
    return any(name in ("dynamic", "longrope") for name in names)


def _lengths_seen(rotary: Any) -> dict[str, Any]:
    """The state that a rotary module with dynamic frequencies changes from run to run."""
    if not _knows_length(rotary):
        return {}
    buffers = {name: buffer.clone() for name, buffer in rotary.named_buffers()}
    return {"buffers": buffers, "longest": _longest(rotary)}


def _longest(rotary: Any) -> dict[str, Any]:
    return {k: v for k, v in vars(rotary).items() if k.endswith("max_seq_len_cached")}


def _forget_lengths(rotary: Any, untouched: dict[str, Any]) -> None:
    """transformers keeps the frequencies of the longest sequence seen; a run must not depend on
    the runs before it."""
    if not untouched:
        return
    for name in _longest(rotary):
        delattr(rotary, name)
    for name, value in untouched["longest"].items():
        setattr(rotary, name, value)
    for name, buffer in untouched["buffers"].items():
        rotary.register_buffer(name, buffer.clone(), persistent=False)
