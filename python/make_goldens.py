"""Writes tests/reference/data/goldens.json: transformers' results on the bundled model.

For the default prompts, in BF16 and FP32: token ids, greedy continuation, top five logits of the last
position; for the FP32 run also the L2 norm and a few elements of the arrays below, so that the C++
tests can compare the engine with transformers without Python.

Usage: make_goldens.py (from anywhere; needs python/requirements.txt)
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import torch
import transformers
from assay_hf.model import HfModel, Numerics
from assay.capture.prompts import collect_prompts
from assay_hf.taps import choose_taps, record
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "models" / "tiny-qwen3"
OUT = ROOT / "tests" / "reference" / "data" / "goldens.json"
MAX_NEW_TOKENS = 20
SAMPLES = 5
# In addition to the default taps: every tap of the first layer, of one in the middle, and of the last.
TAPS = ["layer_00_*", "layer_13_*", "layer_27_*"]
MASKED = -1e38  # below: entries that the causal mask hides


def top_five(logits: np.ndarray) -> list[dict[str, Any]]:
    last = logits[0, -1]
    best = np.argsort(-last, kind="stable")[:5]
    return [{"id": int(i), "logit": float(last[i])} for i in best]


def golden_array(array: np.ndarray) -> dict[str, Any]:
    flat = array.astype(np.float64).ravel()
    seen = flat[flat > MASKED]
    places = [i * (flat.size - 1) // (SAMPLES - 1) for i in range(SAMPLES)]
    return {
        "shape": list(array.shape),
        "norm": float(np.sqrt((seen * seen).sum())),
        # Nine digits identify a float32.
        "samples": [float(f"{flat[i]:.9g}") for i in places],
    }


def main() -> None:
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    prompts = collect_prompts([], [])
    goldens: list[dict[str, Any]] = []
    for prompt in prompts:
        prompt.input_ids = tokenizer.encode(prompt.text, add_special_tokens=False).ids
        goldens.append({"text": prompt.text, "input_ids": prompt.input_ids})
    for numerics in (Numerics.BF16, Numerics.F32):
        model = HfModel(MODEL, numerics)
        for prompt, golden in zip(prompts, goldens, strict=True):
            arrays = record(model, prompt.input_ids, choose_taps(model, TAPS))
            generated = model.generate(prompt.input_ids, MAX_NEW_TOKENS)
            run: dict[str, Any] = {
                "generated_ids": generated,
                "generated_text": tokenizer.decode(
                    generated[len(prompt.input_ids) :], skip_special_tokens=False
                ),
                "top_five": top_five(arrays["logits"]),
            }
            if numerics is Numerics.F32:
                positions = max(len(prompt.input_ids), len(generated) - 1)
                tables = model.rope_tables(len(prompt.input_ids), positions)
                arrays |= {name: table.numpy() for name, table in tables.items()}
                run["arrays"] = {name: golden_array(a) for name, a in arrays.items()}
            golden[numerics.value] = run
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    goldens_json = {
        "made_by": {"script": "python/make_goldens.py", **versions},
        "max_new_tokens": MAX_NEW_TOKENS,
        "taps": TAPS,
        "prompts": goldens,
    }
    text = json.dumps(goldens_json, ensure_ascii=False).replace("}, ", "},\n ")  # a line each
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(text + "\n", encoding="utf-8")
    print(f"{OUT.relative_to(ROOT)}: {len(text)} bytes")


if __name__ == "__main__":
    main()
