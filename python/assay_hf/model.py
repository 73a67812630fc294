"""A checkpoint in transformers: loaded from local files, run eagerly, greedily, and if need be in
double."""

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
from transformers import (  # noqa: E402
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    GenerationConfig,
    Mxfp4Config,
)
from transformers.utils import logging as transformers_logging  # noqa: E402

from assay.capture.double import fp32_is_double, widen_constants  # noqa: E402
from assay.capture.errors import InputError  # noqa: E402
from assay.capture.files import read_eos_token_ids  # noqa: E402
from assay.capture.state import RunState  # noqa: E402

transformers_logging.disable_progress_bar()


class Numerics(Enum):
    """How a run rounds; the values are the names of Assay's --numerics."""

    BF16 = "bf16"
    F32 = "f32"
    F64 = "f64"

    @property
    def dtype(self) -> torch.dtype:
        return {"bf16": torch.bfloat16, "f32": torch.float32, "f64": torch.float64}[self.value]


def auto_class(config: Any) -> Any:
    """The class that loads a checkpoint with this config: a language model, perhaps within a multimodal
    one."""
    multimodal = config.get_text_config() is not config
    return AutoModelForImageTextToText if multimodal else AutoModelForCausalLM


@contextmanager
def without_accelerate() -> Iterator[None]:
    """Lets transformers load FP8 without the package accelerate, which a model that is widened on a CPU
    does not use."""
    from transformers.quantizers import quantizer_finegrained_fp8 as fp8

    asks = fp8.is_accelerate_available
    fp8.is_accelerate_available = lambda: True
    try:
        yield
    finally:
        fp8.is_accelerate_available = asks


class HfModel:
    """A causal language model, with eager attention by default. Everything runs without
    gradients."""

    def __init__(self, directory: Path, numerics: Numerics, attention: str = "eager") -> None:
        if not (directory / "config.json").is_file():
            raise InputError(f"{directory}: no config.json, expected a checkpoint directory")
        self.directory = directory
        self.numerics = numerics
        # The dtype is given at load: a later .to() would round the rotary frequencies too.
        config = AutoConfig.from_pretrained(directory, local_files_only=True)
        loader = auto_class(config)
        # On a CPU transformers widens MXFP4 and FP8 anyway, but asks for packages first.
        method = getattr(config, "quantization_config", {}).get("quant_method")
        options = {"quantization_config": Mxfp4Config(dequantize=True)} if method == "mxfp4" else {}
        with without_accelerate():
            self.net = loader.from_pretrained(
                directory,
                dtype=numerics.dtype,
                attn_implementation=attention,
                local_files_only=True,
                **options,
            ).eval()
        if numerics is Numerics.F32 and method == "fp8":
            self.net.float()  # what is not in FP8 was left in BF16
        if numerics is Numerics.F64:
            widen_constants(self.net)
            self.net.double()  # what the class keeps in FP32, such as a router's bias
        self.eos_token_ids = read_eos_token_ids(directory)
        self._untouched = RunState(self.net)

    @property
    def config(self) -> Any:
        return self.net.config.get_text_config()

    @property
    def text(self) -> Any:
        """The model without its head: embed_tokens, layers, norm, rotary_emb."""
        return getattr(self.net.model, "language_model", self.net.model)

    @property
    def modeling(self) -> ModuleType:
        """The module with this model's attention function, e.g. transformers' modeling_qwen3."""
        return sys.modules[type(self.text).__module__]

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
        if isinstance(self.text.rotary_emb.rope_type, dict):  # Gemma 3: one per kind of layer
            kinds = {"rope": ("full_attention",), "rope_local": ("sliding_attention",)}
        tables: dict[str, torch.Tensor] = {}
        for name, kind in kinds.items():
            rows = [self._rope_rows(torch.arange(prompt), kind)]
            if _knows_length(self.text.rotary_emb):
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
            tables = self.text.rotary_emb(torch.empty(1), positions[None], *kind)
        if self.config.model_type == "gpt_oss":  # each value once, all others twice
            tables = tuple(torch.cat((table, table), dim=-1) for table in tables)
        return tables

    @contextmanager
    def _run(self) -> Iterator[None]:
        """A run without gradients that does not depend on the runs before it."""
        self._untouched.restore()
        with torch.inference_mode(), self._wide():
            yield

    def _wide(self) -> AbstractContextManager[None]:
        return fp32_is_double() if self.numerics is Numerics.F64 else nullcontext()


def _knows_length(rotary: Any) -> bool:
    """Whether the rotary module's frequencies depend on the sequence's length."""
    types = rotary.rope_type
    names = types.values() if isinstance(types, dict) else [types]
    return any(name in ("dynamic", "longrope") for name in names)
