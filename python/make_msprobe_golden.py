#!/usr/bin/env python3
"""Writes the msprobe dump that the C++ tests read, with msprobe itself.

    pip install mindstudio-probe torch transformers    # in an environment of its own
    python python/make_msprobe_golden.py               # into tests/formats/data/msprobe

The bundled model runs two prompts in BF16, a step each, with some of its modules hooked. Only what
differs from run to run is changed afterwards: the process's number in a directory's name, and the
absolute path in dump.json. Some files are left out.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from msprobe.pytorch import PrecisionDebugger
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "tests" / "formats" / "data" / "msprobe"
MODULES = (
    "model.embed_tokens", "layers.0.self_attn.q_", "layers.0.self_attn.Qwen3Attention",
    "layers.0.Qwen3DecoderLayer", "model.norm",
)  # fmt: skip
# This machine's paths, and what is large and not read.
LEFT_OUT = ("stack.json", "construct.json", "*.parameters.weight.pt", "*.kwargs.[ap]*.pt")


def prompts() -> list[list[int]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(ROOT / "models" / "tiny-qwen3")
    return [tokenizer.encode(text) for text in ("The capital of France is", "Hello world")]


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        config = {
            "task": "tensor",
            "dump_path": f"{folder}/dump",
            "rank": [],
            "step": [],
            "level": "L0",
            "async_dump": False,
            "tensor": {"scope": [], "list": list(MODULES), "data_mode": ["forward"]},
        }
        (Path(folder) / "config.json").write_text(json.dumps(config))
        model = AutoModelForCausalLM.from_pretrained(
            ROOT / "models" / "tiny-qwen3", dtype=torch.bfloat16, attn_implementation="eager"
        ).eval()
        debugger = PrecisionDebugger(config_path=f"{folder}/config.json")
        for ids in prompts():
            debugger.start(model=model)
            with torch.no_grad():
                model(torch.tensor([ids]), use_cache=False)
            debugger.stop()
            debugger.step()
        for step in sorted(Path(folder, "dump").iterdir()):
            process = next(step.iterdir())
            to = OUT / step.name / "proc1"
            shutil.copytree(process, to, ignore=shutil.ignore_patterns(*LEFT_OUT))
            index = to / "dump.json"
            index.write_text(index.read_text().replace(str(process), f"/dump/{step.name}/proc1"))
    print(sum(f.stat().st_size for f in OUT.rglob("*")), "bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
